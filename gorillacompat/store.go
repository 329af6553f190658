package gorillacompat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"
	"weak"

	"github.com/gorilla/sessions"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/compat"
)

// Store is a sessions.Store. It is safe for concurrent use; a *sessions.Session is
// not, and belongs to one request.
type Store struct {
	// Options of new sessions: their cookie's attributes. Do not change them while
	// requests are served. By default Path is "/", MaxAge 30 days, Secure and HttpOnly
	// are set and SameSite is Lax.
	Options *sessions.Options

	sessions *compat.Sessions
	states   sync.Map // weak.Pointer[sessions.Session] to *state
}

// state is what the store knows of a session beside what gorilla's type holds.
type state struct {
	visit   *compat.Visit
	tokens  []string          // that the visit began with
	saved   bool              // in this request
	failure error             // of Get: what the session held is not known
	texts   map[string]string // as read or last saved, by field
	options sessions.Options  // of the cookie that the browser has
}

// NewStore returns a store of gorilla's kind over one of Pazzo's. Options.Cookie has
// to be empty: Store.Options has the cookie's attributes. pazzo.ErrOptions is returned
// when an option is invalid.
func NewStore(store pazzo.Store, options *pazzo.Options) (*Store, error) {
	s, err := compat.New(store, options)
	if err != nil {
		return nil, err
	}
	return &Store{
		sessions: s,
		Options: &sessions.Options{
			Path:     "/",
			MaxAge:   int(30 * 24 * time.Hour / time.Second),
			Secure:   true,
			HttpOnly: true,
			SameSite: http.SameSiteLaxMode,
		},
	}, nil
}

// Manager returns Pazzo's manager of the sessions, to list and revoke them by user.
// Its Handler knows another cookie: do not use it.
func (s *Store) Manager() *pazzo.Manager { return s.sessions.Manager() }

// MaxAge sets Options.MaxAge, in seconds.
func (s *Store) MaxAge(age int) { s.Options.MaxAge = age }

// Get returns the session of a name, the same one throughout a request.
func (s *Store) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New returns a session with the values that the request's cookie of that name
// stands for, or an empty one. An error is one of the store's: the session, which is
// never nil, is not known then, and cannot be saved.
func (s *Store) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	options := *s.Options
	session.Options = &options
	var tokens []string
	for _, c := range r.CookiesNamed(name) {
		tokens = append(tokens, c.Value)
	}
	st := s.begin(r, session, tokens...)
	st.failure = s.load(r.Context(), session, st)
	return session, st.failure
}

// background is the context of every visit: that of a request leads, by gorilla's
// registry, to the session, which then would be kept for ever by its own state.
var background = context.Background()

// begin gives a session its state. That goes when gorilla's session does.
func (s *Store) begin(r *http.Request, session *sessions.Session, tokens ...string) *state {
	st := &state{visit: s.sessions.Begin(background, r.Header, tokens...), tokens: tokens}
	if session.Options != nil {
		st.options = *session.Options
	}
	key := weak.Make(session)
	s.states.Store(key, st)
	runtime.AddCleanup(session, func(key weak.Pointer[sessions.Session]) { s.states.Delete(key) }, key)
	return st
}

func (s *Store) load(ctx context.Context, session *sessions.Session, st *state) error {
	values, texts, err := st.visit.Fields(ctx)
	if err != nil {
		session.IsNew = true
		return err
	}
	session.Values, st.texts = values, texts
	if len(texts) > 0 && len(st.tokens) == 1 {
		session.ID = id(st.tokens[0])
		return nil
	}
	token, _, found, err := st.visit.Current(ctx) // it may be one without fields
	session.ID, session.IsNew = id(token), !found
	return err
}

func id(token string) string {
	h, ok := compat.HandleOf(token)
	if !ok {
		return ""
	}
	return h.String()
}

// find returns a session's state; one that was made by sessions.NewSession has none
// yet.
func (s *Store) find(r *http.Request, session *sessions.Session) *state {
	if st, ok := s.states.Load(weak.Make(session)); ok {
		return st.(*state)
	}
	return s.begin(r, session)
}

