package pazzo

import (
	"context"
	"log/slog"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Observer is told what a Manager does, for metrics and tracing. Its functions
// may be nil. They are called from the goroutine that does the work, from several
// at the same time; they must return quickly and must not use the session, which
// may be locked.
type Observer struct {
	// Operation is called after each call of the store.
	Operation func(ctx context.Context, e Operation)
	// LifeCycle is called after each event in a session's life.
	LifeCycle func(ctx context.Context, e LifeCycle)
}

// Operation is one call of the store.
type Operation struct {
	Name     string // "read", "write", "create", "destroy", "touch", "renew" or "index"
	Store    string // the store's kind, such as "redis"
	Duration time.Duration
	Outcome  string // "ok", or why not: "absent", "conflict", …; "error" if Err is set
	CacheHit bool
	Err      error
}

// LifeCycle is an event in the life of a session.
type LifeCycle struct {
	Event  Event
	Handle record.Handle
	User   string // if known
	Reason string // of Destroyed: "logout", "replaced", "revoked" or "evicted"
}

// Event is what happened to a session.
type Event string

// The events.
const (
	Created       Event = "created"
	Authenticated Event = "authenticated"
	Renewed       Event = "renewed"
	Rotated       Event = "rotated"
	Destroyed     Event = "destroyed"
	// RefusedSuperseded: a token from before a privilege change was presented.
	RefusedSuperseded Event = "superseded token refused"
	// RefusedEnded: the token of a destroyed session was presented.
	RefusedEnded Event = "ended token refused"
)

// happened reports an event to the observer and the log.
func (m *Manager) happened(ctx context.Context, e LifeCycle) {
	if f := m.options.Observer.LifeCycle; f != nil {
		f(ctx, e)
	}
	if !m.options.Logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.String("handle", e.Handle.String())}
	if e.User != "" {
		attrs = append(attrs, slog.String("user", e.User))
	}
	if e.Reason != "" {
		attrs = append(attrs, slog.String("reason", e.Reason))
	}
	m.options.Logger.LogAttrs(ctx, slog.LevelDebug, "pazzo: session "+string(e.Event), attrs...)
}

// trouble logs what went wrong where no caller can be told.
func (m *Manager) trouble(ctx context.Context, what string, h record.Handle, err error) {
	m.options.Logger.LogAttrs(ctx, slog.LevelWarn, "pazzo: "+what,
		slog.String("handle", h.String()), slog.Any("error", err))
}
