package verify

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// nearStale is what the near caches of these histories promise, and the histories last
// several times as long.
const nearStale = 600 * time.Millisecond

func TestNearCacheHistories(t *testing.T) {
	serveNear(t, nearStale)
	nearHistories(t, redistest.Start(t).Addr(), func(proxy string) (url string) {
		return "redis://" + proxy + "/0?timeout=5s"
	})
}

func TestNearCacheHistoriesPostgres(t *testing.T) {
	serveNear(t, nearStale)
	server := pgtest.Start(t)
	if _, err := pgstore.Migrate(t.Context(), server.URL(), &pgstore.MigrateOptions{Tell: pgstore.On}); err != nil {
		t.Fatal(err)
	}
	nearHistories(t, server.Addr(), func(proxy string) (url string) {
		return "postgres://postgres@" + proxy + "/postgres?sslmode=disable&timeout=1s"
	})
}

// nearHistories has three processes' caches in front of one server. Their connections are
// cut or fall silent now and then, and the processes themselves are stopped. Every history
// must be linearizable if a read may have been done up to nearStale before its call, and
// within each process reads see its writes and never go back.
func nearHistories(t *testing.T, server string, url func(proxy string) string) {
	t.Helper()
	// Few clients, since much is at the same time when reads may be old and calls wait for a
	// stopped process. The first one's mostly read: an own write that fails drops the copy.
	s := shop{clients: 9, stale: nearStale, pause: nearStale, faulty: true, reads: 95}
	secret := record.NewSecret()
	var threats []threat
	for range 3 {
		proxy := redistest.StartProxy(t, server)
		p := startNearProcess(t, url(proxy.Addr()))
		threats, s.stores = append(threats, threat{proxy, p}), append(s.stores, holder{p, secret})
	}
	start := rand.Uint64N(1 << 32)
	t.Logf("%d histories from seed %d", histories(), start)
	const together = 10
	for n := 0; n < histories() && !t.Failed(); n += together {
		stop := trouble(t, threats, start+uint64(n))
		var group sync.WaitGroup
		for seed := start + uint64(n); seed < start+uint64(n+together); seed++ {
			group.Go(func() { s.checkNear(t, seed) })
		}
		group.Wait()
		stop()
	}
	var hits uint64
	for _, each := range threats {
		hits += each.process.hits(t)
	}
	t.Logf("%d hits", hits)
	if hits < uint64(histories()) {
		t.Errorf("%d hits in %d histories: too few to show anything", hits, histories())
	}
}

func (s shop) checkNear(t *testing.T, seed uint64) {
	history := s.history(t, seed)
	for _, later := range history {
		for _, earlier := range history {
			if wrong := goesBack(earlier, later, len(s.stores)); wrong != "" {
				t.Errorf("seed %d: %s: %s, and then %s", seed, wrong,
					tell(earlier.Input.(*record.Batch), earlier.Output.(outcome)), tell(later.Input.(*record.Batch), later.Output.(outcome)))
			}
		}
	}
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

// threat is what may fail: a process, and its connections.
type threat struct {
	proxy   *redistest.Proxy
	process *nearProcess
}

// trouble is what happens to each process in a history until stop: its connections are cut,
// or fall silent for a while, or it is stopped, or both. In every third history there is none.
func trouble(t *testing.T, threats []threat, seed uint64) (stop func()) {
	if seed%3 == 0 {
		return func() {}
	}
	end := make(chan struct{})
	var all sync.WaitGroup
	for i, each := range threats {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() { each.happen(t, random, end) })
	}
	return func() {
		close(end)
		all.Wait()
	}
}

func (h threat) happen(t *testing.T, random *rand.Rand, end <-chan struct{}) {
	wait := func(most time.Duration) bool {
		select {
		case <-time.After(time.Duration(random.Int64N(int64(most)))):
			return true
		case <-end:
			return false
		}
	}
	const longest = 3 * nearStale // of a fault, which no copy may outlast
	for wait(nearStale) {
		silent, stopped := random.IntN(2) == 0, random.IntN(2) == 0
		if !silent && !stopped {
			h.proxy.Cut()
			continue
		}
		if silent {
			h.proxy.BlackHole(redistest.Down)
		}
		if stopped {
			h.process.signal(t, syscall.SIGSTOP)
		}
		wait(longest)
		if stopped {
			h.process.signal(t, syscall.SIGCONT)
			wait(nearStale / 4) // what was told meanwhile may be late
		}
		if silent {
			h.proxy.Heal() // what was held back is delivered
		}
	}
}

// goesBack says what is wrong if two calls of a process were one after the other, and the later
// one has not seen what the earlier one had: its own effect if it wrote, else what it read.
// Clients take the processes in turn.
func goesBack(earlier, later porcupine.Operation, processes int) (wrong string) {
	before, after := earlier.Output.(outcome), later.Output.(outcome)
	called := later.Call
	if later.Input.(*record.Batch).ReadOnly() {
		called += int64(nearStale) // to when it was
	}
	if earlier.ClientId%processes != later.ClientId%processes || earlier.Return >= called || before.unknown || after.unknown {
		return ""
	}
	older := after.reply.Revision > 0 && after.reply.Revision < before.reply.Revision
	revived := before.reply.Status == record.Ended && after.reply.Status != record.Ended
	switch {
	case !older && !revived:
		return ""
	case earlier.Input.(*record.Batch).ReadOnly():
		return "reads are not monotonic"
	}
	return "a process does not read its writes"
}
