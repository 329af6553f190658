package casstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

// TestMain fails when a test leaves a queue running.
func TestMain(m *testing.M) {
	code := m.Run()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if code == 0 && strings.Contains(string(stacks), "(*Store).run") {
		fmt.Fprintf(os.Stderr, "goroutines left:\n%s\n", stacks)
		code = 1
	}
	os.Exit(code)
}

// table is a Server in memory that counts its calls. Two stores may share it.
type table struct {
	mu     sync.Mutex
	cells  map[Key]Cell
	ends   map[Key]int64
	last   uint64
	reads  atomic.Int64
	swaps  atomic.Int64
	closed atomic.Int64

	delay time.Duration // of every call
	swap  func() (Outcome, error)
	read  func() error
}

func newTable() *table { return &table{cells: map[Key]Cell{}, ends: map[Key]int64{}} }

func (s *table) Read(ctx context.Context, k Key) (Cell, error) {
	s.reads.Add(1)
	if err := s.wait(ctx); err != nil {
		return Cell{}, err
	}
	if s.read != nil {
		if err := s.read(); err != nil {
			return Cell{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cell := s.cells[k]
	cell.Now = time.Now().UnixMilli()
	return cell, nil
}

func (s *table) Swap(ctx context.Context, k Key, old Cell, n Value) (Cell, Outcome, error) {
	s.swaps.Add(1)
	if err := s.wait(ctx); err != nil {
		return Cell{}, Unknown, err
	}
	if s.swap != nil {
		if outcome, err := s.swap(); outcome != Swapped {
			return Cell{}, outcome, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UnixMilli()
	is := s.cells[k]
	if is.Found != old.Found || is.Version != old.Version || s.ends[k] > n.Now && s.ends[k] <= now {
		return Cell{}, Lost, nil
	}
	s.last++
	cell := Cell{Found: true, Data: string(n.Data), Version: s.last, Now: now}
	s.cells[k], s.ends[k] = cell, n.Expires
	return cell, Swapped, nil
}

func (s *table) wait(ctx context.Context) error {
	select {
	case <-time.After(s.delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *table) Traits(context.Context) (record.Traits, error) {
	return record.Traits{Name: "table"}, nil
}
func (s *table) Close() error { s.closed.Add(1); return nil }

// lockable is a table with locks, of which there is one.
type lockable struct {
	*table
	lock  sync.Mutex
	taken atomic.Int64
}

func (s *lockable) Locked(ctx context.Context, k Key, change func(Cell) (Value, bool)) (Outcome, error) {
	s.taken.Add(1)
	s.lock.Lock()
	defer s.lock.Unlock()
	cell, err := s.Read(ctx, k)
	if err != nil {
		return Refused, err
	}
	n, ok := change(cell)
	if !ok {
		return Swapped, nil
	}
	_, outcome, err := s.table.Swap(ctx, k, cell, n)
	return outcome, err
}

func (s *lockable) Swap(context.Context, Key, Cell, Value) (Cell, Outcome, error) {
	return Cell{}, Lost, nil // somebody else is always quicker
}

func open(t testing.TB, server Server, o Options) *Store {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	if o.Memory == 0 {
		o.Memory = 1 << 20
	}
	o.Name = "teststore"
	s := New(server, o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	server := newTable()
	storetest.Run(t, func(t *testing.T) record.Store { return open(t, server, Options{}) }, nil)
}

func TestConformanceWhereSwapsGetLost(t *testing.T) {
	server := newTable()
	server.swap = func() (Outcome, error) {
		if rand.IntN(3) == 0 {
			return Lost, nil
		}
		return Swapped, nil
	}
	storetest.Run(t, func(t *testing.T) record.Store { return open(t, server, Options{}) }, nil)
}

func TestConformanceUnderLocks(t *testing.T) {
	server := &lockable{table: newTable()}
	t.Run("rules", func(t *testing.T) { // which run in parallel, and are awaited
		storetest.Run(t, func(t *testing.T) record.Store { return open(t, server, Options{}) }, nil)
	})
	if server.taken.Load() == 0 {
		t.Error("no lock was ever taken")
	}
}

var hour = record.Expiry{Idle: 3_600_000, Absolute: 36_000_000}

func create(t testing.TB, s *Store, ops ...record.Op) record.Handle {
	t.Helper()
	h := record.NewHandle()
	want(t, s, h, record.OK, append([]record.Op{record.Create(record.NewSecret(), hour)}, ops...)...)
	return h
}

func apply(s *Store, h record.Handle, ops ...record.Op) (record.Reply, error) {
	return s.Apply(context.Background(), h, &record.Batch{Ops: ops})
}

func want(t testing.TB, s *Store, h record.Handle, status record.Status, ops ...record.Op) record.Reply {
	t.Helper()
	reply, err := apply(s, h, ops...)
	if err != nil || reply.Status != status {
		t.Fatalf("%q, %v; want %q", reply.Status, err, status)
	}
	return reply
}

// Several processes, each with many writers on one session.
func TestStoresShareASession(t *testing.T) {
	const stores, writers, each = 4, 16, 50
	server := newTable()
	all := make([]*Store, stores)
	for i := range all {
		all[i] = open(t, server, Options{})
	}
	h := create(t, all[0])
	var group sync.WaitGroup
	for i := range stores * writers {
		group.Go(func() {
			for range each {
				if reply, err := apply(all[i%stores], h, record.Add("n", 1)); err != nil || reply.Status != record.OK {
					t.Errorf("%q, %v", reply.Status, err)
					return
				}
			}
		})
	}
	group.Wait()
	if got := want(t, all[0], h, record.OK, record.Get("n")).Values[0].Text; got != fmt.Sprint(stores*writers*each) {
		t.Errorf("%d increments left %s", stores*writers*each, got)
	}
}

// What comes while a round is under way shares the next one, which guesses.
func TestWaitingCallsShareARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newTable()
		s := New(server, Options{Name: "teststore", Timeout: time.Minute})
		defer s.Close()
		h := create(t, s)
		server.delay = 10 * time.Millisecond
		server.reads.Store(0)
		server.swaps.Store(0)
		var group sync.WaitGroup
		for i := range 65 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond)
				want(t, s, h, record.OK, record.Add("n", 1))
			})
		}
		group.Wait()
		if reads, swaps := server.reads.Load(), server.swaps.Load(); reads != 1 || swaps != 2 {
			t.Errorf("65 calls took %d reads and %d swaps, want 1 and 2", reads, swaps)
		}
		server.delay = 0
		if got := want(t, s, h, record.OK, record.Get("n")).Values[0].Text; got != "65" {
			t.Errorf("65 increments left %s", got)
		}
	})
}

// A guess never answers a read by itself.
func TestGuessIsVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newTable()
		s, other := New(server, Options{Name: "a", Timeout: time.Minute}), New(server, Options{Name: "b", Timeout: time.Minute})
		defer s.Close()
		defer other.Close()
		h := create(t, s, record.Set("a", "1"))
		server.delay = 10 * time.Millisecond
		var group sync.WaitGroup
		for i, op := range []record.Op{record.Set("b", "1"), record.Get("a")} { // the second waits for the first
			group.Go(func() {
				time.Sleep(time.Duration(i) * 15 * time.Millisecond)
				reply := want(t, s, h, record.OK, op)
				if i == 1 && reply.Values[0].Text != "2" {
					t.Errorf("read %q after 2 had been written", reply.Values[0].Text)
				}
			})
		}
		group.Go(func() { // changes the record between the end of the first round and the answer
			time.Sleep(20*time.Millisecond + time.Microsecond)
			server.mu.Lock()
			defer server.mu.Unlock()
			key := Key{Session, string(h[:])}
			var r record.Record
			cell := server.cells[key]
			if err := r.Decode(cell.Data); err != nil {
				t.Error(err)
			}
			r.Apply(&record.Batch{Ops: []record.Op{record.Set("a", "2")}}, time.Now().UnixMilli())
			server.last++
			server.cells[key] = Cell{Found: true, Data: string(r.Append(nil)), Version: server.last}
		})
		group.Wait()
	})
}

