package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/session"
	fiberredis "github.com/gofiber/storage/redis/v3"
	"github.com/labstack/echo/v5"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/pazzoecho"
	"github.com/pazzo-sessions/pazzo/pazzofiber"
	"github.com/pazzo-sessions/pazzo/pazzogin"
)

var frameworkSection = &section{"Frameworks",
	"The app of “Requests over Redis” in each framework's own idiom. gin, echo and net/http with their sessions in memory, " +
		"beside the same without a session: what a framework loses is set beside what net/http loses, so that 1 says that the " +
		"adapter costs nothing of its own. fiber over Redis, beside its own session middleware with gofiber/storage, whose pool " +
		"has a connection for each request in flight."}

// routed answers a route of the app, with a session if ctx has one.
func routed(ctx context.Context, route, k string, v int) (int, error) {
	if pazzo.FromContext(ctx) == nil {
		return v, nil
	}
	var n int64
	var err error
	switch route {
	case "/inc":
		n, err = pazzo.Counter(k).Add(ctx, 1)
	case "/get":
		n, err = pazzo.Counter(k).Get(ctx)
	case "/set":
		n, err = int64(v), pazzo.Counter(k).Set(ctx, int64(v))
	}
	return int(n), err
}

var frameworkRoutes = [...]string{"/inc", "/get", "/set"}

// ginApp has no session if m is nil.
func ginApp(m *pazzo.Manager) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	app := gin.New()
	if m != nil {
		app.Use(pazzogin.Middleware(m))
	}
	for _, route := range frameworkRoutes {
		app.GET(route, func(c *gin.Context) {
			v, _ := strconv.Atoi(c.Query("v"))
			n, err := routed(c.Request.Context(), route, c.Query("k"), v)
			if err != nil {
				pazzogin.Abort(c, err)
				return
			}
			c.String(http.StatusOK, "%d", n)
		})
	}
	return app
}

// echoApp has no session if m is nil.
func echoApp(m *pazzo.Manager) http.Handler {
	app := echo.New()
	if m != nil {
		app.Use(pazzoecho.Middleware(m))
	}
	for _, route := range frameworkRoutes {
		app.GET(route, func(c *echo.Context) error {
			v, _ := strconv.Atoi(c.QueryParam("v"))
			n, err := routed(c.Request().Context(), route, c.QueryParam("k"), v)
			if err != nil {
				return err
			}
			return c.String(http.StatusOK, strconv.Itoa(n))
		})
	}
	return app
}

func fiberApp(m *pazzo.Manager) *fiber.App {
	app := fiber.New(fiber.Config{Immutable: true})
	app.Use(pazzofiber.Middleware(m))
	for _, route := range frameworkRoutes {
		app.Get(route, func(c fiber.Ctx) error {
			n, err := routed(c.Context(), route, c.Query("k"), fiber.Query[int](c, "v"))
			if err != nil {
				return err
			}
			return c.SendString(strconv.Itoa(n))
		})
	}
	return app
}

// fiberPeer uses fiber's own sessions as its documentation tells.
func fiberPeer(storage fiber.Storage) *fiber.App {
	app := fiber.New(fiber.Config{Immutable: true})
	app.Use(session.New(session.Config{Storage: storage}))
	for _, route := range frameworkRoutes {
		app.Get(route, func(c fiber.Ctx) error {
			s, k := session.FromContext(c), c.Query("k")
			v, _ := s.Get(k).(int)
			switch route {
			case "/inc":
				v++
				s.Set(k, v)
			case "/set":
				v = fiber.Query[int](c, "v")
				s.Set(k, v)
			}
			return c.SendString(strconv.Itoa(v))
		})
	}
	return app
}

// serveFiber starts a server for an app on loopback.
func (b *bench) serveFiber(name string, app *fiber.App) (*site, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		app.Listener(listener, fiber.ListenConfig{DisableStartupMessage: true})
	}()
	b.onClose(func() {
		app.ShutdownWithTimeout(5 * time.Second)
		<-done
	})
	return b.connect(name, listener.Addr().String())
}

// benchFrameworks measures what a session costs in a framework.
func benchFrameworks(b *bench) ([]figure, error) {
	store := memstore.New(nil)
	b.onClose(func() { store.Close() })
	m, err := newPazzo(store, pazzo.Live)
	if err != nil {
		return nil, err
	}
	const with, without = ", Pazzo", ", no session"
	var sites []*site
	var names []string
	for _, app := range []struct {
		name string
		http.Handler
	}{
		{"net/http" + with, pazzoApp(m)}, {"net/http" + without, bareApp()},
		{"gin" + with, ginApp(m)}, {"gin" + without, ginApp(nil)},
		{"echo" + with, echoApp(m)}, {"echo" + without, echoApp(nil)},
	} {
		s, err := b.serve(app.name, app)
		if err != nil {
			return nil, err
		}
		if err := s.fill(counters[:]); err != nil {
			return nil, err
		}
		sites, names = append(sites, s), append(names, app.name)
	}
	got, err := b.race(sites, names, incPaths())
	if err != nil {
		return nil, err
	}
	figures := []figure{httpFigure(got, "/inc", "net/http"+with, "net/http"+without, bound{})}
	wallBase, cpuBase := got.faster("net/http"+with, "net/http"+without)
	for _, name := range []string{"gin", "echo"} {
		wall, cpu := got.faster(name+with, name+without)
		figures = append(figures, httpFigure(got, "/inc", name+with, name+without, bound{}),
			ratio("the same, beside what net/http keeps", over(wall, wallBase), over(cpu, cpuBase), atLeast(0.95)))
	}
	return figures, nil
}

// over divides figures of the same rounds.
func over(a, b []float64) (ratios []float64) {
	for i := range a {
		ratios = append(ratios, a[i]/b[i])
	}
	return ratios
}

// benchFiber compares Pazzo in fiber with fiber's own sessions.
func benchFiber(b *bench) ([]figure, error) {
	store, err := b.redisStore()
	if err != nil {
		return nil, err
	}
	m, err := newPazzo(store, pazzo.Live)
	if err != nil {
		return nil, err
	}
	storage := fiberredis.New(fiberredis.Config{URL: b.server.URL(), PoolSize: inFlight})
	b.onClose(func() { storage.Close() })
	const ours, theirs = "fiber, Pazzo", "fiber's sessions"
	var sites []*site
	for _, app := range []struct {
		name string
		*fiber.App
	}{{ours, fiberApp(m)}, {theirs, fiberPeer(storage)}} {
		s, err := b.serveFiber(app.name, app.App)
		if err != nil {
			return nil, err
		}
		if err := s.fill(counters[:]); err != nil {
			return nil, err
		}
		sites = append(sites, s)
	}
	got, err := b.race(sites, []string{ours, theirs}, incPaths())
	if err != nil {
		return nil, err
	}
	figures := []figure{httpFigure(got, "/inc", ours, theirs, atLeast(1.3))}
	for _, s := range sites {
		acked, kept, err := b.count(s, inFlight)
		if err != nil {
			return nil, err
		}
		f := single("increments lost: "+s.name, 100*float64(acked-kept)/float64(acked), percent, bound{})
		if s.name == ours {
			f.bound = exactly0()
		}
		figures = append(figures, f.noted(fmt.Sprintf("%s acknowledged, %s kept", thousands(float64(acked)), thousands(float64(kept)))))
	}
	return figures, nil
}
