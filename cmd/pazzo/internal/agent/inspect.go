package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// The commands of this file are for people with redis-cli. They change nothing, and
// show neither secrets nor values.

// pair is a line of what they show.
type pair struct{ name, text string }

func writePairs(t *task, pairs []pair) {
	t.w.Map(len(pairs))
	for _, p := range pairs {
		t.w.Text(p.name)
		t.w.Text(p.text)
	}
}

func help(a *Agent, _ request, t *task) {
	names := a.commandNames()
	t.w.Array(len(names))
	for _, name := range names {
		t.w.Simple(fmt.Sprintf("%-14s  %s", name, a.commands[name].summary))
	}
}

func pazzoInfo(a *Agent, r request, t *task) {
	one := r.conn.user.Load()
	t.work = func(ctx context.Context, a *Agent, t *task) {
		traits, err := t.space.store.Traits(ctx)
		if err != nil {
			a.storeError(t, err)
			return
		}
		pairs := []pair{
			{"version", buildVersion()},
			{"store", traits.Name},
			{"may evict", fmt.Sprint(traits.MayEvict)},
			{"user", one.name},
			{"prefix", t.space.prefix},
			{"database", fmt.Sprint(t.space.database)},
			{"apply.lua", protocol.ApplyScript.SHA},
			{"index.lua", protocol.IndexScript.SHA},
			{"layout", fmt.Sprint(record.Layout)},
			{"connections", fmt.Sprint(a.connected())},
			{"commands", fmt.Sprint(a.commandCount.Load())},
			{"store failures", fmt.Sprint(a.failures.count.Load())},
			{"up", time.Since(a.began).Round(time.Second).String()},
		}
		if t.space.memory != nil {
			records, bytes := t.space.memory.Stats()
			pairs = append(pairs, pair{"records", fmt.Sprint(records)}, pair{"bytes", fmt.Sprint(bytes)})
		}
		if t.space.cache != nil {
			s := t.space.cache.Stats()
			pairs = append(pairs, pair{"cache hits", fmt.Sprint(s.Hits)}, pair{"cache misses", fmt.Sprint(s.Misses)}, pair{"cache bytes", fmt.Sprint(s.Bytes)})
		}
		if at := a.snapshots.last.Load(); at != nil {
			pairs = append(pairs, pair{"snapshot", moment(at.UnixMilli())})
		}
		writePairs(t, pairs)
	}
}

// show answers what there is under a handle.
func show(_ *Agent, r request, t *task) {
	h, err := record.ParseHandle(strings.ToLower(r.String(1)))
	if err != nil {
		t.w.Error("ERR pazzo: that is no handle: 32 hexadecimal digits are one")
		return
	}
	t.handle, t.lane = h, h[0]
	t.batch.Ops = append(t.batch.Ops, record.GetAll(), record.GetIdentity())
	t.work = func(ctx context.Context, a *Agent, t *task) {
		reply, err := t.space.store.Apply(ctx, t.handle, &t.batch)
		if err != nil {
			a.storeError(t, err)
			return
		}
		switch reply.Status {
		case record.OK:
			writePairs(t, describeSession(&reply))
		case record.Ended:
			writePairs(t, []pair{{"state", "ended"}, {"reason", reply.Reason.String()}})
		default:
			t.w.Null()
		}
	}
}

func describeSession(reply *record.Reply) []pair {
	m := &reply.Meta
	pairs := []pair{
		{"state", "live"},
		{"user", reply.Identity.User},
		{"created", moment(m.Created)},
		{"touched", moment(m.Touched)},
		{"renewed", moment(m.Renewed)},
		{"expires", moment(m.Expires())},
		{"deadline", moment(m.Deadline)},
		{"idle timeout", (time.Duration(m.Idle) * time.Millisecond).String()},
		{"generation", fmt.Sprint(m.Generation)},
		{"floor", fmt.Sprint(m.Floor)},
		{"revision", fmt.Sprint(reply.Revision)},
		{"device", fmt.Sprintf("%d bytes", len(reply.Identity.Device))},
		{"size", fmt.Sprintf("%d bytes", reply.Size)},
	}
	if reply.Identity.User != "" {
		pairs = append(pairs, pair{"authenticated", moment(reply.Identity.Auth)})
	}
	for _, f := range reply.Fields {
		pairs = append(pairs, pair{"field " + f.Name, fmt.Sprintf("%d bytes", len(f.Text))})
	}
	return pairs
}

// sessions answers who is listed for a user.
func sessions(_ *Agent, r request, t *task) {
	name := r.String(1)
	key := protocol.IndexKey(t.space.prefix, name)
	t.user, _ = protocol.ParseIndexKey(t.space.prefix, key)
	t.lane = t.user[0]
	t.step = record.IndexStep{Kind: record.List}
	t.work = func(ctx context.Context, a *Agent, t *task) {
		reply, err := t.space.list(ctx, name, t)
		if err != nil {
			a.storeError(t, err)
			return
		}
		var pairs []pair
		if reply.BlockedUntil > 0 {
			pairs = append(pairs, pair{"blocked until", moment(reply.BlockedUntil)})
		}
		for i := range reply.Entries {
			e := &reply.Entries[i]
			pairs = append(pairs, pair{e.Handle.String(), fmt.Sprintf("%s, listed %s, until %s", stateName(e.State), moment(e.Added), moment(e.Deadline))})
		}
		writePairs(t, pairs)
	}
}

// list asks for a user's index. A relay takes the user's name.
func (s *space) list(ctx context.Context, name string, t *task) (record.IndexReply, error) {
	if s.relay != nil {
		return s.store.ApplyIndex(ctx, name, &t.step)
	}
	return s.index.ApplyIndexHash(ctx, t.user, &t.step)
}

func stateName(s record.EntryState) string {
	switch s {
	case record.Pending:
		return "pending"
	case record.Active:
		return "active"
	}
	return "doomed"
}

// moment writes a time of the store's clock.
func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
