package scscompat

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"time"
)

// LoadAndSave is middleware that loads the session of each request and sends its
// cookie with the response's headers.
func (s *SessionManager) LoadAndSave(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Cookie")
		var tokens []string
		for _, c := range r.CookiesNamed(s.Cookie.Name) {
			tokens = append(tokens, c.Value)
		}
		ctx, err := s.load(r.Context(), r.Header, tokens...)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		r = r.WithContext(ctx)
		sw := &writer{ResponseWriter: w, request: r, manager: s}
		defer func() {
			// For a handler that panics: its writes are made, and whoever recovers
			// outside, and answers, must not lose the cookie of a login.
			if !sw.started {
				sw.started = true
				_ = s.respond(w, r)
			}
		}()
		next.ServeHTTP(sw, r)
		sw.start()
	})
}

// respond adds the cookie to the response's headers, or returns what has failed.
func (s *SessionManager) respond(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure != nil {
		return d.failure
	}
	c := d.visit.Respond()
	switch {
	case d.status == Destroyed:
		if !d.foreignEnd {
			s.writeCookie(w, "", time.Time{}, false)
		}
	case c != nil && c.Value != "":
		s.writeCookie(w, c.Value, time.Now().Add(time.Duration(c.MaxAge)*time.Second), d.remembered())
	case d.status == Modified:
		// scs sends the cookie again. If a login has renewed the token meanwhile,
		// the browser has a newer one, which must stay.
		token, info, found, err := d.visit.Current(ctx)
		if err != nil || !found {
			return err
		}
		s.writeCookie(w, token, expiry(info), d.remembered())
	}
	return nil
}

// WriteSessionCookie adds a cookie with the token to the response. It has an expiry
// if the session is to persist, or RememberMe was called; with a zero expiry it has
// the browser delete the cookie. LoadAndSave does so by itself.
func (s *SessionManager) WriteSessionCookie(ctx context.Context, w http.ResponseWriter, token string, expiry time.Time) {
	s.writeCookie(w, token, expiry, !expiry.IsZero() && !s.Cookie.Persist && s.GetBool(ctx, rememberKey))
}

func (s *SessionManager) writeCookie(w http.ResponseWriter, token string, expiry time.Time, remembered bool) {
	c := s.cookie(token)
	switch {
	case expiry.IsZero():
		c.Expires, c.MaxAge = time.Unix(1, 0), -1
	case s.Cookie.Persist || remembered:
		c.Expires = time.Unix(expiry.Unix()+1, 0) // whole seconds, rounded up
		c.MaxAge = max(1, int(time.Until(expiry).Seconds()+1))
	}
	w.Header().Add("Set-Cookie", c.String())
	w.Header().Set("Cache-Control", "no-store")
}

// writer sends the cookie just before the headers.
type writer struct {
	http.ResponseWriter
	request *http.Request
	manager *SessionManager
	started bool
	failure error // to which ErrorFunc has answered
}

func (w *writer) start() {
	if w.started {
		return
	}
	w.started = true
	if w.failure = w.manager.respond(w.ResponseWriter, w.request); w.failure != nil {
		w.manager.fail(w.ResponseWriter, w.request, w.failure)
	}
}

func (w *writer) Write(p []byte) (int, error) {
	w.start()
	if w.failure != nil {
		return 0, w.failure
	}
	return w.ResponseWriter.Write(p)
}

// WriteHeader lets informational headers pass: they carry no cookie.
func (w *writer) WriteHeader(code int) {
	if code < 200 && code != http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(code)
		return
	}
	if w.start(); w.failure == nil {
		w.ResponseWriter.WriteHeader(code)
	}
}

// Flush sends the headers and what is buffered.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *writer) FlushError() error {
	if w.start(); w.failure != nil {
		return w.failure
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands over the connection. The caller sends the headers, with those that
// are set here.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.start(); w.failure != nil {
		return nil, nil, w.failure
	}
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
