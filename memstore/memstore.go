// Package memstore keeps sessions in the memory of the process: the embedded
// default, which needs nothing installed. They end with the process.
//
// Every session is one immutable string, its encoded record, in a sharded table
// without pointers of its own, so that the garbage collector has one object to
// look at for each. Expired sessions are reclaimed within about a second, a few
// at a time, and the memory of a spike is given back.
package memstore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Options of a Store. The zero Options, and nil, are the defaults.
type Options struct {
	// MaxBytes caps the memory, roughly: each session and each user's index counts
	// with its encoded length, rounded up to 16, and about 100 bytes for its place.
	// A write that makes one larger is refused with [record.ErrFull] when there is
	// no room even after the expired are reclaimed. Destroying a session, blocking a
	// user and whatever does not make the data larger are always possible. The
	// default, 0, is no cap. Neither garbage nor replies are counted: leave the
	// process twice as much.
	MaxBytes int64
}

// Store keeps sessions in memory. It implements [record.Store].
//
// Its clock is the wall clock at the time of New, and from there the monotonic
// one: a wall clock that is set, forward or back, ends no session and prolongs
// none. Where the monotonic clock stands still while a machine is suspended, so
// do the sessions.
type Store struct {
	sessions table[record.Handle]
	indexes  table[[sha256.Size]byte]

	start   time.Time
	startMS int64
	shared  shared

	listeners record.Listeners

	closed   atomic.Bool
	stop     chan struct{}
	done     chan struct{}
	sweeping sync.Mutex
	swept    int64 // the end of the last sweep for want of room; guarded by sweeping
	scratch  sync.Pool
}

var _ record.Store = (*Store)(nil)

// scratch is what one call works on.
type scratch struct {
	record record.Record
	index  record.Index
	buf    []byte
}

// maxScratch bounds the buffers that are kept for the next call, in bytes.
const maxScratch = 64 << 10

// New returns an empty store and starts its sweeper; Close ends it. opts may be
// nil.
func New(opts *Options) *Store {
	if opts == nil {
		opts = &Options{}
	}
	start := time.Now()
	s := &Store{
		start:   start,
		startMS: start.UnixMilli(),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		scratch: sync.Pool{New: func() any { return new(scratch) }},
	}
	s.shared.max, s.shared.kick = opts.MaxBytes, make(chan struct{}, 1)
	s.sessions = newTable[record.Handle](256, s.startMS)
	s.indexes = newTable[[sha256.Size]byte](64, s.startMS)
	go s.sweepUntilClosed()
	return s
}

// now is the store's clock in ms since 1970.
func (s *Store) now() int64 { return s.startMS + time.Since(s.start).Milliseconds() }

// Apply implements [record.Store].
func (s *Store) Apply(ctx context.Context, h record.Handle, b *record.Batch) (reply record.Reply, err error) {
	if err := ctx.Err(); err != nil {
		return record.Reply{}, fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	if err = s.apply(h, b, &reply); err != nil {
		reply = record.Reply{}
	}
	return reply, err
}

// apply fills in a reply, which is large to copy about.
func (s *Store) apply(h record.Handle, b *record.Batch, reply *record.Reply) error {
	if b.SeldomWrites() {
		if done, err := s.read(h, b, reply); done {
			return err
		}
	}
	work := s.scratch.Get().(*scratch)
	defer s.release(work)
	err := s.write(h, b, work, reply)
	if err == record.ErrFull {
		s.makeRoom()
		*reply = record.Reply{}
		err = s.write(h, b, work, reply)
	}
	return err
}

// read applies a batch that seldom writes. It is not done if this one does.
func (s *Store) read(h record.Handle, b *record.Batch, reply *record.Reply) (done bool, err error) {
	now, text, err := s.load(h)
	if err != nil {
		return true, err
	}
	if _, ok := record.Splice(nil, text, b, now, reply); ok {
		return true, nil
	}
	work := s.scratch.Get().(*scratch)
	defer s.release(work)
	if err := work.record.Decode(text); err != nil {
		return true, err
	}
	answer, changed := work.record.Apply(b, now)
	if !changed {
		*reply = answer
	}
	return !changed, nil
}

// load returns a record's encoding, for a batch that seldom writes. It is applied
// outside the lock, and stands if it changes nothing: it then took effect when its
// text was taken. The time is taken before the text; after it, the session could
// have been touched in between and yet be found expired.
func (s *Store) load(h record.Handle) (now int64, text string, err error) {
	now = s.now()
	shard := s.sessions.shard(h[0])
	shard.mu.Lock()
	text = shard.text(shard.find(h))
	closed := s.closed.Load()
	shard.mu.Unlock()
	if closed {
		err = errClosed()
	}
	return now, text, err
}

// write applies a batch under the lock of its shard. reply is zero.
func (s *Store) write(h record.Handle, b *record.Batch, work *scratch, reply *record.Reply) error {
	shard := s.sessions.shard(h[0])
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if s.closed.Load() {
		return errClosed()
	}
	now := s.now()
	at := shard.find(h)
	text := shard.text(at)
	if encoded, ok := record.Splice(work.buf[:0], text, b, now, reply); ok {
		work.buf = encoded
		if !shard.keep(&s.shared, at, h, encoded, reply.Meta.Expires(), false) {
			return record.ErrFull
		}
		s.listeners.Changed(h)
		return nil
	}
	r := &work.record
	if err := r.Decode(text); err != nil {
		return err
	}
	var changed bool
	if *reply, changed = r.Apply(b, now); !changed {
		return nil
	}
	work.buf = r.Append(work.buf[:0])
	always := r.State == record.Dead
	if !shard.keep(&s.shared, at, h, work.buf, r.Expires(), always) {
		return record.ErrFull
	}
	s.listeners.Changed(h)
	return nil
}

// ApplyIndex implements [record.Store].
func (s *Store) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	return s.ApplyIndexHash(ctx, sha256.Sum256([]byte(user)), step)
}

