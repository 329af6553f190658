package pebblestore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pazzo-sessions/pazzo/record"
)

// Store keeps sessions in a directory. It implements [record.Store]: a batch is
// applied under the lock of its session's shard, and answered once that is on the
// disk.
//
// A call waits for the disk no longer than its context. Two things do not heed the
// context: the read of a session that is not in memory, and the wait for another
// such read in the same one of 1,024 shards.
type Store struct {
	*engine
	prefix    string            // preceded by its length in one byte
	listeners *record.Listeners // of the prefix
	closed    atomic.Bool
}

var _ record.Store = (*Store)(nil)

// WithPrefix returns a store of other sessions in the same directory, with the other
// options as they are. Each of the stores is to be closed. ErrOptions is returned
// for an invalid prefix, record.ErrUnavailable when s is closed.
func (s *Store) WithPrefix(prefix string) (record.Store, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	if s.closed.Load() || !s.engine.share() {
		return nil, errClosed()
	}
	return newStore(s.engine, prefix), nil
}

func newStore(en *engine, prefix string) *Store {
	listeners, _ := en.listeners.LoadOrStore(prefix, &record.Listeners{})
	return &Store{engine: en, prefix: string([]byte{byte(len(prefix))}) + prefix, listeners: listeners.(*record.Listeners)}
}

// work is what one call works on.
type work struct {
	record record.Record
	index  record.Index
	key    []byte
	text   []byte
}

// maxWork bounds the buffers that are kept for the next call, in bytes.
const maxWork = 64 << 10

var works = sync.Pool{New: func() any { return new(work) }}

// release gives w back without what it refers to.
func (w *work) release() {
	if cap(w.text) > maxWork || cap(w.record.Fields) > maxWork/32 || cap(w.index.Entries) > maxWork/64 {
		return
	}
	w.record.Reset()
	works.Put(w)
}

// Apply implements [record.Store].
func (s *Store) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	if err := s.check(ctx); err != nil {
		return record.Reply{}, err
	}
	w := works.Get().(*work)
	defer w.release()
	s.setKey(w, h)
	if b.SeldomWrites() {
		if reply, done, err := s.read(ctx, b, w); done || err != nil {
			return reply, err
		}
	}
	if err := s.room(ctx); err != nil {
		return record.Reply{}, err
	}
	reply, g, wrote, err := s.change(b, w)
	if wrote {
		s.listeners.Changed(h)
	}
	if err != nil {
		return record.Reply{}, err
	}
	if err = s.await(ctx, g); err == nil {
		return reply, nil
	}
	if !wrote {
		err = unavailable(err)
	}
	return record.Reply{}, err
}

// read answers a batch that changes nothing. done is false when it would. It takes
// effect when the session's text is taken; the time is taken before that, since
// after it the session could have been touched in between and yet be found expired.
func (s *Store) read(ctx context.Context, b *record.Batch, w *work) (reply record.Reply, done bool, err error) {
	now := s.now()
	shard := s.shard(w.key)
	shard.mu.Lock()
	e, err := shard.load(s.engine, w.key)
	shard.mu.Unlock()
	if err != nil {
		return record.Reply{}, false, err
	}
	if _, done = record.Splice(nil, e.text(), b, now, &reply); !done {
		if err := w.record.Decode(e.text()); err != nil {
			return record.Reply{}, false, err
		}
		var changed bool
		if reply, changed = w.record.Apply(b, now); changed {
			return record.Reply{}, false, nil
		}
	}
	return reply, true, unavailable(s.await(ctx, e.group))
}

// setKey sets w.key to that of a session.
func (s *Store) setKey(w *work, h record.Handle) {
	w.key = append(append(append(w.key[:0], sessionKind), s.prefix...), h[:]...)
}

