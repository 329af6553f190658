package pazzo

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Renew gives the session a new token and ends the older ones at once. Call it
// at any change of privilege that is not a login, such as a change of password
// (OWASP ASVS 5.0, 7.2.4). Without a session it does nothing.
//
// ErrResponseStarted is returned when the cookie can no longer be set, and
// ErrGone or ErrSuperseded when the session is no longer this request's to renew;
// nothing is changed then.
func (s *Session) Renew(ctx context.Context) error {
	if err := s.mayRenew(ctx); err != nil {
		return err
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	c := newCall(record.Renew(record.NewSecret()))
	defer c.release()
	if err := s.doAlone(ctx, c); err != nil || c.reply.Meta.Generation == 0 {
		return err
	}
	s.renewed(&c.reply)
	handle, _, _ := s.held()
	s.manager.happened(ctx, LifeCycle{Event: Renewed, Handle: handle})
	return nil
}

// mayRenew says whether a call may change the token now.
func (s *Session) mayRenew(ctx context.Context) error {
	switch {
	case s == nil:
		return ErrNoSession
	case inTransaction(ctx):
		return ErrInTransaction
	case !s.response.open():
		return ErrResponseStarted
	}
	return nil
}

// renewed takes in that this request has begun a generation.
func (s *Session) renewed(reply *record.Reply) {
	s.mu.Lock()
	s.current.generation = reply.Meta.Generation
	s.current.secret = reply.Meta.Secret
	h := s.current.handle
	s.mu.Unlock()
	s.revised(h, reply)
	s.issue(reply, false)
}

// Destroy ends the session: whatever is in flight gets ErrGone, and the browser
// is told to forget the cookie if the response has not started. Without a session
// it does nothing. The same request may write again, which makes a new session.
//
// ErrSuperseded is returned when a privilege change has taken the session from
// this request, ErrGone when it has ended already; not so to a request that may
// begin a new session in its place, such as a navigation: it has none to end.
func (s *Session) Destroy(ctx context.Context) error {
	switch {
	case s == nil:
		return ErrNoSession
	case inTransaction(ctx):
		return ErrInTransaction
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	return s.destroy(ctx, record.Logout)
}

// destroy ends the session. s.opening is held.
func (s *Session) destroy(ctx context.Context, reason record.Reason) error {
	m := s.manager
	c := newCall(record.Destroy(reason, m.options.KeepTombstones.Milliseconds()))
	defer c.release()
	if err := s.doAlone(ctx, c); err != nil || !c.reply.Values[0].Found {
		return err
	}
	s.mu.Lock()
	handle := s.current.handle
	s.state, s.refusal = ended, refusal{reason: reason, own: true}
	s.snapshot, s.isNew = nil, false
	s.mu.Unlock()
	s.response.set(cookie{action: forget})
	user := c.reply.Values[0].Text
	m.happened(ctx, LifeCycle{Event: Destroyed, Handle: handle, User: user, Reason: reason.String()})
	if user != "" {
		m.unlist(ctx, user, handle)
	}
	return nil
}

// Expiry chooses how long one session lasts.
type Expiry struct {
	// Idle and Absolute are counted from the call. A zero one is that of
	// Options.Timeouts.
	Timeouts
	// UntilBrowserClose makes the cookie end with the browser, even with
	// Cookie.Persistent. It does not shorten the timeouts.
	UntilBrowserClose bool
}

// SetExpiry chooses the timeouts of this session, as for “remember me”. They stay
// over a later Authenticate. A session is made if there is none. When the response
// has started, the browser keeps the cookie's former Max-Age. ErrOptions is
// returned when a timeout is not between 1 s and record.MaxTimeout (10 years), or
// the idle one is longer than the absolute one.
func (s *Session) SetExpiry(ctx context.Context, e Expiry) error {
	if s == nil {
		return ErrNoSession
	}
	if inTransaction(ctx) {
		return ErrInTransaction
	}
	t := s.manager.options.Timeouts
	if e.Absolute != 0 {
		t.Absolute = e.Absolute
	}
	if e.Idle != 0 {
		t.Idle = e.Idle
	} else {
		t.Idle = min(t.Idle, t.Absolute)
	}
	if t.Idle < time.Second || t.Absolute > maxTimeout || t.Idle > t.Absolute {
		return fmt.Errorf("%w: expiry of %v idle and %v absolute: from 1s to %v is allowed, idle not longer than absolute",
			ErrOptions, t.Idle, t.Absolute, maxTimeout)
	}
	expiry := t.expiry()
	expiry.BrowserClose = e.UntilBrowserClose
	c := newCall(record.SetExpiry(expiry), record.GetIdentity())
	defer c.release()
	if err := s.do(ctx, c); err != nil {
		return err
	}
	s.issue(&c.reply, true)
	if user := c.reply.Identity.User; user != "" {
		handle, _, _ := s.held()
		s.manager.refresh(ctx, user, handle, &c.reply.Meta, c.reply.Now)
	}
	return nil
}

// Device is what an app may record of the browser that a session belongs to, for
// the user's list of sessions.
type Device struct {
	IP        string `json:"ip,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

// SetDevice records the device. A session is made if there is none. ErrTooLarge
// is returned when its JSON form passes record.MaxDevice (1 KiB).
func (s *Session) SetDevice(ctx context.Context, d Device) error {
	if s == nil {
		return ErrNoSession
	}
	if inTransaction(ctx) {
		return ErrInTransaction
	}
	text, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEncode, err)
	}
	c := newCall(record.Describe(string(text)))
	defer c.release()
	return s.do(ctx, c)
}

// Info is what there is to know about a session beside its fields.
type Info struct {
	Handle     Handle
	User       string    // "" if nobody is logged in
	AuthTime   time.Time // of the last Authenticate; zero if nobody is logged in
	Created    time.Time
	Touched    time.Time // the last recorded activity
	Idle       time.Duration
	Deadline   time.Time // the absolute end
	Generation uint32    // of the current token
	Revision   uint64    // rises with every change; 0 if not known
	Device     Device
}

// Info asks the store about the session. found is false if there is none.
func (s *Session) Info(ctx context.Context) (info Info, found bool, err error) {
	if s == nil {
		return Info{}, false, ErrNoSession
	}
	c := newCall(record.GetIdentity())
	defer c.release()
	if err := s.do(ctx, c); err != nil || c.reply.Meta.Generation == 0 {
		return Info{}, false, err
	}
	handle, _, _ := s.held()
	return newInfo(handle, &c.reply), true, nil
}

func newInfo(h record.Handle, reply *record.Reply) Info {
	m := &reply.Meta
	info := Info{
		Handle:     h,
		User:       reply.Identity.User,
		Created:    time.UnixMilli(m.Created),
		Touched:    time.UnixMilli(m.Touched),
		Idle:       time.Duration(m.Idle) * time.Millisecond,
		Deadline:   time.UnixMilli(m.Deadline),
		Generation: m.Generation,
		Revision:   reply.Revision,
	}
	if info.User != "" {
		info.AuthTime = time.UnixMilli(reply.Identity.Auth)
	}
	// Another app may have written something else: then nothing is known.
	_ = json.Unmarshal([]byte(reply.Identity.Device), &info.Device)
	return info
}

// Handle asks the store for the session's public name. found is false if there is
// no session.
func (s *Session) Handle(ctx context.Context) (h Handle, found bool, err error) {
	info, found, err := s.Info(ctx)
	return info.Handle, found, err
}

// User asks the store who is logged in: "" if nobody is.
func (s *Session) User(ctx context.Context) (string, error) {
	info, _, err := s.Info(ctx)
	return info.User, err
}

// AuthTime asks the store when the user was last authenticated, so that an app
// can ask for the password again before a sensitive change (OWASP ASVS 5.0,
// 7.5.1). It is the zero time if nobody is logged in.
func (s *Session) AuthTime(ctx context.Context) (time.Time, error) {
	info, _, err := s.Info(ctx)
	return info.AuthTime, err
}

// IsNew reports whether this request has made the session.
func (s *Session) IsNew() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isNew
}

// Token returns the text that opens the session, for a session from Acquire: ""
// if there is none, otherwise the token given to Acquire or the newer one that it
// has been replaced by. It is a secret: hand it to the client that the session
// belongs to and to nobody else.
func (s *Session) Token() string {
	if s == nil {
		return ""
	}
	s.response.mu.Lock()
	defer s.response.mu.Unlock()
	if c := s.response.cookie; c.action != forget && c.token != (token{}) {
		return s.manager.keys.seal(c.token)
	}
	return ""
}
