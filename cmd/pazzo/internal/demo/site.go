package demo

import (
	"net"
	"net/http"
	"strconv"
	"strings"
)

// site is where the demo is: one page, several ports, one cookie jar.
type site struct {
	port  string   // of the page
	more  []int    // ports of the apps
	names []string // hosts by which the loopback address may be called
	peers []Peer
}

func newSite(page net.Listener, more []net.Listener, peers []Peer) *site {
	s := &site{port: strconv.Itoa(portOf(page)), names: []string{"localhost"}, peers: peers}
	if host, _, err := net.SplitHostPort(page.Addr().String()); err == nil {
		s.names = append(s.names, host)
	}
	for _, l := range more {
		s.more = append(s.more, portOf(l))
	}
	return s
}

// origin returns the origin of port on the host that r came to.
func origin(r *http.Request, port string) string {
	host := hostOf(r)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "80" {
		return "http://" + host
	}
	return "http://" + host + ":" + port
}

func hostOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return strings.Trim(r.Host, "[]")
}

// guard lets the page's own requests through and no others. Another site's page
// can send requests to the loopback too: it is told by its Origin, and by the name
// that it has given to the loopback.
func (s *site) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.known(hostOf(r)) {
			http.Error(w, "this is not the name of the demo", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Add("Vary", "Origin")
		if from := r.Header.Get("Origin"); from != "" {
			if from != origin(r, s.port) {
				http.Error(w, "this is for the demo's own page", http.StatusForbidden)
				return
			}
			h.Set("Access-Control-Allow-Origin", from)
			h.Set("Access-Control-Allow-Credentials", "true")
		}
		next.ServeHTTP(w, r)
	})
}

func (s *site) known(host string) bool {
	for _, name := range s.names {
		if strings.EqualFold(host, name) {
			return true
		}
	}
	return false
}

// policy is the page's Content-Security-Policy: what the page is made of comes
// from here, and it may talk to the demo's ports only.
func (s *site) policy(r *http.Request) string {
	var b strings.Builder
	b.WriteString("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'")
	for _, port := range s.more {
		b.WriteString(" " + origin(r, strconv.Itoa(port)))
	}
	return b.String()
}
