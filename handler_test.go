package pazzo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
)

const events pazzo.Counter = "events"

// start serves h through the site's middleware over HTTP/1.
func (s *site) start(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(s.Handler(h))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// get sends a request with a token to the server, or without if that is empty.
func get(t testing.TB, server *httptest.Server, token string) *http.Response {
	t.Helper()
	r, err := http.NewRequest("GET", server.URL+"/file", nil)
	must(t, err)
	if token != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: token})
	}
	client := *server.Client()
	client.Timeout = 10 * time.Second // for the body as well
	response, err := client.Do(r)
	must(t, err)
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// body reads the rest of the response.
func body(t testing.TB, r *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	must(t, err)
	return string(text)
}

func TestFilesReachTheServersReaderFrom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	must(t, os.WriteFile(path, content, 0o600))
	for name, serve := range map[string]http.HandlerFunc{
		"ServeFile": func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) },
		"ServeContent": func(w http.ResponseWriter, r *http.Request) {
			f, err := os.Open(path)
			must(t, err)
			defer f.Close()
			http.ServeContent(w, r, "file", time.Time{}, f)
		},
		"Copy": func(w http.ResponseWriter, r *http.Request) {
			f, err := os.Open(path)
			must(t, err)
			defer f.Close()
			io.Copy(w, f)
		},
	} {
		s := newSite(t)
		var calls atomic.Int64
		h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			must(t, made.Set(r.Context(), true))
			serve(w, r)
		}))
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(readFrom{w, &calls}, r)
		}))
		response := get(t, server, "")
		oneCookie(t, response)
		equal(t, name+": content arrives", body(t, response) == string(content), true)
		if calls.Load() == 0 {
			t.Errorf("%s: the server's ReadFrom was not called", name)
		}
		server.Close()
	}
}

func TestHTTP2(t *testing.T) {
	encrypted := func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }
	plain := func(s *httptest.Server) {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		s.Client().Transport = &http.Transport{Protocols: s.Config.Protocols}
	}
	for name, start := range map[string]func(*httptest.Server){"encrypted": encrypted, "unencrypted": plain} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			server := httptest.NewUnstartedServer(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				equal(t, "protocol", r.ProtoMajor, 2)
				_, pushes := w.(http.Pusher)
				_, hijacks := w.(http.Hijacker)
				equal(t, "Pusher", pushes, true)
				equal(t, "Hijacker", hijacks, false)
				n, err := events.Add(r.Context(), 1)
				fmt.Fprintf(w, "%d %v\n", n, err)
				must(t, http.NewResponseController(w).Flush())
				must(t, http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)))
				n, err = events.Add(r.Context(), 1)
				fmt.Fprintf(w, "%d %v\n", n, err)
			})))
			start(server)
			defer server.Close()
			response := get(t, server, "")
			token := oneCookie(t, response).Value
			equal(t, "first answer", body(t, response), "1 <nil>\n2 <nil>\n")
			response = get(t, server, token)
			noCookie(t, response)
			equal(t, "second answer", body(t, response), "3 <nil>\n4 <nil>\n")
			server.CloseClientConnections()
			server.Client().CloseIdleConnections()
		})
	}
}

func TestCookieGoesOutWithEveryKindOfResponse(t *testing.T) {
	s := newSite(t)
	for name, test := range map[string]struct {
		respond func(w http.ResponseWriter, r *http.Request)
		status  int
		body    string
	}{
		"nothing written": {func(w http.ResponseWriter, r *http.Request) {}, 200, ""},
		"implicit 200":    {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "a") }, 200, "a"},
		"created":         {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); fmt.Fprint(w, "a") }, 201, "a"},
		"no content":      {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, 204, ""},
		"not modified":    {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) }, 304, ""},
		"redirect":        {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/next", http.StatusSeeOther) }, 303, "<a href=\"/next\">See Other</a>.\n\n"},
		"error":           {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusNotFound) }, 404, "no\n"},
		"server error":    {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) }, 503, "no\n"},
		"WriteString":     {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "a") }, 200, "a"},
		"status twice":    {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(400); w.WriteHeader(200) }, 400, ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			server := s.start(t, func(w http.ResponseWriter, r *http.Request) {
				must(t, pazzo.FromContext(r.Context()).Authenticate(r.Context(), "ann"))
				test.respond(w, r)
			})
			r, err := http.NewRequest(method, server.URL, nil)
			must(t, err)
			response, err := server.Client().Transport.RoundTrip(r)
			must(t, err)
			equal(t, name+": status", response.StatusCode, test.status)
			oneCookie(t, response)
			if method == "GET" {
				equal(t, name+": body", body(t, response), test.body)
			}
			response.Body.Close()
		}
	}
}

