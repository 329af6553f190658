package scscompat_test

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	original "github.com/alexedwards/scs/v2"
	"go.uber.org/goleak"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
	scs "github.com/pazzo-sessions/pazzo/scscompat"
)

type person struct{ Name string }

func TestMain(m *testing.M) {
	gob.Register(person{})
	// The original's memory store cannot be stopped without a race of its own.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/alexedwards/scs/v2/memstore.(*MemStore).startCleanup"))
}

func newManager(t *testing.T) *scs.SessionManager {
	t.Helper()
	m := scs.New()
	t.Cleanup(func() { m.Close() })
	return m
}

// load returns the context of a request that brings a token.
func load(t *testing.T, m *scs.SessionManager, token string) context.Context {
	t.Helper()
	ctx, err := m.Load(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func commit(t *testing.T, m *scs.SessionManager, ctx context.Context) string {
	t.Helper()
	token, _, err := m.Commit(ctx)
	if err != nil || token == "" {
		t.Fatalf("Commit: token %q, %v", token, err)
	}
	return token
}

func TestPutGet(t *testing.T) {
	m := newManager(t)
	ctx := load(t, m, "")
	at := time.Date(2026, 11, 24, 21, 0, 0, 0, time.UTC)
	values := map[string]any{
		"string": "ä", "bool": true, "int": 5, "int64": int64(6), "int32": int32(7), "float": 8.0, "bytes": []byte("b"),
		"time": at, "person": person{"ada"}, "nil": nil, "list": []any{1, "x"}, "": "empty key",
	}
	for key, value := range values {
		m.Put(ctx, key, value)
	}
	again := load(t, m, commit(t, m, ctx))
	for _, ctx := range []context.Context{ctx, again} { // own writes, and another request's
		for key, want := range values {
			if got := m.Get(ctx, key); !reflect.DeepEqual(got, want) {
				t.Errorf("Get(%q) = %#v, want %#v", key, got, want)
			}
		}
		if got := m.GetString(ctx, "string"); got != "ä" {
			t.Errorf("GetString = %q", got)
		}
		if !m.GetBool(ctx, "bool") || m.GetInt(ctx, "int") != 5 || m.GetInt64(ctx, "int64") != 6 || m.GetInt32(ctx, "int32") != 7 ||
			m.GetFloat(ctx, "float") != 8 || string(m.GetBytes(ctx, "bytes")) != "b" || !m.GetTime(ctx, "time").Equal(at) {
			t.Error("a typed Get does not return what was put")
		}
		// Of another type, or absent: zero.
		for _, key := range []string{"person", "absent"} {
			if m.GetString(ctx, key) != "" || m.GetBool(ctx, key) || m.GetInt(ctx, key) != 0 || m.GetInt64(ctx, key) != 0 ||
				m.GetInt32(ctx, key) != 0 || m.GetFloat(ctx, key) != 0 || m.GetBytes(ctx, key) != nil || !m.GetTime(ctx, key).IsZero() {
				t.Errorf("%q: a typed Get is not zero", key)
			}
		}
		if m.GetInt(ctx, "int64") != 0 || m.GetInt64(ctx, "int") != 0 {
			t.Error("GetInt and GetInt64 mix their types up")
		}
	}
}

func TestPop(t *testing.T) {
	m := newManager(t)
	ctx := load(t, m, "")
	at := time.Date(2026, 11, 24, 21, 0, 0, 0, time.UTC)
	m.Put(ctx, "any", person{"ada"})
	m.Put(ctx, "string", "s")
	m.Put(ctx, "bool", true)
	m.Put(ctx, "int", 5)
	m.Put(ctx, "float", 1.5)
	m.Put(ctx, "bytes", []byte("b"))
	m.Put(ctx, "time", at)
	token := commit(t, m, ctx)
	ctx, late := load(t, m, token), load(t, m, token)
	if got := m.Pop(ctx, "any"); got != (person{"ada"}) {
		t.Errorf("Pop = %#v", got)
	}
	if m.PopString(ctx, "string") != "s" || !m.PopBool(ctx, "bool") || m.PopInt(ctx, "int") != 5 || m.PopFloat(ctx, "float") != 1.5 ||
		string(m.PopBytes(ctx, "bytes")) != "b" || !m.PopTime(ctx, "time").Equal(at) {
		t.Error("a typed Pop does not return what was put")
	}
	if keys := m.Keys(ctx); len(keys) != 0 {
		t.Errorf("keys left: %q", keys)
	}
	if m.Pop(ctx, "any") != nil || m.PopString(ctx, "string") != "" || m.PopBool(ctx, "bool") || m.PopInt(ctx, "int") != 0 ||
		m.PopFloat(ctx, "float") != 0 || m.PopBytes(ctx, "bytes") != nil || !m.PopTime(ctx, "time").IsZero() {
		t.Error("a second Pop is not zero")
	}
	if got := m.Get(late, "any"); got != (person{"ada"}) {
		t.Errorf("the other request had loaded it, but Get = %#v", got)
	}
	if got := m.Pop(late, "any"); got != nil {
		t.Errorf("a second winner: %#v", got)
	}
}

func TestRemoveClearExistsKeys(t *testing.T) {
	m := newManager(t)
	ctx := load(t, m, "")
	if keys := m.Keys(ctx); keys == nil || len(keys) != 0 {
		t.Errorf("Keys of an empty session: %#v", keys)
	}
	m.Remove(ctx, "absent")
	if err := m.Clear(ctx); err != nil || m.Status(ctx) != scs.Unmodified {
		t.Errorf("nothing to remove: %v, status %d", err, m.Status(ctx))
	}
	m.Put(ctx, "b", 1)
	m.Put(ctx, "a", 2)
	m.Put(ctx, "c", nil)
	m.Remove(ctx, "b")
	token := commit(t, m, ctx)
	for _, ctx := range []context.Context{ctx, load(t, m, token)} {
		if keys := m.Keys(ctx); !slices.Equal(keys, []string{"a", "c"}) {
			t.Errorf("Keys = %q", keys)
		}
		if !m.Exists(ctx, "c") || m.Exists(ctx, "b") {
			t.Error("Exists is wrong")
		}
	}
	if err := m.Clear(ctx); err != nil {
		t.Fatal(err)
	}
	again := load(t, m, token)
	if len(m.Keys(ctx))+len(m.Keys(again)) != 0 || m.Token(again) != token {
		t.Error("Clear left keys or ended the session")
	}
}

func TestStatus(t *testing.T) {
	m := newManager(t)
	ctx := load(t, m, "")
	for _, step := range []struct {
		do   func()
		want scs.Status
	}{
		{func() { m.Get(ctx, "a") }, scs.Unmodified},
		{func() { m.Put(ctx, "a", 1) }, scs.Modified},
		{func() { _ = m.Destroy(ctx) }, scs.Destroyed},
		{func() { m.Put(ctx, "a", 1) }, scs.Modified},
	} {
		if step.do(); m.Status(ctx) != step.want {
			t.Errorf("status %d, want %d", m.Status(ctx), step.want)
		}
	}
}

func TestDestroy(t *testing.T) {
	m := newManager(t)
	ctx := load(t, m, "")
	m.Put(ctx, "a", 1)
	token := commit(t, m, ctx)
	inFlight := load(t, m, token)
	ctx = load(t, m, token)
	if err := m.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	if m.Exists(ctx, "a") || m.Token(ctx) != "" {
		t.Error("the session is still there")
	}
	m.Put(inFlight, "a", 2)
	if _, _, err := m.Commit(inFlight); err == nil {
		// Without Sec-Fetch headers it may begin anew, but never in the old one.
		if got := m.Token(inFlight); got == token {
			t.Error("the request in flight has brought the session back")
		}
	}
	if again := load(t, m, token); m.Exists(again, "a") {
		t.Error("the session is back")
	}
	if err := m.Destroy(load(t, m, token)); err != nil {
		t.Errorf("a second Destroy: %v", err)
	}
	m.Put(ctx, "b", 1) // a new session
	if got := commit(t, m, ctx); got == token {
		t.Error("the old token")
	}
}

func TestRenewToken(t *testing.T) {
	m := newManager(t)
	m.Lifetime = 24 * time.Hour
	ctx := load(t, m, "")
	m.Put(ctx, "a", 1)
	m.SetDeadline(ctx, time.Now().Add(time.Hour))
	old := commit(t, m, ctx)
	ctx, late := load(t, m, old), load(t, m, old)
	if err := m.RenewToken(ctx); err != nil {
		t.Fatal(err)
	}
	token := commit(t, m, ctx)
	if token == old || m.GetInt(load(t, m, token), "a") != 1 {
		t.Error("no new token, or not the session's")
	}
	if m.Exists(load(t, m, old), "a") {
		t.Error("the old token is still good")
	}
	if left := time.Until(m.Deadline(ctx)); left < 23*time.Hour {
		t.Errorf("the lifetime has not begun anew: %v are left", left)
	}
	m.Put(late, "a", 2)
	if _, _, err := m.Commit(late); !errors.Is(err, pazzo.ErrSuperseded) {
		t.Errorf("a write with the old token: %v, want ErrSuperseded", err)
	}
	if err := m.Destroy(late); !errors.Is(err, pazzo.ErrSuperseded) {
		t.Errorf("Destroy with the old token: %v, want ErrSuperseded", err)
	}
	first := load(t, m, "")
	if err := m.RenewToken(first); err != nil || commit(t, m, first) == "" {
		t.Errorf("RenewToken without a session: %v", err)
	}
}

func TestMergeSession(t *testing.T) {
	m := newManager(t)
	theirs := load(t, m, "")
	m.Put(theirs, "a", 1)
	m.Put(theirs, "b", 1)
	m.SetDeadline(theirs, time.Now().Add(48*time.Hour))
	other := commit(t, m, theirs)
	ctx := load(t, m, "")
	m.Put(ctx, "b", 2)
	m.Put(ctx, "c", 2)
	own := commit(t, m, ctx)
	for _, nothing := range []string{own, "", "no token"} {
		if err := m.MergeSession(ctx, nothing); err != nil {
			t.Errorf("%q: %v", nothing, err)
		}
	}
	if err := m.MergeSession(m.Context(ctx), other); err != nil {
		t.Fatal(err)
	}
	for _, ctx := range []context.Context{ctx, load(t, m, own)} {
		if m.GetInt(ctx, "a") != 1 || m.GetInt(ctx, "b") != 1 || m.GetInt(ctx, "c") != 2 {
			t.Errorf("merged: %v %v %v", m.Get(ctx, "a"), m.Get(ctx, "b"), m.Get(ctx, "c"))
		}
	}
	if left := time.Until(m.Deadline(ctx)); left < 47*time.Hour {
		t.Errorf("the deadline is not the later one: %v are left", left)
	}
	if len(m.Keys(load(t, m, other))) != 0 {
		t.Error("the other session is still there")
	}
}

func TestDeadline(t *testing.T) {
	m := newManager(t)
	m.IdleTimeout = time.Hour
	ctx := load(t, m, "")
	near := func(got time.Time, want time.Duration) {
		t.Helper()
		if d := time.Until(got) - want; d.Abs() > time.Minute {
			t.Errorf("%v from now, want %v", time.Until(got), want)
		}
	}
	near(m.Deadline(ctx), 24*time.Hour)
	m.Put(ctx, "a", 1)
	near(m.Deadline(ctx), 24*time.Hour)
	_, expiry, err := m.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	near(expiry, time.Hour) // the idle timeout
	m.SetDeadline(ctx, time.Now().Add(30*time.Minute))
	near(m.Deadline(ctx), 30*time.Minute)
	if _, expiry, _ = m.Commit(ctx); expiry.IsZero() {
		t.Error("no expiry")
	}
	near(expiry, 30*time.Minute)
	m.SetDeadline(ctx, time.Now().Add(-time.Minute))
	if _, _, err := m.Commit(ctx); !errors.Is(err, pazzo.ErrOptions) {
		t.Errorf("a deadline in the past: %v, want ErrOptions", err)
	}
}

func TestTokenAndCommit(t *testing.T) {
	m := newManager(t)
	ctx := load(t, m, "")
	if token := m.Token(ctx); token != "" {
		t.Errorf("a token before there is a session: %q", token)
	}
	token := commit(t, m, ctx) // makes an empty one
	if m.Token(ctx) != token || m.Token(load(t, m, token)) != token {
		t.Error("Token is not what Commit returned")
	}
	if same, err := m.Load(ctx, "other"); err != nil || same != ctx {
		t.Error("Load of a context that has a session is not that context")
	}
}

func TestWithoutSession(t *testing.T) {
	m := newManager(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Get did not panic")
			}
		}()
		m.Get(t.Context(), "a")
	}()
	_, _, err := m.Commit(t.Context())
	for _, err := range []error{err, m.Destroy(t.Context()), m.Clear(t.Context()), m.RenewToken(t.Context()), m.MergeSession(t.Context(), "")} {
		if !errors.Is(err, pazzo.ErrNoSession) {
			t.Errorf("%v, want ErrNoSession", err)
		}
	}
}

