package scscompat

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/compat"
	"github.com/pazzo-sessions/pazzo/memstore"
)

// Session is an alias for SessionManager, as scs has it.
//
// Deprecated: use SessionManager.
type Session = SessionManager

// SessionManager gives requests their sessions. Set its fields after New and before
// the first use; later changes of those above Cookie have no effect. Its methods are
// safe for concurrent use. Make one by New: the zero value has no lifetime.
type SessionManager struct {
	// IdleTimeout is the time without activity after which a session ends: at least
	// a second, or 0, the default, for none.
	IdleTimeout time.Duration
	// Lifetime is the time in all: from a second to 10 years, 24 hours by default.
	Lifetime time.Duration
	// Store keeps the sessions: one of Pazzo's. nil, the default, is memory.
	Store pazzo.Store
	// SecretKeys sign the tokens; see pazzo.Options. They may be empty only if
	// Store is nil: then a random one is made, as the sessions end with the process.
	SecretKeys []string
	// HashTokenInStore has no effect: what a store of Pazzo holds is never enough to
	// make a token.
	HashTokenInStore bool

	// Cookie has the attributes of the cookie.
	Cookie SessionCookie
	// ErrorFunc answers a request whose session failed. The default answers with
	// pazzo.StatusCode, such as 409 for a session that has ended meanwhile, and logs
	// the error, and takes the place of nil.
	ErrorFunc func(http.ResponseWriter, *http.Request, error)

	once     sync.Once
	sessions *compat.Sessions
	failure  error
	memory   *memstore.Store
}

// SessionCookie has the attributes of the cookie, as scs has them.
type SessionCookie struct {
	Name        string // "session" by default; Pazzo's other apps on the domain have to use the same
	Domain      string
	HttpOnly    bool // true by default
	Path        string
	SameSite    http.SameSite // Lax by default
	Secure      bool          // false by default, as with scs: set it wherever there is https
	Partitioned bool
	// Persist keeps the cookie when the browser closes. True by default; if it is
	// false, RememberMe chooses.
	Persist bool
}

// New returns a manager that keeps sessions in memory.
func New() *SessionManager {
	return &SessionManager{
		Lifetime:  24 * time.Hour,
		ErrorFunc: defaultErrorFunc,
		Cookie: SessionCookie{
			Name:     "session",
			HttpOnly: true,
			Path:     "/",
			SameSite: http.SameSiteLaxMode,
			Persist:  true,
		},
	}
}

// NewSession is New, as scs has it.
//
// Deprecated: use New.
func NewSession() *SessionManager { return New() }

func defaultErrorFunc(w http.ResponseWriter, _ *http.Request, err error) {
	log.Print(err)
	code := pazzo.StatusCode(err)
	http.Error(w, http.StatusText(code), code)
}

// fail has ErrorFunc answer a request.
func (s *SessionManager) fail(w http.ResponseWriter, r *http.Request, err error) {
	if s.ErrorFunc == nil {
		defaultErrorFunc(w, r, err)
		return
	}
	s.ErrorFunc(w, r, err)
}

// Manager returns Pazzo's manager of the sessions, to list and revoke them by user.
// Its Handler knows another cookie: do not use it.
func (s *SessionManager) Manager() (*pazzo.Manager, error) {
	sessions, err := s.setUp()
	if err != nil {
		return nil, err
	}
	return sessions.Manager(), nil
}

// Close ends what New's memory store runs in the background. An app that lives as
// long as its process need not call it. It closes no Store.
func (s *SessionManager) Close() error {
	if _, err := s.setUp(); err != nil || s.memory == nil {
		return nil
	}
	return s.memory.Close()
}

// setUp makes the manager at the first use. pazzo.ErrOptions is returned, each time,
// when a field is not as it should be.
func (s *SessionManager) setUp() (*compat.Sessions, error) {
	s.once.Do(func() { s.sessions, s.failure = s.open() })
	return s.sessions, s.failure
}

func (s *SessionManager) open() (*compat.Sessions, error) {
	if c := s.cookie("x"); c.Valid() != nil {
		return nil, fmt.Errorf("%w: Cookie: %w", pazzo.ErrOptions, c.Valid())
	}
	idle := s.IdleTimeout
	if idle == 0 {
		idle = s.Lifetime
	}
	if s.Lifetime == 0 {
		return nil, fmt.Errorf("%w: Lifetime is 0: from 1s to 10 years is allowed; New sets 24h", pazzo.ErrOptions)
	}
	o := &pazzo.Options{
		SecretKeys: s.SecretKeys,
		Timeouts:   pazzo.Timeouts{Idle: min(idle, s.Lifetime), Absolute: s.Lifetime},
	}
	if s.Store != nil {
		return compat.New(s.Store, o)
	}
	if len(o.SecretKeys) == 0 {
		o.SecretKeys = []string{rand.Text() + rand.Text()}
	}
	s.memory = memstore.New(nil)
	sessions, err := compat.New(s.memory, o)
	if err != nil {
		err = errors.Join(err, s.memory.Close())
	}
	return sessions, err
}

func (s *SessionManager) cookie(token string) *http.Cookie {
	return &http.Cookie{
		Name:        s.Cookie.Name,
		Value:       token,
		Domain:      s.Cookie.Domain,
		HttpOnly:    s.Cookie.HttpOnly,
		Path:        s.Cookie.Path,
		SameSite:    s.Cookie.SameSite,
		Secure:      s.Cookie.Secure,
		Partitioned: s.Cookie.Partitioned,
	}
}
