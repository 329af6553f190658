package published

import (
	"slices"
	"strings"
	"testing"
)

func TestRewriteFile(t *testing.T) {
	s := Suite{Run: []string{"TestKept"}, CannotRun: map[string]string{"TestDropped": "for the test"}}
	source, tests, err := s.rewriteFile([]byte(`package theirs

import (
	"bytes"
	"testing"
)

func TestKept(t *testing.T) {}

// TestDropped has a comment.
func TestDropped(t *testing.T) { bytes.Clone(nil) }

func helper() {}
`))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tests, []string{"TestKept", "TestDropped"}) {
		t.Errorf("tests %q", tests)
	}
	for _, want := range []string{"package published", `_ "bytes"`, "TestKept", "helper"} {
		if !strings.Contains(string(source), want) {
			t.Errorf("no %s in\n%s", want, source)
		}
	}
	if strings.Contains(string(source), "TestDropped") {
		t.Errorf("TestDropped in\n%s", source)
	}
}

// Nothing passes that is missing, new, or not there to run.
func TestUnexpected(t *testing.T) {
	for name, c := range map[string]struct {
		run, found []string
		right      bool
	}{
		"right":   {[]string{"TestA"}, []string{"TestB", "TestA"}, true},
		"missing": {[]string{"TestA"}, []string{"TestB"}, false},
		"listed":  {[]string{"TestA"}, []string{"TestA"}, false},
		"new":     {[]string{"TestA"}, []string{"TestA", "TestB", "TestC"}, false},
		"none":    {nil, []string{"TestB"}, false},
	} {
		s := Suite{Run: c.run, CannotRun: map[string]string{"TestB": "for the test"}}
		if err := s.expected(c.found); (err == nil) != c.right {
			t.Errorf("%s: %v", name, err)
		}
	}
}
