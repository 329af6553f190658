package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

func TestEveryKeyHasATTL(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL(), longEnough)
	next := record.NewSecret()
	batches := map[string][]record.Op{
		"set":          {record.Set("a", "1")},
		"remove":       {record.Pop("name")},
		"clear":        {record.Clear()},
		"refill":       {record.Clear(), record.Set("a", "1")},
		"touch":        {record.Touch()},
		"rotate":       {record.Rotate(1, next, 1000)},
		"renew":        {record.Renew(next)},
		"authenticate": {record.Authenticate("ann", next, 60_000)},
		"expiry":       {record.SetExpiry(record.Expiry{Idle: 5000, Absolute: 10_000})},
		"describe":     {record.Describe("phone")},
		"destroy":      {record.Destroy(record.Logout, 60_000)},
		"refused":      {record.Set("a", "1"), record.Add("name", 1)},
		"nothing":      {},
	}
	for name, ops := range batches {
		t.Run(name, func(t *testing.T) {
			x := create(t, s, record.Set("name", `"x"`))
			if _, err := x.apply(ops...); err != nil {
				t.Fatal(err)
			}
			if ttl := ask(t, server, "PTTL", protocol.SessionKey(DefaultPrefix, x.handle)).(int64); ttl <= 0 {
				t.Errorf("PTTL is %d after %s", ttl, name)
			}
		})
	}
	for _, step := range []record.IndexStep{
		{Kind: record.Enlist, Max: 3, Lifetime: 1000}, {Kind: record.Confirm}, {Kind: record.Refresh, Lifetime: 5000},
		{Kind: record.Block, Duration: 5000}, {Kind: record.Unblock}, {Kind: record.Block, Duration: 50},
	} {
		if _, err := s.ApplyIndex(context.Background(), "ann", &step); err != nil {
			t.Fatal(err)
		}
		if ttl := ask(t, server, "PTTL", protocol.IndexKey(DefaultPrefix, "ann")).(int64); ttl <= 0 {
			t.Errorf("PTTL is %d after index step %d", ttl, step.Kind)
		}
	}
}

func TestSessionStaysAListpack(t *testing.T) {
	server := redistest.Start(t)
	x := create(t, open(t, server.URL(), longEnough), record.Set("cart", "[1,2,3]"), record.Set("name", `"somebody"`))
	x.ok(record.Rotate(1, record.NewSecret(), 60_000))
	x.ok(record.Authenticate("somebody@example.org", x.secret, 0), record.Describe("Firefox on Linux"))
	if encoding := ask(t, server, "OBJECT", "ENCODING", protocol.SessionKey(DefaultPrefix, x.handle)); encoding != "listpack" {
		t.Errorf("the encoding is %v", encoding)
	}
}

func TestManyFieldsInOneBatch(t *testing.T) {
	x := create(t, open(t, redistest.Start(t).URL(), longEnough))
	const n = 2500
	var sets, pops []record.Op
	for i := range n {
		sets = append(sets, record.Set(fmt.Sprint("field", i), fmt.Sprint(i)))
		pops = append(pops, record.Pop(fmt.Sprint("field", i)))
	}
	b := x.batch(sets...)
	b.Limits.Fields = n
	if reply, err := x.store.Apply(context.Background(), x.handle, b); err != nil || reply.Status != record.OK {
		t.Fatal(reply.Status, err)
	}
	if got := x.ok(record.GetAll()).Fields; len(got) != n {
		t.Fatalf("%d fields of %d", len(got), n)
	}
	reply := x.ok(pops...)
	for i, v := range reply.Values {
		if v.Text != fmt.Sprint(i) {
			t.Fatalf("popped %q from field %d", v.Text, i)
		}
	}
	if got := x.ok(record.GetAll()).Fields; len(got) != 0 {
		t.Fatalf("%d fields are left", len(got))
	}
}

func TestUnknownLayoutIsLeftAlone(t *testing.T) {
	server := redistest.Start(t)
	x := create(t, open(t, server.URL(), longEnough), record.Set("a", "1"))
	key := protocol.SessionKey(DefaultPrefix, x.handle)
	ask(t, server, "HSET", key, "\x00m", "\x02something new")
	for _, ops := range [][]record.Op{
		{record.Get("a")}, {record.Set("a", "2")}, {record.GetAll()}, {record.Touch()}, {record.Destroy(record.Logout, 1000)},
	} {
		if _, err := x.apply(ops...); !errors.Is(err, record.ErrLayout) {
			t.Errorf("operation %d: %v", ops[0].Kind, err)
		}
	}
	b := record.Batch{Ops: []record.Op{record.Create(x.secret, hour)}}
	if _, err := x.store.Apply(context.Background(), x.handle, &b); !errors.Is(err, record.ErrLayout) {
		t.Errorf("create: %v", err)
	}
	if got := ask(t, server, "HGET", key, "a"); got != "1" {
		t.Errorf("the field is now %v", got)
	}
}

func TestForeignDataIsLeftAlone(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL(), longEnough)
	h := record.NewHandle()
	key := protocol.SessionKey(DefaultPrefix, h)
	b := record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), hour)}}
	for _, plant := range [][]string{
		{"SET", key, "text"}, {"HSET", key, "field", "1"}, {"HSET", key, "\x00m", "\x01"}, {"HSET", key, "\x00r", "1"},
	} {
		ask(t, server, "DEL", key)
		ask(t, server, plant...)
		if _, err := s.Apply(context.Background(), h, &b); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("%q: %v", plant[0:1], err)
		}
		if ask(t, server, "EXISTS", key) != int64(1) {
			t.Errorf("%q: it is gone", plant[0])
		}
	}
}

