package pgstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pazzo-sessions/pazzo/casstore"
	"github.com/pazzo-sessions/pazzo/record"
)

// The defaults of Options.
const (
	DefaultPrefix   = "pazzo:"
	DefaultSchema   = "pazzo"
	DefaultTimeout  = 2 * time.Second
	DefaultSweep    = time.Minute
	DefaultMaxConns = 10
)

// memory bounds what is remembered of rows, in bytes: some ten thousand ordinary sessions.
const memory = 16 << 20

// Options configure a Store. The URL's parameters override them. A nil *Options and a
// zero member mean the defaults.
type Options struct {
	// Prefix begins every key, so that several apps share the tables. It ends in ":" and
	// has no braces. Default "pazzo:".
	Prefix string
	// Schema is where the tables are: 1 to 63 of a-z, 0-9 and _, no digit first. Default
	// "pazzo".
	Schema string
	// Timeout bounds every call, attempts and waits included. A shorter deadline of the
	// call's context holds as well. Default 2 s, from 1 ms.
	Timeout time.Duration
	// Sweep is how often expired rows are deleted, at random from half to one and a half
	// times as long. Any number of processes may do so. Default 1 minute, from 10 ms;
	// negative is never.
	Sweep time.Duration
	// Listen is the URL, as Open takes it, of the connection on which the server tells of
	// changes (Store.Notify). It leads to the same server and database as the other
	// connections, and never through a pooler such as PgBouncer. Default: as the others.
	Listen string
}

// Store is a record.Store in PostgreSQL. Make it with Open.
type Store struct {
	*casstore.Store
	server    *server
	following following
	sweeping  context.CancelFunc
	sweeper   sync.WaitGroup
}

var _ record.Store = (*Store)(nil)

// Open connects to the server that url names, makes sure that its tables are the ones
// that this version knows, and starts to delete what has expired. The form is:
//
//	postgres://[user[:password]@]host[:port][,…][/database]
//
// or postgresql://. Parameters, which override opts:
//
//	prefix   Options.Prefix
//	schema   Options.Schema
//	timeout  Options.Timeout, such as 500ms
//	sweep    Options.Sweep, such as 30s, or off
//	listen   Options.Listen, with &, %, + and # in it escaped (%26, %25, %2B, %23)
//
// and those of libpq and pgx, such as sslmode, target_session_attrs=read-write for several
// hosts, pool_max_conns (default 10), connect_timeout (s; default Timeout) and
// default_query_exec_mode=exec behind a PgBouncer before 1.21. A further one is a setting
// of the server's for these connections.
//
// ErrURL is returned for an invalid url; it names what is wrong and what is allowed, but
// never a password. ErrSchema is returned when the tables are missing or of another
// version, record.ErrUnavailable when no server answers.
func Open(ctx context.Context, url string, opts *Options) (*Store, error) {
	c, err := parse(url, opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, max(c.Timeout, c.pool.ConnConfig.ConnectTimeout))
	defer cancel()
	pool, err := pgxpool.NewWithConfig(ctx, c.pool)
	if err != nil {
		return nil, fmt.Errorf("pgstore: %w: %w", record.ErrUnavailable, err)
	}
	if err := checkVersion(ctx, pool, quoted(c.Schema)); err != nil {
		pool.Close()
		return nil, err
	}
	s := newServer(pool, c)
	store := &Store{server: s, Store: casstore.New(s, casstore.Options{Name: "pgstore", Timeout: c.Timeout, Memory: memory})}
	store.following.of, store.following.listen, store.following.channel = s, &c.listen.Config, c.Schema
	sweeping, end := context.WithCancel(context.Background())
	store.sweeping = end
	if c.Sweep > 0 {
		store.sweeper.Go(func() { s.sweepUntil(sweeping, c.Sweep) })
	}
	return store, nil
}

// Close ends the following of changes and the deletion of expired rows, waits for the calls under way, and
// disconnects. Calls that wait fail, and so do later ones, with record.ErrUnavailable.
func (s *Store) Close() error {
	s.following.close()
	s.sweeping()
	s.sweeper.Wait()
	return s.Store.Close()
}