// A write begins from what the last call has left, if nobody else has changed it.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newTable()
		s := New(server, Options{Name: "a", Timeout: time.Minute, Memory: 1 << 20})
		other := New(server, Options{Name: "b", Timeout: time.Minute})
		defer s.Close()
		defer other.Close()
		costs := func(what string, reads, swaps int64, f func()) {
			t.Helper()
			server.reads.Store(0)
			server.swaps.Store(0)
			f()
			if r, w := server.reads.Load(), server.swaps.Load(); r != reads || w != swaps {
				t.Errorf("%s took %d reads and %d swaps, want %d and %d", what, r, w, reads, swaps)
			}
			synctest.Wait() // until it is remembered
		}
		var h record.Handle
		add := func() { want(t, s, h, record.OK, record.Add("n", 1)) }
		costs("creating", 1, 1, func() { h = create(t, s) })
		costs("a write", 0, 1, add)
		costs("a read", 1, 0, func() { want(t, s, h, record.OK, record.Get("n")) })
		costs("a write after a read", 0, 1, add)
		costs("a write that changes nothing", 1, 0, func() { want(t, s, h, record.OK, record.Delete("none")) })
		costs("another's write", 1, 1, func() { want(t, other, h, record.OK, record.Add("n", 1)) })
		costs("a wrong guess", 1, 2, add)
		costs("a write in doubt", 1, 1, add)
		costs("a write when it would have been right", 0, 1, add)
		time.Sleep(maxAge)
		costs("a write much later", 1, 1, add)
		if got := want(t, s, h, record.OK, record.Get("n")).Values[0].Text; got != "7" {
			t.Errorf("the counter is %s", got)
		}
	})
}

