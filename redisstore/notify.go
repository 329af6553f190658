package redisstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

var _ record.Notifier = (*Store)(nil)

// Notify implements record.Notifier. The first listener has the store open one more
// connection to each primary, on which the server tells of changes by itself
// (CLIENT TRACKING, which needs RESP3): of those of all sessions, in its BCAST mode, or, where
// that is refused, of those of the sessions that Record reads (OPTIN); then only
// a record.Keeper is told that it knows of all. Where the server refuses both, which is logged
// once, or while one primary cannot be reached, l is told nothing, and Record returns
// record.ErrUntracked. What a primary that is cut off does not know, it cannot tell; see
// docs/consistency.md.
func (s *Store) Notify(l record.Listener) (stop func()) {
	f := &s.following
	list := &f.listeners
	if _, ok := l.(record.Keeper); ok {
		list = &f.keepers
	}
	drop := list.Add(l)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end == nil && !s.isClosed() {
		s.follow()
	}
	return func() {
		drop()
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.listeners.Len()+f.keepers.Len() == 0 {
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
	hash, left, err := node.read(ctx, key)
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

// read returns a hash and its PTTL, in ms. All commands go out in one piece, so that the
// next command after CLIENT CACHING is the HGETALL of this call.
func (n *node) read(ctx context.Context, key string) (hash map[string]string, left int64, err error) {
	defer n.reading.wait()()
	b := n.client.B()
	commands := rueidis.Commands{b.Hgetall().Key(key).Build(), b.Pttl().Key(key).Build()}
	if n.optIn {
		commands = slices.Insert(commands, 0, n.cachingYes())
	}
	answers := n.wire.DoMulti(ctx, commands...)
	if n.optIn {
		if err := answers[0].Error(); err != nil {
			return nil, 0, err
		}
		answers = answers[1:]
	}
	if hash, err = answers[0].AsStrMap(); err != nil {
		return nil, 0, err
	}
	left, err = answers[1].AsInt64()
	return hash, left, err
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
			s.following.changed(h)
		}
	}
}
