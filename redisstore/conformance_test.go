package redisstore_test

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
	"github.com/pazzo-sessions/pazzo/storetest"
)

func TestConformance(t *testing.T) {
	url := redistest.Start(t).URL()
	storetest.Run(t, func(t *testing.T) record.Store { return openStore(t, url) }, nil)
}

func BenchmarkStore(b *testing.B) {
	url := redistest.Start(b).URL()
	storetest.Benchmark(b, func(b *testing.B) record.Store { return openStore(b, url) })
}

// openStore opens a store that ends with the test. Its timeout suits a machine
// that is busy with other tests.
func openStore(t testing.TB, url string) *redisstore.Store {
	t.Helper()
	store, err := redisstore.Open(t.Context(), url, &redisstore.Options{Timeout: patience})
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
