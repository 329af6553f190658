package agent

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
	"github.com/pazzo-sessions/pazzo/storetest"
)

const maxStale = 2 * time.Second

// set changes a field of a session.
func (w *wire) set(k token, name, text string) {
	w.t.Helper()
	if reply := w.apply(k, &record.Batch{Access: k.access(), Ops: []record.Op{record.Set(name, text)}}); reply.Status != record.OK {
		w.t.Fatal(reply.Status)
	}
}

// tracking returns a connection that is told of changes.
func (a *running) tracking() *wire {
	a.t.Helper()
	w := a.dial()
	w.do("HELLO", "3")
	w.want("+OK\r\n", "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "pazzo:{")
	return w
}

func invalidate(keys ...string) string {
	text := ">2\r\n" + bulk("invalidate") + "*" + strconv.Itoa(len(keys)) + "\r\n"
	for _, key := range keys {
		text += bulk(key)
	}
	return text
}

func TestTrackingIsRefused(t *testing.T) {
	w := start(t, testConfig(t)).dial()
	w.do("HELLO", "3")
	for _, c := range []struct{ reply, options string }{
		{"-ERR syntax error\r\n", "MAYBE"},
		{"-ERR pazzo: this agent tells of changes with BCAST PREFIX pazzo:{ only; switch the client's cache off\r\n", "ON"},
		{"-ERR pazzo: this agent tells of changes with BCAST PREFIX pazzo:{ only; switch the client's cache off\r\n", "ON BCAST"},
		{"-ERR pazzo: this agent tells of changes with BCAST and PREFIX only\r\n", "ON BCAST PREFIX pazzo: NOLOOP"},
		{"-ERR pazzo: this agent tells of changes with BCAST and PREFIX only\r\n", "ON OPTIN"},
		{"-ERR pazzo: a PREFIX must be that of all sessions, such as pazzo:{\r\n", "ON BCAST PREFIX other:"},
		{"-ERR pazzo: a PREFIX must be that of all sessions, such as pazzo:{\r\n", "ON BCAST PREFIX pazzo:{00"},
		{"-ERR pazzo: a PREFIX must be that of all sessions, such as pazzo:{\r\n", "ON BCAST PREFIX"},
		{"+OK\r\n", "ON bcast prefix pazzo:"},
		{"+OK\r\n", "ON BCAST PREFIX pazzo:{"},
		{"+OK\r\n", "OFF"},
	} {
		w.want(c.reply, append([]string{"CLIENT", "TRACKING"}, strings.Fields(c.options)...)...)
	}
	for store, want := range map[string]string{
		"pebble://" + t.TempDir():    "+OK\r\n",
		memcachedtest.Start(t).URL(): "-ERR pazzo: the store of this agent cannot tell of changes; switch the client's cache off\r\n",
	} {
		config := testConfig(t)
		config.Store = store
		w := start(t, config).dial()
		w.do("HELLO", "3")
		w.want(want, "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "pazzo:{")
	}
}

// Every change is pushed, until the client wants no more.
func TestTracking(t *testing.T) {
	a := start(t, testConfig(t))
	writer := a.dial()
	k := writer.session(record.Set("n", "0"))
	key := k.key()
	for _, c := range []struct {
		what string
		off  []string
	}{
		{"tracking off", []string{"CLIENT", "TRACKING", "OFF"}},
		{"another database", []string{"SELECT", "1"}},
		{"RESP2", []string{"HELLO", "2"}},
		{"reset", []string{"RESET"}},
	} {
		w := a.tracking()
		for i := range 20 {
			writer.set(k, "n", strconv.Itoa(i))
			if got := w.read(); got != invalidate(key) {
				t.Fatalf("%q", got)
			}
		}
		w.do(c.off...)
		writer.set(k, "n", "0")
		if got := w.do("PING"); got != "+PONG\r\n" {
			t.Errorf("after %s: %q", c.what, got)
		}
	}
	w := a.tracking()
	w.send(frame(evalsha(k, &record.Batch{Access: k.access(), Ops: []record.Op{record.Set("n", "1")}})...))
	if one, two := w.read(), w.read(); one != invalidate(key) && two != invalidate(key) {
		t.Errorf("an own change is not told of: %q, %q", one, two)
	}
}

// An answer to the sign of life proves that all is told of that happened before.
func TestTrackingTellsBeforeItAnswers(t *testing.T) {
	a := start(t, testConfig(t))
	writer, w := a.dial(), a.tracking()
	k := writer.session(record.Set("n", "0"))
	key := k.key()
	w.do("PING")
	for i := range 500 {
		writer.set(k, "n", strconv.Itoa(i))
		w.send(frame("DEL", "pazzo:none"))
		told := false
		for {
			got := w.read()
			if got == ":0\r\n" {
				break
			}
			told = told || got == invalidate(key)
		}
		if !told && i > 0 {
			t.Fatalf("change %d is not told of before the answer", i)
		}
	}
}

// A client that takes no pushes costs a bounded amount of memory, and the whole of its
// copies.
func TestTrackingIsBounded(t *testing.T) {
	p := &pushes{tracker: newTracker("pazzo:", nil), wake: make(chan struct{}, 1)}
	for range maxPushes + 10 {
		p.changed(record.NewHandle())
	}
	if got := string(p.take()); got != ">2\r\n"+bulk("invalidate")+"_\r\n" {
		t.Errorf("%.60q", got)
	}
	if cap(p.handles) > keptOps {
		t.Error("the room for all of them is kept")
	}
	if got := p.take(); got != nil {
		t.Errorf("%q twice", got)
	}
}

// cachedOver puts a near cache in front of an agent's client.
func cachedOver(t testing.TB, a *running) *nearcache.Cache {
	t.Helper()
	store, err := redisstore.Open(t.Context(), "unix://"+a.socket, &redisstore.Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := nearcache.New(store, &nearcache.Options{MaxStale: maxStale})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return cache
}

// agents are all kinds of agents that a client's near cache, or none, can be in front of.
func agents(t *testing.T, run func(t *testing.T, a *running)) {
	t.Run("memory", func(t *testing.T) { run(t, start(t, testConfig(t))) })
	for name, parameter := range map[string]string{"redis": "", "redis with a near cache": "&nearcache=1"} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t)
			c.Store = redistest.Start(t).URL() + "?timeout=10s" + parameter
			run(t, start(t, c))
		})
	}
}

func TestConformanceOfNearCachesOverAgents(t *testing.T) {
	agents(t, func(t *testing.T, a *running) {
		storetest.Run(t, func(t *testing.T) record.Store { return cachedOver(t, a) }, nil)
	})
}

func TestConformanceWithANearCache(t *testing.T) {
	c := testConfig(t)
	c.Store = redistest.Start(t).URL() + "?timeout=10s&nearcache=1"
	a := start(t, c)
	storetest.Run(t, func(t *testing.T) record.Store { return openStore(t, a) }, nil)
}

// visitor is a session as one client sees it.
type visitor struct {
	t testing.TB
	token
	store record.Store
}

func (v visitor) do(ops ...record.Op) record.Reply {
	v.t.Helper()
	reply, err := v.store.Apply(context.Background(), v.handle, &record.Batch{Access: v.access(), Ops: ops})
	if err != nil || reply.Status != record.OK {
		v.t.Fatal(reply.Status, err)
	}
	return reply
}

func (v visitor) read(name string) string { v.t.Helper(); return v.do(record.Get(name)).Values[0].Text }

// becomes waits until a field has a value.
func (v visitor) becomes(name, want string) {
	v.t.Helper()
	for start := time.Now(); v.read(name) != want; {
		if time.Since(start) > maxStale {
			v.t.Fatalf("%s is not %s after %s", name, want, maxStale)
		}
	}
}

// Changes by one client are seen by the others, however many caches are in between, and
// most reads are answered by a copy.
func TestNearCachesSeeOthersWrites(t *testing.T) {
	agents(t, func(t *testing.T, a *running) {
		writer := a.dial()
		k := writer.session(record.Set("n", "0"))
		cache := cachedOver(t, a)
		v := visitor{t, k, cache}
		for i := range 100 {
			want := strconv.Itoa(i + 1)
			writer.set(k, "n", want)
			v.becomes("n", want)
			for start := time.Now(); !v.do(record.Get("n")).Cached; {
				if time.Since(start) > patience {
					t.Fatal("the near cache does not work")
				}
			}
		}
	})
}

// The agent's own cache: what one client of the agent has written, all read at once; what
// others have written, who are not its clients, they read within milliseconds; and most
// reads do not reach the server.
func TestAgentsNearCache(t *testing.T) {
	server := redistest.Start(t)
	c := testConfig(t)
	c.Store = server.URL() + "?timeout=10s&nearcache=1"
	a := start(t, c)
	one, two := openStore(t, a), openStore(t, a)
	k := a.dial().session(record.Set("n", "0"))
	writer, reader := visitor{t, k, one}, visitor{t, k, two}
	for i := range 300 {
		want := strconv.Itoa(i)
		writer.do(record.Set("n", want))
		if got := reader.read("n"); got != want {
			t.Fatalf("%s was written, then %s read", want, got)
		}
	}

	direct, err := redisstore.Open(t.Context(), server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { direct.Close() })
	other := visitor{t, k, direct}
	space, err := a.spaces.get(t.Context(), 0, "pazzo:")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		want := strconv.Itoa(1000 + i)
		other.do(record.Set("n", want))
		reply, err := two.Apply(t.Context(), k.handle, &record.Batch{Access: k.access(), Ops: []record.Op{record.Get("n")}, Fresh: true})
		if err != nil || reply.Values[0].Text != want {
			t.Fatalf("a fresh read: %v, %v, not %s", reply.Values, err, want)
		}
		reader.becomes("n", want)
		before := space.cache.Stats().Hits
		for start := time.Now(); space.cache.Stats().Hits == before; reader.read("n") {
			if time.Since(start) > patience {
				t.Fatal("the near cache does not work")
			}
		}
	}
	if info := a.dial().do("PAZZO.INFO"); !strings.Contains(info, "cache hits") {
		t.Errorf("%q", info)
	}
	all := reader.do(record.GetAll(), record.GetIdentity())
	if len(all.Fields) != 1 || all.Fields[0].Text != "1099" {
		t.Errorf("%v", all.Fields)
	}
}

