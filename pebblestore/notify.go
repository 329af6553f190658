package pebblestore

import (
	"context"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

var _ record.Notifier = (*Store)(nil)

// forEver is a time that does not come.
const forEver = 200 * 365 * 24 * time.Hour

// Notify implements [record.Notifier]. Changes are told of before the call that makes
// them returns, and none of other prefixes.
func (s *Store) Notify(l record.Listener) (stop func()) {
	stop = s.listeners.Add(l)
	l.Current(time.Now().Add(forEver))
	return stop
}

// Record implements [record.Notifier]. What it returns is on the disk.
func (s *Store) Record(ctx context.Context, h record.Handle) (r record.Record, now int64, err error) {
	if err := s.check(ctx); err != nil {
		return r, 0, err
	}
	w := works.Get().(*work)
	defer w.release()
	s.setKey(w, h)
	now = s.now()
	shard := s.shard(w.key)
	shard.mu.Lock()
	e, err := shard.load(s.engine, w.key)
	shard.mu.Unlock()
	if err != nil {
		return r, 0, err
	}
	if err := r.Decode(e.text()); err != nil {
		return r, 0, err
	}
	if now >= r.Expires() {
		r.Reset()
	}
	return r, now, unavailable(s.await(ctx, e.group))
}
