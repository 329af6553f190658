package pazzofiber_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/gofiber/fiber/v3"
	recovery "github.com/gofiber/fiber/v3/middleware/recover"
	"go.uber.org/goleak"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/internal/adaptertest"
	"github.com/pazzo-sessions/pazzo/pazzofiber"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The clock of the Date header runs for as long as the process.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// Ends at most 10 s after its server.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

func TestFiber(t *testing.T) {
	adaptertest.Run(t, func(t *testing.T, m *pazzo.Manager) string {
		return start(t, newApp(m))
	})
}

// start serves the app on loopback.
func start(t *testing.T, app *fiber.App) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(listener, fiber.ListenConfig{DisableStartupMessage: true}) }()
	t.Cleanup(func() {
		if err := app.ShutdownWithTimeout(10 * time.Second); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

func newApp(m *pazzo.Manager) *fiber.App {
	app := fiber.New(fiber.Config{Immutable: true})
	app.Use(recovery.New(), pazzofiber.Middleware(m))
	app.Get("/inc", func(c fiber.Ctx) error {
		n, err := pazzo.Counter(c.Query("k")).Add(c.Context(), 1)
		return answer(c, n, err)
	})
	app.Get("/get", func(c fiber.Ctx) error {
		n, err := pazzo.Counter(c.Query("k")).Get(c.Context())
		return answer(c, n, err)
	})
	app.Get("/login", func(c fiber.Ctx) error {
		user := c.Query("user")
		return answer(c, user, pazzofiber.Session(c).Authenticate(c.Context(), user))
	})
	app.Get("/logout", func(c fiber.Ctx) error {
		return answer(c, "", pazzofiber.Session(c).Destroy(c.Context()))
	})
	app.Get("/stream", visit, stream)
	app.Get("/events", visit, events)
	app.Get("/socket", visit, socket)
	app.Get("/panic", visit, func(fiber.Ctx) error { panic(http.ErrNotSupported) })
	app.Get("/error", visit, func(fiber.Ctx) error { return http.ErrNotSupported })
	return app
}

func visit(c fiber.Ctx) error {
	if err := adaptertest.Visit(c.Context()); err != nil {
		return err
	}
	return c.Next()
}

func stream(c fiber.Ctx) error {
	ctx := c.Context()
	return c.SendStreamWriter(func(w *bufio.Writer) {
		adaptertest.Stream(ctx, func(line string) {
			w.WriteString(line)
			w.Flush()
		})
	})
}

func events(c fiber.Ctx) error {
	ctx := c.Context()
	c.Set(fiber.HeaderContentType, "text/event-stream")
	return c.SendStreamWriter(func(w *bufio.Writer) {
		adaptertest.Events(ctx, func(n int64) {
			fmt.Fprintf(w, "data: %d\n\n", n)
			w.Flush()
		})
	})
}

func socket(c fiber.Ctx) error {
	ctx := c.Context()
	var upgrader websocket.FastHTTPUpgrader
	return upgrader.Upgrade(c.RequestCtx(), func(conn *websocket.Conn) {
		defer conn.Close()
		for {
			kind, field, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if err := conn.WriteMessage(kind, []byte(adaptertest.Answer(ctx, string(field)))); err != nil {
				return
			}
		}
	})
}

func answer(c fiber.Ctx, value any, err error) error {
	if err != nil {
		return err
	}
	return c.SendString(fmt.Sprint(value))
}

// once answers one request through the middleware.
func once(t *testing.T, m *pazzo.Manager, cookies []string, handlers ...fiber.Handler) *http.Response {
	t.Helper()
	app := fiber.New()
	for _, h := range handlers[:len(handlers)-1] {
		app.Use(h)
	}
	app.Use(pazzofiber.Middleware(m))
	app.Get("/", handlers[len(handlers)-1])
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header["Cookie"] = cookies
	response, err := app.Test(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func TestErrorsGoToTheErrorHandlerWithTheirStatus(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
		body string
	}{
		{fmt.Errorf("cart: %w", pazzo.ErrGone), 409, "Conflict"},
		{fmt.Errorf("%w: dial tcp 10.0.0.1:6379", pazzo.ErrUnavailable), 503, "Service Unavailable"},
		{errors.Join(fiber.NewError(418, "short and stout"), pazzo.ErrGone), 418, ""},
		{errors.New("other"), 500, "other"},
	} {
		response := once(t, adaptertest.Manager(t), nil, func(c fiber.Ctx) error {
			err := c.Next()
			if !errors.Is(err, test.err) {
				t.Errorf("%v becomes %v", test.err, err)
			}
			return err
		}, func(fiber.Ctx) error { return test.err })
		body, err := io.ReadAll(response.Body)
		if response.StatusCode != test.code || err != nil || test.body != "" && string(body) != test.body {
			t.Errorf("%v: %d %q, %v", test.err, response.StatusCode, body, err)
		}
	}
}

// The response's own headers stay, but for a Cache-Control that would have the cookie
// cached.
func TestHeadersOfTheAppStay(t *testing.T) {
	response := once(t, adaptertest.Manager(t), nil, func(c fiber.Ctx) error {
		c.Vary("Accept")
		c.Set("Cache-Control", "public")
		c.Cookie(&fiber.Cookie{Name: "other", Value: "1"})
		return adaptertest.Visit(c.Context())
	})
	h := response.Header
	if got := fmt.Sprint(h.Values("Vary"), h["Cache-Control"], len(h["Set-Cookie"])); got != "[Accept Cookie] [no-store] 2" {
		t.Errorf("%s: %v", got, h)
	}
}

func TestAVaryIsNotRepeated(t *testing.T) {
	response := once(t, adaptertest.Manager(t), nil, func(c fiber.Ctx) error {
		c.Vary("Origin", "cookie")
		return adaptertest.Visit(c.Context())
	})
	if got := response.Header.Values("Vary"); len(got) != 1 {
		t.Errorf("Vary is %q", got)
	}
}

// Fasthttp keeps cookies in another form once a middleware has asked for one.
func TestCookiesThatAMiddlewareHasReadAreAllThere(t *testing.T) {
	m := adaptertest.Manager(t)
	made := once(t, m, nil, func(c fiber.Ctx) error { return adaptertest.Visit(c.Context()) }).Header.Get("Set-Cookie")
	pair, _, _ := strings.Cut(made, ";")
	name, _, _ := strings.Cut(pair, "=")
	response := once(t, m, []string{name + "=forged; other=1", pair}, func(c fiber.Ctx) error {
		if c.Cookies("other") != "1" {
			t.Error("the middleware does not find its cookie")
		}
		return c.Next()
	}, func(c fiber.Ctx) error {
		n, err := pazzo.Counter("visits").Get(c.Context())
		return answer(c, n, err)
	})
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "1" {
		t.Errorf("the field is %q, %v", body, err)
	}
}

func TestTheMiddlewareInstalledTwiceMakesOneSession(t *testing.T) {
	m := adaptertest.Manager(t)
	response := once(t, m, nil, pazzofiber.Middleware(m), visit, func(c fiber.Ctx) error { return adaptertest.Visit(c.Context()) })
	if n := len(response.Header["Set-Cookie"]); n != 1 {
		t.Errorf("%d cookies", n)
	}
}

func TestTheErrorHandlerWritesToASessionButMakesNone(t *testing.T) {
	for _, makes := range []bool{true, false} {
		app := fiber.New(fiber.Config{ErrorHandler: func(c fiber.Ctx, err error) error {
			got := adaptertest.Visit(c.Context())
			if want := map[bool]error{true: nil, false: pazzo.ErrResponseStarted}[makes]; !errors.Is(got, want) {
				t.Errorf("with a session %v: %v, want %v", makes, got, want)
			}
			return fiber.DefaultErrorHandler(c, err)
		}})
		app.Get("/", pazzofiber.Middleware(adaptertest.Manager(t)), func(c fiber.Ctx) error {
			if makes {
				return errors.Join(adaptertest.Visit(c.Context()), http.ErrNotSupported)
			}
			return http.ErrNotSupported
		})
		response, err := app.Test(httptest.NewRequest(http.MethodGet, "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 500 || (response.Header.Get("Set-Cookie") != "") != makes {
			t.Errorf("%d with %v", response.StatusCode, response.Header)
		}
	}
}

// A session does not outlive its request in fiber's reused contexts.
func TestAContextIsNotTheNextRequests(t *testing.T) {
	app := fiber.New()
	var kept context.Context
	app.Get("/first", pazzofiber.Middleware(adaptertest.Manager(t)), func(c fiber.Ctx) error {
		kept = c.Context()
		return adaptertest.Visit(kept)
	})
	app.Get("/second", func(c fiber.Ctx) error {
		if pazzofiber.Session(c) != nil {
			t.Error("a request without the middleware has a session")
		}
		if err := pazzofiber.Session(c).Renew(c.Context()); !errors.Is(err, pazzo.ErrNoSession) {
			t.Errorf("Renew gives %v", err)
		}
		return nil
	})
	for _, path := range []string{"/first", "/second"} {
		response, err := app.Test(httptest.NewRequest(http.MethodGet, path, nil))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	if n, err := pazzo.Counter("visits").Add(kept, 1); n != 2 || err != nil {
		t.Errorf("through the context of the first request: %d, %v", n, err)
	}
}
