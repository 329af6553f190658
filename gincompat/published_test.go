package gincompat_test

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/compat/published"
)

// TestPublished runs the tests by which gin-contrib/sessions tries its cookie store,
// which are those of its package tester, on ours.
func TestPublished(t *testing.T) {
	published.Run(t, published.Suite{
		Module: "github.com/gin-contrib/sessions",
		Files:  []string{"cookie/cookie_test.go"},
		Run: []string{
			"TestCookie_SessionGetSet", "TestCookie_SessionDeleteKey", "TestCookie_SessionFlashes", "TestCookie_SessionClear",
			"TestCookie_SessionOptions", "TestCookie_SessionMany",
		},
		Extra: `
import (
	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/gincompat"
	"github.com/pazzo-sessions/pazzo/memstore"
)

func NewStore(...[]byte) *gincompat.Store {
	s, err := gincompat.NewStore(memstore.New(nil), &pazzo.Options{SecretKeys: []string{"0123456789abcdef0123456789abcdef"}})
	if err != nil {
		panic(err)
	}
	return s
}
`,
	})
}
