package gorillacompat_test

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/compat/published"
)

// TestPublished runs what gorilla/sessions publishes with its module on our store, in
// the place of its cookie store.
func TestPublished(t *testing.T) {
	published.Run(t, published.Suite{
		Module: "github.com/gorilla/sessions",
		Files:  []string{"sessions_test.go", "store_test.go", "cookie_test.go"},
		Run:    []string{"TestFlashes", "TestCookieStoreMapPanic", "TestGH8CookieStore"},
		CannotRun: map[string]string{
			"TestNewCookieFromOptions":     "uses the unexported newCookieFromOptions",
			"TestGH8FilesystemStore":       "is TestGH8CookieStore for files",
			"TestGH2MaxLength":             "is about the file store's MaxLength; here pazzo.Options.Limits bound values",
			"TestGH8FilesystemStoreDelete": "is about files; see TestMaxAge",
			"TestGH8FilesystemStoreDelete2": "is about files; MaxAge 0 is a cookie until the browser closes, as Options documents, " +
				"see TestMaxAge",
		},
		Replace: []string{"NewCookieStore(", "newStore("},
		Extra: `
import (
	"net/http"

	"github.com/gorilla/sessions"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/gorillacompat"
	"github.com/pazzo-sessions/pazzo/memstore"
)

type Session = sessions.Session

var (
	Save       = sessions.Save
	NewSession = sessions.NewSession
)

// newStore has the defaults of NewCookieStore, which the tests look for.
func newStore(...[]byte) *gorillacompat.Store {
	s, err := gorillacompat.NewStore(memstore.New(nil), &pazzo.Options{SecretKeys: []string{"0123456789abcdef0123456789abcdef"}})
	if err != nil {
		panic(err)
	}
	s.Options = &sessions.Options{Path: "/", MaxAge: 86400 * 30, SameSite: http.SameSiteNoneMode, Secure: true}
	return s
}
`,
	})
}
