package verify

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/memcachedstore"
	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// backendTimeout is that of the stores whose servers these tests end.
const backendTimeout = time.Second

// TestBackendIsKilledUnderLoad has readers and writers at work on each store whose server is
// killed and started again: errors in time, no session that looks empty, nothing that was
// acknowledged lost, and service again by itself. (Pebble has no server: see its
// TestFailedDisk, and TestAgentEndsWhenItsDiskFails.)
func TestBackendIsKilledUnderLoad(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
		backend{openRedis(t, s, backendTimeout), true, s.Kill, s.Restart}.check(t)
	})
	t.Run("postgres", func(t *testing.T) {
		s := pgtest.Start(t)
		backend{impatientPostgres(t, s, s.URL()), true, s.Crash, s.Restart}.check(t)
	})
	t.Run("memcached", func(t *testing.T) {
		s := memcachedtest.Start(t)
		backend{impatientMemcached(t, s), false, s.Kill, s.Restart}.check(t)
	})
}

// TestBackendIsFrozenUnderLoad is the same for one that stands still.
func TestBackendIsFrozenUnderLoad(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		s := redistest.Start(t)
		backend{openRedis(t, s, backendTimeout), true, s.Pause, func(context.Context) error { return s.Resume() }}.check(t)
	})
	t.Run("postgres", func(t *testing.T) { // whose server is a process for each connection
		s := pgtest.Start(t)
		p := redistest.StartProxy(t, s.Addr())
		url := "postgres://postgres@" + p.Addr() + "/postgres?sslmode=disable"
		freeze := func() error { p.BlackHole(redistest.Up | redistest.Down); return nil }
		backend{impatientPostgres(t, s, url), true, freeze, func(context.Context) error { p.Heal(); return nil }}.check(t)
	})
	t.Run("memcached", func(t *testing.T) {
		s := memcachedtest.Start(t)
		backend{impatientMemcached(t, s), true, s.Pause, func(context.Context) error { return s.Resume() }}.check(t)
	})
}

// impatientPostgres opens a store on PostgreSQL at url, after its tables were made.
func impatientPostgres(t *testing.T, s *pgtest.Server, url string) record.Store {
	t.Helper()
	if _, err := pgstore.Migrate(t.Context(), s.URL(), nil); err != nil {
		t.Fatal(err)
	}
	store, err := pgstore.Open(t.Context(), url, &pgstore.Options{Timeout: backendTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func impatientMemcached(t *testing.T, s *memcachedtest.Server) record.Store {
	t.Helper()
	store, err := memcachedstore.Open(t.Context(), s.URL(), &memcachedstore.Options{Timeout: backendTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// backend is the server behind a store.
type backend struct {
	store record.Store
	keeps bool // what was acknowledged is there after end and start
	end   func() error
	start func(context.Context) error
}

func (b backend) check(t *testing.T) {
	store := b.store
	l := &backendLoad{T: t, store: store, keeps: b.keeps, handle: lastingSession(t, store, record.Set("n", "0"))}
	l.begin(16)
	wait := func(what string, f func() bool) {
		t.Helper()
		for start := time.Now(); !f(); time.Sleep(time.Millisecond) {
			if time.Since(start) > 20*time.Second {
				l.stop()
				t.Fatalf("never: %s", what)
			}
		}
	}
	wait("work", func() bool { return l.done.Load() > 100 })
	if err := b.end(); err != nil {
		t.Fatal(err)
	}
	wait("an error without a server", func() bool { return l.failed.Load() > 0 })
	time.Sleep(backendTimeout)
	l.ended.Store(true)
	if err := b.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := l.done.Load()
	wait("service again", func() bool { return l.done.Load() > done+100 })
	l.stop()
	t.Logf("%d calls done, %d failed, %d of unknown outcome; the longest took %s",
		l.done.Load(), l.failed.Load(), l.unknown.Load(), time.Duration(l.longest.Load()).Round(time.Millisecond))
	if took := time.Duration(l.longest.Load()); took > backendTimeout+time.Second {
		t.Errorf("a call took %s, the timeout is %s", took, backendTimeout)
	}
	if b.keeps {
		l.checkCount()
	}
}

// lastingSession makes a session that lasts.
func lastingSession(t *testing.T, store record.Store, ops ...record.Op) record.Handle {
	t.Helper()
	h := record.NewHandle()
	create := record.Create(record.NewSecret(), record.Expiry{Idle: 3_600_000, Absolute: 3_600_000})
	reply, err := store.Apply(t.Context(), h, &record.Batch{Ops: append([]record.Op{create}, ops...)})
	if err != nil || reply.Status != record.OK {
		t.Fatal(reply.Status, err)
	}
	return h
}

// backendLoad keeps writers and readers of one counter at work, and checks every answer.
type backendLoad struct {
	*testing.T
	store  record.Store
	keeps  bool
	handle record.Handle

	stopped, ended                      atomic.Bool
	done, failed, unknown, acknowledged atomic.Int64
	longest                             atomic.Int64
	group                               sync.WaitGroup
}

func (l *backendLoad) begin(each int) {
	for range each {
		l.group.Go(func() { l.repeat(record.Add("n", 1)) })
		l.group.Go(func() { l.repeat(record.Get("n")) })
	}
}

func (l *backendLoad) stop() {
	l.stopped.Store(true)
	l.group.Wait()
}

func (l *backendLoad) repeat(op record.Op) {
	for !l.stopped.Load() {
		before, start := l.acknowledged.Load(), time.Now()
		reply, err := l.store.Apply(context.Background(), l.handle, &record.Batch{Ops: []record.Op{op}})
		if took := int64(time.Since(start)); took > l.longest.Load() {
			l.longest.Store(took)
		}
		if err != nil {
			l.takeError(op, err)
			time.Sleep(time.Millisecond)
			continue
		}
		l.done.Add(1)
		l.take(op, reply, before)
	}
}

func (l *backendLoad) takeError(op record.Op, err error) {
	l.failed.Add(1)
	switch {
	case errors.Is(err, record.ErrOutcomeUnknown):
		l.unknown.Add(1)
		if op.Kind == record.OpGet {
			l.Errorf("a read: %v", err)
		}
	case !errors.Is(err, record.ErrUnavailable):
		l.Errorf("operation %d: %v", op.Kind, err)
	}
}

func (l *backendLoad) take(op record.Op, reply record.Reply, before int64) {
	if reply.Status == record.Absent && !l.keeps && l.ended.Load() {
		return // the session went with the server
	}
	if reply.Status != record.OK {
		l.Errorf("operation %d: the session is %q", op.Kind, reply.Status)
		return
	}
	if n, _ := record.ParseInt(reply.Values[0].Text); l.keeps && n < before {
		l.Errorf("operation %d: the counter is %d after %d acknowledged", op.Kind, n, before)
	}
	if op.Kind == record.OpAdd {
		l.acknowledged.Add(1)
	}
}

// checkCount compares the counter with what was acknowledged.
func (l *backendLoad) checkCount() {
	l.Helper()
	reply, err := l.store.Apply(context.Background(), l.handle, &record.Batch{Ops: []record.Op{record.Get("n")}})
	if err != nil || reply.Status != record.OK {
		l.Fatal(reply.Status, err)
	}
	n, _ := record.ParseInt(reply.Values[0].Text)
	if acknowledged, unknown := l.acknowledged.Load(), l.unknown.Load(); n < acknowledged || n > acknowledged+unknown {
		l.Errorf("the counter is %d after %d acknowledged and %d unknown", n, acknowledged, unknown)
	}
}
