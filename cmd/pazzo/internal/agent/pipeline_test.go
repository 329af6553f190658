package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// overRedis starts an agent in front of a server behind a proxy.
func overRedis(t testing.TB, timeout string) (*running, *redistest.Proxy, *redistest.Server) {
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr())
	c := testConfig(t)
	c.Store = proxy.URL() + "?timeout=" + timeout
	return start(t, c), proxy, server
}

// Commands of one connection are answered in order, and done in order where they are
// about the same session, though they wait for the store together.
func TestPipelinesKeepOrder(t *testing.T) {
	a, proxy, _ := overRedis(t, "10s")
	w := a.dial()
	const sessions, rounds = 20, 30
	var tokens []token
	for range sessions {
		tokens = append(tokens, w.session(record.Set("n", "0")))
	}
	proxy.Delay(5*time.Millisecond, 0)
	began := time.Now()
	var text strings.Builder
	for i := range rounds {
		for _, k := range tokens {
			text.WriteString(frame(evalsha(k, &record.Batch{Access: k.access(), Ops: []record.Op{record.Add("n", 1)}})...))
		}
		text.WriteString(frame("ECHO", fmt.Sprint(i)))
		text.WriteString(frame("HGET", tokens[0].key(), "n"))
	}
	go w.send(text.String())
	for i := range rounds {
		for j, k := range tokens {
			b := &record.Batch{Ops: []record.Op{record.Add("n", 1)}}
			if reply := w.understand(w.read(), k, b); reply.Values[0].Text != fmt.Sprint(i+1) {
				t.Fatalf("round %d, session %d: %+v", i, j, reply)
			}
		}
		if reply := w.read(); reply != bulk(fmt.Sprint(i)) {
			t.Fatalf("round %d: %q", i, reply)
		}
		if reply := w.read(); reply != bulk(fmt.Sprint(i+1)) {
			t.Fatalf("round %d: %q", i, reply)
		}
	}
	if took, alone := time.Since(began), sessions*rounds*5*time.Millisecond; took > alone/2 {
		t.Errorf("%s: they have waited one after the other", took)
	}
}

// A store that fails is told as what it proves, and its own words are for the log.
func TestFailuresOfTheStore(t *testing.T) {
	a, proxy, server := overRedis(t, "300ms")
	w := a.dial()
	k := w.session(record.Set("n", "0"))
	add := evalsha(k, &record.Batch{Access: k.access(), Ops: []record.Op{record.Add("n", 1)}})

	proxy.BlackHole(redistest.Up)
	if reply := w.do(add...); !strings.HasPrefix(reply, "-UNKNOWN pazzo: ") || !strings.Contains(reply, "script: ") {
		t.Errorf("a write that gets no answer: %q", reply)
	}
	proxy.Heal()
	if _, err := server.Do(t.Context(), "CONFIG", "SET", "maxmemory", "1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it goes on", func() bool { return strings.HasPrefix(w.do(add...), "-OOM ") })
	if _, err := server.Do(t.Context(), "CONFIG", "SET", "maxmemory", "0"); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Do(t.Context(), "SET", "pazzo:{00000000000000000000000000000000}", "x"); err != nil {
		t.Fatal(err)
	}
	other := token{secret: k.secret}
	if reply := w.do(evalsha(other, &record.Batch{Ops: []record.Op{record.Set("n", "1")}})...); !strings.HasPrefix(reply, "-WRONGTYPE ") {
		t.Errorf("a key of another type: %q", reply)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is unavailable", func() bool { return strings.HasPrefix(w.do(add...), "-UNAVAILABLE pazzo: ") })
	if text := a.log.String(); !strings.Contains(text, "the store failed") {
		t.Errorf("the log: %s", text)
	}
}

func TestDatabasesOfAServer(t *testing.T) {
	a, _, _ := overRedis(t, "10s")
	w := a.dial()
	w.want("+OK\r\n", "SELECT", "0")
	w.want("-ERR DB index is out of range\r\n", "SELECT", "1")
	w.want("-ERR pazzo: the store does not count its sessions\r\n", "DBSIZE")
	w.want("*2\r\n"+bulk("maxmemory-policy")+bulk("noeviction"), "CONFIG", "GET", "maxmemory-policy")
	w.want("+OK\r\n", "QUIT")
	w.ended()
}