func TestLoginsCookieSurvivesAPanicThatIsRecoveredOutside(t *testing.T) {
	s := newSite(t)
	panics := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		must(t, pazzo.FromContext(r.Context()).Authenticate(r.Context(), "ann"))
		panic("a bug")
	}))
	w := httptest.NewRecorder()
	func() {
		defer func() {
			equal(t, "what was recovered", recover(), any("a bug"))
			http.Error(w, "sorry", http.StatusInternalServerError)
		}()
		panics.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	}()
	response := w.Result()
	equal(t, "status", response.StatusCode, 500)
	user, err := pazzo.FromContext(s.context(t, oneCookie(t, response).Value)).User(t.Context())
	must(t, err)
	equal(t, "user", user, "ann")
}

func TestTimeoutHandlerInside(t *testing.T) {
	s := newSite(t)
	late := make(chan error)
	wait := make(chan struct{})
	inner := http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-wait
			_, err := events.Add(context.WithoutCancel(r.Context()), 1)
			late <- err
			return
		}
		fmt.Fprint(w, events.Set(r.Context(), 1))
	}), 50*time.Millisecond, "too late")
	server := httptest.NewServer(s.Handler(inner))
	defer server.Close()

	response, err := server.Client().Get(server.URL + "/slow")
	must(t, err)
	equal(t, "status", response.StatusCode, http.StatusServiceUnavailable)
	equal(t, "body", body(t, response), "too late")
	noCookie(t, response)
	close(wait)
	wantError(t, <-late, pazzo.ErrResponseStarted)
	s.noneMade(t)

	eventually(t, "a response in time", func() bool { // on a machine under load
		response, err = server.Client().Get(server.URL + "/fast")
		must(t, err)
		t.Cleanup(func() { response.Body.Close() })
		return response.StatusCode == 200
	})
	equal(t, "body", body(t, response), "<nil>")
	oneCookie(t, response)
}

func TestTimeoutHandlerOutside(t *testing.T) {
	s := newSite(t)
	late, wait := make(chan error), make(chan struct{})
	outer := http.TimeoutHandler(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-wait
			_, err := events.Add(r.Context(), 1)
			late <- err
			return
		}
		fmt.Fprint(w, events.Set(r.Context(), 1))
	})), 50*time.Millisecond, "too late")
	server := httptest.NewServer(outer)
	defer server.Close()
	response, err := server.Client().Get(server.URL + "/slow")
	must(t, err)
	equal(t, "status", response.StatusCode, http.StatusServiceUnavailable)
	equal(t, "body", body(t, response), "too late")
	noCookie(t, response)
	close(wait)
	wantError(t, <-late, pazzo.ErrUnavailable) // by the request's context
	s.noneMade(t)
	eventually(t, "a response in time", func() bool {
		response, err = server.Client().Get(server.URL + "/fast")
		must(t, err)
		t.Cleanup(func() { response.Body.Close() })
		return response.StatusCode == 200
	})
	equal(t, "body", body(t, response), "<nil>")
	oneCookie(t, response)
}

