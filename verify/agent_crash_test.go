package verify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// counting is a session that many add to.
type counting struct {
	store        record.Store
	handle       record.Handle
	acknowledged atomic.Int64
	unknown      atomic.Int64
}

func newCounting(t *testing.T, url string) *counting {
	t.Helper()
	store, err := redisstore.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	c := &counting{store: store, handle: record.NewHandle()}
	b := record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), record.Expiry{Idle: 3_600_000, Absolute: 3_600_000}), record.Set("n", "0")}}
	if reply, err := store.Apply(t.Context(), c.handle, &b); err != nil || reply.Status != record.OK {
		t.Fatal(reply.Status, err)
	}
	return c
}

// storm adds until ctx ends. Each failure must say what it proves.
func (c *counting) storm(t *testing.T, ctx context.Context) {
	b := record.Batch{Ops: []record.Op{record.Add("n", 1)}}
	for ctx.Err() == nil {
		reply, err := c.store.Apply(context.Background(), c.handle, &b)
		switch {
		case err == nil && reply.Status == record.OK:
			c.acknowledged.Add(1)
		case errors.Is(err, record.ErrOutcomeUnknown):
			c.unknown.Add(1)
		case errors.Is(err, record.ErrUnavailable):
			time.Sleep(time.Millisecond)
		default:
			t.Errorf("status %s, error %v", reply.Status, err)
			return
		}
	}
}

func (c *counting) value(t *testing.T) int64 {
	t.Helper()
	var reply record.Reply
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if reply, err = c.store.Apply(context.Background(), c.handle, &record.Batch{Ops: []record.Op{record.Get("n")}}); err == nil {
			break
		}
	}
	if err != nil || reply.Status != record.OK {
		t.Fatalf("status %s, error %v", reply.Status, err)
	}
	n, err := strconv.ParseInt(reply.Values[0].Text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func kills() int {
	if nightly {
		return 50
	}
	return 5
}

// An agent that is killed in mid-storm: its clients recover by themselves. What the
// store behind it has acknowledged is there, all of it and no more; in memory, what
// had been acknowledged before the last snapshot.
func TestKilledAgents(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		a := startAgent(t, "-store", redistest.Start(t).URL())
		c := newCounting(t, a.url())
		killRepeatedly(t, a, c, func() {
			got, least, most := c.value(t), c.acknowledged.Load(), c.acknowledged.Load()+c.unknown.Load()
			if got < least || got > most {
				t.Errorf("%d; %d were acknowledged, of %d more nobody knows", got, least, most-least)
			}
		})
	})
	t.Run("snapshot", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "sessions")
		a := startAgent(t, "-snapshot", file, "-snapshot-interval", "100ms")
		c := newCounting(t, a.url())
		waitForSnapshot(t, file, time.Now())
		kept := int64(0)
		killRepeatedly(t, a, c, func() {
			got := c.value(t)
			if got < kept {
				t.Errorf("%d; %d had been acknowledged before a snapshot began", got, kept)
			}
			kept = got
		}, func() {
			kept = c.value(t)
			waitForSnapshot(t, file, time.Now())
		})
	})
}

// killRepeatedly kills the agent in mid-storm and starts it again, and checks what is
// there. before runs before each kill, while the storm goes on.
func killRepeatedly(t *testing.T, a *agentProcess, c *counting, check func(), before ...func()) {
	t.Helper()
	for range kills() {
		ctx, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for range 16 {
			writers.Go(func() { c.storm(t, ctx) })
		}
		time.Sleep(50 * time.Millisecond)
		for _, f := range before {
			f()
		}
		a.end(syscall.SIGKILL)
		time.Sleep(20 * time.Millisecond)
		a.run()
		stop()
		writers.Wait()
		check()
		recovered := c.acknowledged.Load()
		ctx, stop = context.WithTimeout(t.Context(), 50*time.Millisecond)
		c.storm(t, ctx)
		stop()
		if c.acknowledged.Load() == recovered {
			t.Error("the client has not recovered")
		}
	}
}

// waitForSnapshot waits for one that began after a time: the second one that is
// finished after it.
func waitForSnapshot(t *testing.T, file string, after time.Time) {
	t.Helper()
	finished, last := 0, time.Time{}
	for end := time.Now().Add(20 * time.Second); finished < 2; time.Sleep(2 * time.Millisecond) {
		if found, err := os.Stat(file); err == nil && found.ModTime().After(after) && found.ModTime() != last {
			last = found.ModTime()
			finished++
		}
		if time.Now().After(end) {
			t.Fatal("no snapshot")
		}
	}
}
