// Package gincompat is a store for github.com/gin-contrib/sessions (v1.0.4) over
// Pazzo, so that trying it is one line:
//
//	store, err := gincompat.NewStore(redis, &pazzo.Options{SecretKeys: keys})
//
// in place of that of gin-contrib's packages cookie, memstore or redis. Overlapping
// requests of one user then lose nothing that they do not both change. gin-contrib's
// sessions are gorilla's, so what package gorillacompat says holds here, and this
// beside:
//
//	gin-contrib                             here
//	Get logs the store's error and goes     it does so here too, but Save then returns the error and writes
//	on with an empty session                nothing
//	Save is not called: nothing is kept     likewise
//	Clear removes all keys                  all that the request has read; one that another request has added
//	                                        since stays
//	Options sets all attributes; MaxAge     likewise: to end a session, Options(sessions.Options{MaxAge: -1, …})
//	below 0 ends the session                and Save
//	Options without Secure or HttpOnly      likewise: set them; NewStore's defaults have them
//
// New apps use package pazzogin, which needs no Save.
package gincompat

import (
	"context"
	"errors"
	"fmt"

	"github.com/gin-contrib/sessions"
	gorilla "github.com/gorilla/sessions"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/gorillacompat"
)

// Store is a sessions.Store of gin-contrib. It is safe for concurrent use.
type Store struct{ *gorillacompat.Store }

// NewStore returns a store of gin-contrib's kind over one of Pazzo's; see
// gorillacompat.NewStore.
func NewStore(store pazzo.Store, options *pazzo.Options) (*Store, error) {
	s, err := gorillacompat.NewStore(store, options)
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}

// Options sets the attributes of new sessions' cookies, all of them. Call it before
// requests are served.
func (s *Store) Options(o sessions.Options) { s.Store.Options = o.ToGorillaOptions() }

// Context returns a context in which Pazzo's own keys and counters, and
// pazzo.FromContext, work on a session of sessions.Default or DefaultMany; see
// gorillacompat.Store.Context. An error is returned for a session of another kind.
//
// To have Save send the cookie of a token that was renewed so, use Set or Delete as
// well, as gin-contrib saves nothing otherwise.
func (s *Store) Context(ctx context.Context, session sessions.Session) (context.Context, error) {
	own, ok := session.(interface{ Session() *gorilla.Session })
	if !ok {
		return ctx, fmt.Errorf("gincompat: %T is not a session of gin-contrib/sessions: %w", session, errors.ErrUnsupported)
	}
	return s.Store.Context(ctx, own.Session()), nil
}
