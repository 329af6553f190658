package verify

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pazzo-sessions/pazzo/pebblestore"
	"github.com/pazzo-sessions/pazzo/record"
)

// An agent over Pebble that is killed in mid-storm has lost nothing that was
// acknowledged when it is back, and its clients recover by themselves.
func TestKilledAgentsOverPebble(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	a := startAgent(t, "-store", "pebble://"+dir)
	c := newCounting(t, a.url())
	killRepeatedly(t, a, c, func() {
		got, least, most := c.value(t), c.acknowledged.Load(), c.acknowledged.Load()+c.unknown.Load()
		if got < least || got > most {
			t.Errorf("%d; %d were acknowledged, of %d more nobody knows", got, least, most-least)
		}
	})
	t.Logf("%d were acknowledged", c.acknowledged.Load())
	before := c.value(t)
	// What an agent has kept is a Go program's as well.
	a.end(syscall.SIGTERM)
	store, err := pebblestore.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	reply, err := store.Apply(t.Context(), c.handle, &record.Batch{Ops: []record.Op{record.Get("n")}})
	if err != nil || reply.Status != record.OK || reply.Values[0].Text != decimal(int(before)) {
		t.Errorf("%+v, %v; want %d", reply, err, before)
	}
}
