package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// invoke runs a command that needs nothing of its surroundings.
func invoke(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	code = run(ctx, args, func(string) string { return "" }, &out, &err)
	return code, out.String(), err.String()
}

func TestSecretsAreFreshAndLongEnough(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		code, out, stderr := invoke(t, "secret")
		key := strings.TrimSuffix(out, "\n")
		if code != exitOK || stderr != "" {
			t.Fatalf("exit %d, stderr %q", code, stderr)
		}
		// 43 characters of base64url are 32 bytes.
		if len(key) != 43 || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Fatalf("%q is not a line of 43 characters of base64url", out)
		}
		if seen[key] {
			t.Fatal("a key came twice")
		}
		seen[key] = true
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}} {
		code, out, _ := invoke(t, args...)
		if code != exitOK {
			t.Errorf("%q: exit %d", args, code)
		}
		for _, c := range commands() {
			if !strings.Contains(out, "pazzo "+c.name) || !strings.Contains(out, c.summary) {
				t.Errorf("%q does not tell of %s:\n%s", args, c.name, out)
			}
		}
	}
	code, out, _ := invoke(t, "demo", "-h")
	if code != exitOK || !strings.Contains(out, "-store") || !strings.Contains(out, "-addr") {
		t.Errorf("demo -h: exit %d:\n%s", code, out)
	}
}

func TestMistakesInTheCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "Usage:"},
		{[]string{"dmeo"}, `unknown command "dmeo"`},
		{[]string{"-x"}, `unknown command "-x"`},
		{[]string{"demo", "-port", "1"}, "-port"},
		{[]string{"secret", "-x"}, "-x"},
		{[]string{"version", "now"}, `unexpected argument "now"`},
		{[]string{"help", "demo"}, `unexpected argument "demo"`},
	} {
		code, out, stderr := invoke(t, c.args...)
		if code != exitUsage || out != "" || !strings.Contains(stderr, c.says) {
			t.Errorf("pazzo %q: exit %d, stdout %q, stderr %q; want exit 2 and %q on stderr", c.args, code, out, stderr, c.says)
		}
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"demo", "-addr", "0.0.0.0:8080"}, "not on the loopback"},
		{[]string{"demo", "-addr", "example.org:8080"}, "not on the loopback"},
		{[]string{"demo", "-addr", "8080"}, "want host:port"},
		{[]string{"demo", "-addr", "127.0.0.1:http"}, "not a number"},
		{[]string{"demo", "-store", "nonsense://x"}, "the scheme must be"},
		{[]string{"demo", "-store", "redis://127.0.0.1:1/0"}, "127.0.0.1:1"},
	} {
		code, _, stderr := invoke(t, c.args...)
		if code != exitFailed || !strings.Contains(stderr, c.says) {
			t.Errorf("pazzo %q: exit %d, stderr %q; want exit 1 and %q", c.args, code, stderr, c.says)
		}
	}
}

func TestVersion(t *testing.T) {
	code, out, _ := invoke(t, "version")
	if code != exitOK || !strings.HasPrefix(out, "pazzo ") || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d, stdout %q", code, out)
	}
	released := &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v1.2.3"}}
	if got := version(released, true); got != "pazzo v1.2.3 go1.26" {
		t.Errorf("of a release: %q", got)
	}
	checkout := &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "(devel)"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}}
	if got := version(checkout, true); got != "pazzo abc go1.26" {
		t.Errorf("of a checkout: %q", got)
	}
	if got := version(nil, false); got != "pazzo (unknown version)" {
		t.Errorf("of nothing: %q", got)
	}
}

// The demo says where it is, moves on when its port is taken, and ends cleanly
// with its streams open.
func TestDemoStartsAndStops(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	read, write := io.Pipe()
	defer read.Close()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"demo", "-addr", other.Addr().String()}, func(string) string { return "" }, write, write)
		write.Close()
	}()

	lines := bufio.NewScanner(read)
	next := func() string {
		if !lines.Scan() {
			t.Fatalf("the output ends early: %v", lines.Err())
		}
		return lines.Text()
	}
	if line := next(); !strings.Contains(line, other.Addr().String()+" is taken") {
		t.Errorf("it does not say that the port is taken: %q", line)
	}
	_, url, found := strings.Cut(next(), "Look at ")
	url, _, _ = strings.Cut(url, " ")
	if !found || !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Fatalf("it does not say where to look: %q", url)
	}
	if line := next(); !strings.Contains(line, "memory") {
		t.Errorf("it does not say where the sessions are: %q", line)
	}

	jar := newClient(t)
	page, err := jar.Get(url + "/")
	if err != nil {
		t.Fatal(err)
	}
	page.Body.Close()
	if page.StatusCode != http.StatusOK {
		t.Fatalf("the page: %s", page.Status)
	}
	stream, err := jar.Get(url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()

	interrupt()
	select {
	case code := <-ended:
		if code != exitOK {
			t.Errorf("exit %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the demo does not stop")
	}
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("the stream was cut off rather than ended: %v", err)
	}
}
