package nearcache_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// since reads through the cache what is not older than a revision.
func (f *fixture) since(revision uint64) (text string, cached bool) {
	b := record.Batch{Access: f.access, Ops: []record.Op{record.Get("n")}, MinRevision: revision}
	reply, err := f.cache.Apply(context.Background(), f.handle, &b)
	if err != nil || reply.Status != record.OK {
		f.Errorf("%s, %v", reply.Status, err)
		return "", false
	}
	return reply.Values[0].Text, reply.Cached
}

func TestMinRevision(t *testing.T) {
	run(t, func(f *fixture) {
		f.reads("0", false)
		f.remote.told = func(record.Handle) {}
		revision := f.apply(f.remote.Store, record.Set("n", "1")).Revision
		f.reads("0", true)
		for _, want := range []struct {
			least  uint64
			text   string
			cached bool
		}{
			{revision - 1, "0", true},
			{revision, "1", false},
			{revision, "1", true},
			{math.MaxUint64, "1", false}, // there is no such revision: the store's word counts
			{revision, "1", true},
		} {
			before := f.remote.loads
			text, cached := f.since(want.least)
			if text != want.text || cached != want.cached {
				t.Errorf("since %d: %s (hit: %t), want %s (hit: %t)", want.least, text, cached, want.text, want.cached)
			}
			if n := f.remote.loads - before; n > 1 || cached != (n == 0) {
				t.Errorf("since %d: %d loads", want.least, n)
			}
		}
		f.reads("1", true)
	})
}

// A load by another reader that began before the revision is not taken for an answer.
func TestMinRevisionOfASharedLoad(t *testing.T) {
	run(t, func(f *fixture) {
		f.remote.told = func(record.Handle) {}
		answer := make(chan string, 1)
		f.remote.loaded = func() { // it has read 0
			f.remote.loaded = nil
			revision := f.apply(f.remote.Store, record.Set("n", "1")).Revision
			go func() {
				text, _ := f.since(revision)
				answer <- text
			}()
			time.Sleep(time.Millisecond) // it waits for this load
		}
		f.reads("0", false)
		if text := <-answer; text != "1" {
			t.Errorf("read %s", text)
		}
		if f.remote.loads != 2 {
			t.Errorf("%d loads", f.remote.loads)
		}
		f.reads("1", true)
	})
}
