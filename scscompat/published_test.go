package scscompat_test

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/compat/published"
)

// TestPublished runs what scs publishes with its module, as far as it uses exported
// names. All its durations are ten times as long, as Pazzo's begin at a second.
func TestPublished(t *testing.T) {
	internals := "uses scs's unexported sessionData and contextKey"
	cannot := map[string]string{
		"TestIterate": "Pazzo's stores do not list sessions",
	}
	for _, name := range []string{
		"TestSessionDataFromContext", "TestSessionManager_Load", "TestSessionManager_Commit", "TestPut", "TestGet", "TestPop",
		"TestRemove", "TestClear", "TestExists", "TestKeys", "TestGetString", "TestGetBool", "TestGetInt", "TestGetFloat",
		"TestGetBytes", "TestGetTime", "TestPopString", "TestPopBool", "TestPopInt", "TestPopFloat", "TestPopBytes",
		"TestPopTime", "TestStatus",
	} {
		cannot[name] = internals
	}
	published.Run(t, published.Suite{
		Module: "github.com/alexedwards/scs/v2",
		Files:  []string{"session_test.go", "session_go120_test.go", "data_test.go"},
		Extra: `
import "github.com/pazzo-sessions/pazzo/scscompat"

var New = scscompat.New
`,
		Run: []string{
			"TestEnable", "TestLifetime", "TestIdleTimeout", "TestDestroy", "TestRenewToken", "TestRememberMe", "TestFlusher",
			"TestHijacker",
		},
		CannotRun: cannot,
		Replace: []string{
			"time.Millisecond", "(10 * time.Millisecond)",
			"time.Second", "(10 * time.Second)",
		},
	})
}
