package agent

import (
	"context"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/resp"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
)

// silentStore is a store that tells of no changes, and that all is told when the test says so.
type silentStore struct {
	*memstore.Store
	listener record.Listener
}

func (q *silentStore) Notify(l record.Listener) (stop func()) {
	q.listener = l
	return func() {}
}

// A read that the store has answered may have shown what is newer than the copy, which must not
// be shown after it.
func TestReadsPastTheNearCacheEndTheCopy(t *testing.T) {
	q := &silentStore{Store: memstore.New(nil)}
	cache, err := nearcache.New(q, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	s, err := newSpace(spaceName{prefix: "pazzo:"}, cache)
	if err != nil {
		t.Fatal(err)
	}
	h, secret := record.NewHandle(), record.NewSecret()
	create := record.Batch{Ops: []record.Op{record.Create(secret, lasting), record.Set("n", "1")}}
	if reply, err := q.Apply(t.Context(), h, &create); err != nil || reply.Status != record.OK {
		t.Fatal(reply.Status, err)
	}
	// As a relay does, which knows nothing of the cache.
	ask := func(ctx context.Context, _ *Agent, one *task) {
		reply, err := q.Apply(ctx, h, &one.batch)
		if err != nil {
			t.Fatal(err)
		}
		one.show(one, &reply)
	}
	get := func() (answer string) {
		one := &task{space: s, handle: h, w: &resp.Writer{}, ask: ask, args: []string{"n"}, show: answerFields}
		one.batch.Ops = []record.Op{record.Get("n")}
		read(context.Background(), nil, one)
		return string(one.w.Bytes())
	}
	set := record.Batch{Ops: []record.Op{record.Set("n", "2")}}
	for _, step := range []struct {
		what, answer string
		current      time.Duration // from now, until when all is told
		before       func()
	}{
		{"the first read", bulk("1"), time.Hour, func() {}},
		{"a hit, of a change that is not told of yet", bulk("1"), time.Hour, func() {
			if _, err := q.Apply(t.Context(), h, &set); err != nil {
				t.Fatal(err)
			}
		}},
		{"while there is no contact", bulk("2"), -time.Hour, func() {}},
		{"afterwards", bulk("2"), time.Hour, func() {}},
	} {
		step.before()
		q.listener.Current(time.Now().Add(step.current))
		if got := get(); got != step.answer {
			t.Errorf("%s: %q, want %q", step.what, got, step.answer)
		}
	}
}
