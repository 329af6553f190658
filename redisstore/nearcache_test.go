package redisstore

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
	"github.com/pazzo-sessions/pazzo/storetest"
)

// maxStale is what the near caches of these tests promise.
const maxStale = 2 * time.Second

// way is a way in which a server tells of changes.
type way struct {
	name  string
	optIn bool
}

var ways = []way{{name: "BCAST"}, {name: "OPTIN", optIn: true}}

func eachWay(t *testing.T, test func(t *testing.T, w way)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { test(t, w) })
	}
}

// cached puts a near cache in front of a store of its own, and waits until it works.
func (w way) cached(t testing.TB, url string, timeout time.Duration) *nearcache.Cache {
	t.Helper()
	store, err := Open(context.Background(), url, &Options{Timeout: timeout, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if w.optIn {
		garble(store, "BCAST")
	}
	cache, err := nearcache.New(store, &nearcache.Options{MaxStale: maxStale})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	direct := &session{t: t, store: store, handle: record.NewHandle(), secret: record.NewSecret()}
	create := record.Batch{Ops: []record.Op{record.Create(direct.secret, hour)}}
	if _, err := store.Apply(context.Background(), direct.handle, &create); err != nil {
		t.Fatal(err)
	}
	near{direct, cache}.warm("none")
	if n := store.following.hold(); n != nil {
		defer n.release()
		if n.optIn() != w.optIn {
			t.Fatalf("OPTIN: %t", n.optIn())
		}
	}
	return cache
}

// near is a session as seen through a near cache.
type near struct {
	*session
	cache *nearcache.Cache
}

func (n near) read(name string) (text string, hit bool) {
	n.t.Helper()
	b := n.batch(record.Get(name))
	b.Access.Mode = record.Held
	reply, err := n.cache.Apply(context.Background(), n.handle, b)
	if err != nil || reply.Status != record.OK {
		n.t.Fatalf("a cached read: %s, %v", reply.Status, err)
	}
	return reply.Values[0].Text, reply.Cached
}

// warm reads until there is a hit.
func (n near) warm(name string) {
	n.t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, hit := n.read(name); hit {
			return
		}
		if time.Since(start) > 10*time.Second {
			n.t.Fatal("the near cache does not work")
		}
	}
}

// becomes waits until the cached field has a value, and returns how long that took.
func (n near) becomes(name, want string, within time.Duration) time.Duration {
	n.t.Helper()
	for start := time.Now(); ; time.Sleep(100 * time.Microsecond) {
		text, _ := n.read(name)
		if text == want {
			return time.Since(start)
		}
		if time.Since(start) > within {
			n.t.Fatalf("the cached field is %s still after %s, not %s", text, within, want)
		}
	}
}

func TestNearCacheConformance(t *testing.T) {
	server := redistest.Start(t)
	eachWay(t, func(t *testing.T, w way) {
		storetest.Run(t, func(t *testing.T) record.Store { return w.cached(t, server.URL(), longEnough) }, nil)
	})
}

func TestNearCacheSeesOthersWrites(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		server := redistest.Start(t)
		other := create(t, open(t, server.URL(), longEnough), record.Set("n", "0"))
		n := near{other, w.cached(t, server.URL(), longEnough)}
		n.warm("n")
		var slowest time.Duration
		for i := range 200 {
			want := strconv.Itoa(i + 1)
			other.ok(record.Set("n", want))
			slowest = max(slowest, n.becomes("n", want, maxStale))
			n.warm("n")
		}
		t.Logf("another's write was seen after %s at most", slowest)
		if hits := n.cache.Stats().Hits; hits < 200 {
			t.Errorf("%d hits", hits)
		}
	})
}

// Read your writes: every read that begins after an own write has returned sees it, and
// nobody reads an older state after a newer one.
func TestNearCacheReadsItsWrites(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		server := redistest.Start(t)
		other := create(t, open(t, server.URL(), longEnough), record.Set("n", "0"))
		n := near{other, w.cached(t, server.URL(), longEnough)}
		n.warm("n")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				seen := int64(0)
				for range 500 {
					b := n.batch(record.Add("n", 1))
					reply, err := n.cache.Apply(context.Background(), n.handle, b)
					if err != nil || reply.Status != record.OK {
						t.Errorf("add: %s, %v", reply.Status, err)
						return
					}
					sum, _ := strconv.ParseInt(reply.Values[0].Text, 10, 64)
					text, _ := n.read("n")
					read, _ := strconv.ParseInt(text, 10, 64)
					if read < sum || read < seen {
						t.Errorf("read %d after writing %d and seeing %d", read, sum, seen)
						return
					}
					seen = read
				}
			})
		}
		wg.Go(func() { // another process
			for range 200 {
				other.ok(record.Add("n", 1))
			}
		})
		wg.Wait()
		n.becomes("n", "4200", maxStale)
		stats := n.cache.Stats()
		t.Logf("%d hits, %d misses", stats.Hits, stats.Misses)
		if stats.Hits == 0 {
			t.Error("no hit")
		}
	})
}

