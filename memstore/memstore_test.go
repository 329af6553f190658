package memstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

const minute = 60 * 1000

func newStore(t *testing.T, opts *Options) *Store {
	t.Helper()
	s := New(opts)
	t.Cleanup(func() { s.Close() })
	return s
}

func apply(t testing.TB, s *Store, h record.Handle, b *record.Batch) record.Reply {
	t.Helper()
	reply, err := s.Apply(context.Background(), h, b)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func want(t testing.TB, s *Store, h record.Handle, b *record.Batch, status record.Status) record.Reply {
	t.Helper()
	reply := apply(t, s, h, b)
	if reply.Status != status {
		t.Fatalf("status %q, want %q", reply.Status, status)
	}
	return reply
}

func admin(ops ...record.Op) *record.Batch { return &record.Batch{Ops: ops} }

func records(s *Store) int { n, _ := s.Stats(); return n }

// consistent checks every link, place and count of a store that is at rest.
func consistent(t testing.TB, s *Store) {
	t.Helper()
	used := int64(0)
	for i := range s.sessions.shards {
		used += checkShard(t, &s.sessions.shards[i])
	}
	for i := range s.indexes.shards {
		used += checkShard(t, &s.indexes.shards[i])
	}
	if counted := s.shared.used.Load(); counted != used {
		t.Errorf("%d bytes counted, %d are used", counted, used)
	}
}

func checkShard[K comparable](t testing.TB, s *shard[K]) (used int64) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.old != nil || len(s.places) != int(s.count) {
		t.Fatalf("%d places for %d entries, rebuilding: %t", len(s.places), s.count, s.old != nil)
	}
	if len(s.chunks) > int(s.count)/chunkSize+2 {
		t.Errorf("%d chunks for %d entries", len(s.chunks), s.count)
	}
	for key, place := range s.places {
		if s.at(place).key != key {
			t.Fatal("a place holds another key")
		}
		used += cost(len(s.at(place).text))
	}
	linked := 0
	for list, place := range s.heads {
		before := uint32(listFlag | list)
		for place != 0 {
			e := s.at(place)
			if e.prev != before {
				t.Fatalf("broken link in list %d", list)
			}
			linked++
			before, place = place, e.next
		}
	}
	if linked != int(s.count) || s.heads[due] != 0 {
		t.Fatalf("%d of %d entries in lists", linked, s.count)
	}
	return used
}

func TestBasics(t *testing.T) {
	s := newStore(t, nil)
	h := record.NewHandle()
	want(t, s, h, open(record.Get("a")), record.Absent)
	want(t, s, h, open(record.Set("a", "1")), record.Absent)
	want(t, s, h, create(record.Set("a", "1")), record.OK)
	want(t, s, h, create(), record.Exists)
	if reply := want(t, s, h, open(record.Add("a", 2), record.Get("b")), record.OK); reply.Values[0].Text != "3" {
		t.Errorf("answered %+v", reply.Values)
	}
	if reply := want(t, s, h, open(record.GetAll(), record.Touch()), record.OK); !slices.Equal(reply.Fields, []record.Field{{Name: "a", Text: "3"}}) {
		t.Errorf("fields %+v", reply.Fields)
	}
	if traits, err := s.Traits(context.Background()); err != nil || traits != (record.Traits{Name: "memory"}) {
		t.Errorf("traits %+v, %v", traits, err)
	}
	want(t, s, h, admin(record.Destroy(record.Logout, minute)), record.OK)
	want(t, s, h, open(record.Get("a")), record.Ended)
	want(t, s, h, create(), record.Ended)
	if n, bytes := s.Stats(); n != 1 || bytes != cost(record.TombstoneSize) {
		t.Errorf("%d records, %d bytes", n, bytes)
	}
	consistent(t, s)
}

