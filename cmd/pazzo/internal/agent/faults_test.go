package agent

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// eventually waits for what must come.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// What is no command ends the connection that sent it, and harms no other.
func TestGarbage(t *testing.T) {
	a := start(t, testConfig(t))
	good := a.dial()
	k := good.session(record.Set("n", "0"))
	for i, text := range []string{
		"*1\r\n$1000000000\r\n", "*-x\r\n", "*2\r\n+OK\r\n", "*1048576\r\n", "GET / HTTP/1.1\r\nHost: \"\r\n\r\n",
		strings.Repeat("\x00", 70_000), "*1\r\n$4\r\nPINGPING\r\n",
	} {
		w := a.dial()
		w.send(frame("PING") + text)
		if reply := w.ended(); !strings.Contains(reply, "-ERR Protocol error: ") {
			t.Errorf("%.30q: %q", text, reply)
		}
		reply := good.apply(k, &record.Batch{Access: k.access(), Ops: []record.Op{record.Add("n", 1)}})
		if reply.Values[0].Text != fmt.Sprint(i+1) {
			t.Fatalf("the other's session: %+v", reply)
		}
	}
	eventually(t, "their connections are gone", func() bool { return a.connected() == 1 })
}

// A page in a browser can make it send lines to a port of the machine. None of them
// after the first is a command.
func TestWebRequestsAreRefused(t *testing.T) {
	a := start(t, testConfig(t))
	for _, text := range []string{"POST / HTTP/1.1\r\nCLIENT SETNAME evil\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nCLIENT SETNAME evil\r\n"} {
		w := a.dial()
		w.send(text)
		if reply := w.ended(); !strings.HasSuffix(reply, "-ERR pazzo: this is not a web server\r\n") || strings.Contains(reply, "+OK") {
			t.Errorf("%q: %q", text, reply)
		}
	}
	if text := a.log.String(); !strings.Contains(text, "web request") {
		t.Errorf("the log: %s", text)
	}
}

// Half a command takes no memory for what it claims, and ends with the timeout.
func TestHalfACommand(t *testing.T) {
	c := testConfig(t)
	c.ReadTimeout = 300 * time.Millisecond
	a := start(t, c)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var halves []*wire
	for range 50 {
		w := a.dial()
		w.want("+PONG\r\n", "PING")
		w.send(fmt.Sprintf("*60000\r\n$%d\r\nhalf", 8<<20-100))
		halves = append(halves, w)
	}
	whole := a.dial()
	whole.want("+PONG\r\n", "PING")
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("%d bytes more for 50 claims of 8 MiB each", grown)
	}
	for _, w := range halves {
		w.ended()
	}
	whole.want("+PONG\r\n", "PING") // a whole command may come at any time
	time.Sleep(2 * c.ReadTimeout)
	whole.want("+PONG\r\n", "PING")
}

