package gorillacompat_test

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/sessions"
	"go.uber.org/goleak"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/gorillacompat"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
)

type person struct {
	Name string
	Tags map[string]int
}

func TestMain(m *testing.M) {
	gob.Register(person{})
	goleak.VerifyTestMain(m)
}

// countingStore counts the batches that write, and fails while it is down.
type countingStore struct {
	pazzo.Store
	writes atomic.Int64
	down   atomic.Bool
}

func (s *countingStore) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	if s.down.Load() {
		return record.Reply{}, record.ErrUnavailable
	}
	if !b.ReadOnly() {
		s.writes.Add(1)
	}
	return s.Store.Apply(ctx, h, b)
}

func newStore(t *testing.T) (*gorillacompat.Store, *countingStore) {
	t.Helper()
	memory := memstore.New(nil)
	t.Cleanup(func() { memory.Close() })
	counting := &countingStore{Store: memory}
	store, err := gorillacompat.NewStore(counting, &pazzo.Options{SecretKeys: []string{strings.Repeat("k", 32)}})
	if err != nil {
		t.Fatal(err)
	}
	return store, counting
}

// browser keeps the cookies of its requests.
type browser struct {
	t       *testing.T
	store   *gorillacompat.Store
	cookies map[string]string
}

func newBrowser(t *testing.T, store *gorillacompat.Store) *browser {
	return &browser{t, store, make(map[string]string)}
}

func (b *browser) request() *http.Request {
	r := httptest.NewRequestWithContext(b.t.Context(), "GET", "http://localhost/", nil)
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

func (b *browser) get(r *http.Request, name string) *sessions.Session {
	b.t.Helper()
	session, err := b.store.Get(r, name)
	if err != nil {
		b.t.Fatal(err)
	}
	return session
}

// save saves the session and keeps the cookie, which it returns if one was set.
func (b *browser) save(r *http.Request, session *sessions.Session) *http.Cookie {
	b.t.Helper()
	w := httptest.NewRecorder()
	if err := session.Save(r, w); err != nil {
		b.t.Fatal(err)
	}
	return b.keep(w)
}

func (b *browser) keep(w *httptest.ResponseRecorder) (last *http.Cookie) {
	b.t.Helper()
	for _, c := range w.Result().Cookies() {
		if last = c; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	if last != nil && w.Header().Get("Cache-Control") != "no-store" {
		b.t.Error("a cookie without Cache-Control")
	}
	return last
}

// visit gets the session "s", changes it and saves it.
func (b *browser) visit(change func(*sessions.Session)) *http.Cookie {
	b.t.Helper()
	r := b.request()
	session := b.get(r, "s")
	change(session)
	return b.save(r, session)
}

// values returns what another request finds.
func (b *browser) values() map[any]any {
	b.t.Helper()
	return b.get(b.request(), "s").Values
}

func TestGetAndSave(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	want := map[any]any{
		"a": 1, "b": "x", "c": int64(5), "d": 1.0, "e": []byte("b"), "f": person{"ada", map[string]int{"x": 1, "y": 2}}, "g": nil,
		"h": []any{1, "x"}, "i": time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), 5: "int key", true: "bool key", "": "empty key",
	}
	r := b.request()
	session := b.get(r, "s")
	if !session.IsNew || session.ID != "" || session.Name() != "s" || len(session.Values) != 0 || b.get(r, "s") != session {
		t.Errorf("a first session: %+v", session)
	}
	for k, v := range want {
		session.Values[k] = v
	}
	c := b.save(r, session)
	if c == nil || c.Name != "s" || c.Path != "/" || c.MaxAge != 30*24*3600 || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie %v", c)
	}
	id := session.ID
	again := b.get(b.request(), "s")
	if again.IsNew || again.ID != id || len(id) != 32 || strings.Contains(c.Value, id) {
		t.Errorf("IsNew %v, ID %q, was %q", again.IsNew, again.ID, id)
	}
	if !reflect.DeepEqual(again.Values, want) {
		t.Errorf("values\n%#v, want\n%#v", again.Values, want)
	}
}

