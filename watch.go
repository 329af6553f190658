package pazzo

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Change is a session's state after something changed it, as Session.Watch tells it. Info,
// Fields and TTL are of one point in time. When Ended is set they are zero, but for
// Info.Handle.
type Change struct {
	Info
	// Fields are the names and JSON texts of all fields.
	Fields map[string]json.RawMessage
	// TTL is how long the session lasts if there is no further activity.
	TTL time.Duration
	// Ended says why there is no further Change; "" while the session lives.
	Ended EndReason
}

// EndReason says why a session can no longer be watched.
type EndReason string

// The reasons. All but the last two mean that the session is over for everybody.
const (
	EndLogout   EndReason = "logout"   // Session.Destroy
	EndReplaced EndReason = "replaced" // another user logged in over it
	EndRevoked  EndReason = "revoked"  // RevokeAll, Block, or Manager.Revoke
	EndEvicted  EndReason = "evicted"  // its user logged in too often, see Options.MaxPerUser
	EndExpired  EndReason = "expired"  // idle for too long, or at its absolute end
	// EndSuperseded: a privilege change, such as a login, has taken the session from this
	// request's token. The browser has a new cookie: the page is to come back with it.
	EndSuperseded EndReason = "superseded"
	// EndAbsent: there is no session, and nobody can tell why. The visitor may have none, it
	// may have ended longer ago than Options.KeepTombstones, or the store has lost it.
	EndAbsent EndReason = "absent"
)

// look is how often a watcher reads the session while the store does not tell of changes.
const look = 2 * time.Second

// Watch returns the changes of the session, its state at the call first, so that a stream
// of server-sent events or a WebSocket can follow it live and ends when it does. It reads
// past the caches, waits for changes by whomever, and tells of each that concerns the fields,
// the user, the token's generation or the time when the session ends; of several in a row,
// perhaps only the last. A session may be watched several times at once.
//
// The iteration ends after a Change with Ended set, or when ctx ends, which is not told. An
// error of the store is told instead of a Change and ends nothing: the session is read again
// within 2 seconds, and what is read then is told in any case. Break to give up. ErrNoSession
// and ErrInTransaction end it: there is nothing to watch.
//
// Watching is no activity: it neither prolongs the session nor renews its token. Reading
// fields with a Key meanwhile is, so prefer Change.Fields. It does not make a session either.
//
// A change is told within milliseconds by stores that tell of changes (record.Notifier), which
// a Manager listens to while somebody watches. Where the store cannot, such as memcachedstore, or
// the contact on which it does has fallen silent, the session is read every 2 seconds
// instead. The end by a timeout is told when it comes, within a second.
func (s *Session) Watch(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		switch {
		case s == nil:
			yield(Change{}, ErrNoSession)
			return
		case inTransaction(ctx):
			yield(Change{}, ErrInTransaction)
			return
		}
		w := &watch{session: s, ctx: ctx, yield: yield, wake: make(chan struct{}, 1)}
		if w.open() {
			leave := s.manager.watches.join(w.handle, w.wake)
			defer leave()
			w.follow()
		}
	}
}

// watch is one iteration.
type watch struct {
	session *Session
	ctx     context.Context
	yield   func(Change, error) bool
	wake    chan struct{} // there may have been a change

	handle   record.Handle
	access   record.Access // as the request holds it
	told     mark          // of the last Change
	troubled bool          // the last read failed
	end      time.Time     // when the session ends unless that is put off
}

// mark is what tells one state of a session from another.
type mark struct {
	revision   uint64
	generation uint32
	expires    int64 // ms since 1970 by the store's clock
}

// open opens the request's session. It reports whether there is one to follow.
func (w *watch) open() bool {
	s := w.session
	for {
		var isLive bool
		if w.handle, w.access, isLive = s.held(); isLive {
			return true
		}
		c := newCall(record.GetIdentity())
		c.passive = true
		err := s.do(w.ctx, c)
		c.release()
		if err == nil && !s.isLive() {
			w.handle = Handle{}
			w.over(s.why())
			return false
		}
		if err != nil && !(w.fail(err) && w.sleep()) {
			return false
		}
	}
}

