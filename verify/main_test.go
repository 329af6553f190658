package verify

import (
	"flag"
	"os"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

// nightly says that the full figures are wanted.
var nightly = os.Getenv("PAZZO_NIGHTLY") != ""

func TestMain(m *testing.M) {
	flag.Parse()
	checks := 1_000
	if nightly {
		checks = 100_000
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", strconv.Itoa(checks)); err != nil {
			panic(err)
		}
	}
	// A goroutine that outlives the tests fails them.
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(agentFolder)
		os.Exit(code)
	}))
}