// A command that arrives slowly, and others behind it all the time, are no half ones.
func TestAStreamOfPieces(t *testing.T) {
	c := testConfig(t)
	c.ReadTimeout = 400 * time.Millisecond
	w := start(t, c).dial()
	text := frame("PING")
	w.send(text[:3])
	for range 12 { // three timeouts long, and never at a border of commands
		time.Sleep(100 * time.Millisecond)
		w.send(text[3:] + text[:3])
		if reply := w.read(); reply != "+PONG\r\n" {
			t.Fatal(reply)
		}
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	c := testConfig(t)
	c.IdleTimeout = 400 * time.Millisecond
	a := start(t, c)
	idle, busy := a.dial(), a.dial()
	idle.want("+PONG\r\n", "PING")
	for range 10 {
		time.Sleep(100 * time.Millisecond)
		busy.want("+PONG\r\n", "PING")
	}
	idle.ended()
}

// A client that takes no replies is cut off, and holds no more than a buffer.
func TestSlowReadersAreCutOff(t *testing.T) {
	t.Run("memory", func(t *testing.T) { cutOffSlowReader(t, testConfig(t)) })
	t.Run("redis", func(t *testing.T) {
		c := testConfig(t)
		c.Store = redistest.Start(t).URL() + "?timeout=10s"
		cutOffSlowReader(t, c)
	})
}

func cutOffSlowReader(t *testing.T, c Config) {
	c.WriteTimeout = 300 * time.Millisecond
	a := start(t, c)
	slow, other := a.dial(), a.dial()
	k := slow.session(record.Set("a", `"`+strings.Repeat("x", 60_000)+`"`))
	text := frame("HGETALL", k.key())
	most := 600_000_000 / 60_000
	sent := 0
	for ; sent < most; sent += 100 { // until the agent reads no more
		slow.SetWriteDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(slow, strings.Repeat(text, 100)); err != nil {
			break
		}
	}
	eventually(t, "it is cut off", func() bool { return a.connected() == 1 })
	if done := a.commandCount.Load(); done > int64(most)/2 {
		t.Errorf("%d commands were done for a client that takes no reply", done)
	}
	other.want("+PONG\r\n", "PING")
}

func TestTooManyConnections(t *testing.T) {
	c := testConfig(t)
	c.MaxConnections = 3
	a := start(t, c)
	for range 3 {
		a.dial().want("+PONG\r\n", "PING")
	}
	if reply := a.dial().ended(); reply != "-ERR max number of clients reached\r\n" {
		t.Errorf("%q", reply)
	}
	a.each(func(c *conn) { c.nc.Close() })
	eventually(t, "there is room again", func() bool { return a.connected() == 0 })
	a.dial().want("+PONG\r\n", "PING")
}

// What was read is done and answered when the agent ends, and nothing is lost.
func TestDrain(t *testing.T) {
	t.Run("memory", func(t *testing.T) { drainUnderLoad(t, testConfig(t)) })
	t.Run("redis", func(t *testing.T) {
		c := testConfig(t)
		c.Store = redistest.Start(t).URL() + "?timeout=10s"
		drainUnderLoad(t, c)
	})
}

func drainUnderLoad(t *testing.T, c Config) {
	a := start(t, c)
	idle := a.dial()
	idle.want("+PONG\r\n", "PING")
	k := a.dial().session(record.Set("n", "0"))
	call := frame(evalsha(k, &record.Batch{Access: k.access(), Ops: []record.Op{record.Add("n", 1)}})...)
	var acknowledged atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		w := a.dial()
		clients.Go(func() { w.hammer(call, &acknowledged) })
	}
	eventually(t, "there is load", func() bool { return acknowledged.Load() > 1000 })
	space, err := a.spaces.get(t.Context(), 0, "pazzo:")
	if err != nil {
		t.Fatal(err)
	}
	a.drainOnly()
	clients.Wait()
	reply, err := space.store.Apply(t.Context(), k.handle, &record.Batch{Ops: []record.Op{record.Get("n")}})
	if err != nil {
		t.Fatal(err)
	}
	if n := reply.Values[0].Text; n != fmt.Sprint(acknowledged.Load()) {
		t.Errorf("%s were done, %d acknowledged", n, acknowledged.Load())
	}
	idle.ended()
}

// hammer sends a call ten at a time until the connection ends, and counts the
// replies.
func (w *wire) hammer(call string, acknowledged *atomic.Int64) {
	for {
		if _, err := io.WriteString(w, strings.Repeat(call, 10)); err != nil {
			return
		}
		for range 10 {
			if _, err := readReply(w.r); err != nil {
				return
			}
			acknowledged.Add(1)
		}
	}
}

// drainOnly does what Serve does first when it ends.
func (a *running) drainOnly() { a.drain(func() {}) }

func TestNothingListensAfterwards(t *testing.T) {
	a := start(t, testConfig(t))
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	if nc, err := net.Dial("unix", a.socket); err == nil {
		nc.Close()
		t.Error("the socket is still there")
	}
}

// A store that hangs holds up the end of the agent no longer than the timeout, and a
// client learns that the outcome of its write is not known.
func TestDrainEnds(t *testing.T) {
	server := redistest.Start(t)
	c := testConfig(t)
	c.Store = server.URL() + "?timeout=30s"
	c.DrainTimeout = 300 * time.Millisecond
	a := start(t, c)
	w := a.dial()
	k := w.session(record.Set("n", "0"))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	defer server.Resume()
	w.send(frame(evalsha(k, &record.Batch{Access: k.access(), Ops: []record.Op{record.Add("n", 1)}})...))
	eventually(t, "the call is under way", func() bool { return a.commandCount.Load() == 2 })
	began := time.Now()
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	w.ended()
}