// why says why the request has no session.
func (s *Session) why() EndReason {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case superseded:
		return EndSuperseded
	case ended:
		return EndReason(s.refusal.reason.String())
	}
	return EndAbsent
}

// follow tells of the changes until there are no more.
func (w *watch) follow() {
	for {
		reply, err := w.read()
		if err != nil {
			if !w.fail(err) {
				return
			}
		} else if !w.tell(&reply) {
			return
		}
		if !w.sleep() {
			return
		}
	}
}

// read reads the session as it is in the store.
func (w *watch) read() (reply record.Reply, err error) {
	b := record.Batch{Ops: []record.Op{record.GetAll(), record.GetIdentity()}, Fresh: true}
	for {
		b.Access = w.access
		reply, err = w.session.manager.apply(w.ctx, "read", w.handle, &b)
		if err != nil || reply.Status != record.Superseded || !w.renewed() {
			return reply, err
		}
	}
}

// renewed reports whether this request itself has renewed the token, and takes that over. The
// store may tell of it before the request has the answer, for which the lock waits.
func (w *watch) renewed() bool {
	s := w.session
	s.opening.Lock()
	defer s.opening.Unlock()
	h, access, isLive := s.held()
	if !isLive || h != w.handle || access == w.access {
		return false
	}
	w.access = access
	return true
}

// tell takes in what was read and tells of it if it is news. It reports whether to go on.
func (w *watch) tell(reply *record.Reply) bool {
	switch reply.Status {
	case record.OK:
	case record.Superseded:
		return w.over(EndSuperseded)
	case record.Ended:
		return w.over(EndReason(reply.Reason.String()))
	default:
		return w.over(w.lapse(reply.Now))
	}
	m := &reply.Meta
	left := time.Duration(m.Expires()-reply.Now) * time.Millisecond
	w.end = time.Now().Add(max(left, soon))
	now := mark{reply.Revision, m.Generation, m.Expires()}
	if now == w.told && !w.troubled {
		return true
	}
	w.told, w.troubled = now, false
	c := Change{Info: newInfo(w.handle, reply), Fields: make(map[string]json.RawMessage, len(reply.Fields)), TTL: max(left, 0)}
	for _, f := range reply.Fields {
		c.Fields[f.Name] = json.RawMessage(f.Text)
	}
	return w.yield(c, nil)
}

// soon is when a session is read again that should be over, but for the difference between the
// store's clock and an estimate of it.
const soon = 50 * time.Millisecond

// lapse says why a session is absent that nobody has ended.
func (w *watch) lapse(now int64) EndReason {
	const slack = 1000 // ms, for an estimate of the store's clock
	if w.told.expires != 0 && now >= w.told.expires-slack {
		return EndExpired
	}
	return EndAbsent
}

// over tells that the session is over. The iteration does not go on.
func (w *watch) over(why EndReason) bool {
	w.yield(Change{Info: Info{Handle: w.handle}, Ended: why}, nil)
	return false
}

// fail tells of an error of the store, unless ctx is over. It reports whether to go on.
func (w *watch) fail(err error) bool {
	w.troubled = true
	return w.ctx.Err() == nil && w.yield(Change{}, err)
}

// sleep returns when the session is to be read again, or false when ctx has ended.
func (w *watch) sleep() bool {
	for {
		now := time.Now()
		next := now.Add(look)
		if !w.troubled {
			if until, told := w.session.manager.watches.until(now); told {
				next = until
			}
			if w.end.Before(next) {
				next = w.end
			}
		}
		if !next.After(now) {
			return true
		}
		if again, awake := w.wait(next.Sub(now)); !again || awake {
			return again
		}
		if _, told := w.session.manager.watches.until(time.Now()); w.troubled || !told {
			return true
		}
	}
}

// wait waits for a change, for the time to be over, or for ctx to end: then again is false.
func (w *watch) wait(d time.Duration) (again, awake bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.wake:
		return true, true
	case <-timer.C:
		return true, false
	case <-w.ctx.Done():
		return false, false
	}
}