func TestIterate(t *testing.T) {
	if err := newManager(t).Iterate(t.Context(), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, want ErrUnsupported", err)
	}
}

func TestBadSetUp(t *testing.T) {
	for name, m := range map[string]*scs.SessionManager{
		"lifetime": {Cookie: scs.SessionCookie{Name: "s"}},
		"short":    {Cookie: scs.SessionCookie{Name: "s"}, Lifetime: time.Millisecond},
		"cookie":   {Cookie: scs.SessionCookie{Name: "a b"}, Lifetime: time.Hour},
		"keys":     {Cookie: scs.SessionCookie{Name: "s"}, Lifetime: time.Hour, Store: newStore(t)},
	} {
		if _, err := m.Load(t.Context(), ""); !errors.Is(err, pazzo.ErrOptions) {
			t.Errorf("%s: %v, want ErrOptions", name, err)
		}
		if _, err := m.Manager(); !errors.Is(err, pazzo.ErrOptions) {
			t.Errorf("%s: %v, want ErrOptions", name, err)
		}
		w := httptest.NewRecorder() // without an ErrorFunc
		m.LoadAndSave(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != http.StatusInternalServerError {
			t.Errorf("%s: status %d, want 500", name, w.Code)
		}
	}
}

func newStore(t *testing.T) *memstore.Store {
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	return store
}

// downStore fails while it is down.
type downStore struct {
	pazzo.Store
	mu   sync.Mutex
	down bool
}

func (s *downStore) set(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *downStore) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return record.Reply{}, record.ErrUnavailable
	}
	return s.Store.Apply(ctx, h, b)
}

