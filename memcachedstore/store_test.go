package memcachedstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/casstore"
	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/record"
)

func TestWritersOfOneSessionAreExact(t *testing.T) {
	_, url := several(t, 2)
	for _, processes := range []int{1, 4} {
		t.Run(fmt.Sprint(processes), func(t *testing.T) {
			const writers, each = 64, 200
			var stores []*Store
			for range processes {
				stores = append(stores, open(t, url, Options{}))
			}
			x := create(t, stores[0], hour)
			var group sync.WaitGroup
			start := time.Now()
			for i := range writers {
				group.Go(func() {
					for k := range each {
						b := &record.Batch{Ops: []record.Op{record.Add(fmt.Sprint("n", k%8), 1)}}
						if reply, err := stores[i%processes].Apply(context.Background(), x.handle, b); err != nil || reply.Status != record.OK {
							t.Errorf("%q, %v", reply.Status, err)
							return
						}
					}
				})
			}
			group.Wait()
			t.Logf("%d increments in %v", writers*each, time.Since(start).Round(time.Millisecond))
			for k := range 8 {
				if got, want := x.get(fmt.Sprint("n", k)), fmt.Sprint(writers*each/8); got != want {
					t.Errorf("the increments of n%d left %s, want %s", k, got, want)
				}
			}
		})
	}
}

