package redisstore

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
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

	dialing sync.Mutex // guards sockets
	sockets map[*socket]struct{}
}

// socket is a connection that rueidis has open.
type socket struct {
	net.Conn
	holder *holder
}

// Close closes the connection.
func (k *socket) Close() error {
	k.holder.dialing.Lock()
	delete(k.holder.sockets, k)
	k.holder.dialing.Unlock()
	return k.Conn.Close()
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

// closeGrace is how long rueidis may take to close its connections, which it does
// in the background. By then nobody waits for an answer.
const closeGrace = 100 * time.Millisecond

// close ends the connection, if there ever was one, when the calls under way are
// over, and waits for all goroutines.
func (o *holder) close() {
	o.mu.Lock()
	closed := o.closed
	o.closed = true
	o.mu.Unlock()
	if closed {
		return
	}
	close(o.stop)
	if o.current != nil {
		o.current.users.Wait()
		o.current.Close()
	}
	o.work.Wait()
	for end := time.Now().Add(closeGrace); o.connected() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	o.dialing.Lock()
	defer o.dialing.Unlock()
	for k := range o.sockets {
		k.Conn.Close()
	}
}

func (o *holder) isClosed() bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.closed
}

func (o *holder) connected() bool {
	o.dialing.Lock()
	defer o.dialing.Unlock()
	return len(o.sockets) > 0
}

// dial opens a connection that rueidis asks for, unless the store is closed: what
// rueidis still does in the background after its Close must leave nothing.
func (o *holder) dial(_ context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	conn, err := connect(address, dialer, config)
	if err != nil {
		return nil, &dialError{err}
	}
	k := &socket{conn, o}
	o.dialing.Lock()
	defer o.dialing.Unlock()
	select {
	case <-o.stop:
		conn.Close()
		return nil, &dialError{errClosed}
	default:
	}
	if o.sockets == nil {
		o.sockets = map[*socket]struct{}{}
	}
	o.sockets[k] = struct{}{}
	return k, nil
}

// connect differs from what rueidis does by itself in that it does not end with
// the context of the call that happens to need the connection first, since others
// wait for it too.
func connect(address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	switch {
	case strings.HasPrefix(address, "/"): // the path of a socket
		return dialer.Dial("unix", address)
	case config == nil:
		return dialer.Dial("tcp", address)
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialer.Timeout)
	defer cancel()
	return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
}
