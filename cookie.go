package pazzo

import (
	"iter"
	"net/http"
	"strings"
	"time"
)

// space is the white space of RFC 6265.
const space = " \t"

// cookieValues yields the values that a Cookie header gives to name (RFC 6265,
// section 5.4), in its order.
func cookieValues(line, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			key, value, found := strings.Cut(pair, "=")
			if !found || strings.Trim(key, space) != name {
				continue
			}
			value = strings.Trim(value, space)
			if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			if !yield(value) {
				return
			}
		}
	}
}

// cookie is what a response is to tell the browser.
type cookie struct {
	action     action
	token      token
	offer      bool  // the browser's own token is good as well, so leave it when in doubt
	persistent bool  // unless Cookie.Persistent is off
	left       int64 // ms until the session's absolute end
}

type action uint8

const (
	keep   action = iota // say nothing
	set                  // set the token
	forget               // delete the cookie
)

// setCookie renders c as a Set-Cookie header.
func (m *Manager) setCookie(c cookie) *http.Cookie {
	h := m.options.Cookie.header("")
	h.Secure = !m.options.InsecureHTTP
	if c.action == forget {
		h.MaxAge = -1
		return h
	}
	h.Value = m.keys.seal(c.token)
	if m.options.Cookie.Persistent && c.persistent {
		left := min(time.Duration(c.left)*time.Millisecond, maxAge)
		h.MaxAge = max(1, int(left/time.Second))
	}
	return h
}
