package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/pazzo-sessions/pazzo"
)

// quiet is after how long without news a stream says that it is still there.
const quiet = 15 * time.Second

// view is a session as the page shows it.
type view struct {
	Handle     string                     `json:"handle"`
	User       string                     `json:"user"`
	Generation uint32                     `json:"generation"`
	Revision   uint64                     `json:"revision"`
	Created    int64                      `json:"created"` // ms since 1970, as the times below
	LoggedIn   int64                      `json:"loggedIn,omitempty"`
	Touched    int64                      `json:"touched"`
	Deadline   int64                      `json:"deadline"`
	Idle       int64                      `json:"idle"` // ms
	Fields     map[string]json.RawMessage `json:"fields"`
}

// events streams the request's session as it changes, until the request's cookie
// no longer opens it: after a logout, and after a login, which gives a new one.
func events(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	messages := watch(ctx)
	defer func() {
		cancel()
		for range messages { // until the watcher has gone
		}
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	still := time.NewTicker(quiet)
	defer still.Stop()
	for {
		text := ": still here\n\n"
		select {
		case message, more := <-messages:
			if !more {
				return
			}
			text = message
			still.Reset(quiet)
		case <-still.C:
		}
		if _, err := io.WriteString(w, text); err != nil || out.Flush() != nil {
			return
		}
	}
}

// watch returns what the page is to be told of the session that ctx carries, until that has
// ended or ctx has.
func watch(ctx context.Context) <-chan string {
	messages := make(chan string)
	go func() {
		defer close(messages)
		for change, err := range pazzo.FromContext(ctx).Watch(ctx) {
			select {
			case messages <- event(&change, err):
			case <-ctx.Done():
				return
			}
		}
	}()
	return messages
}

// event says what the page is to be told of a change, or of an error instead.
func event(c *pazzo.Change, err error) string {
	switch {
	case err != nil:
		return message("trouble", err.Error())
	case c.Ended != "":
		return message("gone", nil)
	}
	return message("session", viewOf(c))
}

func message(name string, data any) string {
	text, err := json.Marshal(data)
	if err != nil {
		text = []byte("null")
	}
	return fmt.Sprintf("event: %s\ndata: %s\n\n", name, text)
}

func viewOf(c *pazzo.Change) view {
	v := view{
		Handle:     c.Handle.String(),
		User:       c.User,
		Generation: c.Generation,
		Revision:   c.Revision,
		Created:    c.Created.UnixMilli(),
		Touched:    c.Touched.UnixMilli(),
		Deadline:   c.Deadline.UnixMilli(),
		Idle:       c.Idle.Milliseconds(),
		Fields:     c.Fields,
	}
	if !c.AuthTime.IsZero() {
		v.LoggedIn = c.AuthTime.UnixMilli()
	}
	return v
}
