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
	tokens     [maxCandidates]candidate
	candidates []candidate // not yet tried

	mu       sync.Mutex // guards what follows
	state    state
	current  token   // if live: the generation that this request holds
	refusal  refusal // if superseded or ended
	isNew    bool
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
	old bool // signed with an older key
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

// call is a batch with room for its usual size, reused.
type call struct {
	batch      record.Batch
	ops        [3]record.Op
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
func (s *Session) do(ctx context.Context, b *record.Batch) (record.Reply, error) {
	if s == nil {
		return record.Reply{}, ErrNoSession
	}
	s.response.accessed.Store(true)
	for {
		reply, done, err := s.doHeld(ctx, b, &s.opening)
		if done {
			return reply, err
		}
		reply, done, err = s.openFirst(ctx, b)
		if done {
			return reply, err
		}
	}
}

// openFirst opens the session, unless another goroutine of this request has done
// so meanwhile.
func (s *Session) openFirst(ctx context.Context, b *record.Batch) (reply record.Reply, done bool, err error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if _, _, isLive := s.held(); isLive {
		return record.Reply{}, false, nil
	}
	reply, err = s.open(ctx, b)
	return reply, true, err
}

// doAlone is do for a call that changes the session as a whole. s.opening is held.
func (s *Session) doAlone(ctx context.Context, b *record.Batch) (record.Reply, error) {
	s.response.accessed.Store(true)
	if reply, done, err := s.doHeld(ctx, b, nil); done {
		return reply, err
	}
	return s.open(ctx, b)
}

// doHeld applies the batch to a session that is open. It is not done if there is
// none, or if it is open no longer. A refusal is judged under the lock opening,
// if given: a renewal by this request may be under way.
func (s *Session) doHeld(ctx context.Context, b *record.Batch, opening *sync.Mutex) (reply record.Reply, done bool, err error) {
	handle, access, isLive := s.held()
	if !isLive {
		return record.Reply{}, false, nil
	}
	b.Access = access
	reply, err = s.exchange(ctx, handle, b)
	if err != nil {
		return reply, true, err
	}
	if accepted(reply.Status) {
		s.touchIfDue(ctx, &reply)
		return reply, true, s.failure(&reply, b)
	}
	if opening != nil {
		opening.Lock()
		defer opening.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == live && s.current.handle == handle && s.current.generation == access.Generation {
		s.refuse(ctx, handle, &reply)
	}
	return reply, false, nil
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

// exchange sends a batch, with a touch if one may be due.
func (s *Session) exchange(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	name, touches := "read", false
	if !b.ReadOnly() {
		name, touches = "write", b.Ops[0].Kind != record.OpDestroy && b.Access.Mode == record.Open
	}
	n := len(b.Ops)
	if touches {
		b.Ops = append(b.Ops, record.Touch())
	}
	reply, err := s.manager.apply(ctx, name, h, b)
	if touches {
		b.Ops = b.Ops[:n]
		if err == nil && reply.Status == record.OK {
			s.touched(ctx, h, &reply, reply.Values[n])
			reply.Values = reply.Values[:n]
		}
	}
	return reply, err
}

// failure turns a status that stands in the way into an error.
func (s *Session) failure(reply *record.Reply, b *record.Batch) error {
	name := func() string { return b.Ops[reply.At].Name }
	switch reply.Status {
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
			ErrTooLarge, name(), b.Limits.Fields, b.Limits.Size, b.Limits.Value)
	}
	return fmt.Errorf("pazzo: unexpected answer of the store: %v", reply.Status)
}

// touchIfDue records activity after a read that shows it is due. Trouble is
// logged: the read itself has succeeded.
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
