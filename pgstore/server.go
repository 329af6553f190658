package pgstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pazzo-sessions/pazzo/casstore"
	"github.com/pazzo-sessions/pazzo/record"
)

// server is PostgreSQL as package casstore sees it.
type server struct {
	pool    *pgxpool.Pool
	prefix  string
	timeout time.Duration
	tables  [2]statements // by casstore.Kind

	sessions string // the table
	whole    string // reads a session's row, and which server it is on
	beat     string // tells something, if the tables tell of changes
}

// statements are what is asked of one table.
type statements struct {
	read, lock, insert, update, sweep string
}

// The server's clock in ms since 1970. transactionTime is the one before the statement's
// snapshot was taken: with a later one, a session that was touched in between could be
// found expired. Each statement is a transaction of its own.
const (
	clockTime       = `floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint`
	transactionTime = `floor(extract(epoch FROM transaction_timestamp()) * 1000)::bigint`
)

func newStatements(table string) statements {
	with := strings.NewReplacer("@table", table, "@clock", clockTime, "@began", transactionTime).Replace
	return statements{
		read: with(`SELECT @began, t.version, t.data FROM (SELECT 1) one LEFT JOIN @table t ON t.key = $1`),
		// Nobody waits long for a process that stands still with a lock in its hands.
		lock: with(`SELECT version, data, set_config('idle_in_transaction_session_timeout', $2, true) FROM @table WHERE key = $1 FOR UPDATE`),
		insert: with(`INSERT INTO @table (key, version, expires, data) VALUES ($1, $2, $3, $4)
			ON CONFLICT (key) DO NOTHING RETURNING @clock`),
		// What had expired at the time of the change ($6) may be replaced; what had not must not
		// have expired since. That time may be a guess, which must not be ahead.
		update: with(`UPDATE @table SET version = $2, expires = $3, data = $4
			WHERE key = $1 AND version = $5 AND $6 <= @clock AND (expires <= $6 OR expires > @clock) RETURNING @clock`),
		sweep: with(`WITH dead AS MATERIALIZED (
				SELECT key FROM @table WHERE expires <= @clock ORDER BY expires LIMIT $1 FOR UPDATE SKIP LOCKED
			) DELETE FROM @table t USING dead WHERE t.key = dead.key`),
	}
}

func newServer(pool *pgxpool.Pool, c config) *server {
	s := &server{pool: pool, prefix: c.Prefix, timeout: c.Timeout, sessions: quoted(c.Schema) + ".sessions"}
	s.whole = "SELECT " + transactionTime + ", t.data, " + startTime + " FROM (SELECT 1) one LEFT JOIN " + s.sessions + " t ON t.key = $1"
	s.beat = "SELECT pg_notify($1, $2) FROM (SELECT " + tells + " AS yes) t WHERE yes"
	s.tables[casstore.Session] = newStatements(s.sessions)
	s.tables[casstore.User] = newStatements(quoted(c.Schema) + ".users")
	return s
}

func (s *server) key(k casstore.Key) []byte { return []byte(s.prefix + k.ID) }

// Read implements [casstore.Server]. A read may be repeated.
func (s *server) Read(ctx context.Context, k casstore.Key) (cell casstore.Cell, err error) {
	var version *int64
	err = retry(ctx, reading, func() error {
		var data []byte
		err := s.pool.QueryRow(ctx, s.tables[k.Kind].read, s.key(k)).Scan(&cell.Now, &version, &data)
		cell.Data = string(data)
		return err
	})
	if err != nil {
		return casstore.Cell{}, s.report(err)
	}
	if version != nil {
		cell.Found, cell.Version = true, uint64(*version)
	}
	return cell, nil
}

// Swap implements [casstore.Server].
func (s *server) Swap(ctx context.Context, k casstore.Key, old casstore.Cell, n casstore.Value) (casstore.Cell, casstore.Outcome, error) {
	var cell casstore.Cell
	err := retry(ctx, writing, func() error {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return &notSent{err}
		}
		defer conn.Release()
		cell, err = s.swap(ctx, conn, k, old, n)
		return err
	})
	switch {
	case err == nil:
		return cell, casstore.Swapped, nil
	case errors.Is(err, pgx.ErrNoRows):
		return casstore.Cell{}, casstore.Lost, nil
	}
	return casstore.Cell{}, outcomeOf(err), s.report(err)
}

// rower is a connection or a transaction.
type rower interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// swap returns pgx.ErrNoRows when the old cell is not there any more.
func (s *server) swap(ctx context.Context, on rower, k casstore.Key, old casstore.Cell, n casstore.Value) (casstore.Cell, error) {
	version := int64(rand.Uint64())
	var row pgx.Row
	if old.Found {
		row = on.QueryRow(ctx, s.tables[k.Kind].update, s.key(k), version, n.Expires, n.Data, int64(old.Version), n.Now)
	} else {
		row = on.QueryRow(ctx, s.tables[k.Kind].insert, s.key(k), version, n.Expires, n.Data)
	}
	cell := casstore.Cell{Version: uint64(version)}
	return cell, row.Scan(&cell.Now)
}

// Locked implements [casstore.Locker]. Where there is no row there is nothing to lock:
// then an insert decides.
func (s *server) Locked(ctx context.Context, k casstore.Key, change func(casstore.Cell) (casstore.Value, bool)) (casstore.Outcome, error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return casstore.Refused, s.report(err)
	}
	defer tx.Rollback(ctx) // after a Commit it does nothing; without one it may cost the connection
	cell, err := s.lock(ctx, tx, k)
	if err != nil {
		return refusal(err), s.report(err)
	}
	n, ok := change(cell)
	if !ok {
		return casstore.Swapped, nil
	}
	switch _, err := s.swap(ctx, tx, k, cell, n); {
	case errors.Is(err, pgx.ErrNoRows):
		return casstore.Lost, nil
	case err != nil:
		return refusal(err), s.report(err)
	}
	if err := tx.Commit(ctx); err != nil {
		return outcomeOf(err), s.report(err)
	}
	return casstore.Swapped, nil
}

// lock locks a row and reads it, and then the clock, since the wait may have been long.
func (s *server) lock(ctx context.Context, tx pgx.Tx, k casstore.Key) (cell casstore.Cell, err error) {
	var version int64
	var data []byte
	var ignored string
	patience := strconv.FormatInt(s.timeout.Milliseconds(), 10)
	err = tx.QueryRow(ctx, s.tables[k.Kind].lock, s.key(k), patience).Scan(&version, &data, &ignored)
	switch {
	case err == nil:
		cell = casstore.Cell{Found: true, Version: uint64(version), Data: string(data)}
	case !errors.Is(err, pgx.ErrNoRows):
		return casstore.Cell{}, err
	}
	return cell, tx.QueryRow(ctx, "SELECT "+clockTime).Scan(&cell.Now)
}

// Traits implements [casstore.Server]. PostgreSQL drops nothing before its time.
func (s *server) Traits(context.Context) (record.Traits, error) {
	return record.Traits{Name: "postgres"}, nil
}

// Close implements [casstore.Server].
func (s *server) Close() error {
	s.pool.Close()
	return nil
}
