package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/pazzo-sessions/pazzo"
)

// look is how often a stream looks at its session.
const look = 100 * time.Millisecond

// quiet is after how many looks without news a stream says that it is still there.
const quiet = 150

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
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	last, same := "", 0
	for {
		event, live := nextEvent(r.Context())
		news := event
		if same++; event == last {
			news = ""
			if same == quiet {
				news = ": still here\n\n"
			}
		}
		if news != "" {
			fmt.Fprint(w, news)
			if out.Flush() != nil {
				return
			}
			same = 0
		}
		if !live {
			return
		}
		last = event
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// nextEvent looks at the session and says what the page is to be told, and whether
// the session is live.
func nextEvent(ctx context.Context) (event string, live bool) {
	v, found, err := viewOf(ctx)
	if err != nil {
		return message("trouble", err.Error()), true
	}
	if !found {
		return message("gone", nil), false
	}
	return message("session", v), true
}

func message(name string, data any) string {
	text, err := json.Marshal(data)
	if err != nil {
		text = []byte("null")
	}
	return fmt.Sprintf("event: %s\ndata: %s\n\n", name, text)
}

func viewOf(ctx context.Context) (v view, found bool, err error) {
	session := pazzo.FromContext(ctx)
	info, found, err := session.Info(ctx)
	if err != nil || !found {
		return view{}, false, err
	}
	fields, err := session.All(ctx)
	if err != nil {
		return view{}, false, err
	}
	v = view{
		Handle:     info.Handle.String(),
		User:       info.User,
		Generation: info.Generation,
		Revision:   info.Revision,
		Created:    info.Created.UnixMilli(),
		Touched:    info.Touched.UnixMilli(),
		Deadline:   info.Deadline.UnixMilli(),
		Idle:       info.Idle.Milliseconds(),
		Fields:     make(map[string]json.RawMessage),
	}
	if !info.AuthTime.IsZero() {
		v.LoggedIn = info.AuthTime.UnixMilli()
	}
	for name, text := range fields {
		v.Fields[name] = text
	}
	return v, true, nil
}
