package redisstore

import (
	"context"

	"github.com/pazzo-sessions/pazzo/record"
)

// Confirm returns when every change that took effect before the call has been told to the
// listeners of Notify, which takes two round trips to each primary. record.ErrUntracked is
// returned when that cannot be promised, as where the server tells only of what Record reads.
func (s *Store) Confirm(ctx context.Context) error {
	n := s.following.hold()
	if n == nil {
		return record.ErrUntracked
	}
	defer n.release()
	if n.optIn() {
		return record.ErrUntracked
	}
	for range 2 { // see keepContact
		if err := s.askAll(ctx, n); err != nil {
			return untracked(err)
		}
	}
	return nil
}

// hold returns the primaries, or nil while contact is not complete. The caller calls
// release after use.
func (f *following) hold() *nodes {
	f.current.RLock()
	defer f.current.RUnlock()
	if f.nodes == nil {
		return nil
	}
	for _, each := range f.nodes.list {
		each.users.Add(1)
	}
	return f.nodes
}

func (n *nodes) release() {
	for _, each := range n.list {
		each.users.Done()
	}
}
