// Package pazzofiber gives requests of fiber, version 3, their sessions. There is no
// net/http in between.
//
//	app := fiber.New(fiber.Config{Immutable: true})
//	app.Use(recover.New(), pazzofiber.Middleware(sessions))
//	app.Get("/visit", func(c fiber.Ctx) error {
//		n, err := visits.Add(c.Context(), 1)
//		if err != nil {
//			return err
//		}
//		return c.JSON(n)
//	})
//
// Keys take c.Context(), which is good beyond the handler, and c is not: so a
// SendStreamWriter, or what an upgrade to WebSocket leaves running, uses the session
// through the context that its handler took from c.
//
// Unless Config.Immutable is set, what c returns as a string is overwritten by a later
// request, while a store may still be sending a call that was given up, or keep a name
// in memory. So set it, or copy by strings.Clone what becomes the name of a field or of
// a user. Values are copied when they are encoded.
package pazzofiber

import (
	"errors"
	"net/http"

	"github.com/gofiber/fiber/v3"
	"github.com/valyala/fasthttp"

	"github.com/pazzo-sessions/pazzo"
)

// Middleware gives each request its session. Put it behind the recover middleware,
// and ahead of all that uses sessions.
//
// Fiber sends a response when all handlers have returned, streams and upgrades
// included, so the cookie can be set until then; afterwards a call that has to set it
// gives pazzo.ErrResponseStarted. Only Ctx.End and Ctx.Drop forestall that: a response
// that they end has no cookie.
//
// An error of Pazzo that comes back from a handler goes on to the ErrorHandler as one
// that is a fiber.Error with the status of pazzo.StatusCode, and says no more than
// that; errors.Is finds the cause. The error handler runs outside of the middleware: it
// can read a session and write to it, but make none.
func Middleware(m *pazzo.Manager) fiber.Handler {
	return func(c fiber.Ctx) error {
		ctx := c.Context()
		s := m.Begin(ctx, requestHeader(&c.Request().Header))
		c.SetContext(pazzo.NewContext(ctx, s))
		// Also when a handler panics: whoever recovers outside must not lose the
		// cookie of a login.
		defer startResponse(s, &c.Response().Header)
		return withStatus(c.Next())
	}
}

// Session returns the request's session, or nil, whose methods give
// pazzo.ErrNoSession, if Middleware does not run.
func Session(c fiber.Ctx) *pazzo.Session { return pazzo.FromContext(c.Context()) }

// requestHeader returns copies of the headers that a session looks at.
func requestHeader(from *fasthttp.RequestHeader) http.Header {
	h := make(http.Header, 4)
	for _, name := range [...]string{"Cookie", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site"} {
		for _, value := range from.PeekAll(name) {
			h[name] = append(h[name], string(value))
		}
	}
	return h
}

// startResponse gives the response the session's headers.
func startResponse(s *pazzo.Session, to *fasthttp.ResponseHeader) {
	var vary []string
	for _, value := range to.PeekAll(fiber.HeaderVary) {
		vary = append(vary, string(value))
	}
	h := http.Header{fiber.HeaderVary: vary}
	s.StartResponse(h)
	h[fiber.HeaderVary] = h[fiber.HeaderVary][len(vary):] // the rest is there
	for name, values := range h {
		for _, value := range values {
			if name == fiber.HeaderVary || name == fiber.HeaderSetCookie {
				to.Add(name, value)
			} else {
				to.Set(name, value)
			}
		}
	}
}

// withStatus gives an error its status, unless it has one. That of an unknown error
// is 500 in fiber as well.
func withStatus(err error) error {
	code := pazzo.StatusCode(err)
	var has *fiber.Error
	if err == nil || code == http.StatusInternalServerError || errors.As(err, &has) {
		return err
	}
	return &statusError{fiber.NewError(code), err}
}

// statusError is an error of Pazzo for fiber, whose default error handler shows the
// client what an error says.
type statusError struct {
	status *fiber.Error
	cause  error
}

// Error says the status.
func (e *statusError) Error() string { return e.status.Error() }

// Unwrap returns fiber's error and the cause.
func (e *statusError) Unwrap() []error { return []error{e.status, e.cause} }
