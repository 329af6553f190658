package redisstore

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

var _ record.Notifier = (*Store)(nil)

// Notify implements record.Notifier. The first listener has the store open one more
// connection to each primary, on which the server tells of changes by itself
// (CLIENT TRACKING in its BCAST mode, which needs RESP3). Where the server refuses, or while
// one primary cannot be reached, l is told nothing, and Record returns
// record.ErrUntracked. What a primary that is cut off does not know, it cannot tell; see
// docs/consistency.md.
func (s *Store) Notify(l record.Listener) (stop func()) {
	drop := s.listeners.Add(l)
	s.following.mu.Lock()
	defer s.following.mu.Unlock()
	if s.following.end == nil && !s.isClosed() {
		s.follow()
	}
	return func() {
		drop()
		s.following.mu.Lock()
		defer s.following.mu.Unlock()
		if s.listeners.Len() == 0 {
			s.unfollow()
		}
	}
}

// Record implements record.Notifier. It asks on the connection on which the server tells of
// changes, so that they are told by the server that was read.
func (s *Store) Record(ctx context.Context, h record.Handle) (r record.Record, now int64, err error) {
	ctx, done := s.bound(ctx)
	defer done()
	key := protocol.SessionKey(s.prefix, h)
	node := s.following.primary(key)
	if node == nil {
		return r, 0, record.ErrUntracked
	}
	defer node.users.Done()
	b := node.client.B()
	answers := node.wire.DoMulti(ctx, b.Hgetall().Key(key).Build(), b.Pttl().Key(key).Build())
	hash, err := answers[0].AsStrMap()
	if err != nil {
		return r, 0, untracked(err)
	}
	left, err := answers[1].AsInt64()
	if err != nil {
		return r, 0, untracked(err)
	}
	if len(hash) == 0 {
		return r, s.now(), nil
	}
	if err := protocol.ParseHash(hash, &r); err != nil {
		return record.Record{}, 0, fmt.Errorf("redisstore: %w", err)
	}
	if left < 0 { // it has gone in between
		return record.Record{}, s.now(), nil
	}
	return r, r.Expires() - left, nil
}

// untracked says that a record could not be read where changes are told of.
func untracked(err error) error {
	return fmt.Errorf("redisstore: %w: %w", record.ErrUntracked, unquoted{err})
}

// changed takes in what a server tells: the keys that were changed, or nil when that is
// all of them, or nothing more will be told.
func (s *Store) changed(keys []rueidis.RedisMessage) {
	if keys == nil {
		s.following.lost()
		return
	}
	for i := range keys {
		key, err := keys[i].ToString()
		if err != nil {
			continue
		}
		if h, ok := protocol.ParseSessionKey(s.prefix, key); ok {
			s.listeners.Changed(h)
		}
	}
}
