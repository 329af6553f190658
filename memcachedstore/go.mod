module github.com/pazzo-sessions/pazzo/memcachedstore

go 1.25.0

require (
	github.com/pazzo-sessions/pazzo v0.0.0
	go.uber.org/goleak v1.3.0
)

replace github.com/pazzo-sessions/pazzo => ..
