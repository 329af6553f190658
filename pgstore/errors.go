package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pazzo-sessions/pazzo/casstore"
	"github.com/pazzo-sessions/pazzo/record"
)

// verdict says what a failed statement proves.
type verdict uint8

const (
	unknown   verdict = iota // it may have been executed
	refused                  // it was not, and will not be soon
	retryable                // it was not; another attempt may be
)

// judge says what err proves of a statement that is a transaction of its own. What the
// server answers with an error is rolled back, whatever the error: see “PostgreSQL Error
// Codes” in its documentation. A server that ends after a commit, and before it has said
// so, sends a warning at most, and then nothing.
func judge(err error) verdict {
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	var unsent *notSent
	switch {
	case errors.As(err, &connect), errors.As(err, &unsent):
		return refused
	case errors.As(err, &pg):
		return judgeCode(pg.Code)
	case pgconn.SafeToRetry(err):
		return retryable // nothing was sent
	}
	return unknown
}

// notSent is an error of who waited for a connection.
type notSent struct{ err error }

func (e *notSent) Error() string { return e.err.Error() }
func (e *notSent) Unwrap() error { return e.err }

func judgeCode(code string) verdict {
	switch {
	case strings.HasPrefix(code, "08"):
		return unknown // PgBouncer, whose server is gone
	case strings.HasPrefix(code, "40") && code != "40003", // serialization failure, deadlock
		code == "55P03", // lock not available
		code == "57P01", // the connection was ended, as by a restart
		code == "57P05": // or because it was idle
		return retryable
	case code == "40003": // completion unknown
		return unknown
	}
	return refused
}

// use says what a statement does.
type use bool

const (
	reading use = false
	writing use = true
)

// attempts is how often a statement is tried that was certainly not executed. After a
// restart each pooled connection may be found to be dead.
const attempts = DefaultMaxConns + 2

// retry calls f until its error is none that another attempt may help: for one that reads,
// a lost connection too.
func retry(ctx context.Context, u use, f func() error) (err error) {
	for range attempts {
		if err = f(); err == nil || errors.Is(err, pgx.ErrNoRows) || ctx.Err() != nil {
			return err
		}
		if v := judge(err); v == refused || v == unknown && u == writing {
			return err
		}
	}
	return err
}

// outcomeOf says what became of a write.
func outcomeOf(err error) casstore.Outcome {
	if judge(err) == unknown {
		return casstore.Unknown
	}
	return refusal(err)
}

// refusal is for what was certainly not executed.
func refusal(err error) casstore.Outcome {
	if judge(err) == retryable {
		return casstore.Lost
	}
	return casstore.Refused
}

// report explains an error, and lets go of the connections to a server that has become a
// replica: the next ones may lead to the primary.
func (s *server) report(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "25006" { // read-only transaction
		s.pool.Reset()
	}
	return explain(err)
}

// explain says more of an error than the server does.
func explain(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case "53100": // disk full
		return fmt.Errorf("%w: %w", record.ErrFull, err)
	case "42P01", "3F000": // no such table or schema
		return fmt.Errorf("%w: %w", ErrSchema, err)
	case "26000", "42P05": // no such prepared statement, or another of its name
		return fmt.Errorf("behind PgBouncer, add default_query_exec_mode=exec to the URL: %w", err)
	}
	return err
}
