package pazzo

import (
	"net/http"
	"slices"
)

// maxCandidates is how many of a request's tokens are tried with the store.
const maxCandidates = 3

// request is what a session needs to know of its HTTP request.
type request struct {
	detached   bool // Acquire: there is none
	navigation bool // Sec-Fetch-Mode: navigate
	silent     bool // no Sec-Fetch headers: not a browser, or plain http
}

// read takes the Fetch metadata of a request (W3C Fetch Metadata Request Headers).
func (q *request) read(h http.Header) {
	mode := first(h["Sec-Fetch-Mode"])
	q.navigation = mode == "navigate"
	q.silent = mode == "" && first(h["Sec-Fetch-Site"]) == "" && first(h["Sec-Fetch-Dest"]) == ""
}

// first is Header.Get of a name in its canonical form, which need not be put into that.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// mayBeFirst reports whether the request may be a visitor's first, rather than
// one of the many that a page sends.
func (q *request) mayBeFirst() bool { return q.detached || q.navigation || q.silent }

// candidates appends the tokens of ours that came with a request to list, in the
// order of the cookies. Forged ones cost a mac and are not counted; the store never
// hears of them.
func (m *Manager) candidates(h http.Header, list []candidate) []candidate {
	for _, line := range h["Cookie"] {
		for value := range cookieValues(line, m.options.Cookie.Name) {
			t, old, ok := m.keys.open(value)
			c := candidate{token: t, old: old}
			if !ok || slices.Contains(list, c) {
				continue
			}
			if list = append(list, c); len(list) == maxCandidates {
				return list
			}
		}
	}
	return list
}
