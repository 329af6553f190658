package adaptertest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
)

// Example runs the tests of an app under examples/: serve starts it.
func Example(t *testing.T, serve Serve) {
	t.Run("routes", serve.routes)
	t.Run("bad input", serve.badInput)
	t.Run("old cookies", serve.oldCookies)
	t.Run("nothing is lost", serve.nothingIsLost)
}

// browser is a client with a cookie jar.
type browser struct {
	t   *testing.T
	url *url.URL
	jar *cookiejar.Jar
}

func (serve Serve) newBrowser(t *testing.T) *browser {
	t.Helper()
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	m, err := pazzo.New(store, &pazzo.Options{SecretKeys: []string{key}, InsecureHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(serve(t, m))
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, address, jar}
}

// get sends what a page's fetch sends, with a cookie of its own if one is given.
func (b *browser) get(path, cookie string) (status int, body string, header http.Header) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.url.String()+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Mode", "cors")
	sender := http.Client{Transport: transport, Jar: b.jar, Timeout: patience}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
		sender.Jar = nil
	}
	response, err := sender.Do(r)
	if err != nil {
		b.t.Error(err)
		return 0, "", nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Error(err)
	}
	return response.StatusCode, string(text), response.Header
}

// want gets a page that must be there.
func (b *browser) want(path, body string) {
	b.t.Helper()
	if status, got, _ := b.get(path, ""); status != http.StatusOK || got != body {
		b.t.Errorf("%s: %d %q, want 200 %q", path, status, got, body)
	}
}

// cookie returns the cookie that the browser has now, as a header.
func (b *browser) cookie() string {
	for _, c := range b.jar.Cookies(b.url) {
		if c.Name == "session" {
			return c.String()
		}
	}
	return ""
}

func (serve Serve) routes(t *testing.T) {
	b := serve.newBrowser(t)
	b.want("/get?k=f0", "0")
	b.want("/me", "")
	b.want("/dump", "{}")
	if b.cookie() != "" {
		t.Error("reading has made a session")
	}
	b.want("/inc?k=f0", "1")
	b.want("/inc?k=f0", "2")
	b.want("/inc?k=f4", "1")
	b.want("/get?k=f0", "2")
	b.want("/mix?k=sum", "3")
	b.want("/get?k=sum", "4")
	b.want("/set?k=list&v="+url.QueryEscape(`["a",1]`), `["a",1]`)
	b.want("/get?k=list", `["a",1]`)
	b.want("/set?k=f0&v=40", "40")
	b.want("/inc?k=f0", "41")
	b.want("/dump", `{"f0":41,"f4":1,"list":["a",1],"sum":4}`)
	b.want("/login?user=ann", "ann")
	b.want("/me", "ann")
	b.want("/get?k=f0", "41")
	b.want("/logout", "")
	b.want("/me", "")
	b.want("/get?k=f0", "0")
	if b.cookie() != "" {
		t.Error("the cookie outlives the logout")
	}
	b.want("/inc?k=f0", "1")
}

func (serve Serve) badInput(t *testing.T) {
	b := serve.newBrowser(t)
	b.want("/set?k=text&v="+url.QueryEscape(`"x"`), `"x"`)
	for path, want := range map[string]int{
		"/inc":            400,
		"/get":            400,
		"/set?k=a&v=nope": 400,
		"/set?k=a":        400,
		"/login":          400,
		"/inc?k=text":     400,
		"/nothing":        404,
	} {
		if status, body, _ := b.get(path, ""); status != want {
			t.Errorf("%s: %d %q, want %d", path, status, body, want)
		}
	}
	b.want("/dump", `{"text":"x"}`)
}

// Writes with a cookie that is no longer good are refused, reads answer as for a
// visitor without a session, and neither says anything about the cookie.
func (serve Serve) oldCookies(t *testing.T) {
	b := serve.newBrowser(t)
	b.want("/inc?k=n", "1")
	beforeLogin := b.cookie()
	b.want("/login?user=ann", "ann")
	beforeLogout := b.cookie()
	if beforeLogin == beforeLogout {
		t.Fatal("the login has not renewed the cookie")
	}
	check := func(cookie string) {
		t.Helper()
		for path, want := range map[string]string{
			"/inc?k=n": "409 ", "/mix?k=n": "409 ", "/set?k=n&v=1": "409 ", "/logout": "409 ",
			"/get?k=n": "200 0", "/dump": "200 {}", "/me": "200 ",
		} {
			status, body, header := b.get(path, cookie)
			if got := fmt.Sprint(status, " ", body); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
			if header.Get("Set-Cookie") != "" {
				t.Errorf("%s sets a cookie", path)
			}
		}
	}
	check(beforeLogin)
	b.want("/get?k=n", "1")
	b.want("/logout", "")
	check(beforeLogout)
}

func (serve Serve) nothingIsLost(t *testing.T) {
	b := serve.newBrowser(t)
	b.want("/inc?k=n", "1")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 10 {
				b.get("/inc?k=n", "")
			}
		})
	}
	all.Wait()
	b.want("/get?k=n", "501")
}

// Environment tests the function that an example's main calls.
func Environment(t *testing.T, run func(ctx context.Context, env func(name string) string) error) {
	good := map[string]string{"ADDR": "127.0.0.1:0", "PAZZO_STORE": "memory:", "PAZZO_SECRET_KEY": key}
	with := func(name, value string) func(string) string {
		return func(asked string) string {
			if asked == name {
				return value
			}
			return good[asked]
		}
	}
	for _, c := range []struct{ name, value, says string }{
		{"ADDR", "", "ADDR is not set"},
		{"PAZZO_STORE", "", "PAZZO_STORE is not set"},
		{"PAZZO_SECRET_KEY", "", "PAZZO_SECRET_KEY is not set"},
		{"ADDR", "nowhere", "ADDR: "},
		{"PAZZO_STORE", "nonsense://x", "PAZZO_STORE: "},
		{"PAZZO_SECRET_KEY", "short", "5 bytes"},
	} {
		if err := run(t.Context(), with(c.name, c.value)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s=%q: error %v, want one with %q", c.name, c.value, err, c.says)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := run(ctx, with("", "")); err != nil {
		t.Errorf("a server that is told to stop: %v", err)
	}
}
