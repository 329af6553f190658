package pgstore

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// longEnough is a timeout that only a hanging call reaches.
const longEnough = 20 * time.Second

// hour is an expiry that no test sees.
var hour = record.Expiry{Idle: 3_600_000, Absolute: 36_000_000}

// migrated starts a server with our tables.
func migrated(t testing.TB, settings ...string) *pgtest.Server {
	t.Helper()
	server := pgtest.Start(t, settings...)
	if _, err := Migrate(t.Context(), server.URL(), nil); err != nil {
		t.Fatal(err)
	}
	return server
}

// open returns a store that is closed with the test.
func open(t testing.TB, url string, o Options) *Store {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = longEnough
	}
	s, err := Open(context.Background(), url, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// session is a session in a store.
type session struct {
	t      testing.TB
	store  *Store
	handle record.Handle
}

func create(t testing.TB, s *Store, e record.Expiry, ops ...record.Op) *session {
	t.Helper()
	x := &session{t: t, store: s, handle: record.NewHandle()}
	x.ok(append([]record.Op{record.Create(record.NewSecret(), e)}, ops...)...)
	return x
}

func (x *session) apply(ops ...record.Op) (record.Reply, error) {
	return x.store.Apply(context.Background(), x.handle, &record.Batch{Ops: ops})
}

// ok applies ops, which must succeed.
func (x *session) ok(ops ...record.Op) record.Reply {
	x.t.Helper()
	reply, err := x.apply(ops...)
	if err != nil || reply.Status != record.OK {
		x.t.Fatalf("%+v: %s, %v", ops, reply.Status, err)
	}
	return reply
}

func (x *session) get(name string) string {
	x.t.Helper()
	return x.ok(record.Get(name)).Values[0].Text
}

// connect returns a connection of the test's own.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// one asks for one value.
func one[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) (v T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
