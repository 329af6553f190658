package pgstore

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

func TestConformance(t *testing.T) {
	server := migrated(t)
	storetest.Run(t, func(t *testing.T) record.Store { return open(t, server.URL(), Options{}) }, nil)
}

func TestConformanceBehindPgBouncer(t *testing.T) {
	url := pgtest.StartBouncer(t, migrated(t)).URL() + "?default_query_exec_mode=exec"
	storetest.Run(t, func(t *testing.T) record.Store { return open(t, url, Options{}) }, nil)
}

func BenchmarkStore(b *testing.B) {
	server := migrated(b)
	storetest.Benchmark(b, func(b *testing.B) record.Store { return open(b, server.URL(), Options{}) })
}
