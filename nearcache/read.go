package nearcache

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// load is a read of a whole record from the store. What is below is guarded by the
// shard's lock until done is closed.
type load struct {
	done  chan struct{}
	stale bool // not to be kept: there was a change, or an own write whose outcome is unknown
	brief bool // to be kept for a limited time, for there may have been a change

	copy
	over *record.Reply // there is no session, or no more
	err  error
}

// answer applies a batch that only reads to a copy. ok is false when only the store can
// tell: whatever is not let in, be it by an old copy, and the first presentation of a
// token, which the record notes.
func (c *Cache) answer(n *copy, b *record.Batch) (reply record.Reply, ok bool) {
	now := n.clock + c.now()/int64(time.Millisecond)
	if n.text == "" || record.IsTombstone(n.text) {
		return reply, false
	}
	var m record.Meta
	if m.Unpack(n.text[:record.MetaSize]) == nil && m.Secret.Equal(b.Access.Secret) {
		if _, ok = record.Splice(nil, n.text, b, now, &reply); ok {
			return reply, true
		}
	}
	r := records.Get().(*record.Record)
	defer release(r)
	if r.Decode(n.text) != nil || !isOf(r, b.Access.Secret) {
		return reply, false
	}
	reply, changed := r.Apply(b, now)
	return reply, !changed && reply.Status == record.OK
}

// isOf reports whether the record is the one that the token is of, should the store's
// connection have mixed up two answers.
func isOf(r *record.Record, s record.Secret) bool {
	return r.Meta.Secret.Equal(s) || r.Meta.HasPrevious && r.Previous.Secret.Equal(s)
}

// records are scratch.
var records = sync.Pool{New: func() any { return new(record.Record) }}

func release(r *record.Record) {
	r.Reset()
	records.Put(r)
}

// read answers by the copy that there is, or by one that it loads. Whom that does not let
// in, the store judges: his token may be newer than the copy, and the copy's clock is ahead.
func (c *Cache) read(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	if n, ok := c.shard(h).find(h, c.now()); ok && n.revision >= b.MinRevision {
		if reply, ok := c.answer(&n, b); ok {
			c.hits.Add(1)
			reply.Cached = true
			return reply, nil
		}
		return c.pass(ctx, h, b)
	}
	c.misses.Add(1)
	l, first := c.share(ctx, h)
	if l == nil {
		return record.Reply{}, fmt.Errorf("%w: %w", record.ErrUnavailable, ctx.Err())
	}
	if !first && l.over == nil && l.revision < b.MinRevision { // it began too early
		return c.readFresh(ctx, h, b)
	}
	return c.loaded(ctx, h, b, l)
}

// readFresh answers by what the store has now.
func (c *Cache) readFresh(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	return c.loaded(ctx, h, b, c.fetch(ctx, h, true))
}

// fetch returns a load that has ended, or nil if ctx has before. A fresh one is the
// caller's own.
func (c *Cache) fetch(ctx context.Context, h record.Handle, fresh bool) *load {
	if fresh {
		l := &load{done: make(chan struct{})}
		s := c.shard(h)
		s.mu.Lock()
		s.get(h).begin(l)
		s.mu.Unlock()
		c.load(ctx, h, l)
		return l
	}
	l, _ := c.share(ctx, h)
	return l
}

// share returns a load that has ended, which others may wait for as well, or nil if ctx has
// ended before. first reports whether it is the caller's own.
func (c *Cache) share(ctx context.Context, h record.Handle) (l *load, first bool) {
	if l, first = c.join(h); first {
		c.load(ctx, h, l)
		return l, true
	}
	select {
	case <-l.done:
		return l, false
	case <-ctx.Done():
		return nil, false
	}
}

// loaded answers by what was loaded, or has the store answer.
func (c *Cache) loaded(ctx context.Context, h record.Handle, b *record.Batch, l *load) (record.Reply, error) {
	if l.over != nil {
		return *l.over, nil
	}
	if l.err == nil {
		if reply, ok := c.answer(&l.copy, b); ok {
			return reply, nil
		}
	}
	return c.pass(ctx, h, b)
}

// join returns the load of a session that is under way, or a new one, which the caller
// is to make.
func (c *Cache) join(h record.Handle) (l *load, first bool) {
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.get(h)
	if e.shared != nil {
		return e.shared, false
	}
	l = &load{done: make(chan struct{})}
	e.begin(l)
	e.shared = l
	return l, true
}

func (e *entry) begin(l *load) {
	l.brief = e.writes > 0
	e.loading = append(e.loading, l)
}

// loadShare is the part of MaxStale after which a load is given up, and the store asked on
// its usual connection: that on which it tells of changes may have fallen silent.
const loadShare = 4

// load asks the store, and keeps the answer if nothing speaks against it.
func (c *Cache) load(ctx context.Context, h record.Handle, l *load) {
	sent := c.now()
	bounded, cancel := context.WithTimeout(ctx, time.Duration(c.maxStale/loadShare))
	r, clock, err := c.source.Record(bounded, h)
	cancel()
	if err == nil && r.State != record.Live {
		l.over = c.over(ctx, h)
	}

	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(l.done)
	l.err = err
	if err == nil {
		l.copy = copy{text: string(r.Append(nil)), revision: r.Revision, clock: clock - sent/int64(time.Millisecond) + 1}
	}
	e := s.entries[h]
	if e != nil && l.over != nil {
		s.drop(e) // for nobody may see the session live again
	}
	if e == nil || !slices.Contains(e.loading, l) {
		return // it was evicted, or contact was lost
	}
	e.loading = slices.DeleteFunc(e.loading, func(other *load) bool { return other == l })
	e.shared = nil // if it is another one, it may be older than what this one has shown
	if err != nil || l.stale || r.State != record.Live || l.revision < e.floor || l.revision < e.revision {
		e.raise(l.revision)
		return
	}
	e.floor = l.revision
	if l.brief || e.writes > 0 || c.ttl > 0 {
		l.until = c.briefly(sent)
	}
	s.keep(e, l.copy)
	s.takePending(e)
}

// over asks the store once more after a load that has found no live session, and returns the
// answer that everybody gets then, or nil. A load does not prove whose answer it was; for a
// live session its secret does.
func (c *Cache) over(ctx context.Context, h record.Handle) *record.Reply {
	anybody := record.Batch{Access: record.Access{Mode: record.Admin}, Ops: []record.Op{record.GetIdentity()}}
	reply, err := c.Store.Apply(ctx, h, &anybody)
	if err != nil || reply.Status != record.Absent && reply.Status != record.Ended {
		return nil
	}
	return &reply
}

// changed takes in that the store told of a change. A copy or a load of a session to which
// this process writes is not dropped for it, since it is most likely its own write that
// is told of, which the copy has or will have; but it lasts for brief ns only.
func (s *shard) changed(h record.Handle, now, brief int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[h]
	if e == nil {
		return
	}
	if e.writes == 0 && now >= e.echo {
		s.drop(e)
		return
	}
	if e.until == 0 || e.until > now+brief {
		e.until = now + brief
		e.unview()
	}
	for _, l := range e.loading {
		l.brief = true
	}
}
