module github.com/pazzo-sessions/pazzo/bench

go 1.25.0

require (
	github.com/alexedwards/scs/redisstore v0.0.0-20251002162104-209de6e426de
	github.com/alexedwards/scs/v2 v2.9.0
	github.com/boj/redistore v1.4.1
	github.com/gomodule/redigo v1.9.3
	github.com/gorilla/sessions v1.4.0
	github.com/pazzo-sessions/pazzo v0.0.0
	github.com/pazzo-sessions/pazzo/redisstore v0.0.0
	github.com/redis/rueidis v1.0.79
)

require (
	github.com/gorilla/securecookie v1.1.2 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace (
	github.com/pazzo-sessions/pazzo => ..
	github.com/pazzo-sessions/pazzo/redisstore => ../redisstore
)