// While the agent has no contact with its server, nobody reads what is older than was
// promised, nor an empty session; afterwards all is as before.
func TestNearCachesWithoutContact(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr())
	c := testConfig(t)
	c.Store = proxy.URL() + "?timeout=300ms&nearcache=1"
	a := start(t, c)
	k := a.dial().session(record.Set("n", "0"))
	near, plain := visitor{t, k, cachedOver(t, a)}, visitor{t, k, openStore(t, a)}
	near.becomes("n", "0")
	plain.becomes("n", "0")

	direct, err := redisstore.Open(t.Context(), server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { direct.Close() })
	proxy.BlackHole(redistest.Up | redistest.Down)
	visitor{t, k, direct}.do(record.Set("n", "1"))
	changed := time.Now()
	var wg sync.WaitGroup
	for _, v := range []visitor{near, plain} {
		wg.Go(func() {
			for time.Since(changed) < 2*maxStale {
				begun := time.Now()
				reply, err := v.store.Apply(context.Background(), k.handle, &record.Batch{Access: k.access(), Ops: []record.Op{record.Get("n")}})
				if err == nil && (reply.Status != record.OK || reply.Values[0].Text != "1" && begun.Sub(changed) > maxStale) {
					t.Errorf("%s after the change: %s %v", begun.Sub(changed), reply.Status, reply.Values)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Wait()
	tracked := a.tracking()
	if got := tracked.do("DEL", "pazzo:none"); !strings.HasPrefix(got, "-UNAVAILABLE ") {
		t.Errorf("a sign of life: %q", got)
	}
	proxy.Heal()
	for _, v := range []visitor{near, plain} {
		eventually(t, "there is contact again", func() bool {
			reply, err := v.store.Apply(context.Background(), k.handle, &record.Batch{Access: k.access(), Ops: []record.Op{record.Get("n")}})
			return err == nil && reply.Values[0].Text == "1"
		})
	}
	eventually(t, "the cache works again", func() bool { return near.do(record.Get("n")).Cached })
}

// A client that keeps copies gets the whole record, from which it can tell whether an
// older token is good still.
func TestTrackedReadsShowThePreviousGeneration(t *testing.T) {
	agents(t, func(t *testing.T, a *running) {
		k := a.dial().session(record.Set("n", "1"), record.Describe("device"))
		cache := cachedOver(t, a)
		v := visitor{t, k, cache}
		v.do(record.Rotate(1, record.NewSecret(), 60_000))
		eventually(t, "the old token is good by the copy", func() bool { return v.do(record.Get("n")).Cached })
	})
}

// When the agent may have missed changes, its clients are told so, though they have not lost
// anything themselves.
func TestTrackingTellsOfLostContact(t *testing.T) {
	proxy := redistest.StartProxy(t, redistest.Start(t).Addr())
	c := testConfig(t)
	c.Store = proxy.URL() + "?timeout=10s"
	w := start(t, c).tracking()
	lost := ">2\r\n" + bulk("invalidate") + "_\r\n"
	for range 3 {
		w.send(frame("DEL", "pazzo:none"))
		for w.read() != ":0\r\n" { // there may be more of them for one cut
		}
		proxy.Cut()
		if got := w.read(); got != lost {
			t.Fatalf("%q", got)
		}
	}
}
