package memstore

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

const hour = 3600 * 1000

var secret = record.Secret{1}

func create(ops ...record.Op) *record.Batch {
	return &record.Batch{Ops: append([]record.Op{record.Create(secret, record.Expiry{Idle: hour, Absolute: 24 * hour})}, ops...)}
}

func open(ops ...record.Op) *record.Batch {
	return &record.Batch{Access: record.Access{Mode: record.Open, Generation: 1, Secret: secret}, Ops: ops}
}

var smallFields = []record.Op{
	record.Set("cart", `[17,23]`),
	record.Set("theme", `"dark"`),
	record.Set("visits", `41`),
}

func BenchmarkApply(b *testing.B) {
	ctx := context.Background()
	for _, bench := range []struct {
		name  string
		batch *record.Batch
	}{
		{"get", open(record.Get("theme"))},
		{"get-touch", open(record.Get("theme"), record.Touch())},
		{"get-all", open(record.GetAll())},
		{"set", open(record.Set("theme", `"light"`))},
		{"add", open(record.Add("visits", 1))},
		{"add-3", open(record.Add("visits", 1), record.Set("theme", `"light"`), record.Set("cart", "[]"))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := New(nil)
			defer s.Close()
			h := record.NewHandle()
			if _, err := s.Apply(ctx, h, create(smallFields...)); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if reply, err := s.Apply(ctx, h, bench.batch); err != nil || reply.Status != record.OK {
					b.Fatal(reply.Status, err)
				}
			}
		})
	}
}

// BenchmarkParallel spreads reads and writes over many sessions.
func BenchmarkParallel(b *testing.B) {
	ctx := context.Background()
	s := New(nil)
	defer s.Close()
	handles := fill(b, s, 10_000, hour)
	var seed atomic.Uint32
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		i := int(seed.Add(7919))
		read, write := open(record.Get("theme")), open(record.Add("visits", 1))
		for pb.Next() {
			batch := read
			if i++; i%4 == 0 {
				batch = write
			}
			if reply, err := s.Apply(ctx, handles[i%len(handles)], batch); err != nil || reply.Status != record.OK {
				b.Fatal(reply.Status, err)
			}
		}
	})
}

// fill makes n sessions with three small fields.
func fill(t testing.TB, s *Store, n int, idle int64) []record.Handle {
	t.Helper()
	handles := make([]record.Handle, n)
	batch := create(smallFields...)
	batch.Ops[0].Expiry.Idle = idle
	for i := range handles {
		handles[i] = record.NewHandle()
		if reply, err := s.Apply(context.Background(), handles[i], batch); err != nil || reply.Status != record.OK {
			t.Fatal(reply.Status, err)
		}
	}
	return handles
}

// heap is what remains allocated after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkHeap reports what a session with three small fields takes.
func BenchmarkHeap(b *testing.B) {
	const sessions = 1_000_000
	for b.Loop() {
		before := heap()
		s := New(nil)
		fill(b, s, sessions, hour)
		after := heap()
		_, counted := s.Stats()
		b.ReportMetric(float64(after-before)/sessions, "B/session")
		b.ReportMetric(float64(counted)/sessions, "counted-B/session")
		start := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "GC-ms")
		s.Close()
	}
}

// BenchmarkMassExpiry reports the latency of concurrent reads of sessions that
// stay, idle and while half a million others expire.
func BenchmarkMassExpiry(b *testing.B) {
	const half = 500_000
	for b.Loop() {
		s := New(nil)
		stay := fill(b, s, half, hour)
		start := s.now()
		fill(b, s, half, 15_000)
		if took := s.now() - start; took > 10_000 {
			b.Fatalf("filling took %d ms", took)
		}
		runtime.GC()
		measure := func(phase string, until func() bool) {
			p50, p99, p999, n := readLatency(b, s, stay, until)
			b.ReportMetric(float64(p50), phase+"-p50-ns")
			b.ReportMetric(float64(p99), phase+"-p99-ns")
			b.ReportMetric(float64(p999), phase+"-p99.9-ns")
			b.ReportMetric(float64(n), phase+"-reads")
		}
		records := func() int { n, _ := s.Stats(); return n }
		stop := time.Now().Add(time.Second)
		measure("idle", func() bool { return time.Now().After(stop) })
		for records() == 2*half {
			time.Sleep(time.Millisecond)
		}
		swept := time.Now()
		measure("sweep", func() bool { return records() == half })
		b.ReportMetric(float64(time.Since(swept).Milliseconds()), "sweep-ms")
		s.Close()
	}
}

// readLatency reads with as many goroutines as there are processors, with pauses
// that keep them from saturating the machine, until it is told to stop.
func readLatency(b *testing.B, s *Store, handles []record.Handle, until func() bool) (p50, p99, p999 time.Duration, n int) {
	var stop atomic.Bool
	results := make(chan []time.Duration)
	readers := runtime.GOMAXPROCS(0)
	for reader := range readers {
		go func() {
			var taken []time.Duration
			batch := open(record.Get("theme"))
			for i := reader * 7919; !stop.Load(); i += 31 {
				start := time.Now()
				reply, err := s.Apply(context.Background(), handles[i%len(handles)], batch)
				taken = append(taken, time.Since(start))
				if err != nil || reply.Status != record.OK {
					panic(fmt.Sprint(reply.Status, err))
				}
				if i%8 == 0 {
					runtime.Gosched()
				}
			}
			results <- taken
		}()
	}
	for !until() {
		time.Sleep(time.Millisecond)
	}
	stop.Store(true)
	var all []time.Duration
	for range readers {
		all = append(all, <-results...)
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100], all[len(all)*999/1000], len(all)
}
