package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/resp"
)

// conn is a connection. One goroutine reads its commands and, unless the store is a
// slow one, answers them.
type conn struct {
	agent *Agent
	nc    net.Conn
	id    int64
	began time.Time
	user  atomic.Pointer[user] // nil until it is known
	space *space               // nil as long as the user is

	r   *resp.Reader
	out resp.Writer // replies that are not sent yet; only RESP3 counts if there is a pipeline
	buf *[]byte     // what out collects them in; nil while there are none
	// pipeline lets commands wait for a slow store together; else it is nil.
	pipeline *pipeline
	closing  bool // after this reply

	sending sync.Mutex // guards written, and keeps replies and pushes apart
	written time.Time
	pushes  atomic.Pointer[pushes] // nil unless the client has asked for them

	mu       sync.Mutex // guards draining against a deadline for reads that is being set
	draining bool
	wait     wait

	name, library, version atomic.Pointer[string] // as the client says
	commands               atomic.Int64
}

// wait is what the deadline for reads is about.
type wait struct {
	partial bool          // a command has begun to arrive
	set     time.Time     // when the deadline was set; zero: there is none
	timeout time.Duration // how far ahead
}

const (
	// flushSize is how many bytes of replies are collected before they are sent,
	// though more commands are there.
	flushSize = 64 << 10
	// drainGrace is how long a connection goes on with what is still on its way to
	// it when the agent ends.
	drainGrace = 50 * time.Millisecond
	// loginFrame bounds a command in bytes, and loginArgs its arguments, until the
	// user is known.
	loginFrame, loginArgs = 16 << 10, 16
	// maxArgs bounds the arguments of a command.
	maxArgs = 64 << 10
	// loginTimeout bounds the handshake of TLS, and then each wait for a command
	// until the user is known.
	loginTimeout = 10 * time.Second
)

// errNoUser is returned when a user has gone at this very moment.
var errNoUser = errors.New("the user is gone")

var outBuffers = sync.Pool{New: func() any { return new([]byte) }}

func newConn(a *Agent, nc net.Conn) *conn {
	c := &conn{agent: a, nc: nc, id: a.lastID.Add(1), began: time.Now()}
	c.r = resp.NewReader(nc, resp.Limits{Frame: loginFrame, Args: loginArgs})
	return c
}

// serve reads commands until the client is gone or the agent ends.
func (c *conn) serve(ctx context.Context) {
	defer c.r.Close()
	defer c.nc.Close()
	defer c.untrack()
	if c.agent.slow {
		c.pipeline = startPipeline(ctx, c)
		defer c.pipeline.close()
	}
	if err := c.handshake(ctx); err != nil {
		c.agent.log.Info("TLS handshake failed", "client", c.nc.RemoteAddr().String(), "error", err)
		return
	}
	if one := c.agent.settings().users.first(); one != nil {
		if err := c.become(ctx, one); err != nil {
			c.agent.log.Error("connection ended at its start", "error", err)
			return
		}
	}
	if err := c.loop(ctx); err != nil {
		c.note(err)
	}
}

func (c *conn) handshake(ctx context.Context) error {
	secure, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	return secure.HandshakeContext(ctx)
}

// become makes the connection act for a user, in the database 0.
func (c *conn) become(ctx context.Context, one *user) error {
	space, err := c.agent.spaces.get(ctx, 0, one.prefix)
	if err != nil {
		return err
	}
	c.untrack()
	c.space = space
	c.user.Store(one)
	if !c.agent.settings().users.still(one) { // a reload has looked through the connections before
		c.nc.Close()
		return errNoUser
	}
	c.r.SetLimits(resp.Limits{Frame: c.agent.settings().MaxFrame, Args: maxArgs})
	return nil
}

// loop reads and does commands.
func (c *conn) loop(ctx context.Context) error {
	for !c.closing {
		command, err := c.r.Next()
		switch {
		case err != nil:
			c.closing = true
			c.refuse("ERR " + err.Error())
			return errors.Join(err, c.flush())
		case command != nil:
			if err := c.do(ctx, command); err != nil {
				return err
			}
		default:
			if err := c.fill(); err != nil {
				return err
			}
		}
	}
	return c.flush()
}

