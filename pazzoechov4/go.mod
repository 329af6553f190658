module github.com/pazzo-sessions/pazzo/pazzoechov4

go 1.25.0

require (
	github.com/coder/websocket v1.8.15
	github.com/labstack/echo/v4 v4.16.0
	github.com/pazzo-sessions/pazzo v0.0.0
	github.com/pazzo-sessions/pazzo/internal/adaptertest v0.0.0
	go.uber.org/goleak v1.3.0
)

require (
	github.com/labstack/gommon v0.5.0 // indirect
	github.com/mattn/go-colorable v0.1.15 // indirect
	github.com/mattn/go-isatty v0.0.22 // indirect
	github.com/pazzo-sessions/pazzo/redisstore v0.0.0 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	github.com/valyala/fasttemplate v1.2.2 // indirect
	golang.org/x/crypto v0.54.0 // indirect
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.41.0 // indirect
	golang.org/x/time v0.15.0 // indirect
)

replace (
	github.com/pazzo-sessions/pazzo => ..
	github.com/pazzo-sessions/pazzo/internal/adaptertest => ../internal/adaptertest
	github.com/pazzo-sessions/pazzo/redisstore => ../redisstore
)
