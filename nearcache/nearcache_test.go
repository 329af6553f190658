package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
)

// remote is a store in memory that tells of changes when the test says so, as a store
// behind a network may.
type remote struct {
	*memstore.Store
	listener record.Listener
	told     func(h record.Handle) // of a change; nil: the listener, at once
	loads    int
	loaded   func() // called between a load's read and its return
	replied  func() // called between a write and its return
}

// listens gets what the memstore tells.
type listens struct{ r *remote }

func (l listens) Changed(h record.Handle) {
	if l.r.told != nil {
		l.r.told(h)
		return
	}
	l.r.listener.Changed(h)
}
func (listens) Lost()             {}
func (listens) Current(time.Time) {}

func (r *remote) Notify(l record.Listener) (stop func()) {
	r.listener = l
	return r.Store.Notify(listens{r})
}

func (r *remote) Record(ctx context.Context, h record.Handle) (record.Record, int64, error) {
	rec, now, err := r.Store.Record(ctx, h)
	r.loads++
	if r.loaded != nil {
		r.loaded()
	}
	return rec, now, err
}

func (r *remote) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	reply, err := r.Store.Apply(ctx, h, b)
	if r.replied != nil && !b.ReadOnly() {
		r.replied()
	}
	return reply, err
}

// fixture is a session in a remote store, behind a cache.
type fixture struct {
	*testing.T
	remote *remote
	cache  *nearcache.Cache
	handle record.Handle
	access record.Access
}

const maxStale = 2 * time.Second

// run runs a test in a bubble, in which time passes only while all wait.
func run(t *testing.T, test func(f *fixture)) {
	synctest.Test(t, func(t *testing.T) {
		r := &remote{Store: memstore.New(nil)}
		cache, err := nearcache.New(r, &nearcache.Options{MaxStale: maxStale})
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		f := &fixture{t, r, cache, record.NewHandle(), record.Access{Mode: record.Open, Generation: 1, Secret: record.NewSecret()}}
		create := record.Batch{Ops: []record.Op{
			record.Create(f.access.Secret, record.Expiry{Idle: 3_600_000, Absolute: 36_000_000}),
			record.Set("n", "0"),
		}}
		if _, err := r.Store.Apply(t.Context(), f.handle, &create); err != nil {
			t.Fatal(err)
		}
		r.listener.Current(time.Now())
		test(f)
	})
}

func (f *fixture) apply(s record.Store, op record.Op) record.Reply {
	f.Helper()
	b := record.Batch{Access: f.access, Ops: []record.Op{op}}
	if err := b.Check(); err != nil {
		f.Fatal(err)
	}
	reply, err := s.Apply(context.Background(), f.handle, &b)
	if err != nil || reply.Status != record.OK {
		f.Fatalf("%+v: %s, %v", op, reply.Status, err)
	}
	return reply
}

// others writes as another process does.
func (f *fixture) others(op record.Op) { f.Helper(); f.apply(f.remote.Store, op) }

// reads checks what a read through the cache finds, and whether it is a hit.
func (f *fixture) reads(want string, hit bool) {
	f.Helper()
	reply := f.apply(f.cache, record.Get("n"))
	if got := reply.Values[0].Text; got != want || reply.Cached != hit {
		f.Errorf("read %s (hit: %t), want %s (hit: %t)", got, reply.Cached, want, hit)
	}
}

func TestHitUntilChanged(t *testing.T) {
	run(t, func(f *fixture) {
		f.reads("0", false)
		f.reads("0", true)
		f.others(record.Set("n", "1"))
		f.reads("1", false)
		f.reads("1", true)
		if f.remote.loads != 2 {
			f.Errorf("%d loads", f.remote.loads)
		}
	})
}