// do does one command, or lets the pipeline do it.
func (c *conn) do(ctx context.Context, command *resp.Command) error {
	c.wait.partial = false
	c.commands.Add(1)
	t := tasks.Get().(*task)
	if c.pipeline != nil {
		t.own.RESP3 = c.out.RESP3
		t.w = &t.own
		c.agent.prepare(ctx, c, command, t)
		c.pipeline.add(t, command.Size())
		return nil
	}
	if c.buf == nil {
		c.buf = outBuffers.Get().(*[]byte)
		c.out.Reset(*c.buf)
	}
	t.w = &c.out
	c.agent.prepare(ctx, c, command, t)
	t.do(ctx, c.agent)
	t.release()
	if c.out.Len() >= flushSize {
		return c.flush()
	}
	return nil
}

// refuse answers what is not even a command.
func (c *conn) refuse(text string) {
	if c.pipeline == nil {
		c.out.Error(text)
		return
	}
	t := tasks.Get().(*task)
	t.w = &t.own
	t.w.Error(text)
	c.pipeline.add(t, 0)
}

// fill sends the replies and waits for more input.
func (c *conn) fill() error {
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.limitWait(); err != nil {
		return err
	}
	return c.r.Fill()
}

// flush sends the replies that there are. The deadline is moved only now and then,
// so a client that does not take them is cut off after 3/4 to the whole of the time.
func (c *conn) flush() error {
	if c.out.Len() == 0 {
		return nil
	}
	err := c.send(c.out.Bytes())
	if used := c.out.Reset(nil); cap(used) <= 2*flushSize && c.buf != nil {
		*c.buf = used
		outBuffers.Put(c.buf)
	}
	c.buf = nil
	return err
}

// send sends replies, and before them the changes that the client is to be told of.
func (c *conn) send(replies []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if p := c.pushes.Load(); p != nil {
		if changes := p.take(); changes != nil {
			replies = append(changes, replies...)
		}
	}
	if len(replies) == 0 {
		return nil
	}
	timeout := c.agent.settings().WriteTimeout
	if now := time.Now(); now.Sub(c.written) > timeout/4 {
		if err := c.nc.SetWriteDeadline(now.Add(timeout)); err != nil {
			return err
		}
		c.written = now
	}
	_, err := c.nc.Write(replies)
	return err
}

// limitWait sets the deadline for the next read: when a command has begun to
// arrive, and when there is an idle timeout.
func (c *conn) limitWait() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return nil
	}
	s, partial := c.agent.settings(), c.r.Partial()
	timeout := s.IdleTimeout
	switch {
	case partial:
		timeout = s.ReadTimeout
	case c.space == nil:
		timeout = loginTimeout
	}
	var now time.Time
	switch {
	case partial && c.wait.partial:
		return nil // it must arrive in full by the deadline that is set
	case timeout == 0 && c.wait.set.IsZero():
		return nil
	case timeout > 0:
		now = time.Now()
		if !partial && c.wait.timeout == timeout && now.Sub(c.wait.set) < timeout/8 {
			return nil // an idle client is cut off after 7/8 to the whole of the time
		}
	}
	c.wait = wait{partial, now, timeout}
	if now.IsZero() {
		return c.nc.SetReadDeadline(time.Time{})
	}
	return c.nc.SetReadDeadline(now.Add(timeout))
}

// drain lets the connection end once it has done what it has read.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	c.nc.SetReadDeadline(time.Now().Add(drainGrace))
}

// note logs why a connection has ended.
func (c *conn) note(err error) {
	level, text := slog.LevelInfo, "connection cut off"
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), c.isDraining():
		level, text = slog.LevelDebug, "connection ended"
	case errors.Is(err, resp.ErrProtocol):
		text = "connection does not speak the protocol"
	}
	c.agent.log.Log(context.Background(), level, text, "client", c.id, "commands", c.commands.Load(), "error", err)
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}
