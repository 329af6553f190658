package redisstore

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/record"
)

// connection is a rueidis client with a count of its users, so that it is closed
// when the last call on it is over.
type connection struct {
	rueidis.Client
	users sync.WaitGroup
}

// holder holds the connection of the moment, and replaces it.
type holder struct {
	option rueidis.ClientOption

	mu        sync.RWMutex // guards current against a release while it is being taken
	current   *connection
	closed    bool
	replacing atomic.Bool
	work      sync.WaitGroup // goroutines
	stop      chan struct{}
}

// replaceGap is the least time between two replacements of the connection.
const replaceGap = 100 * time.Millisecond

// acquire returns the connection of the moment; the caller calls users.Done after
// use.
func (o *holder) acquire(ctx context.Context) (*connection, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("redisstore: %w: %w", record.ErrUnavailable, err)
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.closed {
		return nil, errClosed
	}
	c := o.current
	c.users.Add(1)
	return c, nil
}

// distrust replaces the connection of the moment, which gave somebody else's reply.
func (o *holder) distrust() {
	o.mu.RLock()
	c := o.current
	o.mu.RUnlock()
	o.replace(c)
}

// replace makes a new connection in place of old, which turned out to lead to a
// replica: the name may point to another server by now, and Sentinel knows the
// new primary. It does not wait.
func (o *holder) replace(old *connection) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.closed || o.current != old || !o.replacing.CompareAndSwap(false, true) {
		return
	}
	o.work.Go(func() {
		defer o.replacing.Store(false)
		client, err := rueidis.NewClient(o.option)
		if err == nil && !o.swap(&connection{Client: client}) {
			client.Close()
			return
		}
		if err == nil {
			o.work.Go(func() {
				old.users.Wait()
				old.Close()
			})
		}
		select {
		case <-time.After(replaceGap):
		case <-o.stop:
		}
	})
}

func (o *holder) swap(c *connection) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.current = c
	return true
}

// close ends the connection when the calls under way are over, and waits for all
// goroutines.
func (o *holder) close() {
	o.mu.Lock()
	closed := o.closed
	o.closed = true
	o.mu.Unlock()
	if closed {
		return
	}
	close(o.stop)
	o.current.users.Wait()
	o.current.Close()
	o.work.Wait()
}

// dial opens a connection that rueidis asks for. Unlike rueidis' own it does not
// end with the context of the call that happens to need it first, since others
// wait for the same connection; and its error tells that nothing was sent.
func dial(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	ctx = context.WithoutCancel(ctx)
	var conn net.Conn
	var err error
	if config != nil {
		ctx, cancel := context.WithTimeout(ctx, dialer.Timeout)
		defer cancel()
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = dialer.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}
