module github.com/pazzo-sessions/pazzo/scscompat

go 1.25.0

require (
	github.com/alexedwards/scs/v2 v2.9.0
	github.com/pazzo-sessions/pazzo v0.0.0
	go.uber.org/goleak v1.3.0
)

replace github.com/pazzo-sessions/pazzo => ..
