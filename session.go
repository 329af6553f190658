package pazzo

import (
	"context"
	"fmt"
	"sync"

	"github.com/pazzo-sessions/pazzo/record"
)

// Session is one visitor's session as one request sees it. It is safe for
// concurrent use. A nil *Session is valid: it gives ErrNoSession.
//
// Nothing is loaded before the first use, and every write takes effect when it
// returns. The session is made by the first write; a request that only reads
// makes none.
type Session struct {
	manager  *Manager
	request  request
	response response

	// opening is held while a token is tried, a record made or a user logged in,
	// so that a request makes at most one session.
	opening    sync.Mutex
	first      [1]candidate // room for the usual one
	candidates []candidate  // not yet tried

	view view

	mu       sync.Mutex // guards what follows
	state    state
	isNew    bool
	current  token     // if live: the generation that this request holds
	refusal  refusal   // if superseded or ended
	snapshot *snapshot // in Snapshot mode, if loaded
	writes   uint64    // in Snapshot mode: of this request
}

// Format prints nothing of the session's tokens, whatever the verb.
func (s *Session) Format(f fmt.State, _ rune) {
	if s == nil {
		fmt.Fprint(f, "no session")
		return
	}
	if h, _, isLive := s.held(); isLive {
		fmt.Fprintf(f, "session %v", h)
		return
	}
	fmt.Fprint(f, "session")
}

// candidate is a token of ours that came with the request.
type candidate struct {
	token
	old      bool   // signed with an older key
	revision uint64 // of the session, that the browser knows of; or 0
}

// state is what the request's tokens have turned out to be.
type state uint8

const (
	unopened state = iota
	none           // absent, long expired, or with a wrong secret
	live
	superseded
	ended
)

// refusal says why a token opens nothing.
type refusal struct {
	reason record.Reason // if ended
	own    bool          // ended by this request
	age    int64         // if superseded: ms since the privilege change
}

// call is a batch with its answer, and room for its usual size, reused.
type call struct {
	batch      record.Batch
	reply      record.Reply
	passive    bool // it is no activity, and so neither prolongs the session nor renews its token
	ops        [2]record.Op
	conditions [1]record.Condition
}

var calls = sync.Pool{New: func() any { return new(call) }}

func newCall(ops ...record.Op) *call {
	c := calls.Get().(*call)
	c.batch.Ops = append(c.ops[:0], ops...)
	return c
}

func (c *call) release() {
	*c = call{}
	calls.Put(c)
}

// do applies the batch to the session. A write that finds none makes one, if that
// is allowed; a read then finds nothing.
func (s *Session) do(ctx context.Context, c *call) error {
	if s == nil {
		return ErrNoSession
	}
	s.response.accessed.Store(true)
	for {
		if done, err := s.doHeld(ctx, c, &s.opening); done {
			return err
		}
		if done, err := s.openFirst(ctx, c); done {
			return err
		}
	}
}

// openFirst opens the session, unless another goroutine of this request has done
// so meanwhile.
func (s *Session) openFirst(ctx context.Context, c *call) (done bool, err error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.isLive() {
		return false, nil
	}
	return true, s.open(ctx, c)
}

// doAlone is do for a call that changes the session as a whole. s.opening is held.
func (s *Session) doAlone(ctx context.Context, c *call) error {
	s.response.accessed.Store(true)
	if done, err := s.doHeld(ctx, c, nil); done {
		return err
	}
	return s.open(ctx, c)
}

// doHeld applies the batch to a session that is open. It is not done if there is
// none, or if it is open no longer. A refusal is judged under the lock opening,
// if given: a renewal by this request may be under way.
func (s *Session) doHeld(ctx context.Context, c *call, opening *sync.Mutex) (done bool, err error) {
	handle, isLive := s.hold(&c.batch)
	if !isLive {
		return false, nil
	}
	if err := s.exchange(ctx, handle, c); err != nil {
		return true, err
	}
	if accepted(c.reply.Status) {
		if !c.passive {
			s.touchIfDue(ctx, &c.reply)
		}
		return true, c.failure()
	}
	if opening != nil {
		opening.Lock()
		defer opening.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == live && s.current.handle == handle && s.current.generation == c.batch.Access.Generation {
		s.refuse(ctx, handle, &c.reply)
	}
	return false, nil
}

// exchange sends a batch and takes its answer.
func (s *Session) exchange(ctx context.Context, h record.Handle, c *call) error {
	name := "write"
	if c.batch.ReadOnly() {
		name = "read"
	}
	err := s.manager.applyInto(ctx, name, h, &c.batch, &c.reply)
	if err == nil && name == "write" {
		s.revised(h, &c.reply)
	}
	return err
}

// isLive reports whether the session is open.
func (s *Session) isLive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == live
}

