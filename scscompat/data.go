package scscompat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/compat"
)

// Status says what the request has done to the session.
type Status int

const (
	// Unmodified: nothing.
	Unmodified Status = iota
	// Modified: it was written to.
	Modified
	// Destroyed: it was destroyed, and not written to since.
	Destroyed
)

// rememberKey is the field that RememberMe writes, as with scs.
const rememberKey = "__rememberMe"

// data is a request's session.
type data struct {
	visit  *compat.Visit
	loaded time.Time

	mu         sync.Mutex // guards what follows, and is held over the writes
	values     map[string]any
	status     Status
	failure    error // the first of those that a method could not return
	foreignEnd bool  // another request had ended the session before this one's Destroy
}

type contextKey struct{ manager *SessionManager }

// Load returns a context with the session of a token: a new one if the token is
// empty or opens none. LoadAndSave does so by itself. An error of the store is
// returned, and so is pazzo.ErrOptions when the manager is not set up as it should
// be.
func (s *SessionManager) Load(ctx context.Context, token string) (context.Context, error) {
	return s.load(ctx, nil, token)
}

func (s *SessionManager) load(ctx context.Context, header http.Header, tokens ...string) (context.Context, error) {
	if _, ok := ctx.Value(contextKey{s}).(*data); ok {
		return ctx, nil
	}
	sessions, err := s.setUp()
	if err != nil {
		return nil, err
	}
	d := &data{visit: sessions.Begin(ctx, header, tokens...), loaded: time.Now()}
	fields, _, err := d.visit.Fields(ctx)
	if err != nil {
		return nil, err
	}
	d.values = texts(fields)
	return context.WithValue(ctx, contextKey{s}, d), nil
}

// texts returns the values by key, of which those that are no text, and so come from
// an app of another kind, go by what compat.Name makes of them.
func texts(fields map[any]any) map[string]any {
	values := make(map[string]any, len(fields))
	for key, value := range fields {
		text, ok := key.(string)
		if !ok {
			text, _ = compat.Name(key) // of which the key was made
		}
		values[text] = value
	}
	return values
}

func (s *SessionManager) data(ctx context.Context) *data {
	d, ok := ctx.Value(contextKey{s}).(*data)
	if !ok {
		panic("scscompat: no session in the context: call it inside LoadAndSave, or with a context from Load")
	}
	return d
}

// find is data for a method that returns an error.
func (s *SessionManager) find(ctx context.Context) (*data, error) {
	if d, ok := ctx.Value(contextKey{s}).(*data); ok {
		return d, nil
	}
	return nil, pazzo.ErrNoSession
}

// Context returns a context in which Pazzo's own keys and counters, and
// pazzo.FromContext, work on the session. What they write is not seen by this
// request's Get. ctx must carry a session.
func (s *SessionManager) Context(ctx context.Context) context.Context {
	return pazzo.NewContext(ctx, s.data(ctx).visit.Session)
}

// note takes in how a write went. d.mu is held.
func (d *data) note(err error) bool {
	if err == nil {
		d.status = Modified
	} else if d.failure == nil {
		d.failure = err
	}
	return err == nil
}

func (d *data) remembered() bool {
	remembered, _ := d.values[rememberKey].(bool)
	return remembered
}

// Put gives a key a value. It is stored when Put returns; a failure is returned by
// Commit.
func (s *SessionManager) Put(ctx context.Context, key string, val any) {
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.note(d.put(ctx, key, val)) {
		d.values[key] = val
	}
}

func (d *data) put(ctx context.Context, key string, val any) error {
	name, err := compat.Name(key)
	if err != nil {
		return err
	}
	text, err := compat.Encode(val)
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	return d.visit.Set(ctx, name, text)
}

// Get returns the value of a key, or nil if there is none.
func (s *SessionManager) Get(ctx context.Context, key string) any {
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.values[key]
}

// Pop removes a key and returns its value, as the store has it now: nil if there is
// none, as when another request was first. A failure is returned by Commit.
func (s *SessionManager) Pop(ctx context.Context, key string) any {
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, exists := d.values[key]; !exists {
		return nil
	}
	name, err := compat.Name(key)
	if err != nil {
		d.note(err)
		return nil
	}
	value, _, err := d.visit.Take(ctx, name)
	if d.note(err) {
		delete(d.values, key)
	}
	return value
}

// Remove removes a key. A failure is returned by Commit.
func (s *SessionManager) Remove(ctx context.Context, key string) {
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, exists := d.values[key]; !exists {
		return
	}
	name, err := compat.Name(key)
	if err == nil {
		err = d.visit.Delete(ctx, name)
	}
	if d.note(err) {
		delete(d.values, key)
	}
}

// Clear removes all keys, those included that another request has just put. The
// token and the lifetime stay.
func (s *SessionManager) Clear(ctx context.Context) error {
	d, err := s.find(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.values) == 0 {
		return nil
	}
	if err := d.visit.Clear(ctx); err != nil {
		return err
	}
	clear(d.values)
	d.status = Modified
	return nil
}

// Exists reports whether there is a key.
func (s *SessionManager) Exists(ctx context.Context, key string) bool {
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	_, exists := d.values[key]
	return exists
}

// Keys returns all keys, sorted; it is empty if there are none.
func (s *SessionManager) Keys(ctx context.Context) []string {
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := slices.AppendSeq([]string{}, maps.Keys(d.values))
	slices.Sort(keys)
	return keys
}

// Status says what the request has done to the session.
func (s *SessionManager) Status(ctx context.Context) Status {
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

// RememberMe chooses whether the cookie survives the browser's closing. It has an
// effect only if Cookie.Persist is false.
func (s *SessionManager) RememberMe(ctx context.Context, val bool) { s.Put(ctx, rememberKey, val) }

// Iterate returns errors.ErrUnsupported: Pazzo's stores do not list sessions. Those
// of a user are listed by Manager().Sessions.
func (s *SessionManager) Iterate(context.Context, func(context.Context) error) error {
	return fmt.Errorf("scscompat: Iterate: %w: list the sessions of a user by Manager().Sessions", errors.ErrUnsupported)
}
