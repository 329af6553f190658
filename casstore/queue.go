package casstore

import (
	"context"
	"fmt"
	"sync"

	"github.com/pazzo-sessions/pazzo/record"
)

// value is a record or an index.
type value interface {
	Decode(s string) error
	Append(dst []byte) []byte
	Expires() int64
}

// call is one batch or step on its way. queue.mu guards what is below done.
type call struct {
	apply  func(v value, now int64) (changed bool)
	writes bool          // it is worth guessing for
	done   chan struct{} // closed when err is final

	over    bool // it has ended, or its caller waits no more; apply must not be called
	changes bool // a swap with what it changed may be under way
	err     error
}

// queue is the calls on one key. A goroutine of its own works them off, round by
// round, as long as there are any.
type queue struct {
	key     Key
	waiting []*call // guarded by Store.mu

	mu sync.Mutex // held while calls are applied, ended or abandoned

	// What the rounds hand on; the goroutine's own.
	value   value
	seen         // what value was made from
	known   bool // seen is what was there when it came, and may be there still
	decoded bool // value is what the cell holds
}

// do has apply called on what is under the key, and returns when what it changed is
// there. When it returns, apply is not called any more.
func (s *Store) do(ctx context.Context, k Key, writes bool, apply func(value, int64) bool) error {
	if err := ctx.Err(); err != nil {
		return s.unavailable(err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	c := &call{apply: apply, writes: writes, done: make(chan struct{})}
	q, err := s.join(k, c)
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return s.abandon(q, c, ctx.Err())
	}
}

// join puts a call into the queue of its key, and starts the queue if there is none.
func (s *Store) join(k Key, c *call) (*queue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.unavailable(errClosed)
	}
	q := s.queues[k]
	if q == nil {
		q = &queue{key: k}
		if q.value = new(record.Record); k.Kind == User {
			q.value = new(record.Index)
		}
		q.seen, q.known = s.recent.take(k)
		s.queues[k] = q
		s.runners.Go(func() { s.run(q) })
	}
	q.waiting = append(q.waiting, c)
	return q, nil
}

// abandon ends a call whose context has ended, unless its end is known already.
func (s *Store) abandon(q *queue, c *call, cause error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.over {
		return c.err
	}
	c.over = true
	if c.changes {
		return s.unknown(cause)
	}
	return s.unavailable(cause)
}

// run works a queue off.
func (s *Store) run(q *queue) {
	for {
		calls, closed := s.take(q)
		if calls == nil {
			return
		}
		if closed {
			s.end(q, calls, Refused, errClosed)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), s.options.Timeout)
		outcome, err := s.settle(ctx, q, calls)
		cancel()
		s.end(q, calls, outcome, err)
	}
}

// take returns the calls that wait, or nil when there are none and the queue ends.
func (s *Store) take(q *queue) (calls []*call, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(q.waiting) == 0 {
		delete(s.queues, q.key)
		if q.known {
			s.recent.put(q.key, q.seen)
		}
		return nil, s.closed
	}
	calls, q.waiting = q.waiting, nil
	return calls, s.closed
}

// end tells the callers of a round what it came to.
func (s *Store) end(q *queue, calls []*call, outcome Outcome, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range calls {
		if c.over {
			continue
		}
		var final error
		switch {
		case outcome == Swapped:
		case outcome == Unknown && c.changes:
			final = s.unknown(err)
		case outcome == Unknown:
			final = s.unavailable(err)
		default:
			final = s.failed(err)
		}
		c.end(final)
	}
}

// end tells the caller. queue.mu is held.
func (c *call) end(err error) {
	c.over, c.err = true, err
	close(c.done)
}

// applyAll applies the calls of a round to q.value. It returns what to swap for
// q.cell, if they changed anything; without, they are answered by the value as it is.
func (s *Store) applyAll(q *queue, calls []*call, now int64) (n Value, changed bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var data []byte
	for i := 0; i < len(calls); i++ {
		c := calls[i]
		if c.over {
			continue
		}
		c.changes = c.apply(q.value, now)
		if !c.changes {
			continue
		}
		changed = true
		if s.options.MaxSize == 0 {
			continue
		}
		if data = q.value.Append(data[:0]); len(data) > s.options.MaxSize {
			c.end(s.tooLarge(len(data)))
			q.decoded = false
			if err := q.decode(); err != nil {
				return Value{}, false, err
			}
			i, changed = -1, false // the others begin anew, without it
		}
	}
	if !changed {
		return Value{}, false, nil
	}
	return Value{Data: q.value.Append([]byte{}), Expires: q.value.Expires(), Now: now}, true, nil
}

func (s *Store) tooLarge(size int) error {
	return s.unavailable(fmt.Errorf("%w: an encoding of %d bytes, the server takes %d", record.ErrTooLarge, size, s.options.MaxSize))
}
