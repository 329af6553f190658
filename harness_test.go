package pazzo_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
)

// The keys of the apps in these tests.
const (
	appKey   = "a key of an app, 32 bytes or more"
	otherKey = "another key, 32 bytes or more too"
)

// counted is a store that counts the calls it gets. before, if set, is called
// ahead of each batch and may refuse it; after, if set, when it has been applied.
type counted struct {
	record.Store
	calls  atomic.Int64 // of Apply and ApplyIndex
	before func(b *record.Batch) error
	after  func(b *record.Batch)
}

func (c *counted) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	c.calls.Add(1)
	if c.before != nil {
		if err := c.before(b); err != nil {
			return record.Reply{}, err
		}
	}
	reply, err := c.Store.Apply(ctx, h, b)
	if c.after != nil {
		c.after(b)
	}
	return reply, err
}

func (c *counted) ApplyIndex(ctx context.Context, user string, s *record.IndexStep) (record.IndexReply, error) {
	c.calls.Add(1)
	return c.Store.ApplyIndex(ctx, user, s)
}

// during returns how many calls f makes.
func (c *counted) during(f func()) int64 {
	before := c.calls.Load()
	f()
	return c.calls.Load() - before
}

// costs fails the test unless f makes n calls.
func (c *counted) costs(t testing.TB, n int64, f func()) {
	t.Helper()
	if got := c.during(f); got != n {
		t.Errorf("%d calls of the store, want %d", got, n)
	}
}

// output is a log that may be written and read at the same time.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// site is an app: a manager over a memory store of its own, and what they log at
// any level.
type site struct {
	*pazzo.Manager
	store *counted
	log   *output
}

// newSite makes a site with options that change may set.
func newSite(t testing.TB, change ...func(o *pazzo.Options)) *site {
	t.Helper()
	memory := memstore.New(nil)
	t.Cleanup(func() { memory.Close() })
	return newSiteOn(t, &counted{Store: memory}, change...)
}

// newSiteOn makes a site over a store that another site may share.
func newSiteOn(t testing.TB, store *counted, change ...func(o *pazzo.Options)) *site {
	t.Helper()
	log := &output{}
	options := &pazzo.Options{
		SecretKeys: []string{appKey},
		Logger:     slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug - 8})),
	}
	for _, f := range change {
		f(options)
	}
	m, err := pazzo.New(store, options)
	if err != nil {
		t.Fatal(err)
	}
	return &site{Manager: m, store: store, log: log}
}

// context returns the context of a request outside net/http that comes with a
// token, or of a visitor's first if that is empty.
func (s *site) context(t testing.TB, token string) context.Context {
	t.Helper()
	session, err := s.Acquire(token)
	if err != nil {
		t.Fatal(err)
	}
	return pazzo.NewContext(context.Background(), session)
}

// login returns the token of a new session with one field, "made".
func (s *site) login(t testing.TB) (token string) {
	t.Helper()
	ctx := s.context(t, "")
	must(t, pazzo.Key[bool]("made").Set(ctx, true))
	return pazzo.FromContext(ctx).Token()
}

// cookieName is the default one.
const cookieName = "__Host-session"

// cookies has a request carry Cookie headers, each as it is.
func cookies(lines ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header["Cookie"] = lines }
}

// fetch has a request look as if a page's script sent it.
func fetch(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "cors") }

// navigate has a request look as if a person followed a link.
func navigate(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "navigate") }

// serve runs one request through the site's middleware.
func (s *site) serve(h http.HandlerFunc, edits ...func(*http.Request)) *http.Response {
	r := httptest.NewRequest("GET", "https://app.example/page", nil)
	for _, edit := range edits {
		edit(r)
	}
	w := httptest.NewRecorder()
	s.Handler(h).ServeHTTP(w, r)
	return w.Result()
}

// setCookies returns the response's Set-Cookie headers.
func setCookies(r *http.Response) []string { return r.Header["Set-Cookie"] }

// oneCookie returns the one cookie that the response sets.
func oneCookie(t testing.TB, r *http.Response) *http.Cookie {
	t.Helper()
	if got := r.Cookies(); len(got) == 1 {
		return got[0]
	}
	t.Fatalf("Set-Cookie is %q, want one cookie", setCookies(r))
	return nil
}

// noCookie fails the test if the response sets a cookie.
func noCookie(t testing.TB, r *http.Response) {
	t.Helper()
	if got := setCookies(r); len(got) > 0 {
		t.Fatalf("Set-Cookie is %q, want none", got)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails the test unless err is what it should be; nil stands for none.
func wantError(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// together runs f in n goroutines and waits for them.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// contains fails the test unless text has all the parts.
func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("lacks %q:\n%s", part, text)
		}
	}
}