// What is made of own writes was not read, so that a server which tells of what is read does
// not tell of the next change of it.
func TestNearCacheSeesOthersWritesAfterOwn(t *testing.T) {
	server := redistest.Start(t)
	eachWay(t, func(t *testing.T, w way) {
		cache := w.cached(t, server.URL(), longEnough)
		other := &session{t: t, store: open(t, server.URL(), longEnough), handle: record.NewHandle(), secret: record.NewSecret()}
		n := near{other, cache}
		own := func(b *record.Batch) {
			t.Helper()
			if reply, err := cache.Apply(t.Context(), n.handle, b); err != nil || reply.Status != record.OK {
				t.Fatalf("an own write: %s, %v", reply.Status, err)
			}
		}
		own(&record.Batch{Ops: []record.Op{record.Create(other.secret, hour)}})
		for i := range 10 {
			if i > 0 {
				n.warm("n")
				own(n.batch(record.Set("n", "0")))
			}
			if _, hit := n.read("n"); !hit {
				t.Error("an own write is not taken over")
			}
			time.Sleep(time.Duration(i) * 5 * time.Millisecond)
			want := strconv.Itoa(i + 1)
			other.ok(record.Set("n", want))
			n.becomes("n", want, maxStale)
		}
	})
}

// Among many changes of other sessions, which are taken in together, the writes of others are
// seen all the same, and records come at once.
func TestNearCacheAmongManyChanges(t *testing.T) {
	server := redistest.Start(t)
	other := create(t, open(t, server.URL(), longEnough), record.Set("n", "0"))
	n := near{other, ways[0].cached(t, server.URL(), longEnough)}
	reading := followed(t, n.cache).reading
	const many = `for i = 1, 200 do
		redis.call('HSET', 'pazzo:{' .. string.sub(redis.sha1hex(tostring(i)), 1, 32) .. '}', 'n', '1')
	end`
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for ctx.Err() == nil {
			if _, err := server.Do(context.Background(), "EVAL", many, "0"); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	defer writer.Wait()
	defer cancel()
	dense := 0
	for i := range 100 {
		n.warm("n")
		if reading.dense.Load() {
			dense++
		}
		want := strconv.Itoa(i + 1)
		other.ok(record.Set("n", want))
		n.becomes("n", want, maxStale/2)
	}
	if dense == 0 {
		t.Error("there were never many changes")
	}
	cancel()
	writer.Wait()
	n.warm("n")
	other.ok(record.Set("n", "-1")) // one alone after many
	n.becomes("n", "-1", maxStale/2)
}

// followed returns the node that a near cache's store follows.
func followed(t *testing.T, cache *nearcache.Cache) *node {
	t.Helper()
	n := cache.Store.(*Store).following.hold()
	if n == nil {
		t.Fatal("there is no contact")
	}
	defer n.release()
	return n.list[0]
}

// A connection that falls silent must not serve anything older than the promise.
func TestNearCacheBehindABlackHole(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		server := redistest.Start(t)
		proxy := redistest.StartProxy(t, server.Addr())
		other := create(t, open(t, server.URL(), longEnough), record.Set("n", "0"))
		n := near{other, w.cached(t, proxy.URL(), longEnough)} // a heartbeat is waited for so long
		n.warm("n")
		proxy.BlackHole(redistest.Down)
		other.ok(record.Set("n", "1"))
		written := time.Now()
		hits := 0
		for time.Since(written) < 2*maxStale {
			b := n.batch(record.Get("n"))
			begun := time.Since(written)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			reply, err := n.cache.Apply(ctx, n.handle, b)
			cancel()
			if err != nil {
				continue // the store is away
			}
			hits++
			if begun > maxStale && reply.Values[0].Text == "0" {
				t.Fatalf("the old value %s after the write", begun)
			}
		}
		if hits == 0 {
			t.Error("no hit at all, so that nothing was tested")
		}
		proxy.Heal()
		n.becomes("n", "1", 10*time.Second)
		n.warm("n")
	})
}

