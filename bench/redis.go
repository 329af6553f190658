package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

type redisServer = redistest.Server

// storeTimeout keeps a busy machine from failing a call.
const storeTimeout = 10 * time.Second

// redis starts the server when it is first needed.
func (b *bench) redis() (*redisServer, error) {
	if b.server != nil {
		return b.server, nil
	}
	dir, err := os.MkdirTemp("", "pazzo-bench-")
	if err != nil {
		return nil, err
	}
	b.onClose(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	server, err := redistest.Run(ctx, dir)
	if err != nil {
		return nil, err
	}
	b.onClose(func() { server.Kill() })
	info, err := server.Do(ctx, "INFO", "server")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(fmt.Sprint(info)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "redis_version":
			if b.redisVersion == "" {
				b.redisVersion = "Redis " + value
			}
		case "valkey_version":
			b.redisVersion = "Valkey " + value
		}
	}
	b.server = server
	return server, nil
}

func (b *bench) redisStore() (*redisstore.Store, error) {
	server, err := b.redis()
	if err != nil {
		return nil, err
	}
	store, err := redisstore.Open(b.ctx, server.URL(), &redisstore.Options{Timeout: storeTimeout})
	if err != nil {
		return nil, err
	}
	b.onClose(func() { store.Close() })
	return store, nil
}

// pool is the peers' connection pool, as in scs's documentation, but with room
// for every request in flight: with fewer idle connections than that, redigo
// would dial again and again.
func pool(server *redisServer) *redis.Pool {
	return &redis.Pool{
		MaxIdle: inFlight,
		Dial:    func() (redis.Conn, error) { return redis.Dial("tcp", server.Addr()) },
	}
}

// newPazzo returns a Manager with the default options but for the reads.
func newPazzo(store pazzo.Store, reads pazzo.ReadMode) (*pazzo.Manager, error) {
	return pazzo.New(store, &pazzo.Options{
		SecretKeys: []string{"0123456789abcdef0123456789abcdef"},
		Reads:      reads,
		Logger:     slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}
