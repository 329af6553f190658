package pazzo

import "net/http"

// Handler is middleware: it gives each request its session, in the request's
// context, and has the response say what there is to say about the cookie. It
// works with any router of net/http, such as chi:
//
//	router.Use(manager.Handler)
//
// The store is not asked unless next uses the session. Nothing is saved at the
// end of the request, so streams, server-sent events, WebSockets, 1xx responses
// and http.ResponseController work as without it. The cookie goes out with the
// response's headers; once these are sent, a call that has to set it gives
// ErrResponseStarted.
//
// A response whose session was used gets Vary: Cookie, one with Set-Cookie gets
// Cache-Control: no-store as well.
func (m *Manager) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s := FromContext(r.Context()); s != nil && s.manager == m {
			next.ServeHTTP(w, r) // the middleware is installed twice
			return
		}
		s := m.newSession(r.Context(), r.Header)
		// For a handler that wrote nothing, and for one that panics: whoever
		// recovers outside must not lose the cookie of a login.
		defer func() { s.StartResponse(w.Header()) }()
		next.ServeHTTP(wrap(w, s), r.WithContext(NewContext(r.Context(), s)))
	})
}
