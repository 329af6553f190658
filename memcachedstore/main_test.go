package memcachedstore

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// longEnough is a timeout that only a hanging call reaches.
const longEnough = 20 * time.Second

// hour is an expiry that no test sees.
var hour = record.Expiry{Idle: 3_600_000, Absolute: 36_000_000}

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

// several starts n servers, and returns the URL of all of them.
func several(t testing.TB, n int) (servers []*memcachedtest.Server, url string) {
	t.Helper()
	var addresses []string
	for range n {
		s := memcachedtest.Start(t)
		servers = append(servers, s)
		addresses = append(addresses, s.Addr())
	}
	return servers, "memcached://" + strings.Join(addresses, ",")
}

func TestConformance(t *testing.T) {
	_, url := several(t, 3)
	storetest.Run(t, func(t *testing.T) record.Store { return open(t, url, Options{}) }, nil)
}

func BenchmarkStore(b *testing.B) {
	url := memcachedtest.Start(b).URL()
	storetest.Benchmark(b, func(b *testing.B) record.Store { return open(b, url, Options{}) })
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
		x.t.Fatalf("%s, %v", reply.Status, err)
	}
	return reply
}

func (x *session) get(name string) string {
	x.t.Helper()
	return x.ok(record.Get(name)).Values[0].Text
}

func (x *session) key() string { return DefaultPrefix + x.handle.String() }
