package memstore

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails when a test leaves a goroutine of this package behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if leaked := leaks(time.Now().Add(5 * time.Second)); code == 0 && leaked != "" {
		fmt.Fprintf(os.Stderr, "goroutines left:\n%s\n", leaked)
		code = 1
	}
	os.Exit(code)
}

// leaks returns the stacks of this package's goroutines, other than the caller's,
// that are still there at the deadline.
func leaks(deadline time.Time) string {
	for {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		var left []string
		for i, stack := range strings.Split(string(stacks), "\n\n") {
			if i > 0 && strings.Contains(stack, "/memstore.(*Store)") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
