// Package adaptertest is the suite that the adapter of each Go framework passes: the
// same small app in the framework's own idiom, driven over real connections.
//
// The app has these routes. An error goes to the framework's error handler, and
// outside of the session's middleware is one that recovers from panics.
//
//	/inc?k=NAME     adds 1 to the field and prints it
//	/get?k=NAME     prints the field
//	/login?user=U   logs U in
//	/logout         destroys the session
//	/stream         Visit, then Stream
//	/events         Visit, then Events, each an event with the number as its data
//	/socket         Visit, then a WebSocket that answers each text with Answer
//	/panic          Visit, then panics with [http.ErrNotSupported]
//	/error          Visit, then gives the framework [http.ErrNotSupported]
package adaptertest

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/pazzo-sessions/pazzo"
)

const (
	visits pazzo.Counter = "visits"
	more   pazzo.Counter = "more"
	events pazzo.Counter = "events"
)

// Visit makes a session if there is none.
func Visit(ctx context.Context) error {
	_, err := visits.Add(ctx, 1)
	return err
}

// Stream sends one line, waits until another request has written to the session, and
// sends what it was. send writes and flushes.
func Stream(ctx context.Context, send func(line string)) {
	send("begun\n")
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		n, err := more.Get(ctx)
		if n > 0 || err != nil {
			late := errors.Is(pazzo.FromContext(ctx).Renew(ctx), pazzo.ErrResponseStarted)
			send("more: " + answer(n, err) + ", too late to renew: " + strconv.FormatBool(late) + "\n")
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Events sends three numbers, counted in the session. send writes and flushes.
func Events(ctx context.Context, send func(n int64)) {
	for range 3 {
		n, err := events.Add(ctx, 1)
		if err != nil {
			return
		}
		send(n)
	}
}

// Answer adds 1 to the field that a message on a WebSocket names.
func Answer(ctx context.Context, field string) string {
	return answer(pazzo.Counter(field).Add(ctx, 1))
}

func answer(n int64, err error) string {
	if err != nil {
		return err.Error()
	}
	return strconv.FormatInt(n, 10)
}
