package pebblestore

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// nightly says that the full figures are wanted.
var nightly = os.Getenv("PAZZO_NIGHTLY") != ""

// child is set in a process that runs one test for another process.
const child = "PAZZO_PEBBLE_CHILD"

// TestMain fails when a test leaves a goroutine behind, but for those that a store
// leaves that has failed: such tests run in processes of their own.
func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// inChild runs the test in a process of its own, and reports whether this is that
// one.
func inChild(t *testing.T) bool {
	t.Helper()
	if os.Getenv(child) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) || err == nil && !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	} else if err != nil {
		t.Fatal(err)
	}
	return false
}
