module github.com/pazzo-sessions/pazzo/pazzoecho

go 1.25.0

require (
	github.com/coder/websocket v1.8.15
	github.com/labstack/echo/v5 v5.4.4
	github.com/pazzo-sessions/pazzo v0.0.0
	github.com/pazzo-sessions/pazzo/internal/adaptertest v0.0.0
	go.uber.org/goleak v1.3.0
)

require (
	github.com/pazzo-sessions/pazzo/redisstore v0.0.0 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/time v0.15.0 // indirect
)

replace (
	github.com/pazzo-sessions/pazzo => ..
	github.com/pazzo-sessions/pazzo/internal/adaptertest => ../internal/adaptertest
	github.com/pazzo-sessions/pazzo/redisstore => ../redisstore
)