// A session whose time is over is not kept alive by what is remembered of it.
func TestRememberedSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newTable()
		s := New(server, Options{Name: "a", Timeout: time.Minute, Memory: 1 << 20})
		defer s.Close()
		h := record.NewHandle()
		want(t, s, h, record.OK, record.Create(record.NewSecret(), record.Expiry{Idle: 1000, Absolute: 1000}))
		time.Sleep(999 * time.Millisecond)
		want(t, s, h, record.OK, record.Set("a", "1"))
		time.Sleep(time.Millisecond)
		want(t, s, h, record.Absent, record.Set("a", "1"))
		want(t, s, h, record.OK, record.Create(record.NewSecret(), hour))
	})
}

func TestMemoryIsBounded(t *testing.T) {
	const bytes = 100_000
	m := newMemory(bytes)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 10_000 {
		k := Key{Session, fmt.Sprint(rng.IntN(2000))}
		if s, found := m.take(k); found && s.cell.Version > uint64(i) {
			t.Fatal("a cell from the future")
		}
		m.put(k, seen{cell: Cell{Data: strings.Repeat("x", rng.IntN(2000)), Version: uint64(i)}, received: time.Now()})
		total, young := 0, 0
		for _, s := range m.young {
			young += len(s.cell.Data) + entryCost
		}
		total = young
		for k, s := range m.old {
			if _, twice := m.young[k]; twice {
				t.Fatal("a key is there twice")
			}
			total += len(s.cell.Data) + entryCost
		}
		if young != m.youngest || total > bytes {
			t.Fatalf("%d bytes, %d of them young, which is counted as %d", total, young, m.youngest)
		}
	}
	m.put(Key{ID: "large"}, seen{cell: Cell{Data: strings.Repeat("x", maxRemembered+1)}, received: time.Now()})
	if _, found := m.take(Key{ID: "large"}); found {
		t.Error("a large cell is remembered")
	}
	if m = newMemory(0); m.half != 0 {
		t.Error(m)
	}
	m.put(Key{}, seen{received: time.Now()})
	if _, found := m.take(Key{}); found {
		t.Error("something is remembered without memory")
	}
}

func TestUnknownOutcome(t *testing.T) {
	server := newTable()
	s := open(t, server, Options{})
	h := create(t, s, record.Set("a", "1"))
	lost := errors.New("connection lost")
	server.swap = func() (Outcome, error) { return Unknown, lost }
	if _, err := apply(s, h, record.Set("a", "2")); !errors.Is(err, record.ErrOutcomeUnknown) || !errors.Is(err, lost) || errors.Is(err, record.ErrUnavailable) {
		t.Errorf("the write: %v", err)
	}
	server.swap = func() (Outcome, error) { return Refused, lost }
	if _, err := apply(s, h, record.Set("a", "2")); !errors.Is(err, record.ErrUnavailable) || errors.Is(err, record.ErrOutcomeUnknown) {
		t.Errorf("the refused write: %v", err)
	}
	if got := want(t, s, h, record.OK, record.Get("a")).Values[0].Text; got != "1" {
		t.Errorf("the field is %s", got)
	}
	server.read = func() error { return lost }
	if _, err := apply(s, h, record.Get("a")); !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("the read: %v", err)
	}
}