func TestNearCacheAfterACut(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		server := redistest.Start(t)
		proxy := redistest.StartProxy(t, server.Addr())
		other := create(t, open(t, server.URL(), longEnough), record.Set("n", "0"))
		n := near{other, w.cached(t, proxy.URL(), time.Second)}
		for i := range 10 {
			n.warm("n")
			proxy.Refuse(true)
			proxy.Cut()
			want := strconv.Itoa(i + 1)
			other.ok(record.Set("n", want))
			time.Sleep(20 * time.Millisecond)
			proxy.Refuse(false)
			for { // while there is no connection, a read is an error
				reply, err := n.cache.Apply(context.Background(), n.handle, n.batch(record.Get("n")))
				if err == nil {
					if got := reply.Values[0].Text; got != want {
						t.Fatalf("after the cut: %s, cached %t", got, reply.Cached)
					}
					break
				}
			}
		}
	})
}

// What is read before a change, and arrives after the word of it, is not kept.
func TestNearCacheKeepsNoStaleLoad(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		server := redistest.Start(t)
		proxy := redistest.StartProxy(t, server.Addr())
		other := create(t, open(t, server.URL(), longEnough), record.Set("n", "0"))
		n := near{other, w.cached(t, proxy.URL(), longEnough)}
		n.warm("n")
		for i := range 20 {
			other.ok(record.Set("n", strconv.Itoa(2*i)))
			proxy.Delay(0, 20*time.Millisecond)
			done := make(chan struct{})
			go func() {
				defer close(done)
				n.read("n")
			}()
			time.Sleep(10 * time.Millisecond)
			want := strconv.Itoa(2*i + 1)
			other.ok(record.Set("n", want))
			<-done
			proxy.Delay(0, 0)
			n.becomes("n", want, maxStale)
		}
	})
}

func TestNearCacheFlush(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		server := redistest.Start(t)
		n := near{create(t, open(t, server.URL(), longEnough), record.Set("n", "0")), w.cached(t, server.URL(), longEnough)}
		n.warm("n")
		ask(t, server, "FLUSHALL")
		for start := time.Now(); ; time.Sleep(time.Millisecond) {
			reply, err := n.cache.Apply(context.Background(), n.handle, n.batch(record.Get("n")))
			if err != nil {
				t.Fatal(err)
			}
			if reply.Status == record.Absent {
				return
			}
			if time.Since(start) > time.Second {
				t.Fatal("a session that was flushed away is still served")
			}
		}
	})
}

// A slot takes its sessions to another primary, which must be followed then.
func TestNearCacheWhileSlotsMove(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		cluster := redistest.StartCluster(t)
		other := create(t, open(t, cluster.URL(), longEnough), record.Set("n", "0"))
		n := near{other, w.cached(t, cluster.URL(), longEnough)}
		slot, err := cluster.Slot(t.Context(), protocol.SessionKey(DefaultPrefix, n.handle))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			n.warm("n")
			if err := cluster.MoveSlot(t.Context(), slot, i%3); err != nil {
				t.Fatal(err)
			}
			for j := range 20 {
				want := strconv.Itoa(100*i + j)
				other.ok(record.Set("n", want))
				n.becomes("n", want, maxStale)
			}
		}
	})
}

// What a demoted primary told nobody of any more is not missed for longer than promised.
func TestNearCacheAfterAFailover(t *testing.T) {
	servers := redistest.StartSentinel(t)
	other := create(t, open(t, servers.URL(), time.Second), record.Set("n", "0"))
	n := near{other, ways[0].cached(t, servers.URL(), time.Second)}
	n.warm("n")
	time.Sleep(200 * time.Millisecond) // for the replicas
	if err := servers.Failover(t.Context()); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; {
		if _, err := other.apply(record.Set("n", "1")); err == nil {
			break
		} else if time.Since(start) > 10*time.Second {
			t.Fatal(err)
		}
	}
	written := time.Now()
	for seen := ""; time.Since(written) < 2*maxStale || seen != "1"; {
		begun := time.Since(written)
		reply, err := n.cache.Apply(context.Background(), n.handle, n.batch(record.Get("n")))
		if err != nil {
			continue
		}
		seen = reply.Values[0].Text
		if begun > maxStale && seen != "1" {
			t.Fatalf("the old value %s after the write", begun)
		}
		if begun > 10*time.Second {
			t.Fatal("the new value is not seen")
		}
	}
	n.warm("n")
}