// hold gives a batch the access of a session that is open.
func (s *Session) hold(b *record.Batch) (h record.Handle, isLive bool) {
	s.mu.Lock()
	if s.state == live {
		h, isLive = s.current.handle, true
		b.Access.Mode, b.Access.Generation, b.Access.Secret = record.Held, s.current.generation, s.current.secret
	}
	s.mu.Unlock()
	return h, isLive
}

// held returns the access of a session that is open.
func (s *Session) held() (record.Handle, record.Access, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.handle, s.current.held(), s.state == live
}

// accepted reports whether a status means that the record is live and the token
// good.
func accepted(status record.Status) bool {
	switch status {
	case record.Absent, record.Ended, record.Superseded, record.Exists:
		return false
	}
	return true
}

// refuse sets the state after a status that opens nothing. s.mu is held.
func (s *Session) refuse(ctx context.Context, h record.Handle, reply *record.Reply) {
	s.snapshot = nil
	switch reply.Status {
	case record.Superseded:
		s.state, s.refusal = superseded, refusal{age: reply.Now - reply.Meta.FloorTime}
		s.manager.happened(ctx, LifeCycle{Event: RefusedSuperseded, Handle: h})
	case record.Ended:
		s.state, s.refusal = ended, refusal{reason: reply.Reason}
		s.manager.happened(ctx, LifeCycle{Event: RefusedEnded, Handle: h, Reason: reply.Reason.String()})
	default:
		s.state = none
	}
}

// failure turns a status that stands in the way into an error.
func (c *call) failure() error {
	name := func() string { return c.batch.Ops[c.reply.At].Name }
	switch c.reply.Status {
	case record.OK:
		return nil
	case record.Conflict:
		return ErrConflict
	case record.NotInteger:
		return fmt.Errorf("%w: %q", ErrNotInteger, name())
	case record.OutOfRange:
		return fmt.Errorf("%w: %q", ErrRange, name())
	case record.NotList:
		return fmt.Errorf("%w: %q", ErrNotList, name())
	case record.TooLarge:
		return fmt.Errorf("%w: field %q does not fit in the session, whose limits are %d fields, %d bytes in all and %d bytes each",
			ErrTooLarge, name(), c.batch.Limits.Fields, c.batch.Limits.Size, c.batch.Limits.Value)
	}
	return fmt.Errorf("pazzo: unexpected answer of the store: %v", c.reply.Status)
}

// conflict tells apart that a condition of the batch does not hold.
func (c *call) conflict(err error) (bool, error) {
	if err != nil && c.reply.Status == record.Conflict {
		return true, nil
	}
	return false, err
}

// touchIfDue records activity after a call whose answer shows that it is due.
// Trouble is logged: the call itself has succeeded.
func (s *Session) touchIfDue(ctx context.Context, reply *record.Reply) {
	if reply.Meta.Generation == 0 || !reply.Meta.TouchDue(reply.Now) {
		return
	}
	handle, access, isLive := s.held()
	if !isLive {
		return
	}
	c := newCall(record.Touch())
	defer c.release()
	c.batch.Access = access
	touch, err := s.manager.apply(ctx, "touch", handle, &c.batch)
	if err != nil {
		s.manager.trouble(ctx, "cannot record activity", handle, err)
		return
	}
	if touch.Status == record.OK {
		s.touched(ctx, handle, &touch, touch.Values[0])
	}
}

// touched refreshes the user's index after a touch, which heals one that was
// lost.
func (s *Session) touched(ctx context.Context, h record.Handle, reply *record.Reply, value record.Value) {
	if value.Found && value.Text != "" {
		s.manager.refresh(ctx, value.Text, h, &reply.Meta, reply.Now)
	}
}
