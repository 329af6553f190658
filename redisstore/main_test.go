package redisstore

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// What rueidis' Cluster client starts and does not end with Close. All of it only
// sleeps first. After that, one closes connections that were replaced; the other
// looks for the nodes through connections that Close has marked dead, and so fails
// at once. What it might still dial, our dial refuses.
var linger = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),      // 5 s
	goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient).redirectOrNew.func1"), // 5 s
	goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"),                // up to 1 s
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, linger...) }

// open returns a store that is closed with the test.
func open(t testing.TB, url string, timeout time.Duration) *Store {
	t.Helper()
	s, err := Open(context.Background(), url, &Options{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// longEnough is a timeout that only a hanging call reaches.
const longEnough = 20 * time.Second

// hour is an expiry that no test sees.
var hour = record.Expiry{Idle: 3_600_000, Absolute: 36_000_000}

// session is a session in a store, for tests that do not care how it came about.
type session struct {
	t      testing.TB
	store  *Store
	handle record.Handle
	secret record.Secret
}

func create(t testing.TB, s *Store, ops ...record.Op) *session {
	t.Helper()
	x := &session{t: t, store: s, handle: record.NewHandle(), secret: record.NewSecret()}
	b := record.Batch{Ops: append([]record.Op{record.Create(x.secret, hour)}, ops...)}
	reply, err := s.Apply(context.Background(), x.handle, &b)
	if err != nil || reply.Status != record.OK {
		t.Fatalf("create: %s, %v", reply.Status, err)
	}
	return x
}

// batch returns a batch with the token of the first generation.
func (x *session) batch(ops ...record.Op) *record.Batch {
	return &record.Batch{Access: record.Access{Mode: record.Open, Generation: 1, Secret: x.secret}, Ops: ops}
}

func (x *session) apply(ops ...record.Op) (record.Reply, error) {
	return x.store.Apply(context.Background(), x.handle, x.batch(ops...))
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

// get reads a field, which must succeed.
func (x *session) get(name string) string {
	x.t.Helper()
	return x.ok(record.Get(name)).Values[0].Text
}

// ask sends a raw command.
func ask(t testing.TB, server *redistest.Server, args ...string) any {
	t.Helper()
	reply, err := server.Do(context.Background(), args...)
	if err != nil {
		t.Fatalf("%q: %v", args[0], err)
	}
	return reply
}