func TestFailures(t *testing.T) {
	store := &downStore{Store: newStore(t)}
	m := newManager(t)
	m.Store, m.SecretKeys = store, []string{strings.Repeat("k", 32)}
	ctx := load(t, m, "")
	m.Put(ctx, "a", 1)
	token := commit(t, m, ctx)
	store.set(true)
	if _, err := m.Load(t.Context(), token); !errors.Is(err, pazzo.ErrUnavailable) {
		t.Errorf("Load: %v, want ErrUnavailable", err)
	}
	m.Put(ctx, "a", 2)
	if m.GetInt(ctx, "a") != 1 {
		t.Error("a Put that failed is seen")
	}
	if _, _, err := m.Commit(ctx); !errors.Is(err, pazzo.ErrUnavailable) {
		t.Errorf("Commit: %v, want ErrUnavailable", err)
	}
	store.set(false)
	if _, _, err := m.Commit(ctx); !errors.Is(err, pazzo.ErrUnavailable) {
		t.Errorf("Commit has forgotten the failure: %v", err)
	}
	for key, want := range map[string]error{"\x00m": pazzo.ErrName, strings.Repeat("x", 300): pazzo.ErrTooLarge} {
		ctx := load(t, m, token)
		m.Put(ctx, key, 1)
		if _, _, err := m.Commit(ctx); !errors.Is(err, want) {
			t.Errorf("%.5q: %v, want %v", key, err, want)
		}
	}
	ctx = load(t, m, token)
	m.Put(ctx, "f", func() {})
	if _, _, err := m.Commit(ctx); !errors.Is(err, pazzo.ErrEncode) {
		t.Errorf("a function: %v, want ErrEncode", err)
	}
}

