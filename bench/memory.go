package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/v2"
	scsmemory "github.com/alexedwards/scs/v2/memstore"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
)

func benchMemoryRequest(b *bench) ([]figure, error) {
	request, err := b.pazzoRequest()
	if err != nil {
		return nil, err
	}
	peer, err := b.scsRequest()
	if err != nil {
		return nil, err
	}
	run := func(call func() error) func(time.Duration) (sample, error) {
		return func(d time.Duration) (sample, error) { return serial(d, call) }
	}
	got, err := b.compare([]contestant{{namePazzo, run(request)}, {nameSCS, run(peer)}})
	if err != nil {
		return nil, err
	}
	ours, err := allocated(request)
	if err != nil {
		return nil, err
	}
	theirs, err := allocated(peer)
	if err != nil {
		return nil, err
	}
	var each, cpu []float64
	for _, r := range got[namePazzo] {
		each, cpu = append(each, 1e6/r.rate), append(cpu, 1e6*r.cpu)
	}
	wall, byCPU := got.faster(namePazzo, nameSCS)
	return []figure{
		{what: "Pazzo: verify token, open, one read, one write", values: each, cpu: cpu, unit: micros, bound: atMost(1.5)},
		single("the same: allocations", ours, allocations, atMost(8)),
		ratio("the same, beside scs's load, get, put, commit", wall, byCPU, atLeast(8)).
			noted(fmt.Sprintf("scs: %.1f µs, %.0f allocations", 1e6/got.rate(nameSCS), theirs)),
	}, nil
}

// pazzoRequest returns what a request does, without HTTP.
func (b *bench) pazzoRequest() (func() error, error) {
	store := memstore.New(nil)
	b.onClose(func() { store.Close() })
	m, err := newPazzo(store, pazzo.Live)
	if err != nil {
		return nil, err
	}
	tokens, err := b.populate(func() (string, error) { return pazzoSession(b.ctx, m) })
	if err != nil {
		return nil, err
	}
	background, turn := context.Background(), 0
	return func() error {
		turn++
		s, err := m.Acquire(tokens[turn%len(tokens)])
		if err != nil {
			return err
		}
		ctx := pazzo.NewContext(background, s)
		n, err := visits.Get(ctx)
		if err != nil {
			return err
		}
		now, err := visits.Add(ctx, 1)
		if err == nil && now != n+1 {
			err = fmt.Errorf("%d after %d", now, n)
		}
		return err
	}, nil
}

// populate makes the sessions that a store holds beside those in use, and returns
// the tokens of these.
func (b *bench) populate(add func() (string, error)) (tokens []string, err error) {
	for range b.sessions / 10 {
		token, err := add()
		if err != nil {
			return nil, err
		}
		if len(tokens) < 256 {
			tokens = append(tokens, token)
		}
	}
	return tokens, nil
}

// pazzoSession makes a session with the three fields and returns its token.
func pazzoSession(ctx context.Context, m *pazzo.Manager) (string, error) {
	s, err := m.Acquire("")
	if err != nil {
		return "", err
	}
	err = setThree(pazzo.NewContext(ctx, s))
	return s.Token(), err
}

func (b *bench) scsRequest() (func() error, error) {
	m, store := newSCS()
	b.onClose(store.StopCleanup)
	tokens, err := b.populate(func() (string, error) { return scsSession(b.ctx, m) })
	if err != nil {
		return nil, err
	}
	background, turn := context.Background(), 0
	return func() error {
		turn++
		ctx, err := m.Load(background, tokens[turn%len(tokens)])
		if err != nil {
			return err
		}
		m.Put(ctx, "visits", m.GetInt(ctx, "visits")+1)
		_, _, err = m.Commit(ctx)
		return err
	}, nil
}

func newSCS() (*scs.SessionManager, *scsmemory.MemStore) {
	m, store := scs.New(), scsmemory.New()
	m.Store = store
	return m, store
}

// scsSession makes a session with the three fields and returns its token.
func scsSession(ctx context.Context, m *scs.SessionManager) (string, error) {
	ctx, err := m.Load(ctx, "")
	if err != nil {
		return "", err
	}
	m.Put(ctx, "visits", 41)
	m.Put(ctx, "theme", "dark")
	m.Put(ctx, "locale", "en-GB")
	token, _, err := m.Commit(ctx)
	return token, err
}

