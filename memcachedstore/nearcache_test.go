package memcachedstore

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

// nearTTL is how long the near caches of these tests keep copies.
const nearTTL = 300 * time.Millisecond

// cached puts a near cache in front of a store of its own.
func cached(t testing.TB, url string) *nearcache.Cache {
	t.Helper()
	cache, err := nearcache.New(open(t, url, Options{}), &nearcache.Options{TTL: nearTTL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return cache
}

func TestNearCacheConformance(t *testing.T) {
	_, url := several(t, 3)
	storetest.Run(t, func(t *testing.T) record.Store { return cached(t, url) }, nil)
}

// Another process's writes are seen after the TTL at the latest, the process's own at once,
// and none is undone.
func TestNearCacheWithATTL(t *testing.T) {
	url := memcachedtest.Start(t).URL()
	other := open(t, url, Options{})
	cache := cached(t, url)
	h, secret := record.NewHandle(), record.NewSecret()
	access := record.Access{Mode: record.Open, Generation: 1, Secret: secret}
	apply := func(s record.Store, op record.Op) record.Reply {
		t.Helper()
		b := record.Batch{Access: access, Ops: []record.Op{op}}
		if op.Kind == record.OpCreate {
			b.Access = record.Access{}
		}
		reply, err := s.Apply(context.Background(), h, &b)
		if err != nil || reply.Status != record.OK {
			t.Fatalf("%s, %v", reply.Status, err)
		}
		return reply
	}
	apply(other, record.Create(secret, hour))
	hits := 0
	for i := range 10 {
		want := 2*i + 1
		apply(other, record.Add("n", 1))
		written := time.Now()
		for {
			begun := time.Since(written)
			reply := apply(cache, record.Get("n"))
			if reply.Cached {
				hits++
			}
			if reply.Values[0].Text == strconv.Itoa(want) {
				break
			}
			if begun > nearTTL {
				t.Fatalf("%q is read %s after %d was written", reply.Values[0].Text, begun, want)
			}
		}
		if got := apply(cache, record.Add("n", 1)).Values[0].Text; got != strconv.Itoa(want+1) {
			t.Fatalf("an own addition to %d gave %s", want, got)
		}
		if reply := apply(cache, record.Get("n")); reply.Values[0].Text != strconv.Itoa(want+1) || !reply.Cached {
			t.Fatalf("%+v after an own addition to %d, cached: %t", reply.Values, want, reply.Cached)
		}
	}
	if hits == 0 {
		t.Error("no hit")
	}
	destroy := record.Batch{Ops: []record.Op{record.Destroy(record.Logout, 60_000)}}
	if _, err := other.Apply(context.Background(), h, &destroy); err != nil {
		t.Fatal(err)
	}
	time.Sleep(nearTTL)
	read := record.Batch{Access: access, Ops: []record.Op{record.Get("n")}}
	if reply, err := cache.Apply(context.Background(), h, &read); err != nil || reply.Status != record.Ended {
		t.Errorf("after another's logout and the TTL: %s, %v", reply.Status, err)
	}
}
