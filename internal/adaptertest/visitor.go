package adaptertest

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
)

// patience bounds every wait. It is long, for a machine that is busy.
const patience = 20 * time.Second

const (
	key        = "a key for adapters' tests, 32 bytes or more"
	cookieName = "__Host-session"
)

// Serve starts the app of package adaptertest with its sessions in the manager's
// store, on loopback, and returns its URL without a slash at the end. It is stopped
// with the test.
type Serve func(t *testing.T, m *pazzo.Manager) (url string)

// site is an app that runs.
type site struct {
	t   *testing.T
	url string
}

func (serve Serve) over(t *testing.T, store pazzo.Store) *site {
	t.Helper()
	return &site{t, serve(t, manager(t, store))}
}

func (serve Serve) overMemory(t *testing.T) *site {
	t.Helper()
	return &site{t, serve(t, Manager(t))}
}

// try makes a request as a page's script does, with Cookie headers.
func (s *site) try(path string, cookies ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header["Cookie"] = cookies
	return (&http.Client{Transport: transport, Timeout: patience}).Do(r)
}

// send makes a request that must be answered.
func (s *site) send(path string, cookies ...string) *http.Response {
	s.t.Helper()
	response, err := s.try(path, cookies...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { response.Body.Close() })
	return response
}

// transport makes a connection for each request, which does not outlive the answer.
var transport = &http.Transport{DisableKeepAlives: true}

// want makes a request that must succeed and returns the cookie that it sets, if any.
func (s *site) want(path, body, cookie string) (set string) {
	s.t.Helper()
	response := s.send(path, cookie)
	if got := read(s.t, response); response.StatusCode != http.StatusOK || got != body {
		s.t.Errorf("%s: %d %q, want 200 %q", path, response.StatusCode, got, body)
	}
	return cookieOf(s.t, response)
}

func read(t *testing.T, response *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// cookieOf returns the session's cookie that a response sets, "" if it sets none.
func cookieOf(t *testing.T, response *http.Response) (pair string) {
	t.Helper()
	for _, c := range response.Cookies() {
		if c.Name != cookieName {
			continue
		}
		if pair != "" {
			t.Error("two cookies in one response")
		}
		if !c.Secure || !c.HttpOnly || c.Path != "/" || c.SameSite != http.SameSiteLaxMode {
			t.Errorf("the cookie's attributes are %q", response.Header["Set-Cookie"])
		}
		pair = fmt.Sprintf("%s=%s", c.Name, c.Value)
	}
	if no := response.Header.Get("Cache-Control"); pair != "" && no != "no-store" {
		t.Errorf("a response with a cookie has Cache-Control %q", no)
	}
	return pair
}

// Manager returns a manager over a memory store, for a test beside the suite.
func Manager(t *testing.T) *pazzo.Manager {
	t.Helper()
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	return manager(t, store)
}

func manager(t *testing.T, store pazzo.Store) *pazzo.Manager {
	t.Helper()
	m, err := pazzo.New(store, &pazzo.Options{SecretKeys: []string{key}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
