package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/agent"
	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/storetest"
)

// serveAgent runs an agent over a store until the test ends, and returns its URL.
func serveAgent(t *testing.T, store string) string {
	t.Helper()
	c := agent.Default()
	c.Store, c.Socket = store, filepath.Join(t.TempDir(), "agent.sock")
	a, err := agent.New(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := a.Listen(nil)
	if err != nil {
		a.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx, listeners) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "unix://" + c.Socket
}

// conformsThrough checks a store as a client of an agent over it sees it.
func conformsThrough(t *testing.T, store string) {
	url := serveAgent(t, store)
	storetest.Run(t, func(t *testing.T) record.Store {
		s, err := redisstore.Open(t.Context(), url, &redisstore.Options{Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}, nil)
}

func TestAgentOverPostgreSQL(t *testing.T) {
	url := pgtest.Start(t).URL() + "?timeout=20s"
	if _, err := pgstore.Migrate(t.Context(), url, nil); err != nil {
		t.Fatal(err)
	}
	conformsThrough(t, url)
}

func TestAgentOverMemcached(t *testing.T) {
	conformsThrough(t, memcachedtest.Start(t).URL()+"?timeout=20s")
}
