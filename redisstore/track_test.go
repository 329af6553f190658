package redisstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// garble has a store's connections to come be as through a proxy that knows the protocol
// less well than the server does: it refuses what has the word in it, which here is
// the server's own doing, for the word arrives as another.
func garble(s *Store, word string) {
	dial := s.option.DialCtxFn
	s.option.DialCtxFn = func(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, dialer, config)
		if err != nil {
			return nil, err
		}
		return &garbled{conn, []byte(word), bytes.Repeat([]byte("X"), len(word))}, nil
	}
}

type garbled struct {
	net.Conn
	word, other []byte
}

func (g *garbled) Write(b []byte) (int, error) {
	return g.Conn.Write(bytes.ReplaceAll(b, g.word, g.other))
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// openLogged opens a store that logs there.
func openLogged(t *testing.T, url string) (*Store, *lines) {
	t.Helper()
	log := &lines{}
	s, err := Open(t.Context(), url, &Options{Timeout: longEnough, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, log
}

// Where a server cannot tell of changes, nothing is kept, which is logged once.
func TestNearCacheWhereTrackingIsRefused(t *testing.T) {
	for _, test := range []struct {
		name    string
		args    []string
		prepare func(t *testing.T, server *redistest.Server, s *Store)
		why     string
	}{
		{"by its rights", nil, func(t *testing.T, server *redistest.Server, s *Store) {
			ask(t, server, "ACL", "SETUSER", "default", "-client|tracking")
		}, "NOPERM"},
		{"as unknown", []string{"--rename-command", "CLIENT", ""}, nil, "unknown command 'CLIENT'"},
		{"as unknown, BCAST and OPTIN", nil, func(_ *testing.T, _ *redistest.Server, s *Store) {
			garble(s, "BCAST")
			garble(s, "OPTIN")
		}, "syntax error"},
		{"as unknown, BCAST and CACHING", nil, func(_ *testing.T, _ *redistest.Server, s *Store) {
			garble(s, "BCAST")
			garble(s, "CACHING")
		}, "unknown subcommand"},
		{"silently: RESP2", []string{"--rename-command", "HELLO", ""}, nil, "unknown command 'HELLO'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := redistest.Start(t, test.args...)
			s, log := openLogged(t, server.URL())
			if test.prepare != nil {
				test.prepare(t, server, s)
			}
			cache, err := nearcache.New(s, &nearcache.Options{MaxStale: maxStale})
			if err != nil {
				t.Fatal(err)
			}
			defer cache.Close()
			n := near{create(t, s, record.Set("n", "0")), cache}
			for start := time.Now(); time.Since(start) < time.Second; time.Sleep(time.Millisecond) {
				want := time.Since(start).String()
				n.ok(record.Set("n", want[:1]))
				if text, hit := n.read("n"); text != want[:1] || hit {
					t.Fatalf("read %s (hit: %t), want %s", text, hit, want[:1])
				}
			}
			if _, _, err := s.Record(t.Context(), n.handle); !errors.Is(err, record.ErrUntracked) {
				t.Errorf("Record: %v", err)
			}
			if log.count("\n") != 1 || log.count(test.why) != 1 {
				t.Errorf("the log is %q, which should be one line with %q", &log.text, test.why)
			}
		})
	}
}

// all is a listener that needs to hear of all changes.
type all struct{ current chan struct{} }

func (a all) Changed(record.Handle) {}
func (a all) Lost()                 {}
func (a all) Current(time.Time) {
	select {
	case a.current <- struct{}{}:
	default:
	}
}

// Who relies on hearing of all changes is not told that he does where the server tells of some
// only.
func TestOnlyKeepersRelyOnOptIn(t *testing.T) {
	server := redistest.Start(t)
	eachWay(t, func(t *testing.T, w way) {
		s, log := openLogged(t, server.URL())
		if w.optIn {
			garble(s, "BCAST")
		}
		a := all{make(chan struct{}, 1)}
		stop := s.Notify(a)
		defer stop()
		x := create(t, s)
		for {
			if _, _, err := s.Record(t.Context(), x.handle); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		heard := false
		select {
		case <-a.current:
			heard = true
		case <-time.After(4 * heartbeat):
		}
		confirmed := s.Confirm(t.Context()) == nil
		if heard == w.optIn || confirmed == w.optIn {
			t.Errorf("told: %t, confirmed: %t", heard, confirmed)
		}
		if got := log.count("level=INFO"); got == 1 != w.optIn || log.count("\n") != got {
			t.Errorf("the log is %q", &log.text)
		}
	})
}
