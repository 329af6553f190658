package redisstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// bound applies the store's timeout to ctx until done is called. It makes no timer
// and no context for the call, which would cost as much as a good part of it.
func (s *Store) bound(ctx context.Context) (bounded context.Context, done func()) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= s.timeout {
		return ctx, func() {}
	}
	shared := s.shared.get(s.timeout)
	if ctx.Done() == nil {
		return shared, func() {}
	}
	c := shared.acquire()
	c.Context = ctx
	c.release = context.AfterFunc(ctx, c.end)
	return c, c.done
}

// sharedTimeout gives calls that come within a short time one timer.
type sharedTimeout struct {
	current atomic.Pointer[timeout]
}

// timeout is a context with the store's timeout, and the contexts that end with
// it and, one at a time, with a caller's.
type timeout struct {
	context.Context
	cancel context.CancelFunc
	fresh  time.Time // until when it is given out
	free   sync.Pool // of *joint
}

// get returns a context that ends after 7/8 to the whole of d.
func (t *sharedTimeout) get(d time.Duration) *timeout {
	now := time.Now()
	c := t.current.Load()
	if c == nil || now.After(c.fresh) {
		c = &timeout{fresh: now.Add(d / 8)}
		c.Context, c.cancel = context.WithTimeout(context.Background(), d)
		t.current.Store(c) // others go on with the one before it, which its timer ends
	}
	return c
}

// close ends the timer of the context given out last.
func (t *sharedTimeout) close() {
	if c := t.current.Load(); c != nil {
		c.cancel()
	}
}

// joint ends with a caller's context or with the timeout, whichever is first. When
// a call is over before that, it serves another.
type joint struct {
	context.Context // the caller's
	timeout         *timeout
	ended           chan struct{}
	once            sync.Once
	end, done       func()
	release         func() bool // from the caller's context
}

func (t *timeout) acquire() *joint {
	if c, ok := t.free.Get().(*joint); ok {
		return c
	}
	c := &joint{timeout: t, ended: make(chan struct{})}
	c.end = func() { c.once.Do(func() { close(c.ended) }) }
	c.done = func() {
		if c.release() { // then nobody has ended it, but for the timeout perhaps
			c.Context = nil
			t.free.Put(c)
		}
	}
	context.AfterFunc(t, c.end)
	return c
}

// Done is closed when either context has ended.
func (c *joint) Done() <-chan struct{} { return c.ended }

// Deadline is the timeout's: bound joins it only to a context that ends later, or when it is
// canceled.
func (c *joint) Deadline() (time.Time, bool) { return c.timeout.Deadline() }

// Err tells which. It knows of the caller's a moment before Done does, so that a
// call whose context has ended before is not begun.
func (c *joint) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	select {
	case <-c.ended:
		return c.timeout.Err()
	default:
		return nil
	}
}
