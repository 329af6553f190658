package verify

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/pebblestore"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// watching is a session that one process watches and another changes.
type watching struct {
	testing.TB
	other *pazzo.Manager
	token string
	ctx   context.Context // the session's in the other process
	n     int64           // its counter
	news  chan told       // closed when the iteration has ended
}

// told is what the watcher is told.
type told struct {
	pazzo.Change
	err error
}

const counted pazzo.Counter = "n"

func managerOf(t testing.TB, s record.Store) *pazzo.Manager {
	t.Helper()
	m, err := pazzo.New(s, &pazzo.Options{SecretKeys: []string{"a key of 32 bytes or more, for tests"}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// cachedStore puts a near cache in front of a store.
func cachedStore(t testing.TB, s record.Store) *nearcache.Cache {
	t.Helper()
	cache, err := nearcache.New(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return cache
}

func openAgent(t testing.TB, a *agentProcess) record.Store {
	t.Helper()
	store, err := redisstore.Open(t.Context(), a.url(), &redisstore.Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// inSession returns the context of a request with a token, or of a visitor's first.
func inSession(t testing.TB, m *pazzo.Manager, token string) context.Context {
	t.Helper()
	s, err := m.Acquire(token)
	if err != nil {
		t.Fatal(err)
	}
	return pazzo.NewContext(context.Background(), s)
}

// watchSession has ann log in, and one process watch her session until the test ends.
func watchSession(t *testing.T, watcher, other record.Store) *watching {
	t.Helper()
	w := &watching{TB: t, other: managerOf(t, other), news: make(chan told, 1000)}
	w.ctx = inSession(t, w.other, "")
	session := pazzo.FromContext(w.ctx)
	if err := session.Authenticate(w.ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	w.token = session.Token()
	ctx, cancel := context.WithCancel(inSession(t, managerOf(t, watcher), w.token))
	go func() {
		defer close(w.news)
		for c, err := range pazzo.FromContext(ctx).Watch(ctx) {
			w.news <- told{c, err}
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range w.news {
		}
	})
	if first, failures := w.next(); first.User != "ann" || failures > 0 {
		t.Fatalf("%+v, after %d errors", first, failures)
	}
	return w
}

// next returns the next change, and how many errors came before it.
func (w *watching) next() (c pazzo.Change, failures int) {
	w.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case n, ok := <-w.news:
			switch {
			case !ok:
				w.Fatal("the iteration has ended")
			case n.err == nil:
				return n.Change, failures
			case !errors.Is(n.err, pazzo.ErrUnavailable):
				w.Fatal(n.err)
			}
			failures++
		case <-limit:
			w.Fatal("nothing is told")
		}
	}
}

// changes has the other process change the session.
func (w *watching) changes() {
	w.Helper()
	var err error
	if w.n, err = counted.Add(w.ctx, 1); err != nil {
		w.Fatal(err)
	}
}

// sees waits until the last change is told, and returns how long that took.
func (w *watching) sees() time.Duration {
	w.Helper()
	for start := time.Now(); ; {
		c, _ := w.next()
		switch string(c.Fields["n"]) {
		case strconv.FormatInt(w.n, 10):
			return time.Since(start)
		}
		if c.Ended != "" {
			w.Fatalf("the session is over: %s", c.Ended)
		}
	}
}

// seesAll has the other process make changes which are told of faster than by asking every
// 2 seconds.
func (w *watching) seesAll() {
	w.Helper()
	var took time.Duration
	const changes = 8
	for range changes {
		w.changes()
		took += w.sees()
	}
	if took > changes*time.Second/2 {
		w.Errorf("%d changes were told after %s in all", changes, took)
	}
}

func (w *watching) ends(why pazzo.EndReason) {
	w.Helper()
	for {
		c, _ := w.next()
		if c.Ended == "" {
			continue // of a change before, as activity is
		}
		if c.Ended != why {
			w.Errorf("the end: %s instead of %s", c.Ended, why)
		}
		if n, more := <-w.news; more {
			w.Errorf("told after the end: %+v", n)
		}
		return
	}
}

// What another process does to a session is told to whom watches it, the end as well.
func TestWatch(t *testing.T) {
	server := redistest.Start(t)
	redis := func(t *testing.T) (a, b record.Store) {
		return openRedis(t, server, patience), openRedis(t, server, patience)
	}
	for name, stores := range map[string]func(t *testing.T) (a, b record.Store){
		"redis": redis,
		"redis with a near cache": func(t *testing.T) (a, b record.Store) {
			a, b = redis(t)
			return cachedStore(t, a), b
		},
		"an agent with a near cache": func(t *testing.T) (a, b record.Store) {
			agent := startAgent(t, "-store", server.URL()+"?nearcache=1")
			return openAgent(t, agent), openRedis(t, server, patience)
		},
		"pebble": func(t *testing.T) (a, b record.Store) {
			s, err := pebblestore.Open(filepath.Join(t.TempDir(), "sessions"), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s, s
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := stores(t)
			w := watchSession(t, a, b)
			w.changes()
			w.sees() // contact may only be being made
			w.seesAll()
			if err := pazzo.FromContext(w.ctx).Destroy(w.ctx); err != nil {
				t.Fatal(err)
			}
			w.ends(pazzo.EndLogout)

			w = watchSession(t, a, b)
			if _, err := w.other.RevokeAll(t.Context(), "ann"); err != nil {
				t.Fatal(err)
			}
			w.ends(pazzo.EndRevoked)

			w = watchSession(t, a, b)
			if err := pazzo.FromContext(w.ctx).Renew(w.ctx); err != nil {
				t.Fatal(err)
			}
			w.ends(pazzo.EndSuperseded)

			w = watchSession(t, a, b)
			short := pazzo.Expiry{Timeouts: pazzo.Timeouts{Idle: time.Second}}
			if err := pazzo.FromContext(w.ctx).SetExpiry(w.ctx, short); err != nil {
				t.Fatal(err)
			}
			w.ends(pazzo.EndExpired)
		})
	}
}

// A watcher gets over a server that is gone for a while, and over a connection that has fallen
// silent: he is told of the trouble, then of what he has missed, and then goes on.
func TestWatchOverTrouble(t *testing.T) {
	for name, cached := range map[string]bool{"store": false, "near cache": true} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
			proxy := redistest.StartProxy(t, server.Addr())
			var watcher record.Store
			watcher, err := redisstore.Open(t.Context(), proxy.URL(), &redisstore.Options{Timeout: 500 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { watcher.Close() })
			if cached {
				watcher = cachedStore(t, watcher)
			}
			w := watchSession(t, watcher, openRedis(t, server, patience))
			w.changes()
			w.sees()

			proxy.BlackHole(redistest.Down)
			w.changes()
			w.fails()
			proxy.Heal()
			w.sees()
			w.seesSoon()

			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
			w.fails()
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.changes()
			w.sees()
			w.seesSoon()
		})
	}
}

// fails waits for an error.
func (w *watching) fails() {
	w.Helper()
	for limit := time.After(30 * time.Second); ; {
		select {
		case n, ok := <-w.news:
			if errors.Is(n.err, pazzo.ErrUnavailable) {
				return
			}
			if !ok || n.err != nil || n.Ended != "" {
				w.Fatalf("%+v, %v", n, n.err)
			}
		case <-limit:
			w.Fatal("there is no error")
		}
	}
}

// seesSoon waits until changes are told of again, rather than asked for.
func (w *watching) seesSoon() {
	w.Helper()
	for start := time.Now(); time.Since(start) < 30*time.Second; {
		var took time.Duration
		for range 4 {
			w.changes()
			took += w.sees()
		}
		if took < time.Second {
			return
		}
	}
	w.Error("changes are not told of again")
}
