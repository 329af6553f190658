package pebblestore_test

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/pebblestore"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store { return open(t, nil) }, nil)
}

// Writes that are not waited for keep every rule but that of a crash.
func TestConformanceLosing(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store {
		return open(t, &pebblestore.Options{LoseUpTo: 20_000_000})
	}, nil)
}

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) record.Store { return open(b, nil) })
}

func open(t testing.TB, opts *pebblestore.Options) record.Store {
	store, err := pebblestore.Open(t.TempDir(), opts)
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
