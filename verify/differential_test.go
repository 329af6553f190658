// Package verify holds the tests of Pazzo that need third parties or real
// servers.
package verify

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/pebblestore"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// subject is a store under test. What it answers is compared with what
// record.Apply answers at the time that the store says it was.
type subject struct {
	store record.Store
	redis *inspector // nil for another store
}

// TestDifferentialRedis runs random batches and index steps on a real server.
func TestDifferentialRedis(t *testing.T) {
	server := redistest.Start(t)
	store, err := redisstore.Open(context.Background(), server.URL(), &redisstore.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	s := subject{store: store, redis: newInspector(t, server.Addr())}
	t.Run("batches", func(t *testing.T) { rapid.Check(t, s.batches) })
	t.Run("index", func(t *testing.T) { rapid.Check(t, s.index) })
}

// TestDifferentialMemory runs the same on the store in memory.
func TestDifferentialMemory(t *testing.T) {
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	s := subject{store: store}
	t.Run("batches", func(t *testing.T) { rapid.Check(t, s.batches) })
	t.Run("index", func(t *testing.T) { rapid.Check(t, s.index) })
}

// TestDifferentialPebble runs the same on the store on disk.
func TestDifferentialPebble(t *testing.T) {
	s := subject{store: openPebble(t)}
	t.Run("batches", func(t *testing.T) { rapid.Check(t, s.batches) })
	t.Run("index", func(t *testing.T) { rapid.Check(t, s.index) })
}

// openPebble opens a store in a directory of its own.
func openPebble(t *testing.T) record.Store {
	t.Helper()
	store, err := pebblestore.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// batches applies a random sequence of batches to one session, and to a record.
func (s *subject) batches(t *rapid.T) {
	ctx := context.Background()
	h := record.NewHandle()
	g := &generator{t: t}
	var want record.Record
	for range rapid.IntRange(1, 12).Draw(t, "batches") {
		if s.redis != nil && rapid.IntRange(0, 5).Draw(t, "jump") == 0 {
			by := rapid.SampledFrom([]int64{1, 50, 99, 100, 999, 1000, 2000, 60_000}).Draw(t, "ms")
			s.redis.jump(t, h, &want, by)
		}
		b := g.batch()
		if err := b.Check(); err != nil {
			t.Fatalf("the generator made an invalid batch: %v", err)
		}
		got, err := s.store.Apply(ctx, h, &b)
		if err != nil {
			t.Fatalf("%s: %v", describe(&b), err)
		}
		if got.Now == 0 {
			t.Fatalf("%s: no time in the reply", describe(&b))
		}
		expected, _ := want.Apply(&b, got.Now)
		g.see(expected.Meta)
		compare(t, &b, got, expected)
	}
	if s.redis != nil {
		s.redis.compare(t, h, &want)
		return
	}
	all := record.Batch{Ops: []record.Op{record.GetAll(), record.GetIdentity()}}
	got, err := s.store.Apply(ctx, h, &all)
	if err != nil {
		t.Fatal(err)
	}
	expected, _ := want.Apply(&all, got.Now)
	compare(t, &all, got, expected)
}

// compare fails unless the replies are the same. A reply to a batch that only
// reads may leave the revision open.
func compare(t *rapid.T, b *record.Batch, got, want record.Reply) {
	if b.ReadOnly() && got.Revision == 0 {
		want.Revision, want.Size = 0, 0
	}
	if len(got.Fields) == 0 {
		got.Fields = nil
	}
	if len(want.Fields) == 0 {
		want.Fields = nil
	}
	if len(got.Values) == 0 {
		got.Values = nil
	}
	if len(want.Values) == 0 {
		want.Values = nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s\n got %+v\nwant %+v", describe(b), got, want)
	}
}

func describe(b *record.Batch) string {
	return fmt.Sprintf("access %+v, conditions %+v, operations %+v, limits %+v", b.Access, b.Conditions, b.Ops, b.Limits)
}

// index applies a random sequence of steps to one user's index, and to a
// record.Index.
func (s *subject) index(t *rapid.T) {
	ctx := context.Background()
	user := record.NewHandle().String()
	handles := make([]record.Handle, 5)
	for i := range handles {
		handles[i] = record.NewHandle()
	}
	var want record.Index
	for range rapid.IntRange(1, 15).Draw(t, "steps") {
		if s.redis != nil && rapid.IntRange(0, 4).Draw(t, "jump") == 0 {
			s.redis.jumpIndex(t, user, &want, rapid.SampledFrom([]int64{1, 100, 1000, 5000}).Draw(t, "ms"))
		}
		step := record.IndexStep{
			Kind:     rapid.SampledFrom([]record.IndexKind{0, 0, 0, 1, 1, 2, 3, 4, 5, 6}).Draw(t, "kind"),
			Handle:   rapid.SampledFrom(handles).Draw(t, "handle"),
			Handles:  rapid.SliceOfN(rapid.SampledFrom(handles), 0, 3).Draw(t, "handles"),
			Max:      rapid.IntRange(1, 4).Draw(t, "max"),
			Evict:    rapid.Bool().Draw(t, "evict"),
			Verified: rapid.Bool().Draw(t, "verified"),
			Lifetime: rapid.SampledFrom([]int64{1000, 5000, 60_000}).Draw(t, "lifetime"),
			Duration: rapid.SampledFrom([]int64{1000, 5000, 60_000}).Draw(t, "duration"),
		}
		if err := step.Check(); err != nil {
			t.Fatal(err)
		}
		got, err := s.store.ApplyIndex(ctx, user, &step)
		if err != nil {
			t.Fatal(err)
		}
		expected, _ := want.Apply(&step, got.Now)
		if len(got.Entries) == 0 {
			got.Entries = nil
		}
		if len(expected.Entries) == 0 {
			expected.Entries = nil
		}
		if !reflect.DeepEqual(got, expected) {
			t.Fatalf("%+v\n got %+v\nwant %+v", step, got, expected)
		}
		if s.redis != nil {
			s.redis.compareIndex(t, user, &want)
		}
	}
}
