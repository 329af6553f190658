package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
)

// Benchmark measures the operations of a store that make up nearly all use, one
// at a time and 64 at once, on a session with four short fields. newStore
// registers the closing of the store with b.Cleanup.
func Benchmark(b *testing.B, newStore func(b *testing.B) record.Store) {
	store := newStore(b)
	secret := record.NewSecret()
	token := open(1, secret)
	batch := func(ops ...record.Op) *record.Batch { return &record.Batch{Access: token, Ops: ops} }
	session := func(b *testing.B) record.Handle {
		h := record.NewHandle()
		apply(b, store, h, &record.Batch{Ops: []record.Op{record.Create(secret, long), record.Set("cart", "[17,23]"),
			record.Set("theme", `"dark"`), record.Set("seen", "true"), record.Set("visits", "41")}})
		return h
	}
	for _, op := range []struct {
		name  string
		batch func() *record.Batch
	}{
		{"Get", func() *record.Batch { return batch(record.Get("theme")) }},
		{"GetAll", func() *record.Batch { return batch(record.GetAll()) }},
		{"Set", func() *record.Batch { return batch(record.Set("theme", `"light"`)) }},
		{"Set3", func() *record.Batch {
			return batch(record.Set("theme", `"light"`), record.Set("seen", "false"), record.Set("cart", "[]"))
		}},
		{"Add", func() *record.Batch { return batch(record.Add("visits", 1)) }},
	} {
		b.Run(op.name, func(b *testing.B) {
			h, batch := session(b), op.batch()
			b.ReportAllocs()
			for b.Loop() {
				apply(b, store, h, batch)
			}
		})
		b.Run(op.name+"/parallel", func(b *testing.B) {
			const sessions, goroutines = 256, 64
			var handles [sessions]record.Handle
			for i := range handles {
				handles[i] = session(b)
			}
			var next atomic.Uint32
			b.SetParallelism(goroutines)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				batch := op.batch()
				for i := next.Add(7); pb.Next(); i++ {
					if err := try(store, handles[i%sessions], batch); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
	b.Run("Create", func(b *testing.B) {
		short := record.Expiry{Idle: minute, Absolute: minute}
		b.ReportAllocs()
		for b.Loop() {
			apply(b, store, record.NewHandle(), &record.Batch{Ops: []record.Op{record.Create(secret, short), record.Set("theme", `"dark"`)}})
		}
	})
}

func apply(b *testing.B, store record.Store, h record.Handle, batch *record.Batch) {
	if err := try(store, h, batch); err != nil {
		b.Fatal(err)
	}
}

func try(store record.Store, h record.Handle, batch *record.Batch) error {
	reply, err := store.Apply(context.Background(), h, batch)
	if err == nil && reply.Status != record.OK {
		err = fmt.Errorf("%s answered %q", describe(batch), reply.Status)
	}
	return err
}