// Save writes what has changed, in one batch, and nothing if nothing has.
func TestSaveWritesOnlyChanges(t *testing.T) {
	store, counting := newStore(t)
	b := newBrowser(t, store)
	b.visit(func(s *sessions.Session) {
		s.Values["a"], s.Values["p"] = 1, person{"ada", map[string]int{"x": 1, "y": 2, "z": 3, "w": 4}}
	})
	before := counting.writes.Load()
	for range 20 { // package gob writes the map in another order each time
		if c := b.visit(func(*sessions.Session) {}); c != nil {
			t.Errorf("a cookie though nothing has changed: %v", c)
		}
	}
	if n := counting.writes.Load() - before; n != 0 {
		t.Errorf("%d writes though nothing has changed", n)
	}
	b.visit(func(s *sessions.Session) {
		s.Values["b"], s.Values["c"] = 1, 2
		delete(s.Values, "a")
		s.Values["p"].(person).Tags["x"] = 9 // in place
	})
	if n := counting.writes.Load() - before; n != 1 {
		t.Errorf("%d writes for one Save", n)
	}
	values := b.values()
	if _, there := values["a"]; there || values["b"] != 1 || values["c"] != 2 || values["p"].(person).Tags["x"] != 9 {
		t.Errorf("values %v", values)
	}
}

const parallel = 16

func TestConcurrentRequestsLoseNothing(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	b.visit(func(s *sessions.Session) {
		s.Values["first"] = 1
		s.AddFlash("old")
	})
	var loaded, done sync.WaitGroup
	loaded.Add(parallel)
	for i := range parallel {
		r := b.request()
		done.Go(func() {
			session, err := store.Get(r, "s")
			loaded.Done()
			loaded.Wait()
			if err != nil {
				t.Error(err)
				return
			}
			session.Values[fmt.Sprintf("k%d", i)] = i
			session.AddFlash(i)
			if err := session.Save(r, httptest.NewRecorder()); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	values := b.values()
	if len(values) != parallel+2 {
		t.Errorf("%d keys are left of %d: %v", len(values), parallel+2, values)
	}
	if flashes := values["_flash"].([]any); len(flashes) != parallel+1 {
		t.Errorf("%d flashes are left of %d: %v", len(flashes), parallel+1, flashes)
	}
}

// Two requests that have read the same list; the second saves after the first.
func TestListsAreMerged(t *testing.T) {
	add := func(v any) func(*sessions.Session) { return func(s *sessions.Session) { s.AddFlash(v) } }
	take := func(s *sessions.Session) { s.Flashes() }
	set := func(v any) func(*sessions.Session) { return func(s *sessions.Session) { s.Values["_flash"] = v } }
	both := func(f, g func(*sessions.Session)) func(*sessions.Session) {
		return func(s *sessions.Session) { f(s); g(s) }
	}
	for name, c := range map[string]struct {
		first, second func(*sessions.Session)
		want          any
	}{
		"both add":            {add("b"), add("c"), []any{"a", "b", "c"}},
		"add, take":           {add("b"), take, []any{"b"}},
		"take, add":           {take, add("b"), []any{"b"}},
		"both take":           {take, take, nil},
		"take and add, take":  {both(take, add("b")), take, []any{"b"}},
		"add, take and add":   {add("b"), both(take, add("c")), []any{"c", "b"}},
		"text, add":           {set("text"), add("b"), []any{"a", "b"}},
		"other list, another": {set([]any{"x"}), set([]any{"y"}), []any{"y"}},
		"add, empty":          {add("b"), set([]any{}), []any{"b"}},
		"none, empty":         {func(*sessions.Session) {}, set([]any{}), []any{}},
	} {
		store, _ := newStore(t)
		b := newBrowser(t, store)
		b.visit(add("a"))
		r1, r2 := b.request(), b.request()
		s1, s2 := b.get(r1, "s"), b.get(r2, "s")
		c.first(s1)
		c.second(s2)
		b.save(r1, s1)
		b.save(r2, s2)
		got := b.values()["_flash"]
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if !reflect.DeepEqual(s2.Values["_flash"], c.want) {
			t.Errorf("%s: the session has %v after Save, want %v", name, s2.Values["_flash"], c.want)
		}
		b.save(r2, s2)
		if again := b.values()["_flash"]; !reflect.DeepEqual(again, c.want) {
			t.Errorf("%s: a second Save has made %v of it", name, again)
		}
	}
}

func TestFlashes(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	b.visit(func(s *sessions.Session) {
		s.AddFlash("a")
		s.AddFlash(person{Name: "ada"})
		s.AddFlash("c", "other")
	})
	b.visit(func(s *sessions.Session) {
		if got := s.Flashes(); !reflect.DeepEqual(got, []any{"a", person{Name: "ada"}}) {
			t.Errorf("Flashes: %v", got)
		}
		if got := s.Flashes("other"); !slices.Equal(got, []any{"c"}) {
			t.Errorf("Flashes: %v", got)
		}
	})
	if values := b.values(); len(values) != 0 {
		t.Errorf("taken flashes are still there: %v", values)
	}
}

func TestMaxAge(t *testing.T) {
	store, _ := newStore(t)
	store.MaxAge(0)
	b := newBrowser(t, store)
	if c := b.visit(func(s *sessions.Session) { s.Values["a"] = 1 }); c == nil || c.MaxAge != 0 {
		t.Errorf("MaxAge 0: %v", c)
	}
	// Options that have changed send the cookie again.
	if c := b.visit(func(s *sessions.Session) { s.Options.MaxAge = 60 }); c == nil || c.MaxAge != 60 || c.Value == "" {
		t.Errorf("MaxAge 60: %v", c)
	}
	r := b.request()
	inFlight := b.get(r, "s")
	inFlight.Values["b"] = 1
	cookie := b.cookies["s"]
	c := b.visit(func(s *sessions.Session) { s.Options.MaxAge = -1 })
	if c == nil || c.MaxAge >= 0 || c.Value != "" {
		t.Errorf("MaxAge -1: %v", c)
	}
	r.Header.Set("Sec-Fetch-Mode", "cors")
	w := httptest.NewRecorder()
	late := b.request()
	late.AddCookie(&http.Cookie{Name: "s", Value: cookie})
	late.Header.Set("Sec-Fetch-Mode", "cors")
	session := b.get(late, "s")
	session.Values["b"] = 1
	if err := session.Save(late, w); !errors.Is(err, pazzo.ErrGone) || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("a Save after the end: %v, cookies %q; want ErrGone and none", err, w.Header()["Set-Cookie"])
	}
	session.Options.MaxAge = -1
	if err := session.Save(late, w); err != nil || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("a second end: %v, cookies %q; want neither", err, w.Header()["Set-Cookie"])
	}
}

// After a negative MaxAge the same request may begin anew.
func TestSaveTwice(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	b.visit(func(s *sessions.Session) { s.Values["a"] = 1 })
	old := b.cookies["s"]
	r := b.request()
	session := b.get(r, "s")
	w := httptest.NewRecorder()
	session.Options.MaxAge = -1
	if err := session.Save(r, w); err != nil {
		t.Fatal(err)
	}
	session.Options.MaxAge = 60
	session.Values["b"] = 2
	for range 2 {
		if err := session.Save(r, w); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.Header()["Set-Cookie"]); n != 1 {
		t.Errorf("%d cookies in one response: %q", n, w.Header()["Set-Cookie"])
	}
	b.keep(w)
	if b.cookies["s"] == old || b.values()["b"] != 2 {
		t.Errorf("values of the new session: %v", b.values())
	}
}

// A request may make, end and make a session.
func TestSaveMakesEndsMakes(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	r := b.request()
	session := b.get(r, "s")
	w := httptest.NewRecorder()
	var ids []string
	for i, age := range []int{60, -1, 60} {
		session.Values["a"], session.Options.MaxAge = i, age
		if err := session.Save(r, w); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, session.ID)
	}
	b.keep(w)
	if ids[0] == "" || ids[1] != "" || ids[2] == "" || ids[2] == ids[0] || b.values()["a"] != 2 {
		t.Errorf("IDs %q, values %v", ids, b.values())
	}
}

