package nearcache_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

// ttl is of the tests' copies of what is in a store that tells nothing.
const ttl = time.Second

// silent hides that a store can tell.
type silent struct{ record.Store }

// runSilent is run with a store that tells nothing.
func runSilent(t *testing.T, test func(f *fixture)) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New(nil)
		cache, err := nearcache.New(silent{store}, &nearcache.Options{TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		f := &fixture{t, &remote{Store: store}, cache, record.NewHandle(), record.Access{Mode: record.Open, Generation: 1, Secret: record.NewSecret()}}
		create := record.Batch{Ops: []record.Op{
			record.Create(f.access.Secret, record.Expiry{Idle: 3_600_000, Absolute: 36_000_000}),
			record.Set("n", "0"), record.Describe("phone"),
		}}
		if _, err := store.Apply(t.Context(), f.handle, &create); err != nil {
			t.Fatal(err)
		}
		test(f)
	})
}

func TestCopyLastsItsTTL(t *testing.T) {
	runSilent(t, func(f *fixture) {
		f.reads("0", false)
		f.others(record.Set("n", "1"))
		time.Sleep(ttl - time.Nanosecond)
		f.reads("0", true)
		time.Sleep(time.Nanosecond)
		f.reads("1", false)
		f.reads("1", true)
		destroy := record.Batch{Ops: []record.Op{record.Destroy(record.Logout, 60_000)}}
		if _, err := f.remote.Store.Apply(f.Context(), f.handle, &destroy); err != nil {
			f.Fatal(err)
		}
		time.Sleep(ttl)
		if status := f.status(f.cache); status != record.Ended {
			f.Errorf("after another's logout: %s", status)
		}
	})
}

func (f *fixture) status(s record.Store) record.Status {
	f.Helper()
	b := record.Batch{Access: f.access, Ops: []record.Op{record.Get("n")}}
	reply, err := s.Apply(context.Background(), f.handle, &b)
	if err != nil {
		f.Fatal(err)
	}
	return reply.Status
}

// An own write proves that the copy is up to date, or that it is not.
func TestOwnWriteWithATTL(t *testing.T) {
	runSilent(t, func(f *fixture) {
		f.reads("0", false)
		time.Sleep(ttl / 2)
		f.apply(f.cache, record.Add("n", 1))
		time.Sleep(ttl - time.Nanosecond)
		f.reads("1", true)
		time.Sleep(time.Nanosecond)
		f.reads("1", false)
		f.others(record.Add("n", 10))
		f.apply(f.cache, record.Set("other", "1"))
		f.reads("11", false)
	})
}

// What answers have not, the record of a copy has not either: the store judges.
func TestPreviousTokenWithATTL(t *testing.T) {
	runSilent(t, func(f *fixture) {
		f.others(record.Authenticate("ann", f.access.Secret, 0))
		f.access.Generation = 2
		f.reads("0", false)
		f.reads("0", true)
		f.others(record.Rotate(2, record.NewSecret(), 15_000))
		time.Sleep(ttl)
		for range 3 {
			f.reads("0", false)
		}
		b := record.Batch{Access: record.Access{Mode: record.Held, Generation: 3, Secret: f.access.Secret}, Ops: []record.Op{record.GetIdentity()}}
		direct, _ := f.remote.Store.Apply(f.Context(), f.handle, &b)
		if reply, err := f.cache.Apply(f.Context(), f.handle, &b); err != nil || reply.Identity != direct.Identity || reply.Identity.User != "ann" {
			f.Errorf("%+v, %v; want %+v", reply.Identity, err, direct.Identity)
		}
	})
}

func TestConformanceWithATTL(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store {
		cache, err := nearcache.New(silent{memstore.New(nil)}, &nearcache.Options{TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() })
		return cache
	}, nil)
}

// counted counts the calls of a store, of which each read's answer takes a while.
type counted struct {
	*memstore.Store
	calls atomic.Int64
}

const callTime = 10 * time.Millisecond

func (c *counted) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	c.calls.Add(1)
	if b.ReadOnly() {
		defer time.Sleep(callTime)
	}
	return c.Store.Apply(ctx, h, b)
}

func (c *counted) Record(ctx context.Context, h record.Handle) (record.Record, int64, error) {
	c.calls.Add(1)
	defer time.Sleep(callTime)
	return c.Store.Record(ctx, h)
}

// Many who ask at the same time for a session that there is not, or no more, ask as one.
// Nothing of it is kept.
func TestAbsentSessionsAreAskedForTogether(t *testing.T) {
	for want, prepare := range map[record.Status]func(f *fixture){
		record.Absent: func(f *fixture) { f.handle = record.NewHandle() },
		record.Ended: func(f *fixture) {
			b := record.Batch{Ops: []record.Op{record.Destroy(record.Revoked, 60_000)}}
			f.remote.Store.Apply(f.Context(), f.handle, &b)
		},
	} {
		t.Run(want.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &counted{Store: memstore.New(nil)}
				cache, err := nearcache.New(store, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer cache.Close()
				f := &fixture{t, &remote{Store: store.Store}, cache, record.NewHandle(), record.Access{Mode: record.Open, Generation: 1, Secret: record.NewSecret()}}
				prepare(f)
				var wg sync.WaitGroup
				for range 1000 {
					wg.Go(func() {
						if status := f.status(cache); status != want {
							t.Errorf("%s, want %s", status, want)
						}
					})
				}
				wg.Wait()
				if n := store.calls.Load(); n != 2 {
					t.Errorf("%d calls of the store, want 2", n)
				}
				f.status(cache)
				if n := store.calls.Load(); n != 4 {
					t.Errorf("%d calls after another read, want 4", n)
				}
			})
		})
	}
}

// Whoever reads after a session was made does not join those who have found none.
func TestAbsenceIsNotSeenAfterCreate(t *testing.T) {
	for _, own := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := &counted{Store: memstore.New(nil)}
			cache, err := nearcache.New(store, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer cache.Close()
			f := &fixture{t, nil, cache, record.NewHandle(), record.Access{Mode: record.Open, Generation: 1, Secret: record.NewSecret()}}
			var wg sync.WaitGroup
			wg.Go(func() {
				if status := f.status(cache); status != record.Absent {
					t.Errorf("before: %s", status)
				}
			})
			time.Sleep(callTime + callTime/2) // now the store is asked once more
			create := record.Batch{Ops: []record.Op{record.Create(f.access.Secret, record.Expiry{Idle: 60_000, Absolute: 60_000})}}
			by := record.Store(store.Store)
			if own {
				by = cache
			}
			if _, err := by.Apply(t.Context(), f.handle, &create); err != nil {
				t.Fatal(err)
			}
			f.apply(by, record.Set("n", "1"))
			f.reads("1", own)
			wg.Wait()
			f.reads("1", false) // what the first reader got may have been newer, for all that is known
			f.reads("1", true)
		})
	}
}