func TestScriptFlushUnderLoad(t *testing.T) {
	server := redistest.Start(t)
	x := create(t, open(t, server.URL(), longEnough))
	done := make(chan struct{})
	var flusher, writers sync.WaitGroup
	flusher.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				ask(t, server, "SCRIPT", "FLUSH")
			}
		}
	})
	const each = 100
	for range 8 {
		writers.Go(func() {
			for range each {
				if reply, err := x.apply(record.Add("n", 1)); err != nil || reply.Status != record.OK {
					t.Error(reply.Status, err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	flusher.Wait()
	if got := x.get("n"); got != fmt.Sprint(8*each) {
		t.Errorf("%s of %d increments", got, 8*each)
	}
}

func TestMemoryRefusalIsAllOrNothing(t *testing.T) {
	server := redistest.Start(t)
	x := create(t, open(t, server.URL(), longEnough), record.Set("a", "1"), record.Set("b", "1"))
	before := x.ok(record.GetAll())
	ask(t, server, "CONFIG", "SET", "maxmemory", "1")
	for _, ops := range [][]record.Op{
		{record.Set("a", "2"), record.Set("c", "3")}, {record.Renew(record.NewSecret()), record.Set("a", "2")}, {record.Add("n", 1)},
	} {
		_, err := x.apply(ops...)
		if !errors.Is(err, record.ErrFull) || !errors.Is(err, record.ErrUnavailable) {
			t.Errorf("operation %d: %v", ops[0].Kind, err)
		}
	}
	if after := x.ok(record.GetAll()); fmt.Sprint(after.Fields, after.Meta) != fmt.Sprint(before.Fields, before.Meta) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	x.ok(record.Destroy(record.Logout, 60_000)) // needs no memory
	ask(t, server, "CONFIG", "SET", "maxmemory", "0")
	if reply, err := x.apply(record.Get("a")); err != nil || reply.Status != record.Ended {
		t.Errorf("%s, %v", reply.Status, err)
	}
}

// The permissions that the package's comment asks for.
var permissions = strings.Fields(`+evalsha +eval +script|load +hmget +hgetall +hget +hset +hdel +hlen +hkeys
	+hexists +del +pexpireat +time +hello +ping +client +select`)

func TestFewPermissionsSuffice(t *testing.T) {
	server := redistest.Start(t)
	ask(t, server, append([]string{"ACL", "SETUSER", "app", "on", ">s3cret?", "~pazzo:*"}, permissions...)...)
	u := url.URL{Scheme: "redis", User: url.UserPassword("app", "s3cret?"), Host: server.Addr(), Path: "/3"}
	s := open(t, u.String(), longEnough)
	x := create(t, s, record.Set("a", "1"))
	x.ok(record.Clear(), record.Append("list", "1"), record.Describe("phone"), record.Touch())
	x.ok(record.GetAll())
	x.ok(record.Authenticate("ann", x.secret, 0))
	step := record.IndexStep{Kind: record.Enlist, Handle: x.handle, Max: 1, Lifetime: 1000}
	if _, err := s.ApplyIndex(context.Background(), "ann", &step); err != nil {
		t.Fatal(err)
	}
	b := record.Batch{Ops: []record.Op{record.Destroy(record.Revoked, 1000)}}
	if _, err := s.Apply(context.Background(), x.handle, &b); err != nil {
		t.Fatal(err)
	}
	traits, err := s.Traits(context.Background())
	if err != nil || !traits.MayEvict {
		t.Errorf("%+v, %v: what we may not know must be taken to evict", traits, err)
	}
	ask(t, server, "ACL", "SETUSER", "app", "+pttl")
	ways[0].cached(t, u.String(), longEnough)
	ask(t, server, "ACL", "SETUSER", "app", "+info")
	if traits, err := s.Traits(context.Background()); err != nil || traits.MayEvict {
		t.Errorf("%+v, %v", traits, err)
	}
}

func TestTraits(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL(), longEnough)
	for policy, evicts := range map[string]bool{"noeviction": false, "allkeys-lru": true, "volatile-ttl": true} {
		ask(t, server, "CONFIG", "SET", "maxmemory-policy", policy)
		traits, err := s.Traits(context.Background())
		if err != nil || traits != (record.Traits{Name: "redis", MayEvict: evicts}) {
			t.Errorf("%s: %+v, %v", policy, traits, err)
		}
	}
}

func TestTLSWithPassword(t *testing.T) {
	server := redistest.StartTLS(t, "--requirepass", "pass:word/@")
	raw := server.URL() + "?ca=" + url.QueryEscape(server.CAFile()) + "&prefix=other:&timeout=20s"
	x := create(t, open(t, raw, 0), record.Set("a", "1"))
	if got := x.get("a"); got != "1" {
		t.Errorf("got %q", got)
	}
	if ask(t, server, "EXISTS", "other:{"+x.handle.String()+"}") != int64(1) {
		t.Error("the prefix is not used")
	}
	if _, err := Open(context.Background(), server.URL(), &Options{Timeout: time.Second}); !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("without the authority: %v", err)
	}
}
