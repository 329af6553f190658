package verify

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// startDemo builds `pazzo demo` with the race detector, starts it on a free port
// and returns where it is. It must end cleanly with the test, and says nothing on its
// standard error, unless it starts others.
func startDemo(t *testing.T, args ...string) (url string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "pazzo")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../cmd/pazzo", "-race", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	var stderr bytes.Buffer
	demo := exec.Command(program, append([]string{"demo", "-addr", "127.0.0.1:0"}, args...)...)
	demo.Dir = ".."
	demo.Stderr = &stderr
	stdout, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hard := time.AfterFunc(20*time.Second, func() { demo.Process.Kill() })
		defer hard.Stop()
		if err := demo.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		if err := demo.Wait(); err != nil {
			t.Errorf("the demo has not ended cleanly: %v", err)
		}
		if stderr.Len() > 0 && len(args) == 0 {
			t.Errorf("the demo says on stderr:\n%s", stderr.String())
		}
	})
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	for err == nil && !strings.Contains(line, "http://") {
		line, err = lines.ReadString('\n')
	}
	if url = regexp.MustCompile(`http://\S+`).FindString(line); url == "" {
		t.Fatalf("the demo does not say where it is: %q, %v", line, err)
	}
	return url
}

// tab is a page in a browser of its own, headless. What goes wrong in the page
// fails the test.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

func newTab(t *testing.T) *tab {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless_shell"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Fatal("install chromium: the demo is tested in a browser")
	}
	profile, err := os.MkdirTemp("", "pazzo-demo-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) }) // the browser may still write there
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	timed, done := context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(func() {
		if err := chromedp.Cancel(timed); err != nil {
			t.Errorf("closing the browser: %v", err)
		}
		done()
	})
	b := &tab{T: t, ctx: timed}
	if err := chromedp.Listen(timed, b.note); err != nil {
		t.Fatalf("starting %s: %v", program, err)
	}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, problem := range b.problems {
			t.Errorf("in the page: %s", problem)
		}
	})
	return b
}

// note collects what the browser's console would show. A 409 is how Pazzo answers
// a request that has lost a race, and browsers log it.
func (b *tab) note(event any) {
	var problem string
	switch e := event.(type) {
	case *cdplog.EventEntryAdded:
		if e.Entry.Source == "network" && strings.Contains(e.Entry.Text, "409") {
			return
		}
		problem = strings.Join([]string{string(e.Entry.Source), string(e.Entry.Level), e.Entry.Text, e.Entry.URL}, " ")
	case *runtime.EventConsoleAPICalled:
		problem = "console." + string(e.Type)
	case *runtime.EventExceptionThrown:
		problem = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			problem += " " + e.ExceptionDetails.Exception.Description
		}
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, problem)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

func (b *tab) open(url string) {
	b.Helper()
	b.do(chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS("html[data-ready]")))
}

func (b *tab) click(selector string) {
	b.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// until waits until a JavaScript expression is true.
func (b *tab) until(expression string) {
	b.Helper()
	wait := chromedp.Poll[bool]("!!("+expression+")", chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(time.Minute))
	if _, err := chromedp.Run(b.ctx, wait); err != nil {
		text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
		b.Fatalf("waiting for %s: %v; the page says:\n%s", expression, err, text)
	}
}

// eval returns the value of a JavaScript expression.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return value
}

// prefer sets a preference that a style sheet can ask for.
func (b *tab) prefer(name, value string) {
	b.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: name, Value: value}},
		})
		return err
	}))
}
