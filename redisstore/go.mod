module github.com/pazzo-sessions/pazzo/redisstore

go 1.25.0

require (
	github.com/pazzo-sessions/pazzo v0.0.0
	github.com/redis/rueidis v1.0.79
	go.uber.org/goleak v1.3.0
)

require golang.org/x/sys v0.47.0 // indirect

replace github.com/pazzo-sessions/pazzo => ..