// A value that does not decode spoils itself alone.
func TestDecodeError(t *testing.T) {
	m := newManager(t)
	ctx := load(t, m, "")
	m.Put(ctx, "good", 1)
	if err := pazzo.FromContext(m.Context(ctx)).Set(ctx, "bad", map[string]any{"$gob": "AAAA"}); err != nil {
		t.Fatal(err)
	}
	ctx = load(t, m, commit(t, m, ctx))
	if _, isError := m.Get(ctx, "bad").(*pazzo.DecodeError); !isError || m.GetInt(ctx, "good") != 1 || m.GetString(ctx, "bad") != "" {
		t.Errorf("bad is %#v, good %v", m.Get(ctx, "bad"), m.Get(ctx, "good"))
	}
}

// manager is ours or the original.
type manager interface {
	Put(context.Context, string, any)
	Keys(context.Context) []string
	LoadAndSave(http.Handler) http.Handler
}

func serve(t *testing.T, h http.Handler) (get func(path string) (*http.Response, string)) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Transport: server.Client().Transport, Timeout: 30 * time.Second}
	return func(path string) (*http.Response, string) {
		response, err := client.Get(server.URL + path)
		if err != nil {
			t.Error(err)
			return nil, ""
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Error(err)
		}
		return response, string(body)
	}
}

