package pazzo

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
)

// Who has gone is neither woken nor remembered.
func TestWatchersAreForgotten(t *testing.T) {
	m, _, _ := nearManager(t)
	h := record.NewHandle()
	stays, goes := make(chan struct{}, 1), make(chan struct{}, 1)
	leaveLast := m.watches.join(h, stays)
	m.watches.join(h, goes)()
	other := m.watches.join(record.NewHandle(), goes)
	(*wakeup)(&m.watches).Changed(h)
	if len(stays) != 1 || len(goes) != 0 {
		t.Errorf("%d who is there and %d who has gone are woken", len(stays), len(goes))
	}
	leaveLast()
	other()
	if n := len(m.watches.wake); n != 0 {
		t.Errorf("%d sessions are remembered", n)
	}
}
