package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/record"
)

// verdict says what a failed call proves.
type verdict uint8

const (
	unknown   verdict = iota // it may have been executed
	refused                  // it was not executed, and will not be soon
	retryable                // it was not executed; another attempt may be
	noScript                 // the server does not know the script
	readOnly                 // it was not executed: we talk to a replica
	full                     // it was not executed: the server's memory is full
	corrupt                  // it was not executed: the key holds something else
)

// verdicts tells by the first word of an error reply. Redis refuses a script at
// its first write, so that these hold within one too.
var verdicts = map[string]verdict{
	"NOSCRIPT":    noScript,
	"READONLY":    readOnly,
	"OOM":         full,
	"WRONGTYPE":   corrupt,
	"TRYAGAIN":    retryable,
	"CLUSTERDOWN": retryable,
	"LOADING":     retryable,
	"MASTERDOWN":  retryable,
	"MOVED":       retryable,
	"ASK":         retryable,
	"NOREPLICAS":  refused,
	"MISCONF":     refused,
	"BUSY":        refused,
	"NOAUTH":      refused,
	"WRONGPASS":   refused,
	"NOPROTO":     refused,
}

// dialError says that there was no connection to send anything on.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// judge says what err, from a call with ctx, proves.
func judge(ctx context.Context, err error) verdict {
	var reply *rueidis.RedisError
	if errors.As(err, &reply) {
		return judgeReply(reply.Error())
	}
	var dial *dialError
	switch {
	case errors.As(err, &dial):
		return refused
	case errors.Is(err, rueidis.ErrNoSlot), errors.Is(err, rueidis.ErrNoAddr):
		return retryable
	case isContext(err) && !over(ctx):
		return retryable // somebody else's context ended while we waited for his connection
	}
	return unknown
}

// over reports whether ctx has ended. rueidis may end a call at its deadline a moment
// before the context does.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

func judgeReply(text string) verdict {
	word, _, _ := strings.Cut(text, " ")
	if v, ok := verdicts[word]; ok {
		return v
	}
	if strings.Contains(text, "script: ") { // it failed on the way
		return unknown
	}
	return refused
}

func isContext(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// fail wraps err in the error that rule 4 of record.Store asks for.
func fail(v verdict, err error, writes bool) error {
	err = unquoted{err}
	switch {
	case v == full:
		return fmt.Errorf("redisstore: %w: %w: %w", record.ErrFull, record.ErrUnavailable, err)
	case v == corrupt:
		return fmt.Errorf("redisstore: %w: %w", record.ErrCorrupt, err)
	case v == unknown && writes:
		return fmt.Errorf("redisstore: %w: %w", record.ErrOutcomeUnknown, err)
	}
	return fmt.Errorf("redisstore: %w: %w", record.ErrUnavailable, err)
}

// unquoted is an error without what Redis quotes of a command that it does not know or
// does not permit: there may be a value or a secret in it, and errors are logged.
type unquoted struct{ error }

func (u unquoted) Error() string {
	text, _, _ := strings.Cut(u.error.Error(), ", with args beginning with")
	return text
}

func (u unquoted) Unwrap() error { return u.error }