// Context returns a context in which Pazzo's own keys and counters, and
// pazzo.FromContext, work on a session from Get. What they write takes effect at once
// and is not seen in Session.Values; Save sends the cookie if need be.
func (s *Store) Context(ctx context.Context, session *sessions.Session) context.Context {
	st, ok := s.states.Load(weak.Make(session))
	if !ok {
		return ctx
	}
	return pazzo.NewContext(ctx, st.(*state).visit.Session)
}

// Save writes the values that have changed since Get or the last Save, all of them or
// none, and adds the cookie to the response if there is one to send. With a negative
// Options.MaxAge it destroys the session instead; saving it once more makes a new
// one. Call it before the response's body.
//
// pazzo.ErrGone and ErrSuperseded are returned when another request has ended the
// session or renewed its token, ErrName and ErrEncode for a key or value that cannot
// be stored, ErrConflict when a list is still being changed by others after 64
// attempts to merge it, and the error of Get if that has failed.
func (s *Store) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if session.Options == nil {
		return fmt.Errorf("%w: session %q has no Options", pazzo.ErrOptions, session.Name())
	}
	st := s.find(r, session)
	if st.failure != nil {
		return fmt.Errorf("gorillacompat: session %q was not read: %w", session.Name(), st.failure)
	}
	ctx := r.Context()
	write := s.save
	if session.Options.MaxAge < 0 {
		write = s.destroy
	}
	if err := write(ctx, w, session, st); err != nil {
		return err
	}
	// The response has its cookie: another Save in this request begins from here.
	st.saved, st.options = true, *session.Options
	st.visit = s.sessions.Begin(background, r.Header, st.tokens...)
	return nil
}

// destroy ends the session. If it has ended already the browser may have a new cookie
// by now: then none is sent.
func (s *Store) destroy(ctx context.Context, w http.ResponseWriter, session *sessions.Session, st *state) error {
	err := st.visit.Destroy(ctx)
	if err != nil && !errors.Is(err, pazzo.ErrGone) {
		return err
	}
	if err == nil {
		setCookie(w, session.Name(), "", session.Options)
	}
	st.tokens, st.texts = nil, nil
	session.ID, session.IsNew, st.saved = "", true, false
	return nil
}

func (s *Store) save(ctx context.Context, w http.ResponseWriter, session *sessions.Session, st *state) error {
	changed, err := st.changes(session.Values)
	if err != nil {
		return err
	}
	if len(changed.fields) == 0 && session.IsNew && !st.saved {
		err = st.visit.SetExpiry(ctx, pazzo.Expiry{}) // gorilla saves an empty session too
	} else {
		err = changed.apply(ctx, st, session.Values)
	}
	if err != nil {
		return err
	}
	return s.respond(ctx, w, session, st)
}

// respond adds the cookie to the response if there is one to send.
func (s *Store) respond(ctx context.Context, w http.ResponseWriter, session *sessions.Session, st *state) error {
	offered := st.visit.Respond()
	switch {
	case offered != nil && offered.Value == "": // it was destroyed by way of Context
		gone := *session.Options
		gone.MaxAge = -1
		session.ID, st.tokens = "", nil
		setCookie(w, session.Name(), "", &gone)
	case offered != nil:
		session.ID, st.tokens = id(offered.Value), []string{offered.Value}
		setCookie(w, session.Name(), offered.Value, session.Options)
	case st.options != *session.Options:
		token, _, found, err := st.visit.Current(ctx)
		if err != nil {
			return err
		}
		if found {
			setCookie(w, session.Name(), token, session.Options)
		}
	}
	return nil
}

// setCookie replaces what an earlier Save in the request has set.
func setCookie(w http.ResponseWriter, name, token string, options *sessions.Options) {
	h := w.Header()
	lines := h["Set-Cookie"]
	h.Del("Set-Cookie")
	for _, line := range lines {
		if c, err := http.ParseSetCookie(line); err != nil || c.Name != name {
			h.Add("Set-Cookie", line)
		}
	}
	http.SetCookie(w, sessions.NewCookie(name, token, options))
	h.Set("Cache-Control", "no-store")
}