func TestNothingIsServedPastTheLease(t *testing.T) {
	run(t, func(f *fixture) {
		f.reads("0", false)
		f.remote.told = func(record.Handle) {} // the connection falls silent
		f.others(record.Set("n", "1"))
		f.reads("0", true)
		time.Sleep(maxStale - time.Millisecond)
		f.reads("0", true)
		time.Sleep(time.Millisecond)
		f.reads("1", false)
		f.remote.listener.Current(time.Now())
		f.reads("1", false) // what was there may be older than what was read meanwhile
		f.reads("1", true)
	})
}

func TestLostForgetsEverything(t *testing.T) {
	run(t, func(f *fixture) {
		f.reads("0", false)
		f.remote.told = func(record.Handle) {}
		f.others(record.Set("n", "1"))
		f.remote.listener.Lost()
		f.remote.listener.Current(time.Now())
		f.reads("1", false)
		f.reads("1", true)
	})
}

func TestLoadThatAChangeOvertakesIsNotKept(t *testing.T) {
	for name, happens := range map[string]func(f *fixture){
		"told":         func(f *fixture) {},
		"lost":         func(f *fixture) { f.remote.told = func(record.Handle) {} },
		"a Fresh read": func(f *fixture) { f.remote.told = func(record.Handle) {} },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(f *fixture) {
				happens(f)
				f.remote.loaded = func() {
					f.remote.loaded = nil
					f.others(record.Set("n", "1"))
					switch name {
					case "lost":
						f.remote.listener.Lost()
						f.remote.listener.Current(time.Now())
					case "a Fresh read":
						b := record.Batch{Access: f.access, Ops: []record.Op{record.Get("n")}, Fresh: true}
						if reply, err := f.cache.Apply(context.Background(), f.handle, &b); err != nil || reply.Values[0].Text != "1" {
							f.Errorf("a Fresh read: %+v, %v", reply.Values, err)
						}
					}
				}
				f.reads("0", false)
				f.reads("1", name == "a Fresh read")
			})
		})
	}
}

// A miss joins the load of another, but not one that may be older than an own write.
func TestMissJoinsALoad(t *testing.T) {
	run(t, func(f *fixture) {
		release := make(chan struct{})
		f.remote.loaded = func() { <-release }
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { f.reads("0", false) })
		}
		synctest.Wait()
		if f.remote.loads != 1 {
			f.Errorf("%d loads for ten misses", f.remote.loads)
		}
		f.apply(f.cache, record.Set("n", "1"))
		f.remote.loaded = nil
		f.reads("1", false)
		close(release)
		wg.Wait()
		f.reads("1", true)
	})
}

func TestOwnWritesAreTakenOver(t *testing.T) {
	run(t, func(f *fixture) {
		f.reads("0", false)
		for i, op := range []record.Op{record.Set("n", "1"), record.Add("n", 1), record.Set("other", "[]"),
			record.Append("other", "1"), record.Drain("other"), record.SetIfAbsent("n", "9"), record.Touch()} {
			f.apply(f.cache, op)
			f.reads([]string{"1", "2", "2", "2", "2", "2", "2"}[i], true)
		}
		f.apply(f.cache, record.Pop("n"))
		if reply := f.apply(f.cache, record.Get("n")); reply.Values[0].Found || !reply.Cached {
			f.Errorf("after a pop: %+v, hit: %t", reply.Values, reply.Cached)
		}
		if f.remote.loads != 1 {
			f.Errorf("%d loads", f.remote.loads)
		}
	})
}

// What another wrote together with us, of which the store tells as of one, is missed for a
// short time at most.
func TestEchoIsBounded(t *testing.T) {
	run(t, func(f *fixture) {
		f.reads("0", false)
		f.remote.told = func(record.Handle) {}
		f.apply(f.cache, record.Add("n", 1))
		f.others(record.Add("n", 10))
		f.remote.listener.Changed(f.handle) // of both
		f.reads("1", true)
		time.Sleep(maxStale / 8)
		f.remote.listener.Current(time.Now())
		f.reads("11", false)
		f.reads("11", true)
	})
}