const parallel = 16

// overlap has parallel requests of one user each put a key of its own, all of them
// having loaded the session before the first puts, and returns how many keys are
// left.
func overlap(t *testing.T, m manager) int {
	t.Helper()
	var loaded sync.WaitGroup
	loaded.Add(parallel)
	mux := http.NewServeMux()
	mux.HandleFunc("/first", func(_ http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "first", 1) })
	mux.HandleFunc("/put", func(_ http.ResponseWriter, r *http.Request) {
		loaded.Done()
		loaded.Wait()
		m.Put(r.Context(), r.FormValue("k"), 1)
	})
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, len(m.Keys(r.Context()))) })
	get := serve(t, m.LoadAndSave(mux))
	get("/first")
	var done sync.WaitGroup
	for i := range parallel {
		done.Go(func() { get(fmt.Sprintf("/put?k=k%d", i)) })
	}
	done.Wait()
	_, body := get("/count")
	var n int
	if _, err := fmt.Sscan(body, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// The original saves what each request has loaded, and so one key of them all.
func TestConcurrentRequestsLoseNothing(t *testing.T) {
	if n := overlap(t, newManager(t)); n != parallel+1 {
		t.Errorf("%d keys are left of %d", n, parallel+1)
	}
	theirs := original.New()
	if n := overlap(t, theirs); n != 2 {
		t.Errorf("scs: %d keys are left, expected are 2: is it not what we improve on?", n)
	}
}

func TestLoadAndSave(t *testing.T) {
	m := newManager(t)
	m.Cookie.Persist = false
	mux := http.NewServeMux()
	mux.HandleFunc("/read", func(_ http.ResponseWriter, r *http.Request) { m.Get(r.Context(), "a") })
	mux.HandleFunc("/put", func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "a", 1)
		w.WriteHeader(http.StatusTeapot)
	})
	mux.HandleFunc("/remember", func(_ http.ResponseWriter, r *http.Request) { m.RememberMe(r.Context(), true) })
	mux.HandleFunc("/forget", func(_ http.ResponseWriter, r *http.Request) { m.RememberMe(r.Context(), false) })
	mux.HandleFunc("/destroy", func(_ http.ResponseWriter, r *http.Request) { _ = m.Destroy(r.Context()) })
	mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "started")
		w.(http.Flusher).Flush()
		m.Put(r.Context(), "late", 1)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, m.Keys(r.Context())) })
	get := serve(t, m.LoadAndSave(mux))
	cookie := func(path string, status int) *http.Cookie {
		t.Helper()
		response, _ := get(path)
		if response.StatusCode != status {
			t.Errorf("%s: status %d, want %d", path, response.StatusCode, status)
		}
		if response.Header.Get("Vary") != "Cookie" {
			t.Errorf("%s: no Vary", path)
		}
		if c := response.Cookies(); len(c) == 1 {
			if response.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: a cookie without Cache-Control", path)
			}
			return c[0]
		}
		return nil
	}
	if c := cookie("/read", 200); c != nil {
		t.Error("a request that only reads has got a cookie")
	}
	c := cookie("/put", http.StatusTeapot)
	if c == nil || c.Name != "session" || !c.HttpOnly || c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.MaxAge != 0 {
		t.Fatalf("cookie %v", c)
	}
	if again := cookie("/put", http.StatusTeapot); again == nil || again.Value != c.Value {
		t.Error("the same session, but not the same cookie")
	}
	if c := cookie("/remember", 200); c == nil || c.MaxAge < 80000 || c.Expires.IsZero() {
		t.Errorf("RememberMe(true): %v", c)
	}
	if c := cookie("/forget", 200); c == nil || c.MaxAge != 0 {
		t.Errorf("RememberMe(false): %v", c)
	}
	cookie("/late", 200)
	if _, body := get("/keys"); !strings.Contains(body, "late") {
		t.Errorf("a Put after the response's start is lost: %s", body)
	}
	if c := cookie("/destroy", 200); c == nil || c.MaxAge >= 0 {
		t.Errorf("Destroy: %v", c)
	}
	if _, body := get("/keys"); body != "[]" {
		t.Errorf("keys after Destroy: %s", body)
	}
}

