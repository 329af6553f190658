package pazzogin_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/internal/adaptertest"
	"github.com/pazzo-sessions/pazzo/pazzogin"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

func TestGin(t *testing.T) {
	adaptertest.Run(t, func(t *testing.T, m *pazzo.Manager) string {
		server := httptest.NewServer(newApp(m))
		t.Cleanup(server.Close)
		return server.URL
	})
}

func newApp(m *pazzo.Manager) *gin.Engine {
	app := gin.New()
	app.Use(gin.RecoveryWithWriter(io.Discard), pazzogin.Middleware(m))
	app.GET("/inc", func(c *gin.Context) {
		n, err := pazzo.Counter(c.Query("k")).Add(c.Request.Context(), 1)
		answer(c, n, err)
	})
	app.GET("/get", func(c *gin.Context) {
		n, err := pazzo.Counter(c.Query("k")).Get(c.Request.Context())
		answer(c, n, err)
	})
	app.GET("/login", func(c *gin.Context) {
		user := c.Query("user")
		answer(c, user, pazzogin.Session(c).Authenticate(c.Request.Context(), user))
	})
	app.GET("/logout", func(c *gin.Context) {
		answer(c, "", pazzogin.Session(c).Destroy(c.Request.Context()))
	})
	visited := app.Group("/", visit)
	visited.GET("/stream", stream)
	visited.GET("/events", events)
	visited.GET("/socket", socket)
	visited.GET("/panic", func(*gin.Context) { panic(http.ErrNotSupported) })
	visited.GET("/error", func(c *gin.Context) { answer(c, nil, http.ErrNotSupported) })
	return app
}

func visit(c *gin.Context) {
	if err := adaptertest.Visit(c.Request.Context()); err != nil {
		pazzogin.Abort(c, err)
	}
}

func stream(c *gin.Context) {
	c.Stream(func(w io.Writer) bool {
		adaptertest.Stream(c.Request.Context(), func(line string) {
			io.WriteString(w, line)
			c.Writer.Flush()
		})
		return false
	})
}

func events(c *gin.Context) {
	adaptertest.Events(c.Request.Context(), func(n int64) {
		c.SSEvent("", n)
		c.Writer.Flush()
	})
}

func socket(c *gin.Context) {
	conn, err := websocket.Accept(c.Writer, c.Request, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	ctx := c.Request.Context()
	for {
		_, field, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if err := conn.Write(ctx, websocket.MessageText, []byte(adaptertest.Answer(ctx, string(field)))); err != nil {
			return
		}
	}
}

func answer(c *gin.Context, value any, err error) {
	if err != nil {
		pazzogin.Abort(c, err)
		return
	}
	c.String(http.StatusOK, "%v", value)
}

// A middleware that answers errors finds the status and the error, on either side of
// ours.
func TestAbortLeavesTheAnswerToAMiddleware(t *testing.T) {
	for _, outside := range []bool{true, false} {
		app := gin.New()
		session := pazzogin.Middleware(adaptertest.Manager(t))
		if errorPage := gin.HandlerFunc(answerErrors); outside {
			app.Use(errorPage, session)
		} else {
			app.Use(session, errorPage)
		}
		app.GET("/", func(c *gin.Context) { pazzogin.Abort(c, pazzo.ErrGone) }, func(c *gin.Context) { c.String(200, "not reached") })
		w := httptest.NewRecorder()
		app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if want := `{"error":"ended"}`; w.Code != http.StatusConflict || w.Body.String() != want {
			t.Errorf("outside %v: %d %q, want 409 %q", outside, w.Code, w.Body, want)
		}
	}
}

func answerErrors(c *gin.Context) {
	c.Next()
	if last := c.Errors.Last(); last != nil && errors.Is(last, pazzo.ErrGone) {
		c.JSON(-1, gin.H{"error": "ended"})
	}
}

func TestAContextIsItsOwnWithFallback(t *testing.T) {
	app := gin.New()
	app.ContextWithFallback = true
	app.Use(pazzogin.Middleware(adaptertest.Manager(t)))
	app.GET("/", func(c *gin.Context) {
		n, err := pazzo.Counter("n").Add(c, 1)
		answer(c, n, err)
	})
	w := httptest.NewRecorder()
	app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Body.String() != "1" || w.Header().Get("Set-Cookie") == "" {
		t.Errorf("%d %q with %v", w.Code, w.Body, w.Header())
	}
}

func TestControllersReachTheConnection(t *testing.T) {
	app := gin.New()
	app.Use(pazzogin.Middleware(adaptertest.Manager(t)), visit)
	app.GET("/", func(c *gin.Context) {
		c.Status(http.StatusAccepted)
		if err := adaptertest.Visit(c.Request.Context()); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(c.Writer).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(app)
	defer server.Close()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusAccepted || response.Header.Get("Set-Cookie") == "" {
		t.Errorf("%d with %v", response.StatusCode, response.Header)
	}
}

func TestAFlushSendsTheCookie(t *testing.T) {
	app := gin.New()
	app.Use(pazzogin.Middleware(adaptertest.Manager(t)), visit)
	app.GET("/", func(c *gin.Context) { c.Writer.Flush() })
	w := httptest.NewRecorder()
	app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Result().Header.Get("Set-Cookie") == "" {
		t.Errorf("the headers are %v", w.Result().Header)
	}
}

func TestTheMiddlewareInstalledTwiceMakesOneSession(t *testing.T) {
	app := gin.New()
	m := adaptertest.Manager(t)
	app.Use(pazzogin.Middleware(m), visit, pazzogin.Middleware(m), visit)
	app.GET("/", func(c *gin.Context) {
		n, err := pazzo.Counter("visits").Get(c.Request.Context())
		answer(c, n, err)
	})
	w := httptest.NewRecorder()
	app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Body.String() != "2" || len(w.Header()["Set-Cookie"]) != 1 {
		t.Errorf("%q with %v", w.Body, w.Header())
	}
}

// Whoever recovers may stand outside of gin.
func TestAPanicThroughGinKeepsTheCookie(t *testing.T) {
	app := gin.New()
	app.Use(pazzogin.Middleware(adaptertest.Manager(t)), visit)
	app.GET("/", func(*gin.Context) { panic(http.ErrNotSupported) })
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic has been swallowed")
			}
		}()
		app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	}()
	if w.Header().Get("Set-Cookie") == "" {
		t.Errorf("the headers are %v", w.Header())
	}
}

func TestWhoHijacksWritesTheHeaders(t *testing.T) {
	app := gin.New()
	app.Use(pazzogin.Middleware(adaptertest.Manager(t)), visit)
	app.GET("/", func(c *gin.Context) {
		conn, _, err := c.Writer.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if err := pazzogin.Session(c).Renew(c.Request.Context()); !errors.Is(err, pazzo.ErrResponseStarted) {
			t.Errorf("Renew gives %v", err)
		}
		io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	server := httptest.NewServer(app)
	defer server.Close()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Errorf("the status is %d", response.StatusCode)
	}
}

func TestWithoutMiddlewareThereIsAClearError(t *testing.T) {
	app := gin.New()
	app.GET("/", func(c *gin.Context) {
		if err := pazzogin.Session(c).Renew(c.Request.Context()); !errors.Is(err, pazzo.ErrNoSession) {
			t.Errorf("Renew gives %v", err)
		}
	})
	app.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}