func TestMaxBytesHandlerOnBothSides(t *testing.T) {
	for name, chain := range map[string]func(s *site, h http.Handler) http.Handler{
		"inside":  func(s *site, h http.Handler) http.Handler { return s.Handler(http.MaxBytesHandler(h, 10)) },
		"outside": func(s *site, h http.Handler) http.Handler { return http.MaxBytesHandler(s.Handler(h), 10) },
	} {
		s := newSite(t)
		server := httptest.NewServer(chain(s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			must(t, made.Set(r.Context(), true))
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Errorf("%s: a long body was read", name)
			}
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		})))
		response, err := server.Client().Post(server.URL, "text/plain", strings.NewReader(strings.Repeat("a", 100)))
		must(t, err)
		equal(t, name+": status", response.StatusCode, http.StatusRequestEntityTooLarge)
		oneCookie(t, response)
		response.Body.Close()
		server.Close()
	}
}

func TestTwoManagersNestedKeepTheirSessionsApart(t *testing.T) {
	outer := newSite(t)
	inner := newSite(t, func(o *pazzo.Options) { o.Cookie.Name = "inner"; o.SecretKeys = []string{otherKey} })
	h := outer.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outside := r.Context()
		must(t, made.Set(outside, true))
		inner.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, found, err := made.Get(r.Context())
			must(t, err)
			equal(t, "found in the inner session", found, false)
			must(t, made.Set(r.Context(), false))
			value, _, err := made.Get(outside)
			must(t, err)
			equal(t, "the outer one's field", value, true)
			fmt.Fprint(w, "done")
		})).ServeHTTP(w, r)
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	var names []string
	for _, c := range w.Result().Cookies() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	if want := []string{cookieName, "inner"}; !slices.Equal(names, want) {
		t.Errorf("cookies are %q, want %q", names, want)
	}
	if got := w.Result().Header["Vary"]; !slices.Equal(got, []string{"Cookie"}) {
		t.Errorf("Vary is %q", got)
	}
}

func TestMiddlewareInstalledTwiceIsOneSession(t *testing.T) {
	s := newSite(t)
	w := httptest.NewRecorder()
	h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { must(t, made.Set(r.Context(), true)) }))
	s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		must(t, visits.Set(r.Context(), 1))
		h.ServeHTTP(w, r)
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	token := oneCookie(t, w.Result()).Value
	same(t, "fields", allFields(t, s.context(t, token)), map[string]string{"made": "true", "visits": "1"})
}

// withoutSession are calls that must give ErrNoSession where there is none.
func withoutSession(ctx context.Context) map[string]error {
	errs := map[string]error{}
	note := func(name string, err error) { errs[name] = err }
	key := pazzo.Key[string]("a")
	_, _, err := key.Get(ctx)
	note("Key.Get", err)
	_, _, err = key.Fresh(ctx)
	note("Key.Fresh", err)
	_, err = key.GetOr(ctx, "")
	note("Key.GetOr", err)
	note("Key.Set", key.Set(ctx, ""))
	_, _, err = key.SetIfAbsent(ctx, "")
	note("Key.SetIfAbsent", err)
	_, err = key.CompareAndSet(ctx, "", "")
	note("Key.CompareAndSet", err)
	note("Key.Delete", key.Delete(ctx))
	_, _, err = key.Pop(ctx)
	note("Key.Pop", err)
	_, err = key.Update(ctx, func(s string) (string, error) { return s, nil })
	note("Key.Update", err)
	count := pazzo.Counter("a")
	_, err = count.Get(ctx)
	note("Counter.Get", err)
	_, err = count.Fresh(ctx)
	note("Counter.Fresh", err)
	_, err = count.Add(ctx, 1)
	note("Counter.Add", err)
	note("Counter.Set", count.Set(ctx, 1))
	note("Counter.Delete", count.Delete(ctx))
	_, _, err = count.Pop(ctx)
	note("Counter.Pop", err)
	list := pazzo.Flash[string]("a")
	note("Flash.Append", list.Append(ctx, ""))
	_, err = list.Drain(ctx)
	note("Flash.Drain", err)
	_, err = list.Get(ctx)
	note("Flash.Get", err)
	_, err = list.Fresh(ctx)
	note("Flash.Fresh", err)
	note("Flash.Delete", list.Delete(ctx))
	note("Atomically", pazzo.Atomically(ctx, func(context.Context) error { return errors.New("called") }))
	return errs
}

