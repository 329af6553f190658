package pazzo

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/pazzo-sessions/pazzo/record"
)

// Errors of the set-up.
var (
	// ErrOptions is returned by New when options are invalid. The error names each
	// of them and what is allowed.
	ErrOptions = errors.New("pazzo: invalid options")
	// ErrToken is returned by Acquire when the token was not made with one of our
	// keys.
	ErrToken = errors.New("pazzo: invalid token")
)

// Errors of a session as such.
var (
	// ErrNoSession is returned when the context carries no session: the handler
	// does not run inside Manager.Handler.
	ErrNoSession = errors.New("pazzo: no session in the context")
	// ErrGone is returned when a write finds that the session has been destroyed.
	ErrGone = errors.New("pazzo: the session has ended")
	// ErrSuperseded is returned when a write comes with a token from before a
	// privilege change, such as a login. The request may be repeated with the new
	// cookie.
	ErrSuperseded = errors.New("pazzo: the token has been superseded")
	// ErrResponseStarted is returned when a call needs to set the cookie and the
	// response has started. Nothing was changed.
	ErrResponseStarted = errors.New("pazzo: the response has started")
	// ErrNotNavigation is returned when a write would create a session in a
	// request that is not a navigation, and Options.CreateOnNavigation is set.
	ErrNotNavigation = errors.New("pazzo: only a navigation may create a session")
	// ErrInTransaction is returned when a call that changes the session as a whole
	// is made inside Atomically. Make it before or after.
	ErrInTransaction = errors.New("pazzo: not possible inside Atomically")
)

// Errors of fields.
var (
	// ErrConflict is returned when a transaction still collides with other writers
	// after many attempts. Nothing was changed.
	ErrConflict = errors.New("pazzo: too many conflicting writers")
	// ErrDecode is returned when a field's value is not of the type asked for; see
	// DecodeError.
	ErrDecode = errors.New("pazzo: cannot decode the field")
	// ErrEncode is returned when a value has no JSON form, such as NaN or a lone
	// surrogate. Nothing was sent.
	ErrEncode = errors.New("pazzo: cannot encode the value")
	// ErrNotInteger is returned when Add meets a field that is not an integer.
	ErrNotInteger = errors.New("pazzo: the field is not an integer")
	// ErrRange is returned when Add's operand or result is beyond ±(2^53−1), which
	// is what every language reads exactly.
	ErrRange = errors.New("pazzo: integer out of range")
	// ErrNotList is returned when Append or Drain meets a field that is not an
	// array.
	ErrNotList = errors.New("pazzo: the field is not a list")
	// ErrName is returned when a field's name is not 1–256 bytes of valid UTF-8
	// without a leading NUL.
	ErrName = record.ErrName
	// ErrTooLarge is returned when a name, a value or the record would pass its
	// limit (Options.Limits). Nothing was changed.
	ErrTooLarge = record.ErrTooLarge
)

// Errors of users.
var (
	// ErrBlocked is returned by Authenticate when the user is blocked.
	ErrBlocked = errors.New("pazzo: the user is blocked")
	// ErrTooManySessions is returned by Authenticate when the user has
	// Options.MaxPerUser sessions and Options.WhenFull is Refuse.
	ErrTooManySessions = errors.New("pazzo: the user has too many sessions")
	// ErrMayEvict is returned when RevokeAll, Block or the cap on sessions is used
	// with a store that may drop a user's list on its own, unless
	// Options.BestEffortUsers is set.
	ErrMayEvict = errors.New("pazzo: the store may evict sessions and lists")
)

// Errors of the store.
var (
	// ErrUnavailable is returned when the store cannot be reached or refuses.
	// Nothing was changed.
	ErrUnavailable = record.ErrUnavailable
	// ErrOutcomeUnknown is returned when contact with the store was lost during a
	// write: it may or may not have been executed. Pazzo never repeats a write by
	// itself.
	ErrOutcomeUnknown = record.ErrOutcomeUnknown
	// ErrFull is returned when a store with a cap on its memory has no room.
	// Nothing was changed.
	ErrFull = record.ErrFull
	// ErrLayout is returned when a session was written by a newer version of Pazzo.
	// It is left as it is.
	ErrLayout = record.ErrLayout
	// ErrCorrupt is returned when the store holds something that is not a session.
	// It is left as it is.
	ErrCorrupt = record.ErrCorrupt
)

// DecodeError says which field did not decode, and why. errors.Is(err, ErrDecode)
// holds. It spoils that field only.
type DecodeError struct {
	Field string
	Text  json.RawMessage // what the field holds, or held if it was popped; not part of Error
	Err   error
}

// Error names the field and the kind of trouble. It leaves out the words of Err,
// in which packages json and time quote what they read.
func (e *DecodeError) Error() string {
	why := fmt.Sprintf("%T", e.Err)
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(e.Err, &mismatch):
		kind, _, _ := strings.Cut(mismatch.Value, " ") // "number 5": not which one
		why = fmt.Sprintf("%s for Go's %v", kind, mismatch.Type)
	case e.Err == ErrNotInteger, e.Err == ErrRange:
		why = e.Err.Error()
	}
	return fmt.Sprintf("%v %q: %s", ErrDecode, e.Field, why)
}

// Unwrap returns ErrDecode and the cause.
func (e *DecodeError) Unwrap() []error { return []error{ErrDecode, e.Err} }

// StatusCode returns the HTTP status that suits an error of this package: 409 for
// ErrGone, ErrSuperseded and ErrConflict, 403 for ErrBlocked, ErrTooManySessions
// and ErrNotNavigation, 413 for ErrTooLarge, 503 for ErrUnavailable,
// ErrOutcomeUnknown and ErrFull, 400 for ErrName, ErrEncode, ErrNotInteger,
// ErrRange and ErrNotList, 500 for anything else, such as ErrDecode, and 200 for
// nil.
func StatusCode(err error) int {
	for _, c := range [...]struct {
		code int
		errs []error
	}{
		{http.StatusConflict, []error{ErrGone, ErrSuperseded, ErrConflict}},
		{http.StatusForbidden, []error{ErrBlocked, ErrTooManySessions, ErrNotNavigation}},
		{http.StatusRequestEntityTooLarge, []error{ErrTooLarge}},
		{http.StatusServiceUnavailable, []error{ErrUnavailable, ErrOutcomeUnknown, ErrFull}},
		{http.StatusInternalServerError, []error{ErrDecode}}, // whatever it wraps
		{http.StatusBadRequest, []error{ErrName, ErrEncode, ErrNotInteger, ErrRange, ErrNotList}},
	} {
		for _, e := range c.errs {
			if errors.Is(err, e) {
				return c.code
			}
		}
	}
	if err == nil {
		return http.StatusOK
	}
	return http.StatusInternalServerError
}
