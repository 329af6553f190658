// Package pazzogin gives requests of gin their sessions.
//
//	router := gin.New()
//	router.Use(gin.Recovery(), pazzogin.Middleware(sessions))
//	router.GET("/visit", func(c *gin.Context) {
//		n, err := visits.Add(c.Request.Context(), 1)
//		if err != nil {
//			pazzogin.Abort(c, err)
//			return
//		}
//		c.JSON(http.StatusOK, n)
//	})
//
// Keys take c.Request.Context(), and c itself if gin.Engine.ContextWithFallback is
// set. What the docs of [pazzo.Manager.Handler] say holds here too: Context.Stream,
// SSEvent and WebSockets work as without it.
package pazzogin

import (
	"bufio"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/pazzo-sessions/pazzo"
)

// Middleware gives each request its session. Put it behind gin.Recovery and what
// compresses responses, and ahead of all that uses sessions.
func Middleware(m *pazzo.Manager) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx := c.Request.Context()
		s := m.Begin(ctx, c.Request.Header)
		c.Request = c.Request.WithContext(pazzo.NewContext(ctx, s))
		w := &writer{c.Writer, s}
		c.Writer = w
		// For a handler that wrote nothing, and for one that panics: whoever
		// recovers outside must not lose the cookie of a login.
		defer w.start()
		c.Next()
	}
}

// Session returns the request's session, or nil, whose methods give
// pazzo.ErrNoSession, if Middleware does not run.
func Session(c *gin.Context) *pazzo.Session { return pazzo.FromContext(c.Request.Context()) }

// Abort ends the request with an error as gin has it: the status is that of
// pazzo.StatusCode, the error is added to c.Errors, and no further handler runs.
// Nothing is written, so that a middleware that answers errors can do so; one ahead
// of Middleware can still write what it likes, but make no session.
func Abort(c *gin.Context, err error) {
	c.Status(pazzo.StatusCode(err))
	c.Abort()
	_ = c.Error(err) // which returns what it has added
}

// writer starts the session's part of the response just before gin sends the
// headers. WriteHeader does not: in gin it only notes the status.
type writer struct {
	gin.ResponseWriter
	session *pazzo.Session
}

func (w *writer) start() { w.session.StartResponse(w.Header()) }

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeaderNow sends the headers.
func (w *writer) WriteHeaderNow() {
	w.start()
	w.ResponseWriter.WriteHeaderNow()
}

func (w *writer) Write(p []byte) (int, error) {
	w.start()
	return w.ResponseWriter.Write(p)
}

// WriteString is Write without a copy.
func (w *writer) WriteString(s string) (int, error) {
	w.start()
	return w.ResponseWriter.WriteString(s)
}

// Flush sends the headers and what is buffered.
func (w *writer) Flush() {
	w.start()
	w.ResponseWriter.Flush()
}

// Hijack ends gin's part in the response, and with it ours.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := w.ResponseWriter.Hijack()
	if err == nil {
		w.start()
	}
	return conn, rw, err
}