// The next own write shows that another has written before.
func TestOwnWriteShowsAnothers(t *testing.T) {
	run(t, func(f *fixture) {
		f.reads("0", false)
		f.remote.told = func(record.Handle) {}
		f.others(record.Add("n", 10))
		f.apply(f.cache, record.Add("n", 1))
		f.reads("11", false)
	})
}

// An own write that changes nothing, because another has written the same kind of thing
// before, is not taken over as if it had.
func TestOwnWriteThatFindsNothingToDo(t *testing.T) {
	for name, own := range map[string]record.Op{
		"SetIfAbsent": record.SetIfAbsent("other", "2"), "Delete": record.Delete("n"), "Pop": record.Pop("n"), "Drain": record.Drain("list"),
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(f *fixture) {
				f.others(record.Set("list", "[1]"))
				f.reads("0", false)
				f.remote.told = func(record.Handle) {}
				b := record.Batch{Access: f.access, Ops: []record.Op{record.Set("other", "1")}} // as large as what the own one leaves
				switch own.Kind {
				case record.OpDelete, record.OpPop:
					b.Ops = []record.Op{record.Delete("n"), record.Set("list", "[2]")}
				case record.OpDrain:
					b.Ops = []record.Op{record.Drain("list"), record.Set("n", "9")}
				}
				if reply, err := f.remote.Store.Apply(f.Context(), f.handle, &b); err != nil || reply.Status != record.OK {
					f.Fatal(reply.Status, err)
				}
				f.apply(f.cache, own)
				want := f.apply(f.remote.Store, record.GetAll()).Fields
				if got := f.apply(f.cache, record.GetAll()).Fields; !slices.Equal(got, want) {
					f.Errorf("the cache has %v, the store %v", got, want)
				}
			})
		})
	}
}

// A change that is told of long after the own writes is another's.
func TestChangeAfterTheEcho(t *testing.T) {
	run(t, func(f *fixture) {
		f.reads("0", false)
		f.apply(f.cache, record.Add("n", 1))
		time.Sleep(21 * time.Millisecond)
		f.others(record.Add("n", 10))
		f.reads("11", false)
	})
}

// While an own write is under way, word of a change may be of it, but only for so long.
func TestEchoOfAWriteUnderWayIsBounded(t *testing.T) {
	run(t, func(f *fixture) {
		f.reads("0", false)
		done := f.holdOneWrite(record.Touch())
		f.others(record.Add("n", 10))
		f.reads("0", true)
		time.Sleep(maxStale / 8)
		f.reads("10", false)
		done()
	})
}

// holdOneWrite makes an own write whose answer comes when done is called.
func (f *fixture) holdOneWrite(op record.Op) (done func()) {
	release := make(chan struct{})
	f.remote.replied = func() {
		f.remote.replied = nil
		<-release
	}
	var wg sync.WaitGroup
	wg.Go(func() { f.apply(f.cache, op) })
	synctest.Wait()
	return func() {
		close(release)
		wg.Wait()
	}
}

// The answers to own writes may come in another order than they were done in.
func TestAnswersOutOfOrder(t *testing.T) {
	for _, reads := range []bool{false, true} {
		run(t, func(f *fixture) {
			f.reads("0", false)
			done := f.holdOneWrite(record.Set("n", "1"))
			f.apply(f.cache, record.Add("n", 1))
			f.apply(f.cache, record.Add("n", 1))
			loads := 1
			if reads {
				f.reads("3", false) // the copy lacks a write
				loads = 2
			}
			done()
			f.reads("3", true)
			if f.remote.loads != loads {
				f.Errorf("%d loads, want %d", f.remote.loads, loads)
			}
		})
	}
}

