package memcachedstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// exchange is a request on its way and its answer.
type exchange struct {
	request []byte
	read    func(in *bufio.Reader) error // reads the answer; an error ends the link
	done    chan struct{}                // closed when err is final
	err     error                        // of the link; what the server says is not one
	sent    bool                         // it may have been executed, though err is not nil
}

func (x *exchange) finish(err error) {
	x.err = err
	close(x.done)
}

// link is one connection with many exchanges under way. One goroutine connects and reads,
// another writes; both end with it.
type link struct {
	way
	ctx context.Context
	end context.CancelCauseFunc // the cause is why it has ended

	ready   chan struct{} // closed when it is connected, or has failed
	conn    net.Conn
	maxItem int // the server's, in bytes

	wake   chan struct{}  // holds one
	flight chan *exchange // sent, in order

	mu     sync.Mutex
	queue  []*exchange // to be sent
	closed bool        // the queue takes no more
}

// inFlight bounds the requests of one link that wait for their answers.
const inFlight = 1024

var errClosed = errors.New("the store is closed")

// dial begins to connect. The link lasts until its context ends, of itself or by end, and
// then it leaves tasks.
func dial(tasks *sync.WaitGroup, w way) *link {
	l := &link{
		way:    w,
		ready:  make(chan struct{}),
		wake:   make(chan struct{}, 1),
		flight: make(chan *exchange, inFlight),
	}
	l.ctx, l.end = context.WithCancelCause(context.Background())
	tasks.Go(l.run)
	return l
}

// failure is why the link has ended.
func (l *link) failure() error { return fmt.Errorf("memcached %s: %w", l.server, context.Cause(l.ctx)) }

// run connects, and then reads answers until the link ends.
func (l *link) run() {
	in, err := l.connect()
	if err != nil {
		l.end(err)
	}
	close(l.ready)
	if err == nil {
		closing := context.AfterFunc(l.ctx, func() { l.conn.Close() }) // unblocks both
		var writing sync.WaitGroup
		writing.Go(l.write)
		l.readAnswers(in)
		writing.Wait()
		closing()
		l.conn.Close()
	}
	l.drain()
}

// write sends what is queued, as much at once as there is.
func (l *link) write() {
	out := bufio.NewWriterSize(l.conn, 16<<10)
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.wake:
		}
		if err := l.writeAll(out, l.take()); err != nil {
			l.end(err)
			return
		}
	}
}

func (l *link) take() (list []*exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list, l.queue = l.queue, nil
	return list
}

func (l *link) writeAll(out *bufio.Writer, list []*exchange) error {
	l.conn.SetWriteDeadline(time.Now().Add(l.timeout))
	for i, x := range list {
		x.sent = true // from then on it is the reader's
		select {
		case l.flight <- x:
		case <-l.ctx.Done():
			x.sent = false
			for _, x := range list[i:] {
				x.finish(l.failure())
			}
			return context.Cause(l.ctx)
		}
		out.Write(x.request) // Flush tells of an error
	}
	return out.Flush()
}

// readAnswers gives each exchange its answer, in the order in which they were sent. One
// that keeps us waiting for longer than the timeout ends the link.
func (l *link) readAnswers(in *bufio.Reader) {
	for {
		select {
		case <-l.ctx.Done():
			return
		case x := <-l.flight:
			l.conn.SetReadDeadline(time.Now().Add(l.timeout))
			if err := x.read(in); err != nil {
				l.end(err)
				x.finish(l.failure())
				return
			}
			x.finish(nil)
		}
	}
}

// drain ends the exchanges that will have no answer, and refuses further ones.
func (l *link) drain() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	for _, x := range l.take() {
		x.finish(l.failure())
	}
	for {
		select {
		case x := <-l.flight:
			x.finish(l.failure())
		default:
			return
		}
	}
}

// errNotSent wraps the error of an exchange that was certainly not executed.
var errNotSent = errors.New("not sent")

func notSent(err error) error { return fmt.Errorf("%w: %w", errNotSent, err) }

// do sends a request and waits for its answer. Unless its error is errNotSent, the request
// may have been executed. When ctx ends first, the exchange is still the link's.
func (l *link) do(ctx context.Context, x *exchange) error {
	x.done = make(chan struct{})
	l.mu.Lock()
	if l.closed || l.ctx.Err() != nil {
		l.mu.Unlock()
		return notSent(l.failure())
	}
	l.queue = append(l.queue, x)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-x.done:
	}
	if x.err != nil && !x.sent {
		return notSent(x.err)
	}
	return x.err
}

// connected waits until the link can be used.
func (l *link) connected(ctx context.Context) error {
	select {
	case <-l.ready:
	case <-ctx.Done():
		return notSent(ctx.Err())
	}
	if l.ctx.Err() != nil {
		return notSent(l.failure())
	}
	return nil
}
