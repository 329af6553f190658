package demo

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/pazzo-sessions/pazzo"
)

// Peer is an app in another process that has the same store and secret key: one of
// the example apps, with their routes and their cookie.
type Peer struct {
	Name   string // a path element
	Title  string // for people
	Target string // its origin
}

// The names of the cookie: the demo has that for production, the examples the one for
// development.
const (
	cookieOfPage  = "__Host-session"
	cookieOfPeers = "session"
)

// counters is how an app reads and adds to the session's counters: by itself, or by way
// of a peer.
type counters interface {
	get(r *http.Request, item string) error
	add(r *http.Request, item string) (int64, error)
}

// own are the counters as a Go app has them.
type own struct{}

func (own) get(r *http.Request, item string) error {
	_, err := pazzo.Counter(item).Get(r.Context())
	return err
}

func (own) add(r *http.Request, item string) (int64, error) {
	return pazzo.Counter(item).Add(r.Context(), 1)
}

// through sends the session's token to a peer, which does it.
type through struct {
	peer   Peer
	client *http.Client
}

func (t through) get(r *http.Request, item string) error {
	_, err := t.call(r, "/get", item)
	return err
}

func (t through) add(r *http.Request, item string) (int64, error) {
	return t.call(r, "/inc", item)
}

func (t through) call(r *http.Request, path, item string) (int64, error) {
	token, err := r.Cookie(cookieOfPage)
	if err != nil {
		return 0, pazzo.ErrNoSession
	}
	out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, t.peer.Target+path+"?k="+url.QueryEscape(item), nil)
	if err != nil {
		return 0, err
	}
	out.AddCookie(&http.Cookie{Name: cookieOfPeers, Value: token.Value})
	out.Header.Set("Sec-Fetch-Mode", "cors") // it is a page's request
	answer, err := t.client.Do(out)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1024))
	if err != nil {
		return 0, err
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	case http.StatusConflict:
		return 0, pazzo.ErrGone
	}
	return 0, fmt.Errorf("%s answered %s", t.peer.Title, answer.Status)
}
