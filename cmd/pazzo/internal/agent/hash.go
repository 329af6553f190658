package agent

import (
	"context"
	"strings"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// The plain reads show a live session as the hash that it is in Redis. What is not
// for clients is not there: the previous generation, and, unless they are in Redis,
// tombstones, for which a client asks the script anyway.

// readSession prepares a read of the session of t.key, which show then answers. The
// reply that it gets is zero if there is no live one.
func readSession(t *task, show func(t *task, reply *record.Reply)) {
	h, ok := protocol.ParseSessionKey(t.space.prefix, t.key)
	if !ok {
		noKey(t, "a session")
		return
	}
	t.handle, t.lane, t.show = h, h[0], show
	t.ask, t.work = showSession, read
}

// passOn makes ask the way of a plain read, if it is prepared, to a store whose server
// answers those itself.
func passOn(t *task, ask func(ctx context.Context, a *Agent, t *task)) {
	if t.ask != nil && t.space.relay != nil {
		t.ask = ask
	}
}

// read does a plain read.
func read(ctx context.Context, a *Agent, t *task) {
	switch {
	case t.tracked:
		showTracked(ctx, a, t)
	case t.space.cache == nil:
		t.ask(ctx, a, t)
	case !showCopy(ctx, t):
		done := t.space.cache.Bypass(t.handle)
		defer done()
		t.ask(ctx, a, t)
	}
}

// showCopy answers by the near cache, if that can tell.
func showCopy(ctx context.Context, t *task) bool {
	view := t.space.cache.Peek(ctx, t.handle, t.fresh)
	if view == nil {
		return false
	}
	reply, ok := view.Apply(&t.batch)
	if ok {
		t.show(t, &reply)
	}
	return ok
}

// showTracked answers a client that keeps copies: by the record as it is where changes are
// told of, and all of it.
func showTracked(ctx context.Context, a *Agent, t *task) {
	r, now, err := t.space.tracker.source.Record(ctx, t.handle)
	if err != nil {
		a.storeError(t, err)
		return
	}
	reply := record.Reply{Now: now}
	if r.State == record.Live && now < r.Expires() {
		if r.Meta.HasPrevious {
			packed := r.Previous.Pack()
			t.previous = string(packed[:])
		}
		reply, _ = r.Apply(&t.batch, now)
	}
	t.show(t, &reply)
}

func showSession(ctx context.Context, a *Agent, t *task) {
	reply, err := t.space.store.Apply(ctx, t.handle, &t.batch)
	if err != nil {
		a.storeError(t, err)
		return
	}
	if reply.Status != record.OK {
		reply = record.Reply{Now: reply.Now}
	}
	t.show(t, &reply)
}

// take sets t.key to the argument 1 and t.args to those that follow.
func (t *task) take(r request) {
	t.args = r.Strings(t.args[:0], 1)
	t.key, t.args = t.args[0], t.args[1:]
}

func hmget(_ *Agent, r request, t *task) {
	t.take(r)
	if !askFor(t) {
		return
	}
	readSession(t, func(t *task, reply *record.Reply) {
		t.w.Array(len(t.args))
		answerFields(t, reply)
	})
	passOn(t, func(ctx context.Context, a *Agent, t *task) { passFields(ctx, a, t, true) })
}

func hget(_ *Agent, r request, t *task) {
	t.take(r)
	if !askFor(t) {
		return
	}
	readSession(t, answerFields)
	passOn(t, func(ctx context.Context, a *Agent, t *task) { passFields(ctx, a, t, false) })
}

// passFields answers HMGET, or HGET if that is no list.
func passFields(ctx context.Context, a *Agent, t *task, list bool) {
	values, err := t.space.relay.RelayFields(ctx, t.key, t.args)
	if err != nil {
		a.storeError(t, err)
		return
	}
	if list {
		t.w.Array(len(values))
	}
	for i, v := range values {
		v.Found = v.Found && t.args[i] != protocol.NamePrevious
		answerValue(t, v)
	}
}

// askFor makes the batch that reads the names in t.args, or answers why not: a name
// twice would let a small command ask for any amount.
func askFor(t *task) bool {
	identity := false
	for _, name := range t.args {
		switch {
		case name == protocol.NameFresh:
			t.fresh = true
		case name == protocol.NameUser, name == protocol.NameDevice:
			identity = true
		case isField(name):
			t.batch.Ops = append(t.batch.Ops, record.Get(name))
		}
	}
	if identity {
		t.batch.Ops = append(t.batch.Ops, record.GetIdentity())
	}
	if err := t.batch.Check(); err != nil {
		t.w.Error("ERR pazzo: " + err.Error())
		return false
	}
	return true
}

// isField reports whether a field can have that name.
func isField(name string) bool {
	return !strings.HasPrefix(name, "\x00") && record.CheckName(name, record.Limits{}) == nil
}

// answerFields writes the values of the names in t.args, in order.
func answerFields(t *task, reply *record.Reply) {
	next := 0
	for _, name := range t.args {
		switch {
		case reply.Revision == 0: // no live session
			t.w.Null()
		case !isField(name):
			answerHidden(t, name, reply)
		default:
			answerValue(t, reply.Values[next])
			next++
		}
	}
}

func answerValue(t *task, v record.Value) {
	if v.Found {
		t.w.Text(v.Text)
	} else {
		t.w.Null()
	}
}

// answerHidden writes what lies under a name that no field has.
func answerHidden(t *task, name string, reply *record.Reply) {
	switch name {
	case protocol.NameMeta:
		packed := reply.Meta.Pack()
		t.w.Bulk(packed[:])
	case protocol.NameRevision:
		t.w.Text(protocol.RevisionField(reply))
	case protocol.NamePrevious:
		answerValue(t, record.Value{Text: t.previous, Found: t.previous != ""})
	case protocol.NameUser:
		text := protocol.UserField(&reply.Identity)
		answerValue(t, record.Value{Text: text, Found: text != ""})
	case protocol.NameDevice:
		text := reply.Identity.Device
		answerValue(t, record.Value{Text: text, Found: text != ""})
	default:
		t.w.Null()
	}
}

func hgetall(_ *Agent, r request, t *task) {
	t.take(r)
	t.batch.Ops = append(t.batch.Ops, record.GetAll(), record.GetIdentity())
	readSession(t, answerAll)
	passOn(t, passHash)
}

func passHash(ctx context.Context, a *Agent, t *task) {
	hash, err := t.space.relay.RelayHash(ctx, t.key)
	if err != nil {
		a.storeError(t, err)
		return
	}
	delete(hash, protocol.NamePrevious)
	t.w.Map(len(hash))
	for name, text := range hash {
		t.w.Text(name)
		t.w.Text(text)
	}
}

func answerAll(t *task, reply *record.Reply) {
	if reply.Revision == 0 {
		t.w.Map(0)
		return
	}
	names := append(make([]string, 0, 5), protocol.NameMeta, protocol.NameRevision)
	if t.previous != "" {
		names = append(names, protocol.NamePrevious)
	}
	if reply.Identity.User != "" {
		names = append(names, protocol.NameUser)
	}
	if reply.Identity.Device != "" {
		names = append(names, protocol.NameDevice)
	}
	t.w.Map(len(names) + len(reply.Fields))
	for _, name := range names {
		t.w.Text(name)
		answerHidden(t, name, reply)
	}
	for i := range reply.Fields {
		t.w.Text(reply.Fields[i].Name)
		t.w.Text(reply.Fields[i].Text)
	}
}

func pttl(_ *Agent, r request, t *task) {
	t.take(r)
	readSession(t, func(t *task, reply *record.Reply) {
		if reply.Revision == 0 {
			t.w.Int(-2) // as Redis says that there is no such key
		} else {
			t.w.Int(reply.Meta.Expires() - reply.Now)
		}
	})
}

func exists(_ *Agent, r request, t *task) {
	t.take(r)
	readSession(t, func(t *task, reply *record.Reply) { t.w.Int(truth(reply.Revision != 0)) })
}

func typeOf(_ *Agent, r request, t *task) {
	t.take(r)
	readSession(t, func(t *task, reply *record.Reply) {
		if reply.Revision == 0 {
			t.w.Simple("none")
		} else {
			t.w.Simple("hash")
		}
	})
}

// del answers the write of nothing by which clients make sure that they talk to a
// primary.
func del(_ *Agent, r request, t *task) {
	switch key := r.String(1); {
	case key == t.space.prefix+"none" && t.tracked:
		answerWhenTold(t)
	case key == t.space.prefix+"none":
		t.w.Int(0)
	case !strings.HasPrefix(key, t.space.prefix):
		t.w.Error(noPermission)
	default:
		t.w.Error("ERR pazzo: this agent deletes nothing: sessions are destroyed by a batch")
	}
}

// timeOf asks the store, whose clock it is, by a batch of nothing on no session.
func timeOf(_ *Agent, _ request, t *task) {
	t.work = func(ctx context.Context, a *Agent, t *task) {
		reply, err := t.space.store.Apply(ctx, record.Handle{}, &t.batch)
		if err != nil {
			a.storeError(t, err)
			return
		}
		t.w.Array(2)
		t.w.Text(decimal(reply.Now / 1000))
		t.w.Text(decimal(reply.Now % 1000 * 1000))
	}
}

func dbsize(_ *Agent, _ request, t *task) {
	if t.space.memory == nil {
		t.w.Error("ERR pazzo: the store does not count its sessions")
		return
	}
	n, _ := t.space.memory.Stats()
	t.w.Int(int64(n))
}
