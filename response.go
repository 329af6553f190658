package pazzo

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pazzo-sessions/pazzo/record"
)

// response is what a request's session has to say to the browser. There is one
// cookie of ours at most in a response: the last word counts.
type response struct {
	ctx context.Context // of the request

	accessed atomic.Bool // the response depends on the cookie

	mu      sync.Mutex // guards what follows
	started bool
	cookie  cookie
	last    *revised // by this request, if the browser is to be told; or nil
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
	if r.started {
		return
	}
	if before := &r.cookie; c.action == set && before.action == set && c.token.handle == before.token.handle {
		if c.token.generation < before.token.generation { // this request has renewed it meanwhile
			return
		}
		c.offer = c.offer && before.offer
	}
	r.cookie = c
}

// begin closes the response to further cookies and returns the last, and the last
// revision that a write has made. first is false if it has begun before.
func (r *response) begin() (c cookie, last *revised, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = !r.started
	r.started = true
	return r.cookie, r.last, first
}

// StartResponse adds to a response's headers what there is to say about the
// session: Set-Cookie, Cache-Control and Vary, and Clear-Site-Data if
// Options.ClearSiteData is set. From then on a call that has to set the cookie gives
// ErrResponseStarted, and a further StartResponse does nothing.
//
// Manager.Handler calls it; what makes its sessions with Manager.Begin calls it
// itself, just before the headers go out and in the goroutine that writes them.
func (s *Session) StartResponse(h http.Header) {
	if s == nil {
		return
	}
	c, last, first := s.response.begin()
	if !first {
		return
	}
	if s.response.accessed.Load() {
		vary(h)
	}
	if last != nil && c.action != forget {
		h.Add("Set-Cookie", s.manager.revisionCookie(last).String())
		h.Set("Cache-Control", "no-store")
	}
	if c.action == keep || c.offer && !s.isCurrent(&c.token) {
		return
	}
	h.Add("Set-Cookie", s.manager.setCookie(c).String())
	h.Set("Cache-Control", "no-store")
	if c.action == forget && s.manager.options.ClearSiteData {
		h.Set("Clear-Site-Data", `"cache", "storage"`)
	}
}

// isCurrent reports whether the session is still in the generation of a token that
// the response offers. The request may have taken its time, and a login since then
// has the browser's cookie: it must not be overwritten by an older one.
func (s *Session) isCurrent(t *token) bool {
	c := newCall(record.GetIdentity())
	defer c.release()
	c.batch.Access = t.held()
	c.batch.Fresh = true
	reply, err := s.manager.apply(s.response.ctx, "read", t.handle, &c.batch)
	return err == nil && reply.Status == record.OK && reply.Meta.Generation == t.generation
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