// change applies a batch. The answer holds once g is written; wrote tells whether the
// batch is part of that.
func (s *Store) change(b *record.Batch, w *work) (reply record.Reply, g *group, wrote bool, err error) {
	shard := s.shard(w.key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	old, err := shard.load(s.engine, w.key)
	if err != nil {
		return record.Reply{}, nil, false, err
	}
	now := s.now()
	if text, ok := record.Splice(w.text[:0], old.text(), b, now, &reply); ok {
		w.text = text
		g, err = shard.put(s.engine, w.key, old, text, reply.Meta.Expires(), false)
		return reply, g, true, err
	}
	r := &w.record
	if err := r.Decode(old.text()); err != nil {
		return record.Reply{}, nil, false, err
	}
	reply, changed := r.Apply(b, now)
	if !changed {
		return reply, old.group, false, nil
	}
	w.text = r.Append(w.text[:0])
	g, err = shard.put(s.engine, w.key, old, w.text, r.Expires(), r.State == record.Dead)
	return reply, g, true, err
}

// ApplyIndex implements [record.Store].
func (s *Store) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	return s.ApplyIndexHash(ctx, sha256.Sum256([]byte(user)), step)
}

// ApplyIndexHash is ApplyIndex for who knows the SHA-256 of the user only.
func (s *Store) ApplyIndexHash(ctx context.Context, user [sha256.Size]byte, step *record.IndexStep) (record.IndexReply, error) {
	if err := s.check(ctx); err != nil {
		return record.IndexReply{}, err
	}
	if err := s.room(ctx); err != nil {
		return record.IndexReply{}, err
	}
	w := works.Get().(*work)
	defer w.release()
	w.key = append(append(append(w.key[:0], indexKind), s.prefix...), user[:]...)
	reply, g, wrote, err := s.changeIndex(step, w)
	if err != nil {
		return record.IndexReply{}, err
	}
	if err = s.await(ctx, g); err == nil {
		return reply, nil
	}
	if !wrote {
		err = unavailable(err)
	}
	return record.IndexReply{}, err
}

func (s *Store) changeIndex(step *record.IndexStep, w *work) (reply record.IndexReply, g *group, wrote bool, err error) {
	shard := s.shard(w.key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	old, err := shard.load(s.engine, w.key)
	if err != nil {
		return record.IndexReply{}, nil, false, err
	}
	x := &w.index
	if err := x.Decode(old.text()); err != nil {
		return record.IndexReply{}, nil, false, err
	}
	reply, changed := x.Apply(step, s.now())
	if !changed {
		return reply, old.group, false, nil
	}
	w.text = x.Append(w.text[:0])
	g, err = shard.put(s.engine, w.key, old, w.text, x.Expires(), step.Kind == record.Block)
	return reply, g, true, err
}

// check returns ErrUnavailable if a call must not be begun.
func (s *Store) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	if s.closed.Load() {
		return errClosed()
	}
	return nil
}

func errClosed() error { return fmt.Errorf("%w: pebblestore is closed", record.ErrUnavailable) }

// Traits implements [record.Store].
func (s *Store) Traits(context.Context) (record.Traits, error) {
	return record.Traits{Name: "pebble"}, nil
}

// Stats are figures of an open directory, of all its prefixes together.
type Stats struct {
	Reclaimed int64 // expired sessions, tombstones and indexes that were removed since Open
	Full      bool  // writes are refused for want of room on the disk
}

// Stats returns them. It does not wait.
func (s *Store) Stats() Stats {
	return Stats{Reclaimed: s.sweptTotal.Load(), Full: s.full.low.Load() || s.full.stalled.Load()}
}

// Failed returns a channel that is closed when the store has failed for good: the disk has
// refused a write or a sync. Every call fails from then on, Close says why, and the process
// should end, so that another one opens what is on the disk.
func (s *Store) Failed() <-chan struct{} { return s.engine.failed }

// Close implements [record.Store]. The last store of a directory to be closed waits
// until what was written is on the disk, and gives the directory free. The error, if
// any, says why the store has failed or could not be closed properly; what was
// acknowledged is safe all the same.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.engine.leave()
}
