package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pazzo-sessions/pazzo/casstore"
	"github.com/pazzo-sessions/pazzo/record"
)

var _ record.Notifier = (*Store)(nil)

// Notify implements [record.Notifier]. The first listener has the store open one more
// connection, Options.Listen, on which the server tells of changes (LISTEN), if the tables
// were made so (MigrateOptions.Tell). Where they were not, or the connection leads elsewhere
// than the store's others, l is told nothing, and Record returns record.ErrUntracked with
// the reason.
func (s *Store) Notify(l record.Listener) (stop func()) {
	f := &s.following
	drop := f.listeners.Add(l)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begin()
	return func() {
		drop()
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.listeners.Len() == 0 {
			f.end()
		}
	}
}

// Record implements [record.Notifier]. It asks on one of the store's usual connections, and
// makes sure that it leads to the server that tells of changes.
func (s *Store) Record(ctx context.Context, h record.Handle) (r record.Record, now int64, err error) {
	followed, why := s.following.server()
	if followed == "" {
		return r, 0, untracked(why)
	}
	ctx, cancel := context.WithTimeout(ctx, s.server.timeout)
	defer cancel()
	var server string
	var data []byte
	key := s.server.key(casstore.Key{Kind: casstore.Session, ID: string(h[:])})
	err = retry(ctx, reading, func() error {
		return s.server.pool.QueryRow(ctx, s.server.whole, key).Scan(&now, &data, &server)
	})
	switch {
	case err != nil:
		return r, 0, fmt.Errorf("pgstore: %w: %w", record.ErrUnavailable, s.server.report(err))
	case server != followed:
		return r, 0, untracked(errElsewhere)
	}
	if err := r.Decode(string(data)); err != nil {
		return record.Record{}, 0, fmt.Errorf("pgstore: %w", err)
	}
	if now >= r.Expires() {
		r.Reset()
	}
	return r, now, nil
}

func untracked(why error) error {
	if why == nil {
		return fmt.Errorf("pgstore: %w", record.ErrUntracked)
	}
	return fmt.Errorf("pgstore: %w: %w", record.ErrUntracked, why)
}

// toldAll is the word of a change of all sessions.
const toldAll = "all"

// told takes in what the server tells.
func (c *contact) told(_ *pgconn.PgConn, n *pgconn.Notification) {
	switch n.Payload {
	case c.beat:
		c.returned = true
	case toldAll:
		c.listeners.Lost()
	default:
		if h, err := record.ParseHandle(n.Payload); err == nil {
			c.listeners.Changed(h)
		}
	}
}