// allocated counts the allocations of a call: the least of several rounds, since goroutines
// beside it make some, too.
func allocated(call func() error) (float64, error) {
	const rounds, calls = 5, 20_000
	least := uint64(math.MaxUint64)
	for range rounds {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range calls {
			if err := call(); err != nil {
				return 0, err
			}
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	return float64(least) / calls, nil
}

func benchMemoryHeap(b *bench) ([]figure, error) {
	ours, err := b.heapOf(func() (any, func() error, func()) {
		store := memstore.New(nil)
		m, err := newPazzo(store, pazzo.Live)
		return m, func() error {
			if err == nil {
				_, err = pazzoSession(b.ctx, m)
			}
			return err
		}, func() { store.Close() }
	})
	if err != nil {
		return nil, err
	}
	theirs, err := b.heapOf(func() (any, func() error, func()) {
		m, store := newSCS()
		return m, func() error {
			_, err := scsSession(b.ctx, m)
			return err
		}, store.StopCleanup
	})
	if err != nil {
		return nil, err
	}
	return []figure{single(fmt.Sprintf("heap of %s sessions of three small fields, beside scs's", thousands(float64(b.sessions))),
		ours/theirs, times, atMost(1)).noted(fmt.Sprintf("%.0f and %.0f bytes a session", ours, theirs))}, nil
}

// heapOf fills a store and returns the bytes of live heap for each session.
func (b *bench) heapOf(open func() (keep any, add func() error, end func())) (float64, error) {
	before := liveHeap()
	keep, add, end := open()
	defer end()
	for range b.sessions {
		if err := add(); err != nil {
			return 0, err
		}
	}
	grown := float64(liveHeap()) - float64(before)
	runtime.KeepAlive(keep)
	return grown / float64(b.sessions), nil
}

func liveHeap() uint64 {
	debug.FreeOSMemory() // collects
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// benchMemoryExpiry reads sessions while half of all expire at one moment, and for
// as long before that.
func benchMemoryExpiry(b *bench) ([]figure, error) {
	var ratios, idles, sweeps []float64
	for range min(b.pairs, 5) {
		idle, sweep, err := b.expire()
		for attempt := 1; err == errBusy && attempt < 5; attempt++ {
			idle, sweep, err = b.expire()
		}
		if err != nil {
			return nil, err
		}
		ratios = append(ratios, sweep/idle)
		idles, sweeps = append(idles, idle), append(sweeps, sweep)
	}
	return []figure{ratio(fmt.Sprintf("p99 of a read while %s of %s sessions expire, beside the idle p99",
		thousands(float64(b.sessions/2)), thousands(float64(b.sessions))), ratios, nil, atMost(3)).
		noted(fmt.Sprintf("%.2f µs, idle %.2f µs", median(sweeps), median(idles)))}, nil
}

// expire returns the p99 of reads, in µs, idle and during a mass expiry.
func (b *bench) expire() (idle, sweep float64, err error) {
	store := memstore.New(nil)
	defer store.Close()
	m, err := newPazzo(store, pazzo.Live)
	if err != nil {
		return 0, 0, err
	}
	half := b.sessions / 2
	tokens := make([]string, half)
	began := time.Now()
	for i := range tokens {
		if tokens[i], err = pazzoSession(b.ctx, m); err != nil {
			return 0, 0, err
		}
	}
	// Filling the other half should take no longer.
	moment := time.Now().Add(2*time.Second + 2*time.Since(began))
	for range half {
		if err := doomed(b.ctx, store, moment); err != nil {
			return 0, 0, err
		}
	}
	runtime.GC()
	count := func() int { n, _ := store.Stats(); return n }
	for time.Until(moment) > time.Second {
		time.Sleep(time.Millisecond)
	}
	if count() < 2*half || time.Until(moment) < time.Second/2 {
		return 0, 0, errBusy
	}
	idle, err = readP99(m, tokens, func() bool { return time.Until(moment) < 50*time.Millisecond })
	if err != nil {
		return 0, 0, err
	}
	for count() == 2*half {
		time.Sleep(time.Millisecond)
	}
	sweep, err = readP99(m, tokens, func() bool { return count() <= half || b.ctx.Err() != nil })
	return idle, sweep, err
}

var errBusy = errors.New("the machine is too busy to fill the store in time")

// doomed adds a session that ends at the moment given.
func doomed(ctx context.Context, store *memstore.Store, moment time.Time) error {
	left := time.Until(moment).Milliseconds()
	if left < 1 {
		return errBusy
	}
	batch := record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), record.Expiry{Idle: left, Absolute: left})}}
	for _, f := range three {
		batch.Ops = append(batch.Ops, record.Set(f.name, f.text))
	}
	reply, err := store.Apply(ctx, record.NewHandle(), &batch)
	if err == nil && reply.Status != record.OK {
		err = fmt.Errorf("create: %v", reply.Status)
	}
	return err
}

// readP99 reads with a goroutine for each processor until it is told to stop, and
// returns the 99th percentile in µs.
func readP99(m *pazzo.Manager, tokens []string, over func() bool) (float64, error) {
	var (
		stop  atomic.Bool
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   []time.Duration
		first error
	)
	for reader := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			taken := make([]time.Duration, 0, 1<<20)
			var err error
			for i := reader * 7919; !stop.Load() && err == nil; i += 31 {
				start := time.Now()
				err = readTheme(m, tokens[i%len(tokens)])
				taken = append(taken, time.Since(start))
				runtime.Gosched() // as a request does when it waits for its connection
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, taken...)
			if err != nil {
				first = err
			}
		})
	}
	for !over() {
		time.Sleep(time.Millisecond)
	}
	stop.Store(true)
	wg.Wait()
	if first != nil {
		return 0, first
	}
	slices.Sort(all)
	return float64(all[len(all)*99/100].Nanoseconds()) / 1000, nil
}

func readTheme(m *pazzo.Manager, token string) error {
	s, err := m.Acquire(token)
	if err != nil {
		return err
	}
	value, _, err := theme.Get(pazzo.NewContext(context.Background(), s))
	if err == nil && value != "dark" {
		err = fmt.Errorf("a session that should live reads %s", strconv.Quote(value))
	}
	return err
}