// A first presentation is a write in a batch of reads.
func TestReadThatWrites(t *testing.T) {
	s := newStore(t, nil)
	h := record.NewHandle()
	second := record.Secret{2}
	want(t, s, h, create(), record.OK)
	want(t, s, h, open(record.Rotate(1, second, 1)), record.OK)
	token := record.Access{Mode: record.Open, Generation: 2, Secret: second}
	if reply := want(t, s, h, &record.Batch{Access: token, Ops: []record.Op{record.Get("a")}}, record.OK); reply.Meta.Unpresented {
		t.Error("not presented")
	}
	time.Sleep(2 * time.Millisecond)
	want(t, s, h, open(record.Get("a")), record.Superseded)
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(nil)
		defer s.Close()
		began := time.Now()
		at := func(ms int64) { // sleeps until then
			time.Sleep(time.Until(began.Add(time.Duration(ms) * time.Millisecond)))
			synctest.Wait()
		}
		h, idle := record.NewHandle(), int64(10*minute)
		batch := create(record.Set("a", "1"))
		batch.Ops[0].Expiry = record.Expiry{Idle: idle, Absolute: 48 * hour}
		if reply := want(t, s, h, batch, record.OK); reply.Now != began.UnixMilli() {
			t.Errorf("the clock says %d at %d", reply.Now, began.UnixMilli())
		}
		at(idle - 1)
		want(t, s, h, open(record.Get("a"), record.Touch()), record.OK) // touches
		at(2*idle - 2)
		want(t, s, h, open(record.Get("a")), record.OK)
		at(2*idle - 1)
		want(t, s, h, open(record.Get("a")), record.Absent)
		want(t, s, h, open(record.Set("a", "2")), record.Absent)
		at(2*idle + 1001)
		if n, bytes := s.Stats(); n != 0 || bytes != 0 {
			t.Errorf("%d records, %d bytes after expiry", n, bytes)
		}
		// An expired one is made anew before the sweeper comes.
		now := time.Since(began).Milliseconds()
		batch.Ops[0].Expiry = record.Expiry{Idle: 100, Absolute: hour}
		want(t, s, h, batch, record.OK)
		at(now + 100)
		want(t, s, h, create(), record.OK)
		consistent(t, s)
		// Shorter, then longer.
		now = time.Since(began).Milliseconds()
		want(t, s, h, open(record.SetExpiry(record.Expiry{Idle: 5000, Absolute: hour})), record.OK)
		at(now + 4999)
		want(t, s, h, open(record.Get("a")), record.OK)
		want(t, s, h, open(record.SetExpiry(record.Expiry{Idle: 400 * 24 * hour, Absolute: 400 * 24 * hour})), record.OK)
		at(now + 4999 + 400*24*hour - 1)
		want(t, s, h, open(record.Get("a")), record.OK)
		want(t, s, h, admin(record.Destroy(record.Logout, minute)), record.OK)
		at(now + 4999 + 400*24*hour - 1 + minute - 1)
		want(t, s, h, open(record.Get("a")), record.Ended)
		at(now + 4999 + 400*24*hour - 1 + minute)
		want(t, s, h, open(record.Get("a")), record.Absent)
		at(now + 4999 + 400*24*hour + minute + 1000)
		if n := records(s); n != 0 {
			t.Errorf("the tombstone is there")
		}
		consistent(t, s)
	})
}

// Deadlines from milliseconds to years are all met within a tick.
func TestReclaimedOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(nil)
		defer s.Close()
		began := s.now()
		rng := rand.New(rand.NewPCG(1, 2))
		var ends []int64
		for i := range 2000 {
			batch := create()
			life := 1 + rng.Int64N(1<<(8+i%20)) // up to 37 hours
			batch.Ops[0].Expiry = record.Expiry{Idle: life, Absolute: life}
			ends = append(ends, began+life)
			want(t, s, record.NewHandle(), batch, record.OK)
		}
		consistent(t, s)
		slices.Sort(ends)
		for s.now() < ends[len(ends)-1]+tickMS {
			time.Sleep(time.Duration(1+rng.Int64N(1<<(4+rng.IntN(20)))) * time.Millisecond)
			synctest.Wait()
			now := s.now()
			alive, _ := slices.BinarySearch(ends, now+1)
			late, _ := slices.BinarySearch(ends, now-tickMS+1)
			if n := records(s); n < len(ends)-alive || n > len(ends)-late {
				t.Fatalf("%d records after %d ms, want %d to %d", n, now-began, len(ends)-alive, len(ends)-late)
			}
		}
		consistent(t, s)
	})
}

// The last level of the wheel, and a sweeper that was held up.
func TestWheel(t *testing.T) {
	const day = 24 * hour
	s := new(shard[int])
	s.places = map[int]uint32{}
	var all shared
	rng := rand.New(rand.NewPCG(3, 4))
	now, key, deadlines := int64(1_700_000_000_000), 0, map[int]int64{}
	s.tick = now / tickMS
	for range 3000 {
		for range rng.IntN(4) {
			life := 1 + rng.Int64N([]int64{minute, hour, 5 * day, 3650 * day}[rng.IntN(4)])
			deadlines[key] = now + life
			s.add(key, "", now+life)
			key++
		}
		all.used.Store(int64(s.count) * cost(0))
		now += rng.Int64N([]int64{minute, hour, day, 300 * day}[rng.IntN(4)])
		s.advance(&all, now)
		for key, deadline := range deadlines {
			if deadline <= now-tickMS && s.find(key) != 0 {
				t.Fatalf("%d ms late", now-deadline)
			}
			if deadline > now && s.find(key) == 0 {
				t.Fatalf("%d ms early", deadline-now)
			}
			if deadline <= now-tickMS {
				delete(deadlines, key)
			}
		}
		s.rebuild()
		if n := checkShard(t, s); n != all.used.Load() {
			t.Fatalf("%d bytes counted, %d are used", all.used.Load(), n)
		}
	}
}