// A caller does not wait for longer than its context, and is told whether its batch
// may be executed. One that is not under way yet never is.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newTable()
		s := New(server, Options{Name: "teststore", Timeout: time.Minute})
		defer s.Close()
		h, other := create(t, s), create(t, s)
		server.delay = 10 * time.Second
		try := func(h record.Handle, after, timeout time.Duration, op record.Op, want error) {
			time.Sleep(after)
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			start := time.Now()
			_, err := s.Apply(ctx, h, &record.Batch{Ops: []record.Op{op}})
			if !errors.Is(err, want) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != timeout {
				t.Errorf("%v after %v, want %v", err, time.Since(start), want)
			}
		}
		const second = time.Second
		var group sync.WaitGroup
		group.Go(func() { want(t, s, h, record.OK, record.Add("n", 100)) })                               // done at 20 s
		group.Go(func() { try(other, 0, 5*second, record.Add("n", 1), record.ErrUnavailable) })           // reads
		group.Go(func() { try(h, 6*second, 10*second, record.Add("n", 10), record.ErrUnavailable) })      // waits
		group.Go(func() { try(h, 7*second, 15*second, record.Add("n", 1000), record.ErrOutcomeUnknown) }) // swapped at 30 s
		group.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		server.delay = 0
		if got := want(t, s, h, record.OK, record.Get("n")).Values[0].Text; got != "1100" {
			t.Errorf("the counter is %s", got)
		}
		if want(t, s, other, record.OK, record.Get("n")).Values[0].Found {
			t.Error("a call that had failed while it read was applied")
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newTable()
		s := New(server, Options{Name: "teststore", Timeout: time.Second})
		defer s.Close()
		server.delay = time.Hour
		for range 3 {
			start := time.Now()
			_, err := apply(s, record.NewHandle(), record.Get("a"))
			if !errors.Is(err, record.ErrUnavailable) || time.Since(start) != time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
	})
}

// One batch that makes the record too large spoils nothing for those beside it.
func TestTooLargeForTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newTable()
		s := New(server, Options{Name: "teststore", Timeout: time.Minute, MaxSize: 1000})
		defer s.Close()
		h := create(t, s, record.Set("a", "1"))
		server.delay = 10 * time.Millisecond
		large := `"` + strings.Repeat("x", 1000) + `"`
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond)
				if i%3 != 2 {
					want(t, s, h, record.OK, record.Add("n", 1))
					return
				}
				if _, err := apply(s, h, record.Set("a", large)); !errors.Is(err, record.ErrTooLarge) || strings.Contains(err.Error(), "xxx") {
					t.Error(err)
				}
			})
		}
		group.Wait()
		reply := want(t, s, h, record.OK, record.Get("n"), record.Get("a"))
		if reply.Values[0].Text != "14" || reply.Values[1].Text != "1" {
			t.Errorf("left %+v", reply.Values)
		}
	})
}

func TestUnreadableIsLeft(t *testing.T) {
	server := newTable()
	s := open(t, server, Options{})
	h := create(t, s)
	key := Key{Session, string(h[:])}
	for data, want := range map[string]error{"\x09newer": record.ErrLayout, "\x01short": record.ErrCorrupt} {
		server.cells[key] = Cell{Found: true, Data: data, Version: 1 << 40}
		if _, err := apply(s, h, record.Set("a", "1")); !errors.Is(err, want) || errors.Is(err, record.ErrUnavailable) {
			t.Errorf("%v, want %v", err, want)
		}
		if server.cells[key].Data != data {
			t.Error("it was changed")
		}
	}
}

func TestClose(t *testing.T) {
	server := newTable()
	s := New(server, Options{Name: "teststore", Timeout: time.Second})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if server.closed.Load() != 1 {
		t.Errorf("the server was closed %d times", server.closed.Load())
	}
	if _, err := s.Traits(t.Context()); !errors.Is(err, record.ErrUnavailable) {
		t.Error(err)
	}
}
