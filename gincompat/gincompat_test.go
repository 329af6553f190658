package gincompat_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-contrib/sessions"
	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/gincompat"
	"github.com/pazzo-sessions/pazzo/memstore"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

func newStore(t *testing.T) *gincompat.Store {
	t.Helper()
	memory := memstore.New(nil)
	t.Cleanup(func() { memory.Close() })
	store, err := gincompat.NewStore(memory, &pazzo.Options{SecretKeys: []string{strings.Repeat("k", 32)}})
	if err != nil {
		t.Fatal(err)
	}
	store.Options(sessions.Options{Path: "/", MaxAge: 3600, HttpOnly: true})
	return store
}

type handler = func(*gin.Context, sessions.Session) any

// serve answers each path with what its handler returns, after a Save.
func serve(t *testing.T, store sessions.Store, routes map[string]handler) (get func(path string) (*http.Response, string)) {
	t.Helper()
	app := gin.New()
	app.Use(sessions.Sessions("mysession", store))
	for path, h := range routes {
		app.GET(path, func(c *gin.Context) {
			session := sessions.Default(c)
			answer := h(c, session)
			if err := session.Save(); err != nil {
				c.String(pazzo.StatusCode(err), err.Error())
				return
			}
			c.String(http.StatusOK, fmt.Sprint(answer))
		})
	}
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: server.Client().Transport}
	return func(path string) (*http.Response, string) {
		response, err := client.Get(server.URL + path)
		if err != nil {
			t.Error(err)
			return &http.Response{}, ""
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Error(err)
		}
		return response, string(body)
	}
}

func TestSession(t *testing.T) {
	get := serve(t, newStore(t), map[string]handler{
		"/set": func(_ *gin.Context, s sessions.Session) any {
			s.Set("a", 1)
			s.Set("b", "x")
			s.AddFlash("hello")
			s.AddFlash("other", "kind")
			return s.ID()
		},
		"/get":     func(_ *gin.Context, s sessions.Session) any { return []any{s.Get("a"), s.Get("b")} },
		"/flashes": func(_ *gin.Context, s sessions.Session) any { return []any{s.Flashes(), s.Flashes("kind")} },
		"/delete":  func(_ *gin.Context, s sessions.Session) any { s.Delete("a"); return len(s.ID()) },
		"/clear":   func(_ *gin.Context, s sessions.Session) any { s.Clear(); return "" },
		"/end": func(_ *gin.Context, s sessions.Session) any {
			s.Options(sessions.Options{Path: "/", MaxAge: -1})
			return ""
		},
	})
	response, _ := get("/set")
	cookies := response.Cookies()
	if len(cookies) != 1 || cookies[0].Name != "mysession" || cookies[0].MaxAge != 3600 || !cookies[0].HttpOnly || cookies[0].Secure {
		t.Errorf("cookies %v", cookies)
	}
	for _, step := range [...]struct{ path, want string }{
		{"/get", "[1 x]"},
		{"/flashes", "[[hello] [other]]"},
		{"/flashes", "[[] []]"},
		{"/delete", "32"},
		{"/get", "[<nil> x]"},
		{"/clear", ""},
		{"/get", "[<nil> <nil>]"},
		{"/set", ""},
	} {
		if _, body := get(step.path); body != step.want && step.path != "/set" {
			t.Errorf("%s: %s, want %s", step.path, body, step.want)
		}
	}
	if response, _ := get("/end"); len(response.Cookies()) != 1 || response.Cookies()[0].MaxAge >= 0 {
		t.Errorf("the end: cookies %v", response.Cookies())
	}
	if _, body := get("/get"); body != "[<nil> <nil>]" {
		t.Errorf("after the end: %s", body)
	}
}

func TestConcurrentRequestsLoseNothing(t *testing.T) {
	const parallel = 16
	var read sync.WaitGroup
	read.Add(parallel)
	get := serve(t, newStore(t), map[string]handler{
		"/first": func(_ *gin.Context, s sessions.Session) any { s.Set("first", 1); return "" },
		"/put": func(c *gin.Context, s sessions.Session) any {
			s.Get("first")
			read.Done()
			read.Wait()
			s.Set(c.Query("k"), 1)
			s.AddFlash(c.Query("k"))
			return ""
		},
		"/count": func(_ *gin.Context, s sessions.Session) any {
			n := 0
			for i := range parallel {
				if s.Get(fmt.Sprintf("k%d", i)) == 1 {
					n++
				}
			}
			return []int{n, len(s.Flashes())}
		},
	})
	get("/first")
	var done sync.WaitGroup
	for i := range parallel {
		done.Go(func() {
			if response, body := get(fmt.Sprintf("/put?k=k%d", i)); response.StatusCode != http.StatusOK {
				t.Errorf("status %d: %s", response.StatusCode, body)
			}
		})
	}
	done.Wait()
	if _, body := get("/count"); body != "[16 16]" {
		t.Errorf("keys and flashes left: %s, want [16 16]", body)
	}
}

func TestContext(t *testing.T) {
	store := newStore(t)
	get := serve(t, store, map[string]handler{
		"/login": func(c *gin.Context, s sessions.Session) any {
			s.Set("a", 1)
			ctx, err := store.Context(c.Request.Context(), s)
			if err != nil {
				return err
			}
			return pazzo.FromContext(ctx).Authenticate(ctx, "ada")
		},
		"/inc": func(c *gin.Context, s sessions.Session) any {
			ctx, err := store.Context(c.Request.Context(), s)
			if err != nil {
				return err
			}
			n, err := pazzo.Counter("n").Add(ctx, 1)
			return []any{n, err}
		},
		"/get": func(_ *gin.Context, s sessions.Session) any { return []any{s.Get("a"), s.Get("n")} },
	})
	for _, step := range [...]struct{ path, want string }{
		{"/login", "<nil>"}, {"/inc", "[1 <nil>]"}, {"/inc", "[2 <nil>]"}, {"/get", "[1 2]"},
	} {
		if _, body := get(step.path); body != step.want {
			t.Errorf("%s: %s, want %s", step.path, body, step.want)
		}
	}
	if list, err := store.Manager().Sessions(t.Context(), "ada"); err != nil || len(list) != 1 {
		t.Errorf("ada's sessions: %v, %v", list, err)
	}
	if _, err := store.Context(t.Context(), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no session of gin-contrib: %v", err)
	}
	if _, err := gincompat.NewStore(nil, nil); !errors.Is(err, pazzo.ErrOptions) {
		t.Errorf("no store: %v", err)
	}
}
