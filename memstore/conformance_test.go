package memstore_test

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store { return open(t) }, nil)
}

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) record.Store { return open(b) })
}

func open(t testing.TB) record.Store {
	store := memstore.New(nil)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}
