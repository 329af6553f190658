package pebblestore

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
)

const hour = 3600 * 1000

var lasting = record.Expiry{Idle: hour, Absolute: 24 * hour}

// create makes a session.
func create(t testing.TB, s record.Store, expiry record.Expiry, ops ...record.Op) record.Handle {
	t.Helper()
	h := record.NewHandle()
	b := &record.Batch{Ops: append([]record.Op{record.Create(record.NewSecret(), expiry)}, ops...)}
	if reply, err := s.Apply(context.Background(), h, b); err != nil || reply.Status != record.OK {
		t.Fatal(reply.Status, err)
	}
	return h
}

// BenchmarkInFlight64 has 64 calls in flight, on as many sessions.
func BenchmarkInFlight64(b *testing.B) {
	for _, bench := range []struct {
		name string
		op   record.Op
	}{{"write", record.Add("n", 1)}, {"read", record.Get("n")}} {
		b.Run(bench.name, func(b *testing.B) {
			store, err := Open(b.TempDir(), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			var handles []record.Handle
			for range 64 {
				handles = append(handles, create(b, store, lasting, record.Set("n", "0"), record.Set("theme", `"dark"`)))
			}
			var worker atomic.Int32
			b.SetParallelism(32)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				h := handles[int(worker.Add(1))%len(handles)]
				batch := &record.Batch{Ops: []record.Op{bench.op}}
				for pb.Next() {
					if reply, err := store.Apply(context.Background(), h, batch); err != nil || reply.Status != record.OK {
						b.Fatal(reply.Status, err)
					}
				}
			})
		})
	}
}
