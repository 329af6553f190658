// Package casstore makes a [record.Store] of any server that can replace a value
// only if it is still the one that was read: PostgreSQL, memcached and the like. It
// is for authors of stores; pgstore and memcachedstore are written with it.
//
// A [Server] has two calls, Read and Swap, and knows nothing of sessions. What is
// done to a session is record.Apply's business, and when it is read, replaced and
// tried again is this package's:
//
//   - Batches on one session that come while another is under way wait, and are then
//     applied together, in their order, with one Read and one Swap. So many requests
//     of one user cost the server as much as a few, and do not collide.
//   - What the last call has left is remembered for some seconds, and the next write begins
//     from it and skips the Read. If that guess is wrong, the Swap says so, and it begins
//     anew. Where guesses are wrong, as when several processes take turns, none is made.
//   - A session that other processes keep changing is locked, if the server can
//     ([Locker]); otherwise the wait between two tries grows, and is random.
package casstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Server keeps one value under each key. It is safe for concurrent use. Its errors
// hold no value and no password. A call that was certainly not executed may be
// repeated by the Server itself, within its context.
type Server interface {
	// Read returns what is under a key. An error means that nothing is known: it is
	// never an empty cell.
	Read(ctx context.Context, k Key) (Cell, error)
	// Swap replaces what Read, or an earlier Swap, has returned by a new value, if it
	// is still there and, unless it had expired by the time n.Now, has not expired
	// since. When the outcome is Swapped, the cell has the new value's version, token
	// and the time; Found and Data need not be set.
	Swap(ctx context.Context, k Key, old Cell, n Value) (Cell, Outcome, error)
	// Traits tells what the server promises.
	Traits(ctx context.Context) (record.Traits, error)
	// Close disconnects. No other call is under way, and none follows.
	Close() error
}

// Locker is a Server that can keep others from a key while it is changed.
type Locker interface {
	// Locked reads the cell under a lock, calls change, and replaces the cell by the
	// value that change returns, if ok. The outcomes are those of Swap, and Swapped when
	// change wants nothing replaced. Where there is nothing to lock, it may be Lost.
	Locked(ctx context.Context, k Key, change func(Cell) (n Value, ok bool)) (Outcome, error)
}

// Key names a value.
type Key struct {
	Kind Kind
	ID   string // the 16 bytes of a session's handle, or the 32 of the SHA-256 of a user's name
}

// Kind tells records and indexes apart.
type Kind uint8

const (
	// Session is the kind of records.
	Session Kind = iota
	// User is the kind of indexes.
	User
)

// Cell is what a server has under a key.
type Cell struct {
	Found   bool
	Data    string
	Version uint64 // of the data; no two that were ever under the key have the same
	Token   any    // what else the Server wants to know again at a Swap
	Now     int64  // the server's clock at the call that returned the cell, ms since 1970
	Expires int64  // when the data do, ms since 1970; set by the Store, for Swap
}

// Value is what is to be kept.
type Value struct {
	Data    []byte
	Expires int64 // when it may be forgotten, ms since 1970
	Now     int64 // the time at which it was made from the old cell, ms since 1970
}

// Outcome is what a Swap came to.
type Outcome uint8

const (
	// Swapped: the value is there.
	Swapped Outcome = iota
	// Lost: the old cell is no longer there, or has expired. Nothing was changed.
	Lost
	// Refused: there is an error, and nothing was changed.
	Refused
	// Unknown: there is an error, and the value may be there.
	Unknown
)

// Options of a Store.
type Options struct {
	// Name begins the text of errors, as "pgstore".
	Name string
	// Timeout bounds every call, waits included. A shorter deadline of the call's
	// context holds as well.
	Timeout time.Duration
	// MaxSize is the longest encoding that the server takes, in bytes; 0 is no limit. A
	// batch that makes a longer one fails with record.ErrTooLarge and changes nothing.
	MaxSize int
	// Memory bounds what is remembered of keys, in bytes; 0 is nothing.
	Memory int
}

// Store is a record.Store over a Server. Make it with New.
type Store struct {
	server  Server
	locker  Locker // nil if there is none
	options Options
	runners sync.WaitGroup

	mu     sync.Mutex
	queues map[Key]*queue // those that have something to do
	recent memory         // of the keys that have no queue
	closed bool
}

var _ record.Store = (*Store)(nil)

// New returns a store over server, which its Close closes.
func New(server Server, o Options) *Store {
	locker, _ := server.(Locker)
	return &Store{server: server, locker: locker, options: o, queues: map[Key]*queue{}, recent: newMemory(o.Memory)}
}

// Apply implements [record.Store].
func (s *Store) Apply(ctx context.Context, h record.Handle, b *record.Batch) (reply record.Reply, err error) {
	err = s.do(ctx, Key{Session, string(h[:])}, !b.ReadOnly(), func(v value, now int64) (changed bool) {
		reply, changed = v.(*record.Record).Apply(b, now)
		return changed
	})
	if err != nil {
		return record.Reply{}, err
	}
	return reply, nil
}

// ApplyIndex implements [record.Store].
func (s *Store) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	return s.ApplyIndexHash(ctx, sha256.Sum256([]byte(user)), step)
}

// ApplyIndexHash is ApplyIndex for who knows the SHA-256 of the user only.
func (s *Store) ApplyIndexHash(ctx context.Context, user [sha256.Size]byte, step *record.IndexStep) (reply record.IndexReply, err error) {
	err = s.do(ctx, Key{User, string(user[:])}, step.Kind != record.List, func(v value, now int64) (changed bool) {
		reply, changed = v.(*record.Index).Apply(step, now)
		return changed
	})
	if err != nil {
		return record.IndexReply{}, err
	}
	return reply, nil
}

// Traits implements [record.Store].
func (s *Store) Traits(ctx context.Context) (record.Traits, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return record.Traits{}, s.unavailable(errClosed)
	}
	s.runners.Add(1) // Close waits
	s.mu.Unlock()
	defer s.runners.Done()
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	traits, err := s.server.Traits(ctx)
	if err != nil {
		return record.Traits{}, s.unavailable(err)
	}
	return traits, nil
}

// Close fails the calls that wait, waits for those under way, which the timeout
// bounds, and closes the server.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	s.runners.Wait()
	if again {
		return nil
	}
	return s.server.Close()
}

var errClosed = errors.New("the store is closed")

// unavailable wraps an error of a batch that was certainly not executed.
func (s *Store) unavailable(err error) error {
	return fmt.Errorf("%s: %w: %w", s.options.Name, record.ErrUnavailable, err)
}

// unknown wraps an error of a batch that may have been executed.
func (s *Store) unknown(err error) error {
	return fmt.Errorf("%s: %w: %w", s.options.Name, record.ErrOutcomeUnknown, err)
}
