package verify

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// nearStale is what the near caches of these histories promise, and the histories last
// several times as long.
const nearStale = 600 * time.Millisecond

// TestNearCacheHistories has three processes' caches in front of one server, each on a
// connection that is cut or falls silent now and then. Every history must be linearizable
// if a read may have been done up to nearStale before its call, and within each process no
// call may see an older state than one that returned before it.
func TestNearCacheHistories(t *testing.T) {
	server := redistest.Start(t)
	s := shop{stale: nearStale, pause: 300 * time.Millisecond, faulty: true}
	secret := record.NewSecret()
	var proxies []*redistest.Proxy
	var caches []*nearcache.Cache
	for range 3 {
		proxy := redistest.StartProxy(t, server.Addr())
		store, err := redisstore.Open(context.Background(), proxy.URL(), &redisstore.Options{Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		cache, err := nearcache.New(store, &nearcache.Options{MaxStale: nearStale})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() })
		proxies, caches, s.stores = append(proxies, proxy), append(caches, cache), append(s.stores, holder{cache, secret})
	}
	start := rand.Uint64N(1 << 32)
	t.Logf("%d histories from seed %d", histories(), start)
	const together = 10
	for n := 0; n < histories(); n += together {
		stop := trouble(proxies, start+uint64(n))
		var group sync.WaitGroup
		for seed := start + uint64(n); seed < start+uint64(n+together); seed++ {
			group.Go(func() { s.checkNear(t, seed) })
		}
		group.Wait()
		stop()
	}
	var hits uint64
	for _, cache := range caches {
		hits += cache.Stats().Hits
	}
	t.Logf("%d hits", hits)
	if hits < uint64(histories()) {
		t.Errorf("%d hits in %d histories: too few to show anything", hits, histories())
	}
}

func (s shop) checkNear(t *testing.T, seed uint64) {
	history := s.history(t, seed)
	inOrder(t, seed, history, len(s.stores))
	result, info := porcupine.CheckOperationsVerbose(sessionModel, history, decide)
	if result != porcupine.Ok {
		t.Errorf("seed %d: the history is %s, drawn in %s", seed, result, drawn(t, seed, info))
	}
}

// holder reads with the token of the session, since reads by handle are not cached.
type holder struct {
	record.Store
	secret record.Secret
}

func (s holder) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	mine := *b
	if b.ReadOnly() {
		mine.Access = record.Access{Mode: record.Held, Generation: 1, Secret: s.secret}
	}
	if len(b.Ops) > 0 && b.Ops[0].Kind == record.OpCreate {
		mine.Ops = slices.Clone(b.Ops)
		mine.Ops[0].Secret = s.secret
	}
	return s.Store.Apply(ctx, h, &mine)
}

// trouble cuts one connection at a time or has it fall silent for a while, until stop. In
// every third history there is none.
func trouble(proxies []*redistest.Proxy, seed uint64) (stop func()) {
	if seed%3 == 0 {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	random := rand.New(rand.NewPCG(seed, 0))
	wait := func() bool {
		select {
		case <-time.After(time.Duration(random.IntN(200)) * time.Millisecond):
			return true
		case <-end:
			return false
		}
	}
	go func() {
		defer close(ended)
		for wait() {
			proxy := proxies[random.IntN(len(proxies))]
			if random.IntN(2) == 0 {
				proxy.Cut()
				continue
			}
			proxy.BlackHole(redistest.Down)
			wait()
			proxy.Heal() // what was held back is delivered
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// inOrder checks that within a process nobody sees an older revision than what was seen
// or written by a call that returned before his began: clients take the stores in turn.
func inOrder(t *testing.T, seed uint64, history []porcupine.Operation, processes int) {
	t.Helper()
	for _, later := range history {
		got := later.Output.(outcome)
		if got.unknown || got.reply.Revision == 0 || got.reply.Status != record.OK {
			continue
		}
		called := later.Call
		if b := later.Input.(*record.Batch); b.ReadOnly() {
			called += int64(nearStale)
		}
		for _, earlier := range history {
			before := earlier.Output.(outcome)
			if earlier.ClientId%processes != later.ClientId%processes || earlier.Return >= called || before.unknown {
				continue
			}
			if before.reply.Status == record.OK && before.reply.Revision > got.reply.Revision {
				t.Errorf("seed %d: revision %d was seen after %d", seed, got.reply.Revision, before.reply.Revision)
			}
		}
	}
}
