package nearcache

import (
	"sync"

	"github.com/pazzo-sessions/pazzo/record"
)

// shards is how many parts the cache has. Handles are random.
const shards = 64

func (c *Cache) shard(h record.Handle) *shard { return &c.shards[h[0]%shards] }

// overhead is about what an entry takes beside its text, in bytes.
const overhead = 256

// shard is a part of the cache under one lock. When it is full, it evicts by SIEVE (Zhang
// et al., NSDI '24): a hand goes round the entries from the oldest on, spares those that
// were used since it came by, and takes the first that was not.
type shard struct {
	mu      sync.Mutex // guards all of it, and the entries
	entries map[record.Handle]*entry
	order   entry  // the ring's end: next is the newest entry, prev the oldest
	hand    *entry // or nil: begin with the oldest
	bytes   int64
	max     int64
}

func (s *shard) init(max int64) {
	s.entries, s.max = map[record.Handle]*entry{}, max
	s.order.next, s.order.prev = &s.order, &s.order
}

// entry is what the cache knows of a session.
type entry struct {
	handle     record.Handle
	prev, next *entry
	used       bool

	copy
	view    *View  // of the copy, if somebody asked for it
	floor   uint64 // a revision that was seen: older copies are not served
	pending []ack  // of own writes whose turn has not come
	writes  int    // own ones under way
	echo    int64  // until when word of a change may be that of an own write
	loading []*load
	shared  *load // that of loading which a miss may join
}

// copy is a record as it was in the store.
type copy struct {
	text     string // encoded; empty: none
	revision uint64
	clock    int64 // the store's, less ours, ms; it may be too late, never too early
	until    int64 // when it is good no longer, if no longer than the cache's lease; 0: not limited
}

// get returns an entry, made if need be.
func (s *shard) get(h record.Handle) *entry {
	e := s.entries[h]
	if e == nil {
		e = &entry{handle: h}
		s.entries[h] = e
		e.prev, e.next = &s.order, s.order.next
		e.prev.next, e.next.prev = e, e
		s.resize(overhead)
	}
	return e
}

// find returns the copy of a session, if it is good.
func (s *shard) find(h record.Handle, now int64) (c copy, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[h]; e != nil && e.good(now) {
		e.used = true
		return e.copy, true
	}
	return c, false
}

func (e *entry) good(now int64) bool {
	return e.text != "" && e.revision >= e.floor && (e.until == 0 || now < e.until)
}

// raise takes in that a revision was seen.
func (e *entry) raise(revision uint64) {
	if revision > e.floor {
		e.floor = revision
		if revision > e.revision {
			e.unview()
		}
	}
}

// unview ends the view of the copy.
func (e *entry) unview() {
	if e.view != nil {
		e.view.gone.Store(true)
		e.view = nil
	}
}

// keep gives an entry another copy.
func (s *shard) keep(e *entry, c copy) {
	e.unview()
	grows := len(c.text) - len(e.text)
	e.copy = c
	if s.entries[e.handle] == e {
		s.resize(int64(grows))
	}
}

// drop takes the entry's copy away, and has loads that are under way not be kept.
func (s *shard) drop(e *entry) {
	s.keep(e, copy{})
	e.pending, e.shared = nil, nil
	for _, l := range e.loading {
		l.stale = true
	}
}

// forget drops what there is of a session.
func (s *shard) forget(h record.Handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[h]; e != nil {
		s.drop(e)
	}
}

// clear empties the shard.
func (s *shard) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		s.drop(e)
	}
	s.entries, s.hand, s.bytes = map[record.Handle]*entry{}, nil, 0
	s.order.next, s.order.prev = &s.order, &s.order
}

func (s *shard) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// resize counts, and makes room.
func (s *shard) resize(by int64) {
	s.bytes += by
	for s.bytes > s.max && len(s.entries) > 1 {
		s.evict()
	}
}

func (s *shard) evict() {
	e := s.hand
	if e == nil || e == &s.order {
		e = s.order.prev
	}
	for e.used {
		e.used = false
		if e = e.prev; e == &s.order {
			e = s.order.prev
		}
	}
	s.hand = e.prev
	e.prev.next, e.next.prev = e.next, e.prev
	e.unview()
	delete(s.entries, e.handle)
	s.bytes -= overhead + int64(len(e.text))
}