func TestWithoutMiddlewareEveryCallGivesErrNoSession(t *testing.T) {
	var none *pazzo.Session
	for what, ctx := range map[string]context.Context{
		"no middleware": t.Context(),
		"nil session":   pazzo.NewContext(t.Context(), nil),
		"nil over one":  pazzo.NewContext(newSite(t).context(t, ""), nil),
	} {
		equal(t, what, pazzo.FromContext(ctx), none)
		calls := withoutSession(ctx)
		for name, err := range calls {
			if !errors.Is(err, pazzo.ErrNoSession) {
				t.Errorf("%s: %s: error is %v, want %v", what, name, err, pazzo.ErrNoSession)
			}
		}
		// None is forgotten above.
		for _, value := range []any{pazzo.Key[string](""), pazzo.Counter(""), pazzo.Flash[string]("")} {
			kind, _, _ := strings.Cut(reflect.TypeOf(value).Name(), "[")
			for i := range reflect.TypeOf(value).NumMethod() {
				if name := kind + "." + reflect.TypeOf(value).Method(i).Name; calls[name] == nil {
					t.Errorf("%s is not tried", name)
				}
			}
		}
		eachMethodGivesErrNoSession(t, what, none, ctx)
	}
}

// eachMethodGivesErrNoSession calls every method of s that returns an error, with
// zero arguments but for the context, and the others as well.
func eachMethodGivesErrNoSession(t *testing.T, what string, s *pazzo.Session, ctx context.Context) {
	t.Helper()
	v := reflect.ValueOf(s)
	for i := range v.NumMethod() {
		name, method := v.Type().Method(i).Name, v.Method(i)
		if name == "Format" {
			equal(t, "printed", fmt.Sprint(s), "no session")
			continue
		}
		var args []reflect.Value
		for j := range method.Type().NumIn() {
			if at := method.Type().In(j); at == reflect.TypeFor[context.Context]() {
				args = append(args, reflect.ValueOf(ctx))
			} else {
				args = append(args, reflect.Zero(at))
			}
		}
		results := method.Call(args)
		if n := len(results); n > 0 && results[n-1].Type() == reflect.TypeFor[error]() {
			if err, _ := results[n-1].Interface().(error); !errors.Is(err, pazzo.ErrNoSession) {
				t.Errorf("%s: Session.%s: error is %v, want %v", what, name, err, pazzo.ErrNoSession)
			}
			results = results[:n-1]
		}
		for _, r := range results {
			if r.Kind() != reflect.Func && !r.IsZero() {
				t.Errorf("%s: Session.%s returns %v", what, name, r)
			}
		}
	}
}

func TestGoroutinesOfOneRequestShareOneSession(t *testing.T) {
	s := newSite(t)
	response := s.serve(func(w http.ResponseWriter, r *http.Request) {
		together(32, func(int) {
			if _, err := events.Add(r.Context(), 1); err != nil {
				t.Error(err)
			}
		})
	})
	equal(t, "sessions made", strings.Count(s.log.String(), "session created"), 1)
	token := oneCookie(t, response).Value
	n, err := events.Get(s.context(t, token))
	must(t, err)
	equal(t, "events", n, 32)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		together(32, func(i int) {
			if i == 7 {
				if err := pazzo.FromContext(r.Context()).Renew(r.Context()); err != nil {
					t.Error(err)
				}
			}
			if _, err := events.Add(r.Context(), 1); err != nil {
				t.Error(err)
			}
		})
	}, cookies(cookieName+"="+token))
}

// Requests that are cut off, or whose client has gone, leave no lock behind.
func TestACancelledRequestDoesNotHoldUpOthers(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	ctx, cancel := context.WithCancel(s.context(t, token))
	cancel()
	_, err := events.Add(ctx, 1)
	wantError(t, err, pazzo.ErrUnavailable)
	wantError(t, err, context.Canceled)
	n, err := events.Add(s.context(t, token), 1)
	must(t, err)
	equal(t, "events", n, 1)
}
