package pazzo

import (
	"context"
	"net/http"
	"time"

	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
)

// Store keeps sessions; see [record.Store] for its rules, and packages memstore
// and redisstore for stores.
type Store = record.Store

// Handle names a session in listings, logs and revocations. It gives no access.
type Handle = record.Handle

// Manager gives requests their sessions. It is safe for concurrent use, holds no
// goroutine, and does not close its store.
type Manager struct {
	store   record.Store
	near    *nearcache.Cache // that is the store, if nobody observes the calls; else nil
	name    string           // of the store, for observers
	options Options
	keys    keyring
	expiry  record.Expiry
	queue   queue
	watches watches
}

// New returns a Manager over store. ErrOptions is returned, naming each of them,
// when options are invalid.
func New(store Store, options *Options) (*Manager, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	keys, err := newKeyring(o.SecretKeys)
	if err != nil {
		return nil, err
	}
	o.SecretKeys = nil // no longer needed, so it cannot be printed
	m := &Manager{store: store, options: o, keys: keys, expiry: o.Timeouts.expiry()}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	traits, err := store.Traits(ctx)
	if err != nil {
		o.Logger.Warn("pazzo: the store does not answer yet", "error", err)
	}
	m.name = traits.Name
	m.watches.source = notifier(store)
	if o.Observer.Operation == nil {
		m.near, _ = store.(*nearcache.Cache)
	}
	if o.InsecureHTTP {
		o.Logger.Warn("pazzo: INSECURE: InsecureHTTP is set: session cookies travel in the clear and can be stolen. Use it in development only.")
	}
	if o.InsecureShortKey {
		o.Logger.Warn("pazzo: INSECURE: InsecureShortKey is set: whoever guesses the key can forge tokens. Move to a key of 32 bytes or more.")
	}
	return m, nil
}

func (t Timeouts) expiry() record.Expiry {
	return record.Expiry{Idle: t.Idle.Milliseconds(), Absolute: t.Absolute.Milliseconds()}
}

// Acquire returns the session of a token without net/http: for gRPC, a message on
// a WebSocket, or work in the background. Put it into a context with
// [NewContext] to use it with keys. The store is not asked before the first use.
//
// An empty token stands for a visitor without a session: the first write makes
// one. Session.Token returns the token to hand back. ErrToken is returned when
// the token was not made with one of our keys.
func (m *Manager) Acquire(text string) (*Session, error) {
	s := &Session{manager: m, request: request{detached: true}}
	s.response.ctx = context.Background()
	if text == "" {
		return s, nil
	}
	t, old, ok := m.keys.open(text)
	if !ok {
		return nil, ErrToken
	}
	s.candidates = append(s.first[:0], candidate{token: t, old: old})
	s.response.cookie = cookie{action: keep, token: t}
	return s, nil
}

// Begin returns the session of an HTTP request, for a framework in which
// Manager.Handler cannot stand. ctx is the request's context. Of its headers, Cookie
// and the three of Fetch metadata, Sec-Fetch-Dest, -Mode and -Site, are looked at,
// and none is kept. The store is not asked before the first use. If ctx carries a
// session of this manager already, for a middleware is installed twice, that is it.
//
// Put the session into a context with [NewContext], and call Session.StartResponse
// just before the response's headers go out: without it nobody gets the cookie.
func (m *Manager) Begin(ctx context.Context, header http.Header) *Session {
	if s := FromContext(ctx); s != nil && s.manager == m {
		return s
	}
	return m.newSession(ctx, header)
}

// newSession is Begin, for a context that carries no session of m.
func (m *Manager) newSession(ctx context.Context, header http.Header) *Session {
	s := &Session{manager: m}
	s.response.ctx = ctx
	s.request.read(header)
	s.candidates = m.candidates(header, s.first[:0])
	if m.options.RevisionCookie {
		m.readRevisions(header, s.candidates)
	}
	return s
}

// apply sends a batch to the store and tells the observer.
func (m *Manager) apply(ctx context.Context, name string, h record.Handle, b *record.Batch) (reply record.Reply, err error) {
	err = m.applyInto(ctx, name, h, b, &reply)
	return reply, err
}

// applyInto is apply that fills in a reply, which is large to copy about.
func (m *Manager) applyInto(ctx context.Context, name string, h record.Handle, b *record.Batch, reply *record.Reply) (err error) {
	b.Limits = m.options.Limits
	if err := b.Check(); err != nil {
		return err
	}
	observe := m.options.Observer.Operation
	if observe == nil {
		*reply, err = m.store.Apply(ctx, h, b)
		return err
	}
	start := time.Now()
	*reply, err = m.store.Apply(ctx, h, b)
	observe(ctx, m.operation(name, start, reply.Status.String(), reply.Cached, err))
	return err
}

// applyIndex sends a step to the store and tells the observer.
func (m *Manager) applyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	if err := step.Check(); err != nil {
		return record.IndexReply{}, err
	}
	start := time.Now()
	reply, err := m.store.ApplyIndex(ctx, user, step)
	if observe := m.options.Observer.Operation; observe != nil {
		observe(ctx, m.operation("index", start, reply.Status.String(), false, err))
	}
	return reply, err
}

func (m *Manager) operation(name string, start time.Time, outcome string, hit bool, err error) Operation {
	if err != nil {
		outcome = "error"
	}
	return Operation{Name: name, Store: m.name, Duration: time.Since(start), Outcome: outcome, CacheHit: hit, Err: err}
}
