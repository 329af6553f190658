package scscompat_test

import (
	"fmt"
	"net/http"
	"testing"

	original "github.com/alexedwards/scs/v2"

	scs "github.com/pazzo-sessions/pazzo/scscompat"
)

// moveOver is middleware, inside LoadAndSave of both managers, that copies a session
// of the original's; as docs/migration.md has it.
func moveOver(old *original.SessionManager, sessions *scs.SessionManager, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if keys := old.Keys(ctx); len(keys) > 0 {
			if sessions.Token(ctx) == "" {
				for _, key := range keys {
					sessions.Put(ctx, key, old.Get(ctx, key))
				}
			}
			if err := old.Destroy(ctx); err != nil {
				sessions.ErrorFunc(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// TestMoveOver: a user who is logged in stays so, and the old session ends.
func TestMoveOver(t *testing.T) {
	old, sessions := original.New(), newManager(t)
	sessions.Cookie.Name = "pazzo"
	inner := http.NewServeMux()
	inner.HandleFunc("/me", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%d %v", sessions.GetInt(r.Context(), "user"), old.Keys(r.Context()))
	})
	app := http.NewServeMux()
	app.Handle("/old", old.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { old.Put(r.Context(), "user", 7) })))
	app.Handle("/me", sessions.LoadAndSave(old.LoadAndSave(moveOver(old, sessions, inner))))
	get := serve(t, app)
	get("/old")
	for range 2 {
		if _, body := get("/me"); body != "7 []" {
			t.Errorf("user and old keys: %s, want 7 []", body)
		}
	}
}
