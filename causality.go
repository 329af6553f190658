package pazzo

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// The revision cookie (Options.RevisionCookie) has the session cookie's name and this behind
// it. Its value is
//
//	the first 12 digits of the handle | "." | the revision, in decimal
//
// so that it says nothing of any other session. It is not signed: the worst that a forged
// one can do is to have its own request read from the store once.
const revisionSuffix = "-revision"

// revisionLife is for how long the cookie is kept: no near cache misses a write for longer
// (nearcache.Options), and so later requests need not carry it.
const revisionLife = time.Minute

// revised is a revision of a session that was made by a write.
type revised struct {
	handle   record.Handle
	revision uint64
}

// revised takes in the answer to a write of this request, to tell the browser.
func (s *Session) revised(h record.Handle, reply *record.Reply) {
	if !s.manager.options.RevisionCookie || reply.Status != record.OK || reply.Revision == 0 {
		return
	}
	r := &s.response
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil || h != r.last.handle || reply.Revision > r.last.revision {
		r.last = &revised{h, reply.Revision}
	}
}

// revisionCookie renders a revision as a Set-Cookie header.
func (m *Manager) revisionCookie(r *revised) *http.Cookie {
	h := m.options.Cookie.header(revisionTag(r.handle) + strconv.FormatUint(r.revision, 10))
	h.Name += revisionSuffix
	h.Secure = !m.options.InsecureHTTP
	h.MaxAge = int(revisionLife / time.Second)
	return h
}

// revisionTag is what the cookie's value for a session begins with.
func revisionTag(h record.Handle) string { return fmt.Sprintf("%x.", h[:6]) }

// readRevisions notes which revisions of the candidates' sessions the request's cookies know
// of. What is malformed or of another session counts for nothing.
func (m *Manager) readRevisions(h http.Header, list []candidate) {
	for _, line := range h["Cookie"] {
		for value := range cookieValues(line, m.options.Cookie.Name+revisionSuffix) {
			for i := range list {
				text, ok := strings.CutPrefix(value, revisionTag(list[i].handle))
				if revision, err := strconv.ParseUint(text, 10, 64); ok && err == nil {
					list[i].revision = max(list[i].revision, revision)
				}
			}
		}
	}
}
