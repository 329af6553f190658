// Package pazzoecho gives requests of echo, version 5, their sessions. For version 4
// there is package pazzoechov4.
//
//	e := echo.New()
//	e.Use(middleware.Recover(), pazzoecho.Middleware(sessions))
//	e.GET("/visit", func(c *echo.Context) error {
//		n, err := visits.Add(c.Request().Context(), 1)
//		if err != nil {
//			return err
//		}
//		return c.JSON(http.StatusOK, n)
//	})
//
// Keys take c.Request().Context(). What the docs of [pazzo.Manager.Handler] say holds
// here too: streams, server-sent events and WebSockets work as without it.
package pazzoecho

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v5"

	"github.com/pazzo-sessions/pazzo"
)

// Middleware gives each request its session. Put it behind middleware.Recover and
// what compresses responses, and ahead of all that uses sessions.
//
// An error of Pazzo that comes back from a handler goes on to the HTTPErrorHandler as
// an echo.HTTPError with the status of pazzo.StatusCode, which wraps it. The error
// handler runs outside of the middleware: it can read a session and write to it, but
// make none.
func Middleware(m *pazzo.Manager) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) (err error) {
			m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c.SetRequest(r)
				c.SetResponse(w) // from which echo.UnwrapResponse finds its own
				err = next(c)
			})).ServeHTTP(c.Response(), c.Request())
			return withStatus(err)
		}
	}
}

// Session returns the request's session, or nil, whose methods give
// pazzo.ErrNoSession, if Middleware does not run.
func Session(c *echo.Context) *pazzo.Session { return pazzo.FromContext(c.Request().Context()) }

// withStatus gives an error its status, unless it has one. That of an unknown error
// is 500 in echo as well.
func withStatus(err error) error {
	code := pazzo.StatusCode(err)
	var coder echo.HTTPStatusCoder
	if err == nil || code == http.StatusInternalServerError || errors.As(err, &coder) {
		return err
	}
	return echo.NewHTTPError(code, http.StatusText(code)).Wrap(err)
}
