package nearcache_test

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store { return open(t) }, nil)
}

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) record.Store { return open(b) })
}

// open puts a cache in front of a store in memory.
func open(t testing.TB) *nearcache.Cache {
	t.Helper()
	cache, err := nearcache.New(memstore.New(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	})
	return cache
}
