package pebblestore_test

import (
	"strconv"
	"testing"

	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/pebblestore"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

func TestNearCacheConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store {
		cache, err := nearcache.New(open(t, nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		return cache
	}, nil)
}

// Stores of one prefix tell each other's listeners of changes, before they answer; those of
// another do not.
func TestNotify(t *testing.T) {
	first, err := pebblestore.Open(t.TempDir(), &pebblestore.Options{Prefix: "a:"})
	if err != nil {
		t.Fatal(err)
	}
	stores := []record.Store{first}
	for _, prefix := range []string{"a:", "b:"} {
		store, err := first.WithPrefix(prefix)
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, store)
	}
	cache, err := nearcache.New(first, nil)
	if err != nil {
		t.Fatal(err)
	}
	stores[0] = cache
	t.Cleanup(func() {
		for _, store := range stores {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	h, secret := record.NewHandle(), record.NewSecret()
	apply := func(store record.Store, ops ...record.Op) record.Reply {
		t.Helper()
		b := record.Batch{Access: record.Access{Mode: record.Held, Generation: 1, Secret: secret}, Ops: ops}
		if ops[0].Kind == record.OpCreate {
			b.Access = record.Access{}
		}
		reply, err := store.Apply(t.Context(), h, &b)
		if err != nil || reply.Status != record.OK {
			t.Fatal(reply.Status, err)
		}
		return reply
	}
	create := []record.Op{record.Create(secret, record.Expiry{Idle: 3_600_000, Absolute: 3_600_000}), record.Set("n", "0")}
	apply(stores[1], create...)
	apply(stores[2], create...)
	for i := range 100 {
		want := strconv.Itoa(i)
		apply(stores[1], record.Set("n", want))
		apply(stores[2], record.Set("n", `"another"`))
		if got := apply(cache, record.Get("n")).Values[0].Text; got != want {
			t.Fatalf("%s after %s was written", got, want)
		}
		if again := apply(cache, record.Get("n")); !again.Cached {
			t.Fatal("there is no copy")
		}
		apply(stores[2], record.Set("n", `"another"`))
		if still := apply(cache, record.Get("n")); !still.Cached {
			t.Fatal("another prefix's change has dropped the copy")
		}
	}
}
