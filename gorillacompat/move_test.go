package gorillacompat_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gorilla/sessions"
)

// moveOver copies a session of the old store's, under another name, before the first
// handler uses the new one; as docs/migration.md has it.
func moveOver(w http.ResponseWriter, r *http.Request, old, store sessions.Store) error {
	before, err := old.Get(r, "old")
	if err != nil || before.IsNew {
		return nil // it does not decode, or there is none
	}
	session, err := store.Get(r, "s")
	if err != nil {
		return err
	}
	if session.IsNew {
		for key, value := range before.Values {
			session.Values[key] = value
		}
		if err := session.Save(r, w); err != nil {
			return err
		}
	}
	before.Options.MaxAge = -1
	return before.Save(r, w)
}

// TestMoveOver: a user who is logged in stays so, and the old session ends.
func TestMoveOver(t *testing.T) {
	store, _ := newStore(t)
	b := newBrowser(t, store)
	old := sessions.NewCookieStore([]byte("0123456789abcdef0123456789abcdef"))
	r := b.request()
	before, _ := old.Get(r, "old")
	before.Values["user"] = 7
	w := httptest.NewRecorder()
	if err := before.Save(r, w); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.Result().Cookies() {
		b.cookies[c.Name] = c.Value
	}
	for range 2 {
		w := httptest.NewRecorder()
		if err := moveOver(w, b.request(), old, store); err != nil {
			t.Fatal(err)
		}
		for _, c := range w.Result().Cookies() {
			if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
				delete(b.cookies, c.Name)
			}
		}
		if _, still := b.cookies["old"]; still || b.values()["user"] != 7 {
			t.Errorf("cookies %v, values %v", b.cookies, b.values())
		}
	}
}