// ask sends raw commands.
func ask(t testing.TB, server *memcachedtest.Server, commands string) string {
	t.Helper()
	answer, err := server.Ask(commands)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// What memcached takes for a time of day, or for ever, or for over at once, is none of
// them here.
func TestTimeToLive(t *testing.T) {
	server := memcachedtest.Start(t)
	s := open(t, server.URL(), Options{})
	const day = 24 * 3600 * 1000
	for _, life := range []int64{500, 10_000, 29 * day, 31 * day, 400 * day, record.MaxTimeout} {
		x := create(t, s, record.Expiry{Idle: life, Absolute: life}, record.Set("a", "1"))
		answer := ask(t, server, "mg "+x.key()+" t\r\n")
		var left int64
		if _, err := fmt.Sscanf(answer, "HD t%d", &left); err != nil {
			t.Fatalf("%d ms: %q", life, answer)
		}
		if left < life/1000 || left > life/1000+3 {
			t.Errorf("a session of %d ms is kept for %d s", life, left)
		}
	}
	for expires, want := range map[int64]int64{0: 2, 999: 2, 1000: 2, 1001: 2, 2000: 3, 1000 + maxRelative*1000: 1 + maxRelative + 2} {
		if got := timeToLive(expires, 1000); got != want {
			t.Errorf("what expires at %d ms is given %d s at 1000 ms, want %d", expires, got, want)
		}
	}
}

// An index without an entry goes, and a tombstone after its time.
func TestNothingIsKeptForEver(t *testing.T) {
	server := memcachedtest.Start(t)
	s := open(t, server.URL(), Options{})
	h := record.NewHandle()
	for _, step := range []record.IndexStep{{Kind: record.Refresh, Handle: h, Lifetime: 60_000}, {Kind: record.Unlist, Handles: []record.Handle{h}}} {
		if _, err := s.ApplyIndex(t.Context(), "ann", &step); err != nil {
			t.Fatal(err)
		}
	}
	x := create(t, s, hour)
	x.ok(record.Destroy(record.Logout, 1000))
	for end := time.Now().Add(longEnough); ; time.Sleep(50 * time.Millisecond) {
		if stats := ask(t, server, "stats\r\n"); strings.Contains(stats, "STAT curr_items 0\r\n") {
			break
		} else if time.Now().After(end) {
			t.Fatal(stats)
		}
		ask(t, server, "mg "+x.key()+"\r\nmg "+s.servers.key(casstore.Key{Kind: casstore.User, ID: string(sha("ann"))})+"\r\n") // memcached drops them when asked
	}
}

// A session that is too large for an item stays as it is: a set that is refused would
// have memcached drop it.
func TestTooLargeLeavesTheSession(t *testing.T) {
	server := memcachedtest.Start(t, "-I", "512k", "-m", "64")
	large := `"` + strings.Repeat("x", 200_000) + `"`
	for name, o := range map[string]Options{"told": {MaxItem: 512 << 10}, "not told": {}} {
		t.Run(name, func(t *testing.T) {
			x := create(t, open(t, server.URL(), o), hour, record.Set("a", large), record.Set("b", large))
			_, err := x.apply(record.Set("c", large))
			if !errors.Is(err, record.ErrTooLarge) || !errors.Is(err, record.ErrUnavailable) || strings.Contains(err.Error(), "xxx") {
				t.Errorf("%v", err)
			}
			if x.get("b") != large {
				t.Error("the session was changed")
			}
			x.ok(record.Set("c", "1"), record.Delete("b"))
		})
	}
}

// Out of memory, memcached drops other sessions: they are logged out, never mixed up, and
// it is counted.
func TestEviction(t *testing.T) {
	server := memcachedtest.Start(t, "-m", "8")
	s := open(t, server.URL(), Options{})
	if traits, err := s.Traits(t.Context()); err != nil || !traits.MayEvict {
		t.Fatalf("%+v, %v", traits, err)
	}
	if n, err := s.Evictions(t.Context()); err != nil || n != 0 {
		t.Errorf("%d evictions, %v", n, err)
	}
	const count = 3000
	var all []*session
	for i := range count {
		all = append(all, create(t, s, hour, record.Set("i", fmt.Sprint(i)), record.Set("fill", `"`+strings.Repeat("x", 8000)+`"`)))
	}
	lost := 0
	for i, x := range all {
		reply, err := x.apply(record.Get("i"))
		switch {
		case err != nil:
			t.Fatal(err)
		case reply.Status == record.Absent:
			lost++
			if reply, err := x.apply(record.Set("i", "1")); err != nil || reply.Status != record.Absent {
				t.Fatalf("a write brought the session back: %q, %v", reply.Status, err)
			}
		case reply.Status != record.OK || reply.Values[0].Text != fmt.Sprint(i):
			t.Fatalf("session %d answered %q, %+v", i, reply.Status, reply.Values)
		}
	}
	n, err := s.Evictions(t.Context())
	if err != nil || n == 0 || lost == 0 || lost == count {
		t.Errorf("%d of %d are lost, %d evictions, %v", lost, count, n, err)
	}
}

// One that vanishes between Read and Swap is gone; it is never set anew.
func TestGoneIsNeverSet(t *testing.T) {
	server := memcachedtest.Start(t)
	c, err := parse(server.URL(), &Options{Timeout: longEnough})
	if err != nil {
		t.Fatal(err)
	}
	s := newServers(c)
	defer s.Close()
	key := casstore.Key{Kind: casstore.User, ID: "u"}
	now := time.Now().UnixMilli()
	value := casstore.Value{Data: []byte("1"), Expires: now + 60_000, Now: now}
	swap := func(old casstore.Cell, want casstore.Outcome) casstore.Cell {
		t.Helper()
		cell, outcome, err := s.Swap(t.Context(), key, old, value)
		if outcome != want || (err != nil) != (want >= casstore.Refused) {
			t.Errorf("outcome %d, %v; want %d", outcome, err, want)
		}
		return cell
	}
	read := func() casstore.Cell {
		t.Helper()
		cell, err := s.Read(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return cell
	}
	nothing := read()
	first := swap(nothing, casstore.Swapped)
	swap(nothing, casstore.Lost)
	if cell := read(); !cell.Found || cell.Version != first.Version || cell.Data != "1" {
		t.Errorf("read %+v, the swap told %+v", cell, first)
	}
	first.Found = true
	ask(t, server, "md "+s.key(key)+"\r\n")
	swap(first, casstore.Lost)
	if read().Found {
		t.Error("it was set where there was nothing")
	}
	// A server that has restarted gives the same CAS values again.
	nothing = read()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask(t, server, "ms "+s.key(key)+" 5 T100\r\nother\r\n")
	other := read()
	if other.Version != first.Version {
		t.Errorf("the CAS value is %d, want %d again for this test", other.Version, first.Version)
	}
	swap(first, casstore.Lost)
	swap(nothing, casstore.Lost)
	if got := read().Data; got != "other" {
		t.Errorf("it is %q now", got)
	}
	// One that expires in between.
	other.Found, other.Expires, value.Now = true, now+1, now
	time.Sleep(2 * time.Millisecond)
	swap(other, casstore.Lost)
	// Out of memory, or the like: not stored, and said so.
	value.Data = bytes.Repeat([]byte("x"), 2<<20)
	if _, outcome, err := s.Swap(t.Context(), key, read(), value); outcome != casstore.Refused || !errors.Is(err, record.ErrTooLarge) {
		t.Errorf("outcome %d, %v", outcome, err)
	}
}
