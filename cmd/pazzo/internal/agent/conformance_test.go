package agent

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
	"github.com/pazzo-sessions/pazzo/storetest"
)

func openStore(t testing.TB, a *running) record.Store {
	t.Helper()
	store, err := redisstore.Open(t.Context(), "unix://"+a.socket, &redisstore.Options{Timeout: patience})
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

func TestConformanceOverMemory(t *testing.T) {
	a := start(t, testConfig(t))
	storetest.Run(t, func(t *testing.T) record.Store { return openStore(t, a) }, nil)
}

func TestConformanceOverRedis(t *testing.T) {
	c := testConfig(t)
	c.Store = redistest.Start(t).URL() + "?timeout=10s"
	a := start(t, c)
	storetest.Run(t, func(t *testing.T) record.Store { return openStore(t, a) }, nil)
}
