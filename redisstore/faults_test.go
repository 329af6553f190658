package redisstore

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// short is a timeout that tests wait out.
const short = 300 * time.Millisecond

// atMost is how long a call with the timeout short may take here: other tests
// may keep the machine busy.
const atMost = 5 * short

// bounded calls f, which must not take longer than atMost.
func bounded(t *testing.T, f func() error) error {
	t.Helper()
	start := time.Now()
	err := f()
	if took := time.Since(start); took > atMost {
		t.Errorf("the call took %s with a timeout of %s", took, short)
	}
	return err
}

// resumes waits until x can be written again.
func resumes(t *testing.T, x *session, within time.Duration) {
	t.Helper()
	start := time.Now()
	for {
		_, err := x.apply(record.Set("again", "1"))
		if err == nil {
			t.Logf("service resumed after %s", time.Since(start).Round(time.Millisecond))
			return
		}
		if time.Since(start) > within {
			t.Fatalf("no service after %s: %v", within, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestStoppedServer(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes")
	x := create(t, open(t, server.URL(), short), record.Set("a", "1"))
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, op := range []record.Op{record.Get("a"), record.Set("a", "2")} {
			err := bounded(t, func() error { _, err := x.apply(op); return err })
			if op.Kind == record.OpGet && !errors.Is(err, record.ErrUnavailable) || err == nil {
				t.Errorf("operation %d: %v", op.Kind, err)
			}
		}
	}
	if _, err := x.apply(record.Set("a", "2")); !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("a write without a server: %v", err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	resumes(t, x, 5*time.Second)
	if got := x.get("a"); got != "1" {
		t.Errorf("the field is %q now", got)
	}
}

func TestFrozenServer(t *testing.T) {
	server := redistest.Start(t)
	x := create(t, open(t, server.URL(), short), record.Set("a", "1"))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		err := bounded(t, func() error { _, err := x.apply(record.Get("a")); return err })
		if !errors.Is(err, record.ErrUnavailable) {
			t.Errorf("read: %v", err)
		}
		err = bounded(t, func() error { _, err := x.apply(record.Set("a", "2")); return err })
		if !errors.Is(err, record.ErrOutcomeUnknown) && !errors.Is(err, record.ErrUnavailable) {
			t.Errorf("write: %v", err)
		}
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	resumes(t, x, 5*time.Second)
}

// TestFrozenServerUnderLoad shows that the timeout holds for each of many calls, those
// that find rueidis connecting anew included.
func TestFrozenServerUnderLoad(t *testing.T) {
	const timeout, tolerance = time.Second, 500 * time.Millisecond
	server := redistest.Start(t)
	x := create(t, open(t, server.URL(), timeout), record.Set("a", "1"))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	var longest atomic.Int64
	var callers sync.WaitGroup
	end := time.Now().Add(5 * timeout)
	for i := range 50 {
		callers.Go(func() {
			for time.Sleep(time.Duration(i) * timeout / 50); time.Now().Before(end); {
				ops := []record.Op{record.Set("a", "2"), record.Get("a")}[i%2 : i%2+1]
				start := time.Now()
				if _, err := x.apply(ops...); err == nil {
					t.Error("a frozen server answered")
				}
				if took := int64(time.Since(start)); took > longest.Load() {
					longest.Store(took)
				}
			}
		})
	}
	callers.Wait()
	if took := time.Duration(longest.Load()); took > timeout+tolerance {
		t.Errorf("a call took %v, the timeout is %v", took, timeout)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	resumes(t, x, 5*time.Second)
}

func TestBlackHole(t *testing.T) {
	proxy := redistest.StartProxy(t, redistest.Start(t).Addr())
	x := create(t, open(t, proxy.URL(), short), record.Set("a", "1"))
	proxy.BlackHole(redistest.Down)
	err := bounded(t, func() error { _, err := x.apply(record.Add("n", 1)); return err })
	if !errors.Is(err, record.ErrOutcomeUnknown) {
		t.Errorf("write: %v", err)
	}
	err = bounded(t, func() error { _, err := x.apply(record.Get("a")); return err })
	if !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("read: %v", err)
	}
	proxy.Heal()
	resumes(t, x, 5*time.Second)
	if got := x.get("n"); got != "1" {
		t.Errorf("the write was executed %s times", got)
	}
}

func TestCutAfterExecution(t *testing.T) {
	proxy := redistest.StartProxy(t, redistest.Start(t).Addr())
	x := create(t, open(t, proxy.URL(), longEnough))
	for range 10 {
		cut := proxy.CutReply("EVALSHA")
		if _, err := x.apply(record.Add("n", 1)); !errors.Is(err, record.ErrOutcomeUnknown) {
			t.Fatalf("the write: %v", err)
		}
		<-cut
	}
	if got := x.get("n"); got != "10" {
		t.Errorf("10 writes were executed %s times", got)
	}
	cut := proxy.CutReply("HMGET")
	if got := x.get("n"); got != "10" { // a read may be repeated
		t.Errorf("got %s", got)
	}
	<-cut
}

func TestCanceledWrite(t *testing.T) {
	proxy := redistest.StartProxy(t, redistest.Start(t).Addr())
	x := create(t, open(t, proxy.URL(), longEnough))
	proxy.BlackHole(redistest.Down)
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	err := bounded(t, func() error {
		_, err := x.store.Apply(ctx, x.handle, x.batch(record.Set("a", "1")))
		return err
	})
	if !errors.Is(err, record.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("in flight: %v", err)
	}
	if _, err := x.store.Apply(ctx, x.handle, x.batch(record.Set("a", "1"))); !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("before sending: %v", err)
	}
	proxy.Heal()
	if got := x.get("a"); got != "1" {
		t.Errorf("the connection did not outlive the call: %q", got)
	}
}

func TestDemotedServer(t *testing.T) {
	server, other := redistest.Start(t), redistest.Start(t)
	x := create(t, open(t, server.URL(), time.Second)) // an answer always comes in a quarter of that
	_, port, _ := net.SplitHostPort(other.Addr())
	ask(t, server, "REPLICAOF", "127.0.0.1", port)
	err := bounded(t, func() error { _, err := x.apply(record.Set("a", "1")); return err })
	if !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("a write to a replica: %v", err)
	}
	ask(t, server, "REPLICAOF", "NO", "ONE")
	start := time.Now()
	for {
		b := record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), hour)}}
		if _, err := x.store.Apply(t.Context(), record.NewHandle(), &b); err == nil {
			return
		}
		if time.Since(start) > 5*time.Second {
			t.Fatal("no service after the promotion")
		}
	}
}

