// Package broken holds stores with one deliberate defect each, to test tests
// with: a conformance suite or a checker of histories that accepts one of them is
// worth nothing. With the fault [None] it is the smallest correct store.
//
// All of it is in memory, and nothing is swept: it is not for use by an app.
package broken

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Store is a [record.Store] with a fault: encoded records in a map under one
// mutex.
type Store struct {
	fault Fault

	mu       sync.Mutex
	closed   bool
	sessions map[record.Handle]string
	indexes  map[string]string

	// What the faults need.
	past    map[record.Handle]past
	late    map[record.Handle]*record.Batch
	replies map[record.Handle]record.Reply
	writing map[record.Handle]*sync.Mutex
	writes  int
}

// past is the value of a session before its last write, or before it was
// destroyed.
type past struct {
	before, alive string
	written       time.Time
}

// New returns an empty store with a fault.
func New(fault Fault) *Store {
	return &Store{
		fault:    fault,
		sessions: map[record.Handle]string{},
		indexes:  map[string]string{},
		past:     map[record.Handle]past{},
		late:     map[record.Handle]*record.Batch{},
		replies:  map[record.Handle]record.Reply{},
		writing:  map[record.Handle]*sync.Mutex{},
	}
}

// Apply implements [record.Store].
func (s *Store) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	if err := s.ready(ctx); err != nil {
		if s.fault == ErrorAsAbsent {
			return record.Reply{Status: record.Absent}, nil
		}
		return record.Reply{}, err
	}
	defer s.serialize(h, b)()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp(h)
	if s.fault != KeepsBatch { // faults may edit it
		own := *b
		own.Ops = slices.Clone(b.Ops)
		b = &own
	}
	r, err := s.load(h, b)
	if err != nil {
		return record.Reply{}, err
	}
	if s.hesitates(b) {
		s.mu.Unlock()
		time.Sleep(100 * time.Microsecond)
		s.mu.Lock()
	}
	now := s.disturb(&r, b, time.Now().UnixMilli())
	reply, changed := r.Apply(b, now)
	changed = s.spoil(h, &r, b, &reply, now) || changed
	s.save(h, &r, b, changed)
	return reply, nil
}

// ApplyIndex implements [record.Store].
func (s *Store) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	if err := s.ready(ctx); err != nil {
		return record.IndexReply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var x record.Index
	if err := x.Decode(s.indexes[user]); err != nil {
		return record.IndexReply{}, err
	}
	if s.fault == LostListing {
		s.mu.Unlock()
		time.Sleep(100 * time.Microsecond)
		s.mu.Lock()
	}
	now := time.Now().UnixMilli()
	reply, changed := s.applyIndex(&x, step, now)
	if changed {
		s.indexes[user] = string(x.Append(nil))
	}
	return reply, nil
}

// Traits implements [record.Store].
func (s *Store) Traits(ctx context.Context) (record.Traits, error) {
	return record.Traits{Name: "broken"}, s.ready(ctx)
}

// Close implements [record.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *Store) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil && s.fault != DeafToContext {
		return fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && s.fault != OpenAfterClose {
		return fmt.Errorf("%w: closed", record.ErrUnavailable)
	}
	return nil
}