// ApplyIndexHash is ApplyIndex for who knows the SHA-256 of the user only.
func (s *Store) ApplyIndexHash(ctx context.Context, key [sha256.Size]byte, step *record.IndexStep) (record.IndexReply, error) {
	if err := ctx.Err(); err != nil {
		return record.IndexReply{}, fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	work := s.scratch.Get().(*scratch)
	defer s.release(work)
	reply, err := s.writeIndex(key, step, work)
	if err == record.ErrFull {
		s.makeRoom()
		reply, err = s.writeIndex(key, step, work)
	}
	return reply, err
}

func (s *Store) writeIndex(key [sha256.Size]byte, step *record.IndexStep, work *scratch) (record.IndexReply, error) {
	shard := s.indexes.shard(key[0])
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if s.closed.Load() {
		return record.IndexReply{}, errClosed()
	}
	at := shard.find(key)
	x := &work.index
	if err := x.Decode(shard.text(at)); err != nil {
		return record.IndexReply{}, err
	}
	reply, changed := x.Apply(step, s.now())
	if !changed {
		return reply, nil
	}
	work.buf = x.Append(work.buf[:0])
	always := step.Kind == record.Block
	if !shard.keep(&s.shared, at, key, work.buf, x.Expires(), always) {
		return record.IndexReply{}, record.ErrFull
	}
	return reply, nil
}

// release gives scratch back without what it refers to.
func (s *Store) release(work *scratch) {
	if cap(work.buf) > maxScratch || cap(work.record.Fields) > maxScratch/32 || cap(work.index.Entries) > maxScratch/64 {
		return
	}
	work.record.Reset()
	s.scratch.Put(work)
}

func errClosed() error { return fmt.Errorf("%w: memstore is closed", record.ErrUnavailable) }

// Traits implements [record.Store].
func (s *Store) Traits(context.Context) (record.Traits, error) {
	return record.Traits{Name: "memory"}, nil
}

// Stats returns how many records the store holds, tombstones and what is not yet
// reclaimed included, and the bytes that count towards Options.MaxBytes.
func (s *Store) Stats() (records int, bytes int64) {
	for i := range s.sessions.shards {
		shard := &s.sessions.shards[i]
		shard.mu.Lock()
		records += int(shard.count)
		shard.mu.Unlock()
	}
	return records, s.shared.used.Load()
}

// Close ends the sweeper, waits for it and drops all sessions. Calls after it
// return record.ErrUnavailable. It may be called again.
func (s *Store) Close() error {
	if !s.closed.Swap(true) {
		close(s.stop)
		s.sweeping.Lock()
		s.sessions.drop()
		s.indexes.drop()
		s.shared.used.Store(0)
		s.sweeping.Unlock()
	}
	<-s.done
	return nil
}

// shared is what all shards of a store have in common.
type shared struct {
	max  int64        // bytes; 0: no cap
	used atomic.Int64 // bytes

	wake atomic.Int64  // the tick for which the sweeper sleeps
	kick chan struct{} // wakes it; holds one
}

// take adds n bytes unless that passes the cap.
func (all *shared) take(n int64, always bool) bool {
	if all.used.Add(n) > all.max && all.max > 0 && n > 0 && !always {
		all.used.Add(-n)
		return false
	}
	return true
}

// expect wakes the sweeper if it would miss a deadline.
func (all *shared) expect(deadline int64) {
	if deadline/tickMS < all.wake.Load() {
		select {
		case all.kick <- struct{}{}:
		default:
		}
	}
}

// cost is what a text counts for: about what its allocation takes, its entry in
// the slab, and its place in the map at the usual load.
func cost(length int) int64 { return int64(length+15)&^15 + 96 }
