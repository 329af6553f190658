package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// unreadable is a store that cannot read what it holds.
type unreadable struct {
	record.Store
	err error
}

func (s unreadable) Apply(context.Context, record.Handle, *record.Batch) (record.Reply, error) {
	return record.Reply{}, s.err
}

func (s unreadable) ApplyIndexHash(context.Context, [sha256.Size]byte, *record.IndexStep) (record.IndexReply, error) {
	return record.IndexReply{}, s.err
}

// What cannot be read is answered as the scripts do, and not as a failure.
func TestUnreadableSessions(t *testing.T) {
	a := start(t, testConfig(t))
	space, err := a.spaces.get(t.Context(), 0, "pazzo:")
	if err != nil {
		t.Fatal(err)
	}
	w := a.dial()
	k, b := w.session(), &record.Batch{Ops: []record.Op{record.Set("a", "1")}}
	step := record.IndexStep{Kind: record.List}
	tag := protocol.TagOf("ann")
	store := space.store
	for _, c := range []struct{ held, batch, step error }{
		{record.LayoutError{Met: 7}, record.LayoutError{Met: 7}, record.ErrCorrupt},
		{record.ErrCorrupt, record.ErrCorrupt, record.ErrCorrupt},
	} {
		broken := unreadable{store, c.held}
		space.store, space.index = broken, broken
		answer := textOf(w.do(evalsha(k, b)...))
		if _, err := protocol.ParseReply(answer, k.handle, b); !errors.Is(err, c.batch) {
			t.Errorf("%v: a batch: %v", c.held, err)
		}
		answer = textOf(w.do(append([]string{"EVALSHA", protocol.IndexScript.SHA, "1", protocol.IndexKey("pazzo:", "ann")},
			protocol.StepArgs(tag, &step)...)...))
		if _, err := protocol.ParseIndexReply(answer, tag); !errors.Is(err, c.step) {
			t.Errorf("%v: a step: %v", c.held, err)
		}
	}
	space.store = store
}

// What Redis quotes of a command that it refuses is not for the log.
func TestTheLogQuotesNoArguments(t *testing.T) {
	a := start(t, testConfig(t))
	space, err := a.spaces.get(t.Context(), 0, "pazzo:")
	if err != nil {
		t.Fatal(err)
	}
	w := a.dial()
	k := w.session()
	store := space.store
	space.store = unreadable{store, errors.New("ERR unknown command 'EVALSHA', with args beginning with: 'TOPSECRET'")}
	if reply := w.do(evalsha(k, &record.Batch{})...); reply != "-UNAVAILABLE pazzo: the store does not answer, and has done nothing\r\n" {
		t.Errorf("%q", reply)
	}
	space.store = store
	if text := a.log.String(); !strings.Contains(text, "unknown command 'EVALSHA'") || strings.Contains(text, "TOPSECRET") {
		t.Errorf("the log: %s", text)
	}
}