// A miss does not join a load that is older than what has been read since.
func TestMissJoinsNoLoadOlderThanAFreshRead(t *testing.T) {
	run(t, func(f *fixture) {
		release := make(chan struct{})
		f.remote.loaded = func() { <-release }
		var wg sync.WaitGroup
		wg.Go(func() { f.reads("0", false) })
		synctest.Wait()
		f.remote.loaded, f.remote.told = nil, func(record.Handle) {}
		f.others(record.Set("n", "1"))
		b := record.Batch{Access: f.access, Ops: []record.Op{record.Get("n")}, Fresh: true}
		if _, err := f.cache.Apply(f.Context(), f.handle, &b); err != nil {
			f.Fatal(err)
		}
		f.remote.listener.Changed(f.handle) // of something else: the copy goes
		f.reads("1", false)
		close(release)
		wg.Wait()
		f.reads("1", true)
	})
}

func TestEndedSessionIsNotServed(t *testing.T) {
	run(t, func(f *fixture) {
		f.reads("0", false)
		destroy := record.Batch{Ops: []record.Op{record.Destroy(record.Logout, 60_000)}}
		if _, err := f.remote.Store.Apply(f.Context(), f.handle, &destroy); err != nil {
			f.Fatal(err)
		}
		b := record.Batch{Access: f.access, Ops: []record.Op{record.Get("n")}}
		if reply, err := f.cache.Apply(f.Context(), f.handle, &b); err != nil || reply.Status != record.Ended {
			f.Errorf("%s, %v", reply.Status, err)
		}
	})
}

func TestExpiryNeedsNoWord(t *testing.T) {
	run(t, func(f *fixture) {
		f.apply(f.cache, record.SetExpiry(record.Expiry{Idle: 1000, Absolute: 1000}))
		f.reads("0", false)
		time.Sleep(990 * time.Millisecond)
		f.reads("0", true)
		time.Sleep(9 * time.Millisecond)
		b := record.Batch{Access: f.access, Ops: []record.Op{record.Get("n")}}
		time.Sleep(time.Millisecond)
		if reply, err := f.cache.Apply(f.Context(), f.handle, &b); err != nil || reply.Status != record.Absent {
			f.Errorf("%s, %v", reply.Status, err)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	cache, err := nearcache.New(memstore.New(nil), &nearcache.Options{MaxBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	for i := range 5000 {
		h, secret := record.NewHandle(), record.NewSecret()
		b := record.Batch{Ops: []record.Op{
			record.Create(secret, record.Expiry{Idle: 60_000, Absolute: 60_000}), record.Set("i", strconv.Itoa(i)),
		}}
		if _, err := cache.Apply(t.Context(), h, &b); err != nil {
			t.Fatal(err)
		}
		read := record.Batch{Access: record.Access{Mode: record.Held, Generation: 1, Secret: secret}, Ops: []record.Op{record.Get("i")}}
		if reply, err := cache.Apply(t.Context(), h, &read); err != nil || reply.Values[0].Text != strconv.Itoa(i) {
			t.Fatal(reply, err)
		}
	}
	if used := cache.Stats().Bytes; used > 256<<10 || used < 128<<10 {
		t.Errorf("%d bytes are used of %d", used, 256<<10)
	}
}

func TestInvalidOptions(t *testing.T) {
	store := memstore.New(nil)
	defer store.Close()
	for _, o := range []nearcache.Options{{MaxBytes: 1}, {MaxBytes: -1}, {MaxStale: time.Millisecond}, {MaxStale: time.Hour}, {TTL: time.Second}} {
		if _, err := nearcache.New(store, &o); !errors.Is(err, nearcache.ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []nearcache.Options{{}, {MaxStale: time.Second}, {TTL: time.Second, MaxStale: time.Second}, {TTL: -1}, {TTL: time.Millisecond}, {TTL: time.Hour}} {
		if _, err := nearcache.New(struct{ record.Store }{store}, &o); !errors.Is(err, nearcache.ErrOptions) {
			t.Errorf("%+v, and a store that does not tell: %v", o, err)
		}
	}
}

func Example() {
	cache, err := nearcache.New(memstore.New(nil), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cache.Close() // closes the store as well
	traits, _ := cache.Traits(context.Background())
	fmt.Println(traits.Name)
	// Output: memory
}
