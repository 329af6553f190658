package pazzo

import "context"

// contextKey is that of the fields that keys work on: a session's, or those of a
// transaction on it.
type contextKey struct{}

// NewContext returns a context that carries s, for keys and FromContext.
// Manager.Handler has done so for its requests.
func NewContext(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, contextKey{}, fields(s))
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
