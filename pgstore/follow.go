package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pazzo-sessions/pazzo/record"
)

// The times of following the changes.
const (
	// heartbeat is how often the server is asked whether it has told everything.
	heartbeat = 250 * time.Millisecond
	// firstRefollow and lastRefollow bound the wait before contact is sought again.
	firstRefollow = 50 * time.Millisecond
	lastRefollow  = 5 * time.Second
)

// following is the following of changes, on a connection of its own.
type following struct {
	of        *server
	listen    *pgconn.Config
	channel   string
	listeners record.Listeners

	mu     sync.Mutex
	cancel context.CancelFunc // or nil while nobody listens
	done   chan struct{}
	closed bool

	state    sync.RWMutex
	followed string // the server that tells, or "" without contact
	why      error  // there is none
}

// server returns which server tells of changes, or why none does.
func (f *following) server() (name string, why error) {
	f.state.RLock()
	defer f.state.RUnlock()
	return f.followed, f.why
}

func (f *following) set(followed string, why error) {
	f.state.Lock()
	defer f.state.Unlock()
	f.followed, f.why = followed, why
}

// begin has changes followed, until end. f.mu is held.
func (f *following) begin() {
	if f.cancel != nil || f.closed {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	f.cancel, f.done = cancel, done
	go func() {
		defer close(done)
		f.until(ctx)
	}()
}

// end ends that. f.mu is held.
func (f *following) end() {
	if f.cancel == nil {
		return
	}
	f.cancel()
	<-f.done
	f.cancel = nil
}

func (f *following) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.end()
}

// until follows changes until ctx ends.
func (f *following) until(ctx context.Context) {
	for wait := firstRefollow; ctx.Err() == nil; wait = min(2*wait, lastRefollow) {
		met, err := f.once(ctx)
		f.set("", err)
		if met {
			f.listeners.Lost()
			wait = firstRefollow
		}
		timer := time.NewTimer(wait/2 + mathrand.N(wait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// once follows changes until contact is lost. It reports whether there was contact.
func (f *following) once(ctx context.Context) (met bool, err error) {
	c, err := f.contact(ctx)
	if err != nil {
		return false, err
	}
	defer c.close()
	for {
		sent := time.Now()
		if err := c.ask(ctx); err != nil {
			return met, err
		}
		if !met {
			met = true
			f.set(c.server, nil)
		}
		f.listeners.Current(sent)
		if err := c.hear(ctx, sent.Add(heartbeat)); err != nil {
			return met, err
		}
	}
}

// contact is a connection on which the server tells of changes. One goroutine uses it.
type contact struct {
	*following
	conn     *pgconn.PgConn
	server   string // see startTime
	beat     string // what was last sent to ourselves
	returned bool   // it has come back
}

// Of the errors that a user can do something about.
var (
	errPooler    = errors.New("a pooler is in between: the parameter listen must lead to the server itself")
	errUntold    = errors.New("the tables do not tell of changes; `pazzo migrate -tell` has them do so")
	errElsewhere = errors.New("the connection on which changes are told of leads to another server than the others")
)

// startTime tells servers apart: two have not started in the same microsecond.
const startTime = `extract(epoch FROM pg_postmaster_start_time())::text`

// contact connects, and has the server tell. The settings are for the connection: its
// commits are heartbeats, which need not be on the disk, and a client that is gone must not
// keep what the server has to tell for long, for that is a queue that all sessions share.
func (f *following) contact(ctx context.Context) (*contact, error) {
	ctx, cancel := context.WithTimeout(ctx, f.of.timeout)
	defer cancel()
	c := &contact{following: f}
	config := f.listen.Copy()
	config.OnNotification = c.told
	var err error
	if c.conn, err = pgconn.ConnectConfig(ctx, config); err != nil {
		return nil, err
	}
	if err := c.listenTo(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *contact) listenTo(ctx context.Context) error {
	row, err := c.row(ctx, "SELECT pg_backend_pid(), "+startTime)
	if err != nil {
		return err
	}
	if string(row[0]) != strconv.Itoa(int(c.conn.PID())) {
		return errPooler
	}
	c.server = string(row[1])
	_, err = c.conn.Exec(ctx, "SET synchronous_commit = off; SET tcp_user_timeout = '30s'; LISTEN "+quoted(c.channel)).ReadAll()
	return err
}

// ask has the server tell us something ourselves, and waits for it. What is told comes in
// the order of the commits, so when it comes, all has come that was committed before ask
// began. (That the server answers is no proof: it may be late to tell of a commit.) It
// also asks whether the tables still tell, and whether the store's other connections lead
// to this server.
func (c *contact) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.of.timeout)
	defer cancel()
	c.beat, c.returned = "beat "+rand.Text(), false
	if _, err := c.row(ctx, c.of.beat, c.channel, c.beat, c.of.sessions); errors.Is(err, errNoRow) {
		return errUntold
	} else if err != nil {
		return err
	}
	for !c.returned {
		if err := c.conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
	var server string
	if err := c.of.pool.QueryRow(ctx, "SELECT "+startTime).Scan(&server); err != nil {
		return err
	}
	if server != c.server {
		return errElsewhere
	}
	return nil
}

// hear takes in what is told until a time.
func (c *contact) hear(ctx context.Context, until time.Time) error {
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for waiting.Err() == nil {
		if err := c.conn.WaitForNotification(waiting); err != nil && waiting.Err() == nil {
			return err
		}
	}
	return ctx.Err()
}

// errNoRow is returned when there is none.
var errNoRow = errors.New("no row")

// row returns the one row of a query.
func (c *contact) row(ctx context.Context, sql string, args ...string) ([][]byte, error) {
	values := make([][]byte, len(args))
	for i, arg := range args {
		values[i] = []byte(arg)
	}
	result := c.conn.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	switch {
	case result.Err != nil:
		return nil, result.Err
	case len(result.Rows) != 1:
		return nil, fmt.Errorf("%w, but %d", errNoRow, len(result.Rows))
	}
	return result.Rows[0], nil
}

func (c *contact) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	c.conn.Close(ctx)
}

// closing bounds how long a connection is taken leave of.
const closing = time.Second
