package record

import (
	"context"
	"errors"
)

// Store keeps sessions and the index of each user's sessions. It is safe for
// concurrent use.
//
// A store applies one batch to one session atomically, and one step to one index
// likewise; the two are never atomic together. The rules:
//
//  1. Apply and ApplyIndex answer as [Record.Apply] and [Index.Apply] do on the
//     stored value, at a time that the store's own clock gives, and each is
//     linearizable: it takes effect between its call and its return.
//  2. What was answered is kept: a record until its expiry, a tombstone until its
//     own, an index until its own. Nothing is kept for ever.
//  3. A batch is applied at most once. A store never repeats one unless it knows
//     that the first attempt was not executed.
//  4. A failure of the store is an error, never a Status: a store that is down
//     must not look like an empty session. The error wraps ErrUnavailable when
//     the batch was certainly not executed, ErrOutcomeUnknown when it may have
//     been, ErrLayout or ErrCorrupt when the stored data cannot be read; stored
//     data that cannot be read is left as it is.
//  5. The context bounds the wait. A batch whose context has ended before is not
//     executed, and is ErrUnavailable; one whose context ends while it may be
//     executing is ErrOutcomeUnknown if it writes, ErrUnavailable if it reads.
//  6. The batch and the step belong to the caller again once the call has
//     returned; the reply is the caller's.
type Store interface {
	// Apply applies b, which has passed Check, to the session named h.
	Apply(ctx context.Context, h Handle, b *Batch) (Reply, error)
	// ApplyIndex applies s, which has passed Check, to the index of user's
	// sessions.
	ApplyIndex(ctx context.Context, user string, s *IndexStep) (IndexReply, error)
	// Traits tells what the store promises. It may ask the server.
	Traits(ctx context.Context) (Traits, error)
	// Close releases what the store holds and waits for its goroutines. Calls
	// under way may fail with ErrUnavailable, later ones do. It may be called again.
	Close() error
}

// Traits are what a store promises beyond the rules.
type Traits struct {
	// Name is the kind of store in one lower-case word, for logs and metrics.
	Name string
	// MayEvict says that the store may drop a record or an index before its
	// expiry, as memcached does. Then a user's list may be incomplete.
	MayEvict bool
}

// Errors of a store.
var (
	// ErrUnavailable is returned when the store cannot be reached or refuses, and
	// the batch was certainly not executed.
	ErrUnavailable = errors.New("record: store unavailable")
	// ErrOutcomeUnknown is returned when contact was lost while a write was under
	// way: it may or may not have been executed.
	ErrOutcomeUnknown = errors.New("record: outcome unknown")
	// ErrFull is returned when a store with a cap on its memory has no room. The
	// batch was not executed.
	ErrFull = errors.New("record: store full")
)
