package nearcache

import (
	"sync/atomic"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// View is a copy for who reads several fields of one session: it is decoded once, and
// keeps the values that its readers have made of the fields' texts. It never changes, and is
// good until the cache has another copy, or none. It is safe for concurrent use.
type View struct {
	cache  *Cache
	record record.Record
	values []atomic.Pointer[any] // of the fields
	end    int64                 // when it is good no longer, if not before
	clock  int64                 // as the copy's
	gone   atomic.Bool
}

// View returns a view of the session for who has opened it with the access given, or nil
// if there is no copy, or it does not let him in.
func (c *Cache) View(h record.Handle, a record.Access) *View {
	now := c.now()
	if !c.live(now) {
		return nil
	}
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
	v := e.view
	if v == nil || now >= v.end || !isOf(&v.record, a.Secret) {
		return nil
	}
	if status, decided := a.Judge(&v.record.Meta); !decided || status != record.OK {
		return nil
	}
	c.hits.Add(1)
	return v
}

func (c *Cache) newView(n *copy) *View {
	v := &View{cache: c, end: n.until, clock: n.clock}
	if v.record.Decode(n.text) != nil || v.record.State != record.Live {
		return nil
	}
	v.values = make([]atomic.Pointer[any], len(v.record.Fields))
	// Whoever finds that activity is to be recorded has work to do, for which a view is not
	// enough.
	m := &v.record.Meta
	over := (min(m.Expires(), m.Touched+m.Idle/10) - n.clock) * int64(time.Millisecond)
	if v.end == 0 || over < v.end {
		v.end = over
	}
	return v
}

// Good reports whether the view may be read from now on. It must be asked before each read.
func (v *View) Good() bool {
	if v.gone.Load() {
		return false
	}
	now := v.cache.now()
	return now < v.end && v.cache.live(now)
}

// Revision returns the record's revision.
func (v *View) Revision() uint64 { return v.record.Revision }

// Find returns the index of a field, or -1.
func (v *View) Find(name string) int { return v.record.Find(name) }

// Text returns a field's text by its index.
func (v *View) Text(i int) string { return v.record.Fields[i].Text }

// Value returns what was kept for a field by Keep, or nil.
func (v *View) Value(i int) any {
	if p := v.values[i].Load(); p != nil {
		return *p
	}
	return nil
}

// Keep keeps what a field's text was read as, for later readers. It must not be changed
// by anybody.
func (v *View) Keep(i int, value any) { v.values[i].Store(&value) }
