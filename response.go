package pazzo

import (
	"net/http"
	"slices"
	"strings"
	"sync"
)

// response is what a request's session has to say to the browser. There is one
// cookie of ours at most in a response: the last word counts.
type response struct {
	mu       sync.Mutex
	accessed bool
	started  bool
	cookie   cookie
}

// access remembers that the response depends on the cookie.
func (r *response) access() {
	r.mu.Lock()
	r.accessed = true
	r.mu.Unlock()
}

// open reports whether the cookie can still be set.
func (r *response) open() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.started
}

// set chooses the cookie to send, if that is still possible.
func (r *response) set(c cookie) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.started {
		r.cookie = c
	}
}

// start writes our headers, once: it is called just before the response's own.
func (s *Session) start(h http.Header) {
	r := &s.response
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started {
		return
	}
	r.started = true
	if r.accessed {
		vary(h)
	}
	if r.cookie.action == keep {
		return
	}
	h.Add("Set-Cookie", s.manager.setCookie(r.cookie).String())
	h.Set("Cache-Control", "no-store")
	if !r.accessed {
		vary(h)
	}
}

// vary adds Cookie to the Vary header, unless it is there.
func vary(h http.Header) {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Cookie") {
				return
			}
		}
	}
	h["Vary"] = append(slices.Clip(h["Vary"]), "Cookie")
}
