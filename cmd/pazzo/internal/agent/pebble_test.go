package agent

import (
	"context"
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
)

// Users of several prefixes share a directory, which one store opens at a time, and
// none reaches the other's sessions.
func TestPrefixesShareAPebbleStore(t *testing.T) {
	config := Default()
	config.Store = "pebble://" + t.TempDir()
	s := newSpaces(&config)
	var stores []record.Store
	for _, prefix := range []string{"a:", "b:", "a:"} {
		one, err := s.get(t.Context(), 0, prefix)
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, one.store)
	}
	if stores[0] != stores[2] {
		t.Error("a prefix was opened twice")
	}
	h := record.NewHandle()
	create := &record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), record.Expiry{Idle: 3_600_000, Absolute: 3_600_000})}}
	if reply, err := stores[0].Apply(t.Context(), h, create); err != nil || reply.Status != record.OK {
		t.Fatal(reply.Status, err)
	}
	reply, err := stores[1].Apply(t.Context(), h, &record.Batch{Ops: []record.Op{record.GetAll()}})
	if err != nil || reply.Status != record.Absent {
		t.Errorf("a session of a: is %s in b:, %v", reply.Status, err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	// The directory is free again.
	s = newSpaces(&config)
	if _, err := s.get(context.Background(), 0, "a:"); err != nil {
		t.Error(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}