func TestNames(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	r := b.request()
	b.get(r, "one").Values["a"] = 1
	b.get(r, "two").Values["a"] = 2
	w := httptest.NewRecorder()
	if err := sessions.Save(r, w); err != nil {
		t.Fatal(err)
	}
	b.keep(w)
	r = b.request()
	if one, two := b.get(r, "one"), b.get(r, "two"); one.Values["a"] != 1 || two.Values["a"] != 2 || one.ID == two.ID {
		t.Errorf("one %v, two %v", one.Values, two.Values)
	}
	if _, err := store.Get(r, "a:b"); err == nil {
		t.Error("an invalid name is accepted")
	}
}

func TestForeignCookie(t *testing.T) {
	store, _ := newStore(t)
	for _, value := range []string{"MTcwMDAwMDAwMHxEdi1C", strings.Repeat("A", 64), "x"} {
		b := newBrowser(t, store)
		b.cookies["s"] = value
		r := b.request()
		session := b.get(r, "s")
		if !session.IsNew {
			t.Errorf("%q has opened a session", value)
		}
		session.Values["a"] = 1
		if c := b.save(r, session); c == nil || c.Value == value {
			t.Errorf("%q: cookie %v", value, c)
		}
	}
}

func TestEmptySession(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	if c := b.visit(func(*sessions.Session) {}); c == nil || c.Value == "" {
		t.Errorf("an empty session is saved as well: %v", c)
	}
	if session := b.get(b.request(), "s"); session.IsNew || session.ID == "" {
		t.Error("it is not found")
	}
}