// A model with every kind of change, in a single shard.
func TestAgainstModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(nil)
		defer s.Close()
		rng := rand.New(rand.NewPCG(5, 6))
		model := map[record.Handle]*record.Record{}
		handles := make([]record.Handle, 3000)
		for i := range handles {
			handles[i] = record.NewHandle()
			handles[i][0] = 7
		}
		for round := range 30_000 {
			i := rng.IntN(len(handles))
			if round/10_000 == 1 { // fewer, so that the table shrinks
				i %= 50
			}
			h := handles[i]
			life := 1 + rng.Int64N(300_000)
			e := record.Expiry{Idle: life, Absolute: 10 * life}
			b := admin([]record.Op{record.Create(secret, e), record.Set("a", strings.Repeat("1", rng.IntN(200))), record.SetExpiry(e),
				record.Touch(), record.Destroy(record.Logout, life), record.Get("a"), record.Pop("a")}[rng.IntN(7)])
			if model[h] == nil {
				model[h] = new(record.Record)
			}
			expected, _ := model[h].Apply(b, s.now())
			got := apply(t, s, h, b)
			if got.Status != expected.Status || got.Revision != expected.Revision || !slices.Equal(got.Values, expected.Values) || got.Now != expected.Now {
				t.Fatalf("answered %+v, want %+v", got, expected)
			}
			if rng.IntN(10) == 0 {
				time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
			}
			if round%1000 == 0 {
				synctest.Wait()
				consistent(t, s)
			}
		}
	})
}

// The memory of a spike is given back, of slab and map as well as of the texts.
func TestMassExpiryReturnsMemory(t *testing.T) {
	const sessions = 100_000
	before := heap()
	s := newStore(t, nil)
	stay := fill(t, s, 100, hour)
	fill(t, s, sessions, 4000)
	full := heap()
	deadline := time.Now().Add(time.Minute)
	for records(s) > len(stay) {
		if time.Now().After(deadline) {
			t.Fatalf("%d records are left", records(s))
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.sweeping.Lock() // the rebuild that follows the last expiry has ended
	after := heap()
	s.sweeping.Unlock()
	// An empty store takes 400 KB.
	if grown, left := int64(full-before), int64(after-before); left > grown/8 && left > 3<<20 {
		t.Errorf("%d bytes of %d are left", left, grown)
	}
	for _, h := range stay {
		want(t, s, h, open(record.Get("theme")), record.OK)
	}
	consistent(t, s)
}

// Reads and writes go on while a shard is swept and rebuilt.
func TestSweepUnderLoad(t *testing.T) {
	s := newStore(t, nil)
	stay := fill(t, s, 500, hour)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			batch := create(smallFields...)
			batch.Ops[0].Expiry.Idle = 300
			for i := worker; !stop.Load(); i++ {
				want(t, s, stay[i%len(stay)], open(record.Add("visits", 1), record.Get("theme")), record.OK)
				want(t, s, record.NewHandle(), batch, record.OK)
			}
		}()
	}
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		s.makeRoom()
	}
	stop.Store(true)
	wg.Wait()
	time.Sleep(310 * time.Millisecond)
	s.makeRoom()
	if n := records(s); n != len(stay) {
		t.Errorf("%d records, want %d", n, len(stay))
	}
	consistent(t, s)
}

func TestCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity = 100_000
		s := New(&Options{MaxBytes: capacity})
		defer s.Close()
		ctx := context.Background()
		var handles []record.Handle
		batch := create(record.Set("a", `"`+strings.Repeat("x", 300)+`"`))
		batch.Ops[0].Expiry.Idle = 10 * minute
		for {
			h := record.NewHandle()
			if _, err := s.Apply(ctx, h, batch); err != nil {
				if !errors.Is(err, record.ErrFull) {
					t.Fatal(err)
				}
				want(t, s, h, open(record.Get("a")), record.Absent) // not executed
				break
			}
			handles = append(handles, h)
		}
		if _, bytes := s.Stats(); bytes > capacity || bytes < capacity-1000 {
			t.Errorf("full with %d bytes", bytes)
		}
		for i := 0; ; i++ { // fill what is left
			if _, err := s.Apply(ctx, handles[0], open(record.Set("b"+strconv.Itoa(i), "1"))); err != nil {
				break
			}
		}
		grow := open(record.Set("b", `"`+strings.Repeat("x", 40)+`"`))
		if _, err := s.Apply(ctx, handles[1], grow); !errors.Is(err, record.ErrFull) {
			t.Errorf("grown: %v", err)
		}
		if _, err := s.ApplyIndex(ctx, "ann", &record.IndexStep{Kind: record.Enlist, Max: 1, Lifetime: hour}); !errors.Is(err, record.ErrFull) {
			t.Errorf("listed: %v", err)
		}
		if reply, err := s.ApplyIndex(ctx, "ann", &record.IndexStep{Kind: record.Block, Duration: hour}); err != nil || reply.BlockedUntil == 0 {
			t.Errorf("blocked: %+v, %v", reply, err)
		}
		if reply := want(t, s, handles[1], open(record.GetAll()), record.OK); len(reply.Fields) != 1 || reply.Revision != 1 {
			t.Errorf("a refused batch left %+v", reply)
		}
		// Reading, touching, replacing, shrinking and destroying go on.
		time.Sleep(2 * time.Minute)
		want(t, s, handles[1], open(record.Get("a"), record.Touch()), record.OK)
		want(t, s, handles[1], open(record.Set("a", `"`+strings.Repeat("y", 300)+`"`)), record.OK)
		want(t, s, record.NewHandle(), admin(record.Destroy(record.Revoked, minute)), record.OK)
		want(t, s, handles[2], open(record.Set("a", "1")), record.OK)
		want(t, s, handles[3], open(record.Destroy(record.Logout, minute)), record.OK)
		want(t, s, handles[1], grow, record.OK) // there is room again
		for {
			if _, err := s.Apply(ctx, record.NewHandle(), batch); err != nil {
				break
			}
		}
		// The expired are reclaimed first, whatever the sweeper does.
		time.Sleep(8*time.Minute + 100*time.Millisecond)
		for range len(handles) - 10 {
			want(t, s, record.NewHandle(), batch, record.OK)
		}
		synctest.Wait()
		consistent(t, s)
	})
}

func TestContext(t *testing.T) {
	s := newStore(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	h := record.NewHandle()
	if _, err := s.Apply(ctx, h, create()); !errors.Is(err, record.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := s.ApplyIndex(ctx, "ann", &record.IndexStep{Kind: record.List}); !errors.Is(err, record.ErrUnavailable) {
		t.Error(err)
	}
	want(t, s, h, open(record.Get("a")), record.Absent)
}

func TestClose(t *testing.T) {
	s := New(nil)
	handles := fill(t, s, 1000, hour)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			batch := []*record.Batch{open(record.Get("theme")), open(record.Add("visits", 1)), create(), open(record.Touch())}[worker]
			for i := 0; ; i++ {
				reply, err := s.Apply(context.Background(), handles[i%len(handles)], batch)
				if errors.Is(err, record.ErrUnavailable) {
					return
				}
				if err != nil || reply.Status != record.OK && reply.Status != record.Exists {
					t.Errorf("%q, %v", reply.Status, err)
					return
				}
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.ApplyIndex(context.Background(), "ann", &record.IndexStep{Kind: record.List}); !errors.Is(err, record.ErrUnavailable) {
		t.Error(err)
	}
	wg.Wait()
	if n, bytes := s.Stats(); n != 0 || bytes != 0 {
		t.Errorf("%d records, %d bytes after Close", n, bytes)
	}
}

func TestCounter(t *testing.T) {
	const workers, each = 64, 500
	s := newStore(t, nil)
	h := record.NewHandle()
	want(t, s, h, create(), record.OK)
	seen := make([][]string, workers)
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			last := int64(0)
			own := record.Add("own"+strconv.Itoa(worker), 1)
			for range each {
				reply := apply(t, s, h, open(record.Add("n", 1), own))
				seen[worker] = append(seen[worker], reply.Values[0].Text)
				n, _ := record.ParseInt(reply.Values[0].Text)
				read := apply(t, s, h, open(record.Get("n")))
				later, _ := record.ParseInt(read.Values[0].Text)
				if n <= last || later < n {
					t.Errorf("%d, then %d, then read %d", last, n, later)
				}
				last = later
			}
		}()
	}
	wg.Wait()
	all := slices.Concat(seen...)
	slices.Sort(all)
	if len(slices.Compact(all)) != workers*each {
		t.Error("two increments had one answer")
	}
	reply := want(t, s, h, open(record.GetAll()), record.OK)
	for _, f := range reply.Fields {
		if wanted := map[bool]int{true: workers * each, false: each}[f.Name == "n"]; f.Text != strconv.Itoa(wanted) {
			t.Errorf("%s is %s, want %d", f.Name, f.Text, wanted)
		}
	}
	if reply.Revision != workers*each+1 {
		t.Errorf("revision %d", reply.Revision)
	}
}

func TestDestroyAgainstWriters(t *testing.T) {
	const writers = 16
	s := newStore(t, nil)
	for range 300 {
		h := record.NewHandle()
		want(t, s, h, create(), record.OK)
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for range writers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				<-begin
				ended := false
				for range 10 {
					switch reply := apply(t, s, h, open(record.Add("n", 1))); {
					case reply.Status == record.Ended:
						ended = true
					case reply.Status != record.OK || ended:
						t.Errorf("status %q, ended before: %t", reply.Status, ended)
					}
				}
			}()
		}
		var won atomic.Int32
		for range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				<-begin
				if apply(t, s, h, open(record.Destroy(record.Logout, minute))).Status == record.OK {
					won.Add(1)
				}
			}()
		}
		close(begin)
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d destroyed it", won.Load())
		}
		want(t, s, h, open(record.Get("n")), record.Ended)
	}
	consistent(t, s)
}

func TestIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(nil)
		defer s.Close()
		step := func(user string, step record.IndexStep) record.IndexReply {
			reply, err := s.ApplyIndex(context.Background(), user, &step)
			if err != nil {
				t.Fatal(err)
			}
			return reply
		}
		h := record.NewHandle()
		step("ann", record.IndexStep{Kind: record.Enlist, Handle: h, Max: 3, Lifetime: 5000})
		if reply := step("ann", record.IndexStep{Kind: record.Confirm, Handle: h}); reply.Status != record.IndexOK || len(reply.Entries) != 0 {
			t.Errorf("%+v", reply)
		}
		if reply := step("ann", record.IndexStep{Kind: record.List}); len(reply.Entries) != 1 || reply.Entries[0].State != record.Active {
			t.Errorf("ann has %+v", reply)
		}
		if reply := step("bob", record.IndexStep{Kind: record.List}); len(reply.Entries) != 0 {
			t.Errorf("bob has %+v", reply)
		}
		step("ann", record.IndexStep{Kind: record.Unlist, Handles: []record.Handle{h}})
		if _, bytes := s.Stats(); bytes != 0 {
			t.Error("an empty index takes memory")
		}
		step("ann", record.IndexStep{Kind: record.Enlist, Handle: h, Max: 3, Lifetime: 5000})
		step("ann", record.IndexStep{Kind: record.Block, Duration: minute})
		time.Sleep(5 * time.Second)
		if reply := step("ann", record.IndexStep{Kind: record.List}); len(reply.Entries) != 0 || reply.BlockedUntil == 0 {
			t.Errorf("%+v", reply)
		}
		consistent(t, s)
		time.Sleep(57 * time.Second)
		synctest.Wait()
		if _, bytes := s.Stats(); bytes != 0 {
			t.Error("the index has not expired")
		}
		consistent(t, s)
	})
}

// 64 logins at once keep to the cap.
func TestIndexAtOnce(t *testing.T) {
	s := newStore(t, nil)
	var wg sync.WaitGroup
	for range 64 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := s.ApplyIndex(context.Background(), "ann",
				&record.IndexStep{Kind: record.Enlist, Handle: record.NewHandle(), Max: 3, Evict: true, Verified: true, Lifetime: hour})
			if err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	reply, _ := s.ApplyIndex(context.Background(), "ann", &record.IndexStep{Kind: record.List})
	counted := 0
	for _, e := range reply.Entries {
		if e.State != record.Doomed {
			counted++
		}
	}
	if counted != 3 || len(reply.Entries) != 64 {
		t.Errorf("%d of %d count", counted, len(reply.Entries))
	}
}

func ExampleNew() {
	store := New(nil)
	defer store.Close()
	h := record.NewHandle()
	reply, err := store.Apply(context.Background(), h, &record.Batch{Ops: []record.Op{
		record.Create(record.NewSecret(), record.Expiry{Idle: 30 * 60_000, Absolute: 24 * 60 * 60_000}),
		record.Add("visits", 1),
	}})
	fmt.Println(reply.Status, reply.Values[1].Text, err)
	// Output: ok 1 <nil>
}
