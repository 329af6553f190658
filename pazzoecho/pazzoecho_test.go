package pazzoecho_test

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"go.uber.org/goleak"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/internal/adaptertest"
	"github.com/pazzo-sessions/pazzo/pazzoecho"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEcho(t *testing.T) {
	adaptertest.Run(t, func(t *testing.T, m *pazzo.Manager) string {
		server := httptest.NewServer(newApp(m))
		t.Cleanup(server.Close)
		return server.URL
	})
}

func newApp(m *pazzo.Manager) *echo.Echo {
	app := echo.New()
	app.Logger = slog.New(slog.DiscardHandler)
	app.Use(middleware.Recover(), pazzoecho.Middleware(m))
	app.GET("/inc", func(c *echo.Context) error {
		n, err := pazzo.Counter(c.QueryParam("k")).Add(c.Request().Context(), 1)
		return answer(c, n, err)
	})
	app.GET("/get", func(c *echo.Context) error {
		n, err := pazzo.Counter(c.QueryParam("k")).Get(c.Request().Context())
		return answer(c, n, err)
	})
	app.GET("/login", func(c *echo.Context) error {
		user := c.QueryParam("user")
		return answer(c, user, pazzoecho.Session(c).Authenticate(c.Request().Context(), user))
	})
	app.GET("/logout", func(c *echo.Context) error {
		return answer(c, "", pazzoecho.Session(c).Destroy(c.Request().Context()))
	})
	app.GET("/stream", stream, visit)
	app.GET("/events", events, visit)
	app.GET("/socket", socket, visit)
	app.GET("/panic", func(*echo.Context) error { panic(http.ErrNotSupported) }, visit)
	app.GET("/error", func(*echo.Context) error { return http.ErrNotSupported }, visit)
	return app
}

func visit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		if err := adaptertest.Visit(c.Request().Context()); err != nil {
			return err
		}
		return next(c)
	}
}

func stream(c *echo.Context) error {
	w := c.Response()
	adaptertest.Stream(c.Request().Context(), func(line string) {
		io.WriteString(w, line)
		w.(http.Flusher).Flush()
	})
	return nil
}

func events(c *echo.Context) error {
	w := c.Response()
	w.Header().Set(echo.HeaderContentType, "text/event-stream")
	adaptertest.Events(c.Request().Context(), func(n int64) {
		fmt.Fprintf(w, "data: %d\n\n", n)
		w.(http.Flusher).Flush()
	})
	return nil
}

func socket(c *echo.Context) error {
	conn, err := websocket.Accept(c.Response(), c.Request(), nil)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	ctx := c.Request().Context()
	for {
		_, field, err := conn.Read(ctx)
		if err != nil {
			return nil
		}
		if err := conn.Write(ctx, websocket.MessageText, []byte(adaptertest.Answer(ctx, string(field)))); err != nil {
			return nil
		}
	}
}

func answer(c *echo.Context, value any, err error) error {
	if err != nil {
		return err
	}
	return c.String(http.StatusOK, fmt.Sprint(value))
}

// serve answers one request through the middleware.
func serve(t *testing.T, app *echo.Echo, handler echo.HandlerFunc) *httptest.ResponseRecorder {
	t.Helper()
	app.Use(pazzoecho.Middleware(adaptertest.Manager(t)))
	app.GET("/", handler)
	w := httptest.NewRecorder()
	app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	return w
}

func TestErrorsGoToTheErrorHandlerWithTheirStatus(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{fmt.Errorf("cart: %w", pazzo.ErrGone), http.StatusConflict},
		{pazzo.ErrUnavailable, http.StatusServiceUnavailable},
		{echo.NewHTTPError(http.StatusTeapot, "").Wrap(pazzo.ErrGone), http.StatusTeapot},
		{http.ErrNotSupported, 0},
		{pazzo.ErrCorrupt, 0},
	} {
		app := echo.New()
		var got error
		app.HTTPErrorHandler = func(c *echo.Context, err error) {
			got = err
			echo.DefaultHTTPErrorHandler(false)(c, err)
		}
		w := serve(t, app, func(*echo.Context) error { return test.err })
		if !errors.Is(got, test.err) || echo.StatusCode(got) != test.want {
			t.Errorf("%v: the error handler gets %v", test.err, got)
		}
		if w.Code != cmp.Or(test.want, http.StatusInternalServerError) {
			t.Errorf("%v: %d", test.err, w.Code)
		}
	}
}

func TestTheErrorHandlerWritesToASessionButMakesNone(t *testing.T) {
	for _, makes := range []bool{true, false} {
		app := echo.New()
		app.HTTPErrorHandler = func(c *echo.Context, err error) {
			got := adaptertest.Visit(c.Request().Context())
			if want := map[bool]error{true: nil, false: pazzo.ErrResponseStarted}[makes]; !errors.Is(got, want) {
				t.Errorf("with a session %v: %v, want %v", makes, got, want)
			}
			echo.DefaultHTTPErrorHandler(false)(c, err)
		}
		w := serve(t, app, func(c *echo.Context) error {
			if makes {
				return errors.Join(adaptertest.Visit(c.Request().Context()), http.ErrNotSupported)
			}
			return http.ErrNotSupported
		})
		if w.Code != http.StatusInternalServerError || (w.Header().Get("Set-Cookie") != "") != makes {
			t.Errorf("%d with %v", w.Code, w.Header())
		}
	}
}

func TestTheMiddlewareInstalledTwiceMakesOneSession(t *testing.T) {
	app, m := echo.New(), adaptertest.Manager(t)
	app.Use(pazzoecho.Middleware(m), visit, pazzoecho.Middleware(m), visit)
	app.GET("/", func(c *echo.Context) error {
		n, err := pazzo.Counter("visits").Get(c.Request().Context())
		return answer(c, n, err)
	})
	w := httptest.NewRecorder()
	app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Body.String() != "2" || len(w.Header()["Set-Cookie"]) != 1 {
		t.Errorf("%q with %v", w.Body, w.Header())
	}
}

// What reads the status outside of the middleware finds it.
func TestTheResponseStaysEchos(t *testing.T) {
	app := echo.New()
	var status int
	app.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			err := next(c)
			_, status = echo.ResolveResponseStatus(c.Response(), err)
			return err
		}
	})
	w := serve(t, app, func(c *echo.Context) error {
		response, err := echo.UnwrapResponse(c.Response())
		if err != nil {
			return err
		}
		response.Before(func() { response.Header().Set("X-Before", "yes") })
		if err := adaptertest.Visit(c.Request().Context()); err != nil {
			return err
		}
		return c.NoContent(http.StatusAccepted)
	})
	if status != http.StatusAccepted || w.Header().Get("X-Before") != "yes" || w.Header().Get("Set-Cookie") == "" {
		t.Errorf("status %d, headers %v", status, w.Header())
	}
}

// Flush alone sends the headers, past echo's own hooks.
func TestAFlushSendsTheCookie(t *testing.T) {
	w := serve(t, echo.New(), func(c *echo.Context) error {
		if err := adaptertest.Visit(c.Request().Context()); err != nil {
			return err
		}
		return http.NewResponseController(c.Response()).Flush()
	})
	if w.Result().Header.Get("Set-Cookie") == "" {
		t.Errorf("the headers are %v", w.Result().Header)
	}
}

func TestWithoutMiddlewareThereIsAClearError(t *testing.T) {
	c := echo.New().NewContext(httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder())
	if err := pazzoecho.Session(c).Renew(c.Request().Context()); !errors.Is(err, pazzo.ErrNoSession) {
		t.Errorf("Renew gives %v", err)
	}
}
