package verify

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memcachedstore"
	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// openPostgres returns n stores on one server, as n processes have.
func openPostgres(t *testing.T, n int) (stores []record.Store) {
	t.Helper()
	url := pgtest.Start(t).URL()
	if _, err := pgstore.Migrate(t.Context(), url, nil); err != nil {
		t.Fatal(err)
	}
	for range n {
		store, err := pgstore.Open(context.Background(), url, &pgstore.Options{Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		stores = append(stores, store)
	}
	return stores
}

// openMemcached returns n stores on two servers.
func openMemcached(t *testing.T, n int) (stores []record.Store) {
	t.Helper()
	url := "memcached://" + memcachedtest.Start(t).Addr() + "," + memcachedtest.Start(t).Addr()
	for range n {
		store, err := memcachedstore.Open(context.Background(), url, &memcachedstore.Options{Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		stores = append(stores, store)
	}
	return stores
}

func TestDifferentialPostgres(t *testing.T)  { differential(t, openPostgres(t, 1)[0]) }
func TestDifferentialMemcached(t *testing.T) { differential(t, openMemcached(t, 1)[0]) }

// differential runs random batches and index steps on a store.
func differential(t *testing.T, store record.Store) {
	s := subject{store: store}
	t.Run("batches", func(t *testing.T) { rapid.Check(t, s.batches) })
	t.Run("index", func(t *testing.T) { rapid.Check(t, s.index) })
}

func TestLinearizablePostgres(t *testing.T) {
	one := openPostgres(t, 3)
	t.Run("one process", func(t *testing.T) { shop{stores: one[:1]}.check(t) })
	t.Run("three processes", func(t *testing.T) { shop{stores: one}.check(t) })
}

func TestLinearizableMemcached(t *testing.T) {
	one := openMemcached(t, 3)
	t.Run("one process", func(t *testing.T) { shop{stores: one[:1]}.check(t) })
	t.Run("three processes", func(t *testing.T) { shop{stores: one}.check(t) })
}

// TestStormOnOtherStores is TestStormOfIncrements on the stores that it has not, in small.
func TestStormOnOtherStores(t *testing.T) {
	storm := func(store record.Store) func(t *testing.T) {
		return func(t *testing.T) {
			a := newApp(t, store, func(o *pazzo.Options) { o.BestEffortUsers = true }) // memcached evicts
			a.keepsIncrements(t, 8, scale(5_000, 100_000))
		}
	}
	t.Run("pebble", storm(openPebble(t)))
	t.Run("postgres", storm(openPostgres(t, 1)[0]))
	t.Run("memcached", storm(openMemcached(t, 1)[0]))
	t.Run("near cache", storm(nearRedis(t)))
	t.Run("near cache, postgres", storm(nearPostgres(t)))
}

// nearPostgres puts a near cache in front of PostgreSQL.
func nearPostgres(t *testing.T) record.Store {
	t.Helper()
	url := pgtest.Start(t).URL()
	if _, err := pgstore.Migrate(t.Context(), url, &pgstore.MigrateOptions{Tell: pgstore.On}); err != nil {
		t.Fatal(err)
	}
	store, err := pgstore.Open(t.Context(), url, &pgstore.Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := nearcache.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return cache
}

// nearRedis puts a near cache in front of Redis.
func nearRedis(t *testing.T) record.Store {
	t.Helper()
	cache, err := nearcache.New(openRedis(t, redistest.Start(t), patience), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return cache
}
