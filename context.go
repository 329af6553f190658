package pazzo

import (
	"context"
	"fmt"
)

// contextKey is that of the fields that keys work on: a session's, or those of a
// transaction on it.
type contextKey struct{}

// NewContext returns a context that carries s, for keys and FromContext.
// Manager.Handler has done so for its requests.
func NewContext(ctx context.Context, s *Session) context.Context {
	return &fieldsContext{ctx, s}
}

// fieldsContext is a context that carries what keys work on: smaller than one of
// context.WithValue, and found without comparing.
type fieldsContext struct {
	context.Context
	fields fields
}

func (c *fieldsContext) Value(key any) any {
	if key == (contextKey{}) {
		return c.fields
	}
	return c.Context.Value(key)
}

// FromContext returns the session that ctx carries, or nil, whose methods give
// ErrNoSession.
func FromContext(ctx context.Context) *Session {
	switch f := ctx.Value(contextKey{}).(type) {
	case *Session:
		return f
	case *transaction:
		return f.session
	}
	return nil
}

// Format prints nothing of the session's tokens, whatever the verb.
func (c *fieldsContext) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%v with a session", c.Context)
}

// fieldsOf returns what keys are to work on.
func fieldsOf(ctx context.Context) (fields, error) {
	switch f := ctx.Value(contextKey{}).(type) {
	case *Session:
		if f != nil {
			return f, nil
		}
	case *transaction:
		return f, nil
	}
	return nil, ErrNoSession
}

// fieldsOf returns s, or the transaction on it that ctx carries.
func (s *Session) fieldsOf(ctx context.Context) (fields, error) {
	if s == nil {
		return nil, ErrNoSession
	}
	if t, ok := ctx.Value(contextKey{}).(*transaction); ok && t.session == s {
		return t, nil
	}
	return s, nil
}

func inTransaction(ctx context.Context) bool {
	_, in := ctx.Value(contextKey{}).(*transaction)
	return in
}
