package pgstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pazzo-sessions/pazzo/internal/child"
	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
)

func sha(user string) [sha256.Size]byte { return sha256.Sum256([]byte(user)) }

func poolOf(t testing.TB, c config) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(t.Context(), c.pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// resumes waits until x can be written again.
func resumes(t *testing.T, x *session) {
	t.Helper()
	start := time.Now()
	for {
		_, err := x.apply(record.Set("again", "1"))
		if err == nil {
			t.Logf("service resumed after %s", time.Since(start).Round(time.Millisecond))
			return
		}
		if time.Since(start) > longEnough {
			t.Fatalf("no service: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// load keeps writers and readers at work on several sessions until stop is closed. It
// checks every answer: an error of the right kind in time, or a session that is there
// with all that was acknowledged, and no more than may be.
type load struct {
	t        *testing.T
	timeout  time.Duration
	sessions []*session
	acked    []atomic.Int64
	unknown  []atomic.Int64
	failed   atomic.Int64
	stop     atomic.Bool
	group    sync.WaitGroup
}

func startLoad(t *testing.T, s *Store, timeout time.Duration) *load {
	const sessions = 4
	l := &load{t: t, timeout: timeout, acked: make([]atomic.Int64, sessions), unknown: make([]atomic.Int64, sessions)}
	for range sessions {
		l.sessions = append(l.sessions, create(t, s, hour, record.Set("n", "0")))
	}
	for i := range 16 {
		l.group.Go(func() {
			for !l.stop.Load() {
				l.step(i % sessions)
			}
		})
		l.group.Go(func() {
			for !l.stop.Load() {
				l.read(i % sessions)
			}
		})
	}
	return l
}

func (l *load) step(i int) {
	reply, err := l.timed(i, record.Add("n", 1))
	switch {
	case errors.Is(err, record.ErrOutcomeUnknown):
		l.unknown[i].Add(1)
	case err != nil:
		l.failed.Add(1)
		if !errors.Is(err, record.ErrUnavailable) {
			l.t.Errorf("a write: %v", err)
		}
	case reply.Status != record.OK:
		l.t.Errorf("a write answered %q", reply.Status)
	default:
		l.acked[i].Add(1)
	}
}

func (l *load) read(i int) {
	before := l.acked[i].Load()
	reply, err := l.timed(i, record.Get("n"))
	if err != nil {
		if !errors.Is(err, record.ErrUnavailable) || errors.Is(err, record.ErrOutcomeUnknown) {
			l.t.Errorf("a read: %v", err)
		}
		return
	}
	if n, _ := record.ParseInt(reply.Values[0].Text); reply.Status != record.OK || n < before {
		l.t.Errorf("a read answered %q, %d after %d", reply.Status, n, before)
	}
}

func (l *load) timed(i int, op record.Op) (record.Reply, error) {
	start := time.Now()
	reply, err := l.sessions[i].apply(op)
	if took := time.Since(start); took > l.timeout+time.Second {
		l.t.Errorf("a call took %v, the timeout is %v", took, l.timeout)
	}
	if err != nil {
		time.Sleep(time.Millisecond)
	}
	return reply, err
}

// end stops the load and checks the counters.
func (l *load) end() {
	l.stop.Store(true)
	l.group.Wait()
	for i, x := range l.sessions {
		resumes(l.t, x)
		n, _ := record.ParseInt(x.get("n"))
		acked, unknown := l.acked[i].Load(), l.unknown[i].Load()
		if n < acked || n > acked+unknown {
			l.t.Errorf("the counter is %d after %d acknowledged and %d unknown", n, acked, unknown)
		}
		if acked == 0 {
			l.t.Error("nothing was acknowledged")
		}
	}
	l.t.Logf("%d calls failed", l.failed.Load())
}

func TestRestartUnderLoad(t *testing.T) {
	const timeout = time.Second
	server := migrated(t)
	for _, way := range []struct {
		name string
		end  func() error
	}{{"stopped", server.Stop}, {"crashed", server.Crash}} {
		t.Run(way.name, func(t *testing.T) {
			l := startLoad(t, open(t, server.URL(), Options{Timeout: timeout}), timeout)
			time.Sleep(300 * time.Millisecond)
			if err := way.end(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
			if l.failed.Load() == 0 {
				t.Error("no call failed without a server")
			}
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
			l.end()
		})
	}
}

// A backend that is frozen in the middle of a call: writes are unknown, reads fail, in
// time, and others go on.
func TestFrozenBackends(t *testing.T) {
	const timeout = 300 * time.Millisecond
	server := migrated(t)
	s := open(t, server.URL()+"?pool_max_conns=2", Options{Timeout: timeout})
	x := create(t, s, hour, record.Set("n", "0"))
	conn := connect(t, server.URL())
	rows, err := conn.Query(t.Context(), "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 || rows.Err() != nil {
		t.Fatal(pids, rows.Err())
	}
	for _, pid := range pids {
		if err := child.Pause(pid); err != nil {
			t.Fatal(err)
		}
		defer child.Resume(pid)
	}
	start := time.Now()
	if _, err := x.apply(record.Get("n")); !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("the read: %v", err)
	}
	if took := time.Since(start); took > 5*timeout {
		t.Errorf("it took %v", took)
	}
	for _, pid := range pids {
		if err := child.Resume(pid); err != nil {
			t.Fatal(err)
		}
	}
	resumes(t, x)
	if got := x.get("n"); got != "0" {
		t.Errorf("the counter is %s", got)
	}
}

// A row that somebody has locked: the write may be executed when it is free.
func TestLockedOutWrite(t *testing.T) {
	const timeout = 300 * time.Millisecond
	server := migrated(t)
	x := create(t, open(t, server.URL(), Options{Timeout: timeout}), hour)
	conn := connect(t, server.URL())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1 FROM pazzo.sessions FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := x.apply(record.Set("a", "1")); !errors.Is(err, record.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the write: %v", err)
	}
	if took := time.Since(start); took > 5*timeout {
		t.Errorf("it took %v", took)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	resumes(t, x)
}

// A backend that is ended while its write waits has not executed it; another does, once.
func TestTerminatedWrite(t *testing.T) {
	server := migrated(t)
	x := create(t, open(t, server.URL(), Options{}), hour)
	conn, other := connect(t, server.URL()), connect(t, server.URL())
	for range 3 {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT 1 FROM pazzo.sessions FOR UPDATE"); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := x.apply(record.Add("n", 1))
			done <- err
		}()
		for ended := 0; ended < 5; { // the first, and those that try again
			ended += one[int](t, other, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
			time.Sleep(time.Millisecond)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := x.get("n"); got != "3" {
		t.Errorf("3 increments left %s", got)
	}
}

// Prepared statements behind PgBouncer do not work; the error says what to do.
func TestPgBouncerWithoutExecMode(t *testing.T) {
	url := pgtest.StartBouncer(t, migrated(t)).URL()
	var group sync.WaitGroup
	var failed atomic.Int64
	fail := func(err error) {
		failed.Add(1)
		if !errors.Is(err, record.ErrUnavailable) || !strings.Contains(err.Error(), "default_query_exec_mode=exec") {
			t.Error(err)
		}
	}
	for range 16 {
		group.Go(func() {
			s, err := Open(context.Background(), url, &Options{Timeout: longEnough})
			if err != nil {
				fail(err)
				return
			}
			defer s.Close()
			for range 20 {
				b := &record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), hour)}}
				if _, err := s.Apply(context.Background(), record.NewHandle(), b); err != nil {
					fail(err)
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d calls failed", failed.Load()) // none from PgBouncer 1.21 on
}

// Whatever an idle connection dies of, the next call does not notice.
func TestDeadIdleConnections(t *testing.T) {
	server := migrated(t)
	x := create(t, open(t, server.URL(), Options{}), hour)
	conn := connect(t, server.URL())
	for i := range 20 {
		exec(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
		if i%2 == 0 {
			time.Sleep(20 * time.Millisecond) // else it dies meanwhile
		}
		if _, err := x.apply(record.Get("n")); err != nil {
			t.Errorf("the read: %v", err)
		}
	}
}

func TestTooManyConnections(t *testing.T) {
	server := migrated(t, "max_connections=5", "superuser_reserved_connections=0", "max_wal_senders=0")
	url := server.URL() + "?pool_max_conns=20"
	s := open(t, url, Options{})
	var group sync.WaitGroup
	for range 40 {
		group.Go(func() {
			h := record.NewHandle()
			b := &record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), hour)}}
			if _, err := s.Apply(context.Background(), h, b); err != nil && !errors.Is(err, record.ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	create(t, s, hour)
}

func TestReadOnlyServer(t *testing.T) {
	server := migrated(t)
	s := open(t, server.URL(), Options{})
	x := create(t, s, hour)
	conn := connect(t, server.URL())
	exec(t, conn, "ALTER SYSTEM SET default_transaction_read_only = on")
	exec(t, conn, "SELECT pg_reload_conf()")
	for end := time.Now().Add(longEnough); ; time.Sleep(time.Millisecond) {
		_, err := x.apply(record.Set("a", "1"))
		if errors.Is(err, record.ErrUnavailable) {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatal(err)
		}
	}
	exec(t, conn, "SET default_transaction_read_only = off")
	exec(t, conn, "ALTER SYSTEM RESET default_transaction_read_only")
	exec(t, conn, "SELECT pg_reload_conf()")
	resumes(t, x)
}

func TestUnloggedTables(t *testing.T) {
	server := migrated(t)
	x := create(t, open(t, server.URL(), Options{}), hour)
	for _, setting := range []Setting{On, Keep} {
		if _, err := Migrate(t.Context(), server.URL(), &MigrateOptions{Unlogged: setting}); err != nil {
			t.Fatal(err)
		}
	}
	x.ok(record.Set("a", "1"))
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := x.get("a"); got != "1" {
		t.Errorf("after a restart in good order the field is %q", got)
	}
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for {
		reply, err := x.apply(record.Get("a"))
		if err == nil {
			if reply.Status != record.Absent {
				t.Errorf("after a crash the session is %q", reply.Status)
			}
			break
		}
	}
}
