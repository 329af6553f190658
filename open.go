package pazzo

import (
	"context"

	"github.com/pazzo-sessions/pazzo/record"
)

// open tries the request's tokens with the batch itself, so that a request which
// begins with a write costs one round trip. s.opening is held.
func (s *Session) open(ctx context.Context, c *call) error {
	for len(s.candidates) > 0 {
		t := s.candidates[0]
		c.batch.Access = record.Access{Mode: record.Open, Generation: t.generation, Secret: t.secret}
		c.batch.MinRevision = t.revision // for the first call: what it finds the cache shows from then on
		if err := s.exchange(ctx, t.handle, c); err != nil {
			return err
		}
		s.candidates = s.candidates[1:]
		if accepted(c.reply.Status) {
			s.candidates = nil // when this session ends, the request must not go on in another
			s.opened(ctx, t, &c.reply, c.passive)
			return c.failure()
		}
		s.rejected(ctx, t, &c.reply)
	}
	return s.withoutSession(ctx, c)
}

// opened takes in that the token c has opened the session, by a call that is passive or not.
func (s *Session) opened(ctx context.Context, c candidate, reply *record.Reply, passive bool) {
	if reply.Meta.Generation == 0 { // destroyed by this batch
		s.mu.Lock()
		s.current = c.token
		s.mu.Unlock()
		return
	}
	s.mu.Lock()
	s.state, s.current = live, c.token
	s.mu.Unlock()
	if !passive && s.rotateIfDue(ctx, c, reply) {
		return
	}
	if c.old || c.generation != reply.Meta.Generation {
		s.issue(reply, true)
	}
	if !passive {
		s.touchIfDue(ctx, reply)
	}
}

// rejected takes in that the token c has opened nothing. Of several, the first
// that was ever good decides what the request may do.
func (s *Session) rejected(ctx context.Context, c candidate, reply *record.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == unopened || s.state == none {
		s.refuse(ctx, c.handle, reply)
	}
}

// rotateIfDue begins a new generation if Options.RotateEvery asks for it and the
// cookie can still be set. One of several concurrent requests wins; the others
// adopt its token.
func (s *Session) rotateIfDue(ctx context.Context, c candidate, reply *record.Reply) bool {
	every := s.manager.options.RotateEvery.Milliseconds()
	m := &reply.Meta
	if every == 0 || reply.Now-m.Renewed < every || c.generation != m.Generation || !s.response.open() {
		return false
	}
	rotation := newCall(record.Rotate(m.Generation, record.NewSecret(), s.manager.options.RotateGrace.Milliseconds()), record.Touch())
	defer rotation.release()
	rotation.batch.Access = c.held()
	renewed, err := s.manager.apply(ctx, "renew", c.handle, &rotation.batch)
	if err != nil || renewed.Status != record.OK {
		if err != nil {
			s.manager.trouble(ctx, "cannot rotate the token", c.handle, err)
		}
		return false
	}
	if renewed.Values[0].Found {
		s.manager.happened(ctx, LifeCycle{Event: Rotated, Handle: c.handle})
	}
	s.touched(ctx, c.handle, &renewed, renewed.Values[1])
	if renewed.Meta.Generation != c.generation || c.old {
		s.issue(&renewed, true)
	}
	return true
}

// issue has the response set the cookie to the current generation's token. It is
// an offer when the token that came with the request is good too.
func (s *Session) issue(reply *record.Reply, offer bool) {
	s.mu.Lock()
	t := token{handle: s.current.handle, generation: reply.Meta.Generation, secret: reply.Meta.Secret}
	s.mu.Unlock()
	s.response.set(cookie{action: set, token: t, offer: offer, persistent: !reply.Meta.BrowserClose, left: reply.Meta.Deadline - reply.Now})
}

// withoutSession answers a batch when none of the request's tokens opens one. It
// makes a session if the batch has something to keep. s.opening is held.
func (s *Session) withoutSession(ctx context.Context, c *call) error {
	b := &c.batch
	c.reply = record.Reply{Values: make([]record.Value, len(b.Ops))}
	s.mu.Lock()
	if s.state == unopened {
		s.state = none
	}
	state, refusal := s.state, s.refusal
	s.mu.Unlock()
	if b.ReadOnly() {
		return nil
	}
	if err := s.mayWrite(state, refusal); err != nil {
		return err
	}
	for _, condition := range b.Conditions {
		if condition.Kind == record.FieldIs || condition.Kind == record.RevisionIs && condition.Revision != 0 {
			c.reply = record.Reply{Status: record.Conflict}
			return ErrConflict
		}
	}
	if !keeps(b.Ops) {
		return nil
	}
	if state == none && s.manager.options.CreateOnNavigation && !s.request.mayBeFirst() {
		return ErrNotNavigation
	}
	return s.create(ctx, c)
}

// keeps reports whether an operation leaves something in a new session.
func keeps(ops []record.Op) bool {
	for i := range ops {
		switch ops[i].Kind {
		case record.OpSet, record.OpSetIfAbsent, record.OpAdd, record.OpAppend, record.OpSetExpiry, record.OpDescribe:
			return true
		}
	}
	return false
}

// mayWrite says whether a write in this request may begin a new session, whatever
// its tokens were.
func (s *Session) mayWrite(state state, r refusal) error {
	switch state {
	case superseded:
		// The browser may have lost the response with its new cookie; after a
		// minute nothing of that time is in flight.
		if !s.request.navigation || r.age < supersededFor {
			return ErrSuperseded
		}
	case ended:
		if !r.own && (r.reason == record.Replaced || !s.request.mayBeFirst()) {
			return ErrGone
		}
	}
	return nil
}

// supersededFor is how long, in ms, a superseded token keeps a navigation from
// beginning a new session.
const supersededFor = 60_000

// create makes a session with the batch's operations. s.opening is held.
func (s *Session) create(ctx context.Context, c *call) error {
	if !s.response.open() {
		return ErrResponseStarted
	}
	handle := record.NewHandle()
	creation := newCall(record.Create(record.NewSecret(), s.manager.expiry))
	defer creation.release()
	creation.batch.Ops = append(creation.batch.Ops, c.batch.Ops...)
	var err error
	if creation.reply, err = s.manager.apply(ctx, "create", handle, &creation.batch); err != nil {
		return err
	}
	if err := creation.failure(); err != nil {
		return err
	}
	s.begin(handle, &creation.reply)
	s.manager.happened(ctx, LifeCycle{Event: Created, Handle: handle})
	c.reply = creation.reply
	c.reply.Values = c.reply.Values[1:]
	return nil
}

// begin takes in that this request has made a session.
func (s *Session) begin(h record.Handle, reply *record.Reply) {
	s.mu.Lock()
	s.state, s.isNew, s.refusal = live, true, refusal{}
	s.current = token{handle: h, generation: reply.Meta.Generation, secret: reply.Meta.Secret}
	s.snapshot = nil
	s.mu.Unlock()
	s.revised(h, reply)
	s.issue(reply, false)
}