// A request in flight over a renewal fails, and leaves the new cookie alone.
func TestErrorFunc(t *testing.T) {
	m := newManager(t)
	var seen error
	standard := m.ErrorFunc
	m.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) {
		seen = err
		standard(w, r, err)
	}
	entered, goOn := make(chan bool), make(chan bool)
	mux := http.NewServeMux()
	mux.HandleFunc("/put", func(_ http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "a", 1) })
	mux.HandleFunc("/renew", func(_ http.ResponseWriter, r *http.Request) { _ = m.RenewToken(r.Context()) })
	slow := func(when string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			if when == "before" {
				m.Put(r.Context(), "slow", 1)
			}
			entered <- true
			<-goOn
			if when == "after" {
				m.Put(r.Context(), "slow", 1)
			}
			fmt.Fprint(w, "done")
		}
	}
	mux.HandleFunc("/slow", slow("after"))
	mux.HandleFunc("/early", slow("before"))
	get := serve(t, m.LoadAndSave(mux))
	get("/put")
	for path, status := range map[string]int{"/slow": 409, "/early": 200} {
		seen = nil
		var done sync.WaitGroup
		done.Go(func() {
			response, body := get(path)
			if response.StatusCode != status || len(response.Cookies()) != 0 {
				t.Errorf("%s: status %d, cookies %v; want %d and none", path, response.StatusCode, response.Cookies(), status)
			}
			if status == 409 && (body != "Conflict\n" || !errors.Is(seen, pazzo.ErrSuperseded)) {
				t.Errorf("%s: body %q, error %v", path, body, seen)
			}
		})
		<-entered
		if response, _ := get("/renew"); len(response.Cookies()) != 1 {
			t.Error("no new cookie")
		}
		goOn <- true
		done.Wait()
	}
}

// What other apps on the domain write and read, and who is logged in.
func TestContext(t *testing.T) {
	m := newManager(t)
	ctx := load(t, m, "")
	if err := pazzo.FromContext(m.Context(ctx)).Authenticate(ctx, "ada"); err != nil {
		t.Fatal(err)
	}
	if _, err := pazzo.Counter("n").Add(m.Context(ctx), 5); err != nil {
		t.Fatal(err)
	}
	if n := m.GetInt(load(t, m, m.Token(ctx)), "n"); n != 5 {
		t.Errorf("n is %d", n)
	}
	p, err := m.Manager()
	if err != nil {
		t.Fatal(err)
	}
	if list, err := p.Sessions(ctx, "ada"); err != nil || len(list) != 1 {
		t.Errorf("ada's sessions: %v, %v", list, err)
	}
}

// An app on Pazzo itself, of the same store, key and cookie name, has the same session.
func TestShared(t *testing.T) {
	store, keys := newStore(t), []string{strings.Repeat("k", 32)}
	m := newManager(t)
	m.Store, m.SecretKeys = store, keys
	native, err := pazzo.New(store, &pazzo.Options{SecretKeys: keys, InsecureHTTP: true}) // its cookie is "session" as well
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/scs", m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, m.GetInt(r.Context(), "n"))
		m.Put(r.Context(), "n", m.GetInt(r.Context(), "n")+1)
	})))
	mux.Handle("/pazzo", native.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := pazzo.Counter("n").Add(r.Context(), 1)
		fmt.Fprint(w, n, err)
	})))
	get := serve(t, mux)
	for _, step := range [...]struct{ path, want string }{{"/pazzo", "1 <nil>"}, {"/scs", "1"}, {"/pazzo", "3 <nil>"}, {"/scs", "3"}} {
		if _, body := get(step.path); body != step.want {
			t.Errorf("%s: %s, want %s", step.path, body, step.want)
		}
	}
}

func TestHandlerPanics(t *testing.T) {
	m := newManager(t)
	inner := m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = m.RenewToken(r.Context())
		panic("app")
	}))
	get := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		inner.ServeHTTP(w, r)
	}))
	if response, _ := get("/"); response.StatusCode != 500 || len(response.Cookies()) != 1 {
		t.Errorf("status %d, cookies %v; want 500 and the new one", response.StatusCode, response.Cookies())
	}
}
