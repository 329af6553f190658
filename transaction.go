package pazzo

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// maxAttempts is how often a transaction is tried before ErrConflict.
const maxAttempts = 64

// Atomically runs f, in which keys and the session read and write as usual with
// the context that f is given, and applies all its writes as one batch, on
// condition that every field which f has read is still what it was (or the whole
// record, if f has listed the fields). If not, f runs again: it must have no
// effect but on the session. Transactions on different fields do not collide.
//
// f sees one consistent state of the session. When f returns an error nothing is
// written and Atomically returns that error. Inside another Atomically it joins
// that one. ErrConflict is returned after 64 attempts in vain.
func Atomically(ctx context.Context, f func(ctx context.Context) error) error {
	if inTransaction(ctx) {
		return f(ctx)
	}
	s := FromContext(ctx)
	if s == nil {
		return ErrNoSession
	}
	return s.retry(ctx, "", func() (conflict bool, err error) {
		t := &transaction{session: s, now: make(map[string]entry), read: make(map[string]entry)}
		if err := f(&fieldsContext{ctx, t}); err != nil {
			return false, err
		}
		return t.commit(ctx)
	})
}

// retry calls attempt until it does not report a conflict. Contenders in this
// process queue up: those for one field behind one another from the start, those
// for several (name is then empty), which may well not collide, when they have.
func (s *Session) retry(ctx context.Context, name string, attempt func() (conflict bool, err error)) error {
	handle, known := s.likelyHandle()
	if known && name != "" {
		defer s.manager.queue.enter(ctx, handle, name)()
	}
	for n := range maxAttempts {
		conflict, err := attempt()
		if !conflict {
			return err
		}
		if known && name == "" && n == 0 {
			defer s.manager.queue.enter(ctx, handle, name)()
		}
		if err := pause(ctx, n); err != nil {
			return err
		}
	}
	return ErrConflict
}

// likelyHandle returns the handle of the session, or that of the token which will
// probably open it.
func (s *Session) likelyHandle() (record.Handle, bool) {
	if h, _, isLive := s.held(); isLive {
		return h, true
	}
	return s.first[0].handle, s.first[0] != candidate{}
}

// pause waits a random time of up to 2^n·100 µs, at most 20 ms.
func pause(ctx context.Context, n int) error {
	limit := min(100*time.Microsecond<<min(n, 10), 20*time.Millisecond)
	timer := time.NewTimer(rand.N(limit))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transaction collects what the function of Atomically reads and writes. It is
// safe for concurrent use.
type transaction struct {
	session *Session

	mu       sync.Mutex
	loaded   bool
	base     []record.Field // as loaded, sorted by name
	revision uint64         // of base; 0 if there was no session
	cleared  bool
	listed   bool             // all fields were read
	read     map[string]entry // fields as first read, on which the commit depends
	now      map[string]entry // fields as written
}

// entry is a field's text, or that there is none.
type entry struct {
	text  string
	found bool
}

func (t *transaction) get(ctx context.Context, name string, _ bool) (string, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.look(ctx, name)
	return e.text, e.found, err
}

// look returns a field as the transaction sees it. t.mu is held.
func (t *transaction) look(ctx context.Context, name string) (entry, error) {
	if e, written := t.now[name]; written || t.cleared {
		return e, nil
	}
	if err := record.CheckName(name, t.session.manager.options.Limits); err != nil {
		return entry{}, err
	}
	if err := t.load(ctx); err != nil {
		return entry{}, err
	}
	text, found := (&snapshot{fields: t.base}).get(name)
	t.read[name] = entry{text, found}
	return entry{text, found}, nil
}

func (t *transaction) load(ctx context.Context) error {
	if t.loaded {
		return nil
	}
	fields, revision, err := t.session.load(ctx, true)
	if err != nil {
		return err
	}
	t.loaded, t.base, t.revision = true, fields, revision
	return nil
}

func (t *transaction) put(ctx context.Context, op record.Op) (record.Value, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := newCall(op)
	defer c.release()
	c.batch.Limits = t.session.manager.options.Limits
	if err := c.batch.Check(); err != nil {
		return record.Value{}, err
	}
	switch op.Kind {
	case record.OpClear:
		t.cleared = true
		clear(t.now)
		return record.Value{}, nil
	case record.OpSet:
		t.now[op.Name] = entry{op.Text, true}
		return record.Value{}, nil
	case record.OpDelete: // nobody is told whether the field was there
		t.now[op.Name] = entry{}
		return record.Value{}, nil
	}
	before, err := t.look(ctx, op.Name)
	if err != nil {
		return record.Value{}, err
	}
	var single []record.Field
	if before.found {
		single = []record.Field{{Name: op.Name, Text: before.text}}
	}
	r := record.Scratch(single)
	c.reply, _ = r.Apply(&c.batch, 0)
	if err := c.failure(); err != nil {
		return record.Value{}, err
	}
	if text, found := r.Get(op.Name); (entry{text, found}) != before {
		t.now[op.Name] = entry{text, found}
	}
	return c.reply.Values[0], nil
}

func (t *transaction) all(ctx context.Context) ([]record.Field, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	merged := make(map[string]string)
	if !t.cleared {
		if err := t.load(ctx); err != nil {
			return nil, err
		}
		t.listed = true
		for _, f := range t.base {
			merged[f.Name] = f.Text
		}
	}
	for name, e := range t.now {
		if e.found {
			merged[name] = e.text
		} else {
			delete(merged, name)
		}
	}
	fields := make([]record.Field, 0, len(merged))
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		fields = append(fields, record.Field{Name: name, Text: merged[name]})
	}
	return fields, nil
}

func (t *transaction) update(ctx context.Context, name string, f func(text string, found bool) (string, error)) error {
	old, found, err := t.get(ctx, name, false)
	if err != nil {
		return err
	}
	text, err := f(old, found)
	if err != nil {
		return err
	}
	_, err = t.put(ctx, record.Set(name, text))
	return err
}

func (t *transaction) swap(ctx context.Context, name, old, text string) (bool, error) {
	now, found, err := t.get(ctx, name, false)
	if err != nil || !found || now != old {
		return false, err
	}
	_, err = t.put(ctx, record.Set(name, text))
	return err == nil, err
}

// commit applies the transaction's writes, if what it read still holds.
func (t *transaction) commit(ctx context.Context) (conflict bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.batch()
	if len(b.Ops) == 0 {
		return false, nil
	}
	c := &call{batch: *b}
	err = t.session.do(ctx, c)
	t.session.wrote("")
	return c.conflict(err)
}

func (t *transaction) batch() *record.Batch {
	b := &record.Batch{}
	if t.cleared {
		b.Ops = append(b.Ops, record.Clear())
	}
	names := slices.Sorted(maps.Keys(t.now))
	for _, name := range names { // first, so that there is room for what follows
		if !t.now[name].found && !t.cleared {
			b.Ops = append(b.Ops, record.Delete(name))
		}
	}
	for _, name := range names {
		if e := t.now[name]; e.found {
			b.Ops = append(b.Ops, record.Set(name, e.text))
		}
	}
	if t.listed {
		b.Conditions = []record.Condition{{Kind: record.RevisionIs, Revision: t.revision}}
		return b
	}
	for _, name := range slices.Sorted(maps.Keys(t.read)) {
		b.Conditions = append(b.Conditions, fieldIs(name, t.read[name].text, t.read[name].found))
	}
	return b
}
