package pazzo

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
)

// nearManager returns a manager over a near cache, and the store behind it.
func nearManager(t testing.TB) (*Manager, *nearcache.Cache, *memstore.Store) {
	t.Helper()
	store := memstore.New(nil)
	cache, err := nearcache.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	m, err := New(cache, &Options{SecretKeys: []string{strings.Repeat("k", 32)}})
	if err != nil {
		t.Fatal(err)
	}
	return m, cache, store
}

// nearSession returns a request's session that has written and read, so that its
// next read is a hit.
func nearSession(t testing.TB, m *Manager) (*Session, *http.Request) {
	t.Helper()
	s, err := m.Acquire("")
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r = r.WithContext(NewContext(r.Context(), s))
	if err := Key[string]("name").Set(r.Context(), "Ada"); err != nil {
		t.Fatal(err)
	}
	if _, err := Counter("visits").Add(r.Context(), 7); err != nil {
		t.Fatal(err)
	}
	return s, r
}

func TestTypedReadsByTheNearCache(t *testing.T) {
	m, cache, store := nearManager(t)
	s, r := nearSession(t, m)
	ctx := r.Context()
	for range 3 {
		if v := s.near(); v == nil {
			t.Fatal("there is no view")
		}
		if name, found, err := Key[string]("name").Get(ctx); name != "Ada" || !found || err != nil {
			t.Error(name, found, err)
		}
		if n, err := Counter("visits").Get(ctx); n != 7 || err != nil {
			t.Error(n, err)
		}
		if n, found, err := Key[any]("visits").Get(ctx); n != json.Number("7") || !found || err != nil {
			t.Errorf("%#v, %t, %v", n, found, err)
		}
		if _, found, err := Key[string]("none").Get(ctx); found || err != nil {
			t.Error(found, err)
		}
		if _, _, err := Key[string]("\x00").Get(ctx); !errors.Is(err, ErrName) {
			t.Error(err)
		}
		if _, _, err := Key[int]("name").Get(ctx); !errors.Is(err, ErrDecode) {
			t.Error(err)
		}
	}
	// What was read is nobody else's to change.
	list := Key[[]int]("list")
	if err := list.Set(ctx, []int{1}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, _, err := list.Get(ctx)
		if err != nil || got[0] != 1 {
			t.Fatal(got, err)
		}
		got[0] = 2
	}
	// Another's write, an own one, and the end of the session are seen at once.
	h, _, _ := s.held()
	other := record.Batch{Ops: []record.Op{record.Set("name", `"Bob"`)}}
	if _, err := store.Apply(ctx, h, &other); err != nil {
		t.Fatal(err)
	}
	cache.Close() // even when there is no cache any more
	if _, _, err := Key[string]("name").Get(ctx); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func TestNearCacheFollowsTheSession(t *testing.T) {
	m, _, store := nearManager(t)
	s, r := nearSession(t, m)
	ctx, name := r.Context(), Key[string]("name")
	for _, want := range []string{"a", "b", "c"} {
		if err := name.Set(ctx, want); err != nil {
			t.Fatal(err)
		}
		if got, _, err := name.Get(ctx); got != want || err != nil {
			t.Errorf("%s instead of %s, %v", got, want, err)
		}
	}
	second, err := m.Acquire(s.Token())
	if err != nil {
		t.Fatal(err)
	}
	ctx2 := NewContext(t.Context(), second)
	if got, _, err := name.Get(ctx2); got != "c" || err != nil {
		t.Error(got, err)
	}
	if err := s.Authenticate(ctx, "ada"); err != nil {
		t.Fatal(err)
	}
	if got, found, err := name.Get(ctx2); found || err != nil { // its token is of before the login
		t.Error(got, found, err)
	}
	if got, _, err := name.Get(ctx); got != "c" || err != nil {
		t.Error(got, err)
	}
	h, _, _ := s.held()
	destroy := record.Batch{Ops: []record.Op{record.Destroy(record.Revoked, 60_000)}}
	if _, err := store.Apply(ctx, h, &destroy); err != nil {
		t.Fatal(err)
	}
	if got, found, err := name.Get(ctx); found || err != nil {
		t.Error(got, found, err)
	}
}

// A request whose token is plainly good is let in by the copy; any other by the store.
func TestNearCacheOpens(t *testing.T) {
	m, _, _ := nearManager(t)
	s, r := nearSession(t, m)
	name := Key[string]("name")
	opens := func(token string) (s *Session, nearly bool) {
		t.Helper()
		s, err := m.Acquire(token)
		if err != nil {
			t.Fatal(err)
		}
		return s, s.near() != nil
	}
	first := s.Token()
	if s, near := opens(first); !near || s.Token() != first || !s.isLive() {
		t.Errorf("a good token: by the copy %t, live %t", near, s.isLive())
	}
	if err := s.Renew(r.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := name.Get(r.Context()); err != nil { // so that there is a copy of now
		t.Fatal(err)
	}
	if _, near := opens(first); near {
		t.Error("a superseded token is let in by the copy")
	}
	second, _, _ := m.keys.open(s.Token())
	forged := second
	forged.secret[0]++
	if _, near := opens(m.keys.seal(forged)); near {
		t.Error("a wrong secret is let in by the copy")
	}
	if got, near := opens(s.Token()); !near {
		if _, found, err := name.Get(NewContext(t.Context(), got)); !found || err != nil {
			t.Error(found, err)
		}
		if _, near := opens(s.Token()); !near {
			t.Error("the new token is not let in by the copy")
		}
	}
	old, err := New(m.store, &Options{SecretKeys: []string{strings.Repeat("n", 32), strings.Repeat("k", 32)}})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := old.Acquire(s.Token()); err != nil || s.near() != nil {
		t.Error("a token that is to be replaced, since it was signed with an older key, is let in by the copy", err)
	}
}

func BenchmarkNearGet(b *testing.B) {
	m, _, _ := nearManager(b)
	s, r := nearSession(b, m)
	ctx := r.Context()
	if s.near() == nil {
		b.Fatal("there is no view")
	}
	b.Run("string", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, found, _ := Key[string]("name").Get(ctx); !found {
				b.Fatal("not found")
			}
		}
	})
	b.Run("counter", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if n, _ := Counter("visits").Get(ctx); n != 7 {
				b.Fatal("not found")
			}
		}
	})
	token := s.Token()
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, _ := m.Acquire(token)
			if _, found, _ := Key[string]("name").Get(NewContext(ctx, s)); !found {
				b.Fatal("not found")
			}
		}
	})
}
