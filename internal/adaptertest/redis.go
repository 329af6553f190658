package adaptertest

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

func (serve Serve) overRedis(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes")
	t.Run("1000 requests at once", func(t *testing.T) {
		serve.over(t, open(t, server.URL(), patience)).thousand()
	})
	t.Run("a store that restarts", func(t *testing.T) { serve.restart(t, server) })
	t.Run("a slow store", func(t *testing.T) { serve.slow(t, server) })
}

func open(t *testing.T, url string, timeout time.Duration) pazzo.Store {
	t.Helper()
	store, err := redisstore.Open(t.Context(), url, &redisstore.Options{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// A store that is down is an error, and no empty session; when it is back, so is the
// session.
func (serve Serve) restart(t *testing.T, server *redistest.Server) {
	s := serve.over(t, open(t, server.URL(), time.Second))
	cookie := s.want("/inc?k=n", "1", "")
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	s.unavailable("/get?k=n", cookie)
	s.unavailable("/inc?k=n", cookie)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := server.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	for s.send("/get?k=n", cookie).StatusCode != http.StatusOK {
		if ctx.Err() != nil {
			t.Fatal("the session does not come back")
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.want("/inc?k=n", "2", cookie)
}

// A store that does not answer is given up in time.
func (serve Serve) slow(t *testing.T, server *redistest.Server) {
	proxy := redistest.StartProxy(t, server.Addr())
	s := serve.over(t, open(t, proxy.URL(), 500*time.Millisecond))
	cookie := s.want("/inc?k=n", "1", "")
	proxy.BlackHole(redistest.Up | redistest.Down)
	begun := time.Now()
	s.unavailable("/inc?k=n", cookie)
	since(t, begun, "a write to a store that does not answer")
	proxy.Heal()
}

// unavailable makes a request that must be answered 503, with nothing about the
// cookie and nothing of where the store is.
func (s *site) unavailable(path, cookie string) {
	s.t.Helper()
	response := s.send(path, cookie)
	if set := response.Header.Get("Set-Cookie"); response.StatusCode != http.StatusServiceUnavailable || set != "" {
		s.t.Errorf("%s: %d with cookie %q, want 503 and none", path, response.StatusCode, set)
	}
	if body := read(s.t, response); strings.Contains(body, "127.0.0.1") {
		s.t.Errorf("%s says %q", path, body)
	}
}
