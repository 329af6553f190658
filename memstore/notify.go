package memstore

import (
	"context"
	"fmt"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

var _ record.Notifier = (*Store)(nil)

// forEver is a time that does not come.
const forEver = 200 * 365 * 24 * time.Hour

// Notify implements [record.Notifier]. Changes are told of before the call that makes
// them returns.
func (s *Store) Notify(l record.Listener) (stop func()) {
	stop = s.listeners.Add(l)
	l.Current(time.Now().Add(forEver))
	return stop
}

// Record implements [record.Notifier].
func (s *Store) Record(ctx context.Context, h record.Handle) (r record.Record, now int64, err error) {
	if err := ctx.Err(); err != nil {
		return r, 0, fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	now, text, err := s.load(h)
	if err != nil {
		return r, 0, err
	}
	if err := r.Decode(text); err != nil {
		return r, 0, err
	}
	if now >= r.Expires() {
		r.Reset()
	}
	return r, now, nil
}