func TestFailures(t *testing.T) {
	store, counting := newStore(t)
	b := newBrowser(t, store)
	b.visit(func(s *sessions.Session) { s.Values["a"] = 1 })
	counting.down.Store(true)
	r := b.request()
	session, err := store.Get(r, "s")
	if !errors.Is(err, pazzo.ErrUnavailable) || session == nil {
		t.Fatalf("session %v, %v; want one, and ErrUnavailable", session, err)
	}
	counting.down.Store(false)
	session.Values["b"] = 1
	if err := session.Save(r, httptest.NewRecorder()); !errors.Is(err, pazzo.ErrUnavailable) {
		t.Errorf("a session that was not read is saved: %v", err)
	}
	type key int
	for name, c := range map[string]struct {
		key, value any
		want       error
	}{
		"key type": {key(1), 1, pazzo.ErrName},
		"key":      {"\x00m", 1, pazzo.ErrName},
		"value":    {"f", func() {}, pazzo.ErrEncode},
	} {
		r := b.request()
		session := b.get(r, "s")
		session.Values[c.key], session.Values["z"] = c.value, 1
		if err := session.Save(r, httptest.NewRecorder()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if values := b.values(); len(values) != 1 || values["a"] != 1 {
		t.Errorf("a failed Save has changed the session: %v", values)
	}
	session = b.get(b.request(), "s")
	session.Options = nil
	if err := session.Save(r, httptest.NewRecorder()); !errors.Is(err, pazzo.ErrOptions) {
		t.Errorf("no Options: %v", err)
	}
	if _, err := gorillacompat.NewStore(counting, &pazzo.Options{Cookie: pazzo.Cookie{Name: "x"}}); !errors.Is(err, pazzo.ErrOptions) {
		t.Errorf("Options.Cookie: %v", err)
	}
	if _, err := gorillacompat.NewStore(nil, nil); !errors.Is(err, pazzo.ErrOptions) {
		t.Errorf("no store: %v", err)
	}
}

// A value that does not decode spoils itself alone, and stays.
func TestDecodeError(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	r := b.request()
	session := b.get(r, "s")
	if err := pazzo.FromContext(store.Context(t.Context(), session)).Set(t.Context(), "bad", map[string]any{"$gob": "AAAA"}); err != nil {
		t.Fatal(err)
	}
	session.Values["good"] = 1
	b.save(r, session)
	for range 2 {
		b.visit(func(s *sessions.Session) {
			if _, isError := s.Values["bad"].(*pazzo.DecodeError); !isError || s.Values["good"] != 1 {
				t.Errorf("values %v", s.Values)
			}
		})
	}
}

// A login by Pazzo renews the token; a request in flight fails, and leaves the cookie.
func TestAuthenticate(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	b.visit(func(s *sessions.Session) { s.Values["a"] = 1 })
	old := b.cookies["s"]
	r, late := b.request(), b.request()
	session, inFlight := b.get(r, "s"), b.get(late, "s")
	if err := pazzo.FromContext(store.Context(t.Context(), session)).Authenticate(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	if c := b.save(r, session); c == nil || c.Value == old {
		t.Errorf("cookie %v", c)
	}
	inFlight.Values["a"], inFlight.Options.MaxAge = 2, 5
	w := httptest.NewRecorder()
	if err := inFlight.Save(late, w); !errors.Is(err, pazzo.ErrSuperseded) || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("%v, cookies %q; want ErrSuperseded and none", err, w.Header()["Set-Cookie"])
	}
	delete(inFlight.Values, "a")
	inFlight.Values["a"] = 1 // as it was: nothing to write, only Options
	if err := inFlight.Save(late, w); err != nil || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("%v, cookies %q; want neither", err, w.Header()["Set-Cookie"])
	}
	if list, err := store.Manager().Sessions(t.Context(), "ada"); err != nil || len(list) != 1 || b.values()["a"] != 1 {
		t.Errorf("ada's sessions: %v, %v; values %v", list, err, b.values())
	}
	// A logout by Pazzo has Save delete the cookie.
	r = b.request()
	session = b.get(r, "s")
	if err := pazzo.FromContext(store.Context(t.Context(), session)).Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := b.save(r, session); c == nil || c.MaxAge >= 0 {
		t.Errorf("cookie %v", c)
	}
	if ctx := store.Context(t.Context(), sessions.NewSession(store, "s")); pazzo.FromContext(ctx) != nil {
		t.Error("a session that is not of Get has a context")
	}
}

// What the store knows of a session goes with it.
func TestNothingIsKept(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	const n = 100
	for range n {
		b.visit(func(s *sessions.Session) { s.Values["a"] = 1 })
		b.values() // one that is not saved
	}
	deadline := time.Now().Add(5 * time.Second)
	for store.Kept() > n/10 && time.Now().Before(deadline) {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if kept := store.Kept(); kept > n/10 {
		t.Errorf("%d of %d states are kept", kept, 2*n)
	}
}
