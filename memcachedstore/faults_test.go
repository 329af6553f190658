package memcachedstore

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/record"
)

func sha(user string) []byte {
	sum := sha256.Sum256([]byte(user))
	return sum[:]
}

// A server that is down: its sessions are unavailable, never empty and never another
// server's, and the others go on.
func TestDeadServer(t *testing.T) {
	servers, url := several(t, 3)
	s := open(t, url, Options{Timeout: time.Second})
	var all []*session
	for range 60 {
		all = append(all, create(t, s, hour, record.Set("a", "1")))
	}
	if err := servers[1].Kill(); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, x := range all {
		home := s.servers.ring.server(x.key())
		for _, op := range []record.Op{record.Get("a"), record.Set("b", "1")} {
			reply, err := x.apply(op)
			switch {
			case home == 1 && (!errors.Is(err, record.ErrUnavailable) || errors.Is(err, record.ErrOutcomeUnknown)):
				t.Fatalf("on the dead server: %q, %v", reply.Status, err)
			case home != 1 && (err != nil || reply.Status != record.OK):
				t.Fatalf("on a live server: %q, %v", reply.Status, err)
			}
		}
		if home == 1 {
			failed++
		}
	}
	if failed == 0 || failed == len(all) {
		t.Errorf("%d of %d sessions were on the dead server", failed, len(all))
	}
	again := open(t, url, Options{Timeout: time.Second}) // starts without it
	if reply, err := again.Apply(t.Context(), all[0].handle, &record.Batch{}); err == nil && reply.Status != record.OK {
		t.Errorf("%q", reply.Status)
	}
	if err := servers[1].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		want := record.OK
		if s.servers.ring.server(x.key()) == 1 {
			want = record.Absent // lost with the server, a logout
		}
		if reply, err := x.apply(record.Set("b", "2")); err != nil || reply.Status != want {
			t.Fatalf("after the restart: %q, %v; want %q", reply.Status, err, want)
		}
	}
}

// A server that restarts under load: errors in time, no session but none, and no write on
// what is gone.
func TestRestartUnderLoad(t *testing.T) {
	const timeout = time.Second
	server := memcachedtest.Start(t)
	s := open(t, server.URL(), Options{Timeout: timeout})
	x := create(t, s, hour, record.Set("n", "0"))
	var stop, restarted atomic.Bool
	var failed, absent atomic.Int64
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			for !stop.Load() {
				start := time.Now()
				op := []record.Op{record.Add("n", 1), record.Get("n")}[i%2]
				reply, err := x.apply(op)
				if took := time.Since(start); took > timeout+time.Second {
					t.Errorf("a call took %v", took)
				}
				switch {
				case err != nil && !errors.Is(err, record.ErrUnavailable) && (op.Kind == record.OpGet || !errors.Is(err, record.ErrOutcomeUnknown)):
					t.Error(err)
				case err != nil:
					failed.Add(1)
					time.Sleep(time.Millisecond)
				case reply.Status == record.Absent && restarted.Load():
					absent.Add(1)
				case reply.Status != record.OK:
					t.Errorf("a call answered %q", reply.Status)
				}
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	restarted.Store(true)
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	stop.Store(true)
	group.Wait()
	if failed.Load() == 0 || absent.Load() == 0 {
		t.Errorf("%d failed, %d found no session", failed.Load(), absent.Load())
	}
	if got := ask(t, server, "mg "+x.key()+"\r\n"); !strings.HasPrefix(got, "EN") {
		t.Errorf("the session is there again: %q", got)
	}
	create(t, s, hour)
}

func TestFrozenServer(t *testing.T) {
	const timeout = 300 * time.Millisecond
	server := memcachedtest.Start(t)
	x := create(t, open(t, server.URL(), Options{Timeout: timeout}), hour, record.Set("a", "1"))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		for _, op := range []record.Op{record.Get("a"), record.Set("a", "2")} {
			start := time.Now()
			_, err := x.apply(op)
			if !errors.Is(err, record.ErrUnavailable) {
				t.Errorf("%v", err)
			}
			if took := time.Since(start); took > 5*timeout {
				t.Errorf("it took %v", took)
			}
		}
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(longEnough); ; time.Sleep(5 * time.Millisecond) {
		if _, err := x.apply(record.Get("a")); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if got := x.get("a"); got != "1" {
		t.Errorf("the field is %s", got)
	}
}

// fake is a server that answers what a test wants.
func fake(t *testing.T, answer func(request string) string) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	serve := func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			said := "MN\r\n"
			switch {
			case strings.HasPrefix(line, "stats settings"):
				said = "STAT item_size_max 1048576\r\nEND\r\n"
			case !strings.HasPrefix(line, "mn"):
				if strings.HasPrefix(line, "ms") {
					in.ReadString('\n')
				}
				if said = answer(line); said == "" {
					return
				}
			}
			if _, err := conn.Write([]byte(said)); err != nil {
				return
			}
		}
	}
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); group.Wait() })
	return "memcached://" + listener.Addr().String()
}

