package nearcache

import (
	"context"
	"slices"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Peek returns a view of a live session for who judges access by himself, as a client of
// the protocol does whom an agent answers; by the copy that there is, unless fresh is set,
// or by one that is loaded. It returns nil when only the store can tell: then
// Bypass is to be called around the asking. The view is of the time of the call: read it at
// once.
func (c *Cache) Peek(ctx context.Context, h record.Handle, fresh bool) *View {
	now := c.now()
	if !c.live(now) || c.ttl > 0 { // what does not tell of changes does not tell all of a record
		return nil
	}
	if !fresh {
		if v := c.peekCopy(h, now); v != nil {
			c.hits.Add(1)
			return v
		}
		c.misses.Add(1)
	}
	l := c.fetch(ctx, h, fresh)
	if l == nil || l.err != nil {
		return nil
	}
	v := c.newView(&l.copy)
	if v == nil || v.now() >= v.record.Expires() {
		return nil
	}
	return v
}

// peekCopy returns a good view of the copy, or nil.
func (c *Cache) peekCopy(h record.Handle, now int64) *View {
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[h]
	if e == nil || !e.good(now) {
		return nil
	}
	e.used = true
	if e.view == nil {
		e.view = c.newView(&e.copy)
	}
	if v := e.view; v != nil && now < v.end {
		return v
	}
	return nil
}

// Bypass is for a read of the store that goes past the cache. What the cache has of the
// session is forgotten, now and when done is called: the answer may be newer, and does
// not tell by how much.
func (c *Cache) Bypass(h record.Handle) (done func()) {
	s := c.shard(h)
	s.forget(h)
	return func() { s.forget(h) }
}

// now is the store's clock, in ms since 1970; it may be too late, never too early.
func (v *View) now() int64 { return v.clock + v.cache.now()/int64(time.Millisecond) }

// Apply answers a batch that only reads, and by the server. ok is false when the record has
// expired.
func (v *View) Apply(b *record.Batch) (reply record.Reply, ok bool) {
	now := v.now()
	if now >= v.record.Expires() {
		return reply, false
	}
	r := v.record
	r.Fields = slices.Clip(r.Fields)
	reply, changed := r.Apply(b, now)
	return reply, !changed
}
