module github.com/pazzo-sessions/pazzo/gorillacompat

go 1.25.0

require (
	github.com/gorilla/sessions v1.4.0
	github.com/pazzo-sessions/pazzo v0.0.0
	go.uber.org/goleak v1.3.0
)

require github.com/gorilla/securecookie v1.1.2 // indirect

replace github.com/pazzo-sessions/pazzo => ..
