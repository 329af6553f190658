package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
)

const key = "an example key of at least 32 bytes"

// visitor is a client with a cookie jar.
type visitor struct {
	t      *testing.T
	server string
	client *http.Client
}

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	sessions, err := pazzo.New(store, &pazzo.Options{SecretKeys: []string{key}, InsecureHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(newApp(sessions))
	t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, server.URL, &http.Client{Jar: jar}}
}

// get sends what a page's fetch sends, with a cookie of its own if one is given.
func (v *visitor) get(path, cookie string) (status int, body string, header http.Header) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), "GET", v.server+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Mode", "cors")
	client := v.client
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		v.t.Error(err)
		return 0, "", nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Error(err)
	}
	return answer.StatusCode, string(text), answer.Header
}

// want gets a page that must be there.
func (v *visitor) want(path, body string) {
	v.t.Helper()
	if status, got, _ := v.get(path, ""); status != http.StatusOK || got != body {
		v.t.Errorf("%s: %d %q, want 200 %q", path, status, got, body)
	}
}

// cookie returns the cookie that the visitor has now, as a header.
func (v *visitor) cookie() string {
	address, err := url.Parse(v.server)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(address) {
		if c.Name == "session" {
			return c.String()
		}
	}
	return ""
}

func TestRoutes(t *testing.T) {
	v := newVisitor(t)
	v.want("/get?k=f0", "0")
	v.want("/me", "")
	v.want("/dump", "{}")
	if v.cookie() != "" {
		t.Error("reading has made a session")
	}
	v.want("/inc?k=f0", "1")
	v.want("/inc?k=f0", "2")
	v.want("/inc?k=f4", "1")
	v.want("/get?k=f0", "2")
	v.want("/mix?k=sum", "3")
	v.want("/get?k=sum", "4")
	v.want("/set?k=list&v="+url.QueryEscape(`["a",1]`), `["a",1]`)
	v.want("/get?k=list", `["a",1]`)
	v.want("/set?k=f0&v=40", "40")
	v.want("/inc?k=f0", "41")
	v.want("/dump", `{"f0":41,"f4":1,"list":["a",1],"sum":4}`)
	v.want("/login?user=ann", "ann")
	v.want("/me", "ann")
	v.want("/get?k=f0", "41")
	v.want("/logout", "")
	v.want("/me", "")
	v.want("/get?k=f0", "0")
	if v.cookie() != "" {
		t.Error("the cookie outlives the logout")
	}
	v.want("/inc?k=f0", "1")
}

func TestBadInput(t *testing.T) {
	v := newVisitor(t)
	v.want("/set?k=text&v="+url.QueryEscape(`"x"`), `"x"`)
	for path, want := range map[string]int{
		"/inc":            400,
		"/get":            400,
		"/set?k=a&v=nope": 400,
		"/set?k=a":        400,
		"/login":          400,
		"/inc?k=text":     400,
		"/nothing":        404,
	} {
		if status, body, _ := v.get(path, ""); status != want {
			t.Errorf("%s: %d %q, want %d", path, status, body, want)
		}
	}
	v.want("/dump", `{"text":"x"}`)
}

// Writes with a cookie that is no longer good are refused, reads answer as for a
// visitor without a session, and neither says anything about the cookie.
func TestOldCookie(t *testing.T) {
	v := newVisitor(t)
	v.want("/inc?k=n", "1")
	beforeLogin := v.cookie()
	v.want("/login?user=ann", "ann")
	beforeLogout := v.cookie()
	if beforeLogin == beforeLogout {
		t.Fatal("the login has not renewed the cookie")
	}
	check := func(cookie string) {
		t.Helper()
		for path, want := range map[string]string{
			"/inc?k=n": "409 ", "/mix?k=n": "409 ", "/set?k=n&v=1": "409 ", "/logout": "409 ",
			"/get?k=n": "200 0", "/dump": "200 {}", "/me": "200 ",
		} {
			status, body, header := v.get(path, cookie)
			if got := fmt.Sprint(status, " ", body); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
			if header.Get("Set-Cookie") != "" {
				t.Errorf("%s sets a cookie", path)
			}
		}
	}
	check(beforeLogin)
	v.want("/get?k=n", "1")
	v.want("/logout", "")
	check(beforeLogout)
}

func TestNothingIsLost(t *testing.T) {
	v := newVisitor(t)
	v.want("/inc?k=n", "1")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 10 {
				v.get("/inc?k=n", "")
			}
		})
	}
	all.Wait()
	v.want("/get?k=n", "501")
}

func TestEnvironment(t *testing.T) {
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
