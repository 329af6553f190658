package compat_test

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/compat"
	"github.com/pazzo-sessions/pazzo/memstore"
)

func newSessions(t *testing.T) *compat.Sessions {
	t.Helper()
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	s, err := compat.New(store, &pazzo.Options{SecretKeys: []string{strings.Repeat("k", 32)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// made returns the token of a session with a field.
func made(t *testing.T, s *compat.Sessions, name string, value any) string {
	t.Helper()
	v := s.Begin(t.Context(), nil)
	if err := v.Set(t.Context(), name, value); err != nil {
		t.Fatal(err)
	}
	c := v.Respond()
	if c == nil || c.Value == "" || c.MaxAge <= 0 {
		t.Fatalf("cookie %v", c)
	}
	return c.Value
}

func TestVisit(t *testing.T) {
	s := newSessions(t)
	ctx := t.Context()
	token := made(t, s, "a", 1)
	if token, _, found, err := s.Begin(ctx, nil).Current(ctx); token != "" || found || err != nil {
		t.Errorf("nobody's session: %q, %v, %v", token, found, err)
	}
	// The first live one of several counts; what is no token does no harm.
	v := s.Begin(ctx, nil, "", "x; y\r\n", strings.Repeat("A", 64), token)
	values, texts, err := v.Fields(ctx)
	if err != nil || !reflect.DeepEqual(values, map[any]any{"a": 1}) || !reflect.DeepEqual(texts, map[string]string{"a": "1"}) {
		t.Errorf("fields %v, %v, %v", values, texts, err)
	}
	now, info, found, err := v.Current(ctx)
	if h, ok := compat.HandleOf(token); now != token || !found || err != nil || !ok || h != info.Handle {
		t.Errorf("Current: %v %v, handle %v of %v", found, err, h, info.Handle)
	}
	if c := v.Respond(); c != nil {
		t.Errorf("a cookie though it is the browser's: %v", c)
	}
	if err := v.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	v = s.Begin(ctx, nil, token)
	if err := v.Destroy(ctx); err != nil && !errors.Is(err, pazzo.ErrGone) {
		t.Errorf("a second Destroy: %v", err)
	}
}

// A page's own request must not begin a session in the place of one that has ended.
func TestFetchMetadata(t *testing.T) {
	s := newSessions(t)
	token := made(t, s, "a", 1)
	ctx := t.Context()
	if err := s.Begin(ctx, nil, token).Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	page := http.Header{"Sec-Fetch-Mode": {"cors"}, "Cookie": {"__Host-session=" + token}}
	if err := s.Begin(ctx, page, token).Set(ctx, "a", 2); !errors.Is(err, pazzo.ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
	if err := s.Begin(ctx, page).Set(ctx, "a", 2); err != nil {
		t.Errorf("the request's own Cookie header counts: %v", err)
	}
}

func TestTake(t *testing.T) {
	s := newSessions(t)
	ctx := t.Context()
	token := made(t, s, "a", 1)
	for _, want := range []any{1, nil} {
		if value, found, err := s.Begin(ctx, nil, token).Take(ctx, "a"); value != want || found != (want != nil) || err != nil {
			t.Errorf("%v, %v, %v; want %v", value, found, err, want)
		}
	}
}

func TestMerge(t *testing.T) {
	s := newSessions(t)
	ctx := t.Context()
	from, to := s.Begin(ctx, nil, made(t, s, "a", 1)), s.Begin(ctx, nil, made(t, s, "b", 2))
	if _, err := from.Merge(ctx, to); err != nil {
		t.Fatal(err)
	}
	values, _, err := to.Fields(ctx)
	if err != nil || len(values) != 2 {
		t.Errorf("values %v, %v", values, err)
	}
	if _, found, err := from.Info(ctx); found || err != nil {
		t.Errorf("the other session is still there: %v", err)
	}
}
