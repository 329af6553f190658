package casstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// patience is how many swaps of one round may be lost before it takes the lock, if
// the server has any.
const patience = 3

// maxPause bounds the wait after a lost swap; the mean is half of it.
const maxPause = 16 * time.Millisecond

// settle applies the calls of one round and has the result kept.
func (s *Store) settle(ctx context.Context, q *queue, calls []*call) (Outcome, error) {
	if q.mayGuess(calls) && q.decode() == nil {
		outcome, swapped, err := s.try(ctx, q, calls, q.later())
		switch {
		case outcome == Lost:
			q.doubtful = true
		case outcome == Swapped && !swapped: // a guess that is not put to the test answers nobody
		default:
			return outcome, err
		}
	}
	for lost := 0; ; {
		if lost >= patience && s.locker != nil {
			if outcome, err := s.settleLocked(ctx, q, calls); outcome != Lost {
				return outcome, err
			}
		}
		if err := s.load(ctx, q); err != nil {
			return Refused, err
		}
		if outcome, _, err := s.try(ctx, q, calls, q.cell.Now); outcome != Lost {
			return outcome, err
		}
		lost++
		pause(ctx, lost)
	}
}

// mayGuess reports whether the round begins from what is known.
func (q *queue) mayGuess(calls []*call) bool {
	return q.known && !q.doubtful && slices.ContainsFunc(calls, func(c *call) bool { return c.writes })
}

// try applies the calls to q.value at the time now, and swaps if that changes anything.
func (s *Store) try(ctx context.Context, q *queue, calls []*call, now int64) (outcome Outcome, swapped bool, err error) {
	n, changed, err := s.applyAll(q, calls, now)
	switch {
	case err != nil:
		q.known = false
		return Refused, false, err
	case !changed:
		return Swapped, false, nil
	}
	q.known, q.decoded = false, false
	cell, outcome, err := s.server.Swap(ctx, q.key, q.cell, n)
	switch outcome {
	case Swapped:
		cell.Found, cell.Data, cell.Expires = true, string(n.Data), n.Expires
		q.keep(cell)
		q.known, q.decoded = true, true
	case Lost:
		s.undo(q, calls)
	}
	return outcome, true, err
}

// load reads the cell of q.
func (s *Store) load(ctx context.Context, q *queue) error {
	before := q.cell.Version
	cell, err := s.server.Read(ctx, q.key)
	if err != nil {
		q.known = false
		return err
	}
	if q.known && cell.Found && cell.Version == before {
		q.doubtful = false
	}
	q.keep(cell)
	err = q.decode()
	q.known = err == nil
	return err
}

// keep notes what is there now.
func (q *queue) keep(cell Cell) { q.cell, q.received, q.decoded = cell, time.Now(), false }

// decode makes q.value what the cell holds.
func (q *queue) decode() error {
	if q.decoded {
		return nil
	}
	err := q.value.Decode(q.cell.Data)
	q.decoded = err == nil
	q.cell.Expires = q.value.Expires()
	return err
}

// later is what the server's clock shows at least, some time after the cell came: the
// answer was on its way for a while.
func (q *queue) later() int64 { return q.cell.Now + time.Since(q.received).Milliseconds() }

// settleLocked is one try of settle under the server's lock.
func (s *Store) settleLocked(ctx context.Context, q *queue, calls []*call) (Outcome, error) {
	var refused error
	outcome, err := s.locker.Locked(ctx, q.key, func(cell Cell) (n Value, changed bool) {
		q.known = false
		q.keep(cell)
		if refused = q.decode(); refused != nil {
			return Value{}, false
		}
		n, changed, refused = s.applyAll(q, calls, cell.Now)
		return n, changed
	})
	q.decoded = false
	switch {
	case refused != nil:
		return Refused, refused
	case outcome == Lost:
		s.undo(q, calls)
	}
	return outcome, err
}

// undo notes that nothing is under way any more.
func (s *Store) undo(q *queue, calls []*call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range calls {
		c.changes = false
	}
}

// pause waits longer the more swaps were lost, at random.
func pause(ctx context.Context, lost int) {
	limit := min(time.Millisecond<<min(lost, 10), maxPause)
	timer := time.NewTimer(rand.N(limit))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// failed wraps the error of a call that changed nothing. What cannot be read is no
// failure of the server.
func (s *Store) failed(err error) error {
	if errors.Is(err, record.ErrLayout) || errors.Is(err, record.ErrCorrupt) {
		return fmt.Errorf("%s: %w", s.options.Name, err)
	}
	return s.unavailable(err)
}