// opaqueOf is the opaque flag of a request.
func opaqueOf(request string) string {
	_, opaque, _ := strings.Cut(strings.TrimSpace(request), " O")
	return " O" + opaque
}

// A connection that is cut between a write and its answer: unknown, and not repeated. A
// read is.
func TestCutBeforeTheAnswer(t *testing.T) {
	var reads, writes atomic.Int64
	url := fake(t, func(request string) string {
		if strings.HasPrefix(request, "ms") {
			writes.Add(1)
			return ""
		}
		if reads.Add(1) == 1 {
			return ""
		}
		return "EN" + opaqueOf(request) + "\r\n"
	})
	s := open(t, url, Options{Connections: 1})
	b := &record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), hour)}}
	if _, err := s.Apply(t.Context(), record.NewHandle(), b); !errors.Is(err, record.ErrOutcomeUnknown) {
		t.Errorf("the write: %v", err)
	}
	if reads.Load() != 2 || writes.Load() != 1 {
		t.Errorf("%d reads, %d writes", reads.Load(), writes.Load())
	}
}

// Answers in the wrong order give an error, never another's session.
func TestSwappedAnswers(t *testing.T) {
	var record0 record.Record
	record0.Apply(&record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), hour)}}, time.Now().UnixMilli())
	data := record0.Append(nil)
	url := fake(t, func(request string) string {
		return fmt.Sprintf("VA %d c1 O99999\r\n%s\r\n", len(data), data)
	})
	s := open(t, url, Options{})
	reply, err := s.Apply(t.Context(), record.NewHandle(), &record.Batch{Ops: []record.Op{record.GetAll()}})
	if !errors.Is(err, record.ErrUnavailable) || !errors.Is(err, errSwapped) {
		t.Errorf("%q, %v", reply.Status, err)
	}
}

// memcached is out of memory for one item's size class: refused, and said so.
func TestOutOfMemory(t *testing.T) {
	url := fake(t, func(request string) string {
		if strings.HasPrefix(request, "ms") {
			return "SERVER_ERROR out of memory storing object\r\n"
		}
		return "EN" + opaqueOf(request) + "\r\n"
	})
	s := open(t, url, Options{})
	b := &record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), hour)}}
	if _, err := s.Apply(t.Context(), record.NewHandle(), b); !errors.Is(err, record.ErrFull) || !errors.Is(err, record.ErrUnavailable) {
		t.Error(err)
	}
}

func TestServersThatCannotBeUsed(t *testing.T) {
	if s, err := Open(context.Background(), memcachedtest.Start(t, "-C").URL(), nil); !errors.Is(err, record.ErrUnavailable) || s != nil || !strings.Contains(err.Error(), "-C") {
		t.Errorf("without CAS values: %v", err)
	}
}