// A demoted server must not go on answering reads: what it has is as old as its
// link to the new primary, which may be cut.
func TestDemotedServerAnswersNoReads(t *testing.T) {
	server := redistest.Start(t, "--replica-serve-stale-data", "yes")
	x := create(t, open(t, server.URL(), short), record.Set("a", "1"))
	x.get("a")
	admin := record.Batch{Ops: []record.Op{record.Get("a")}}
	ask(t, server, "REPLICAOF", "127.0.0.1", "1") // nobody is there, and its data stay
	time.Sleep(primaryCheck)
	for range 3 {
		if _, err := x.apply(record.Get("a")); !errors.Is(err, record.ErrUnavailable) {
			t.Errorf("a field from a replica: %v", err)
		}
		if _, err := x.store.Apply(t.Context(), x.handle, &admin); !errors.Is(err, record.ErrUnavailable) {
			t.Errorf("an answer of the script from a replica: %v", err)
		}
	}
	ask(t, server, "REPLICAOF", "NO", "ONE")
	resumes(t, x, 5*time.Second)
	if got := x.get("a"); got != "1" {
		t.Errorf("the field is %q now", got)
	}
}

func TestSentinelFailover(t *testing.T) {
	servers := redistest.StartSentinel(t)
	x := create(t, open(t, servers.URL(), time.Second), record.Set("a", "1"))
	time.Sleep(200 * time.Millisecond) // for the replicas
	before := x.store.current
	for _, failover := range []func() error{
		func() error { return servers.Failover(t.Context()) },
		func() error {
			old, err := servers.PrimaryAddr(t.Context())
			if err != nil {
				return err
			}
			if _, err := servers.KillPrimary(t.Context()); err != nil {
				return err
			}
			_, err = servers.WaitFailover(t.Context(), old)
			return err
		},
	} {
		if err := failover(); err != nil {
			t.Fatal(err)
		}
		resumes(t, x, 5*time.Second)
	}
	t.Logf("replaced: %v", before != x.store.current)
	if got := x.get("a"); got != "1" {
		t.Errorf("the field is %q now", got)
	}
}

func TestClosedStore(t *testing.T) {
	s := open(t, redistest.Start(t).URL(), longEnough)
	x := create(t, s)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, op := range []record.Op{record.Get("a"), record.Set("a", "1")} {
		if _, err := x.apply(op); !errors.Is(err, record.ErrUnavailable) {
			t.Errorf("operation %d: %v", op.Kind, err)
		}
	}
}

func TestOpenWithoutAServer(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	for _, scheme := range []string{"redis", "redis+cluster"} {
		_, err := Open(t.Context(), scheme+"://:TOPSECRET@"+address, &Options{Timeout: short})
		if !errors.Is(err, record.ErrUnavailable) {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

func TestWrongPassword(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "right")
	_, err := Open(t.Context(), "redis://:wrong@"+server.Addr(), nil)
	if !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestClusterFailover(t *testing.T) {
	cluster := redistest.StartCluster(t)
	s := open(t, cluster.URL(), time.Second)
	const shard = 0 // has the lowest third of the slots
	var x *session
	for {
		x = create(t, s, record.Set("a", "1"))
		slot, err := cluster.Slot(t.Context(), protocol.SessionKey(DefaultPrefix, x.handle))
		if err != nil {
			t.Fatal(err)
		}
		if slot < 5000 {
			break
		}
	}
	for _, failover := range []func() error{
		func() error { return cluster.Failover(t.Context(), shard) },
		func() error {
			if _, err := cluster.KillPrimary(t.Context(), shard); err != nil {
				return err
			}
			_, err := cluster.WaitFailover(t.Context(), shard)
			return err
		},
	} {
		if err := failover(); err != nil {
			t.Fatal(err)
		}
		resumes(t, x, 5*time.Second)
	}
	if got := x.get("a"); got != "1" {
		t.Errorf("the field is %q now", got)
	}
}
