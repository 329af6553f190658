package pazzo_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leftGoroutines(5 * time.Second); len(left) > 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "FAIL: %d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

// leftGoroutines returns the stacks of the goroutines that are not the test
// binary's own, once none is left or the time is over.
func leftGoroutines(patience time.Duration) (stacks []string) {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 4<<20)
		all := strings.Split(strings.TrimSpace(string(buf[:runtime.Stack(buf, true)])), "\n\n")
		stacks = stacks[:0]
		for _, stack := range all[1:] { // the first is this one
			if !isOwn(stack) {
				stacks = append(stacks, stack)
			}
		}
		if len(stacks) == 0 || time.Now().After(end) {
			return stacks
		}
	}
}

// isOwn reports whether a goroutine belongs to the testing package or the runtime.
func isOwn(stack string) bool {
	for _, mark := range []string{"testing.(*M)", "testing.(*F)", "testing.runFuzz", "internal/fuzz.", "os/signal.", "runtime/trace.", "runtime/pprof."} {
		if strings.Contains(stack, mark) {
			return true
		}
	}
	return false
}

func TestLeftGoroutinesAreFound(t *testing.T) {
	stop := make(chan struct{})
	go func() { <-stop }()
	left := leftGoroutines(0)
	close(stop)
	for _, stack := range left {
		if strings.Contains(stack, "TestLeftGoroutinesAreFound.func") {
			return
		}
	}
	t.Errorf("a goroutine that runs is not among the %d found", len(left))
}

// browser has one cookie, sends it with its requests, and does what the responses
// that it receives say about it.
type browser struct {
	t      testing.TB
	site   *site
	cookie string // the token, or none
}

func newBrowser(t testing.TB, s *site) *browser { return &browser{t: t, site: s} }

// other is a further request's view of the same browser, such as one that was
// sent before the cookie changed.
func (b *browser) other() *browser { return &browser{t: b.t, site: b.site, cookie: b.cookie} }

// send sends a request with the browser's cookie. The response is not received
// yet.
func (b *browser) send(kind func(*http.Request), f func(ctx context.Context, s *pazzo.Session)) *http.Response {
	return b.site.serve(func(_ http.ResponseWriter, r *http.Request) {
		f(r.Context(), pazzo.FromContext(r.Context()))
	}, kind, func(r *http.Request) {
		if b.cookie != "" {
			r.AddCookie(&http.Cookie{Name: cookieName, Value: b.cookie})
		}
	})
}

// receive applies a response's Set-Cookie.
func (b *browser) receive(r *http.Response) {
	for _, c := range r.Cookies() {
		if c.MaxAge < 0 {
			b.cookie = ""
		} else {
			b.cookie = c.Value
		}
	}
}

// navigate sends a navigation and receives its response.
func (b *browser) navigate(f func(ctx context.Context, s *pazzo.Session)) *http.Response {
	r := b.send(navigate, f)
	b.receive(r)
	return r
}

// fetch does the same with a request that a page's script sends.
func (b *browser) fetch(f func(ctx context.Context, s *pazzo.Session)) *http.Response {
	r := b.send(fetch, f)
	b.receive(r)
	return r
}

// login logs a user in by a page's fetch, as a modern page does.
func (b *browser) login(user string) error {
	var err error
	b.fetch(func(ctx context.Context, s *pazzo.Session) { err = s.Authenticate(ctx, user) })
	return err
}

// add adds 1 to the tally by a page's fetch.
func (b *browser) add() (n int64, err error) {
	b.fetch(func(ctx context.Context, _ *pazzo.Session) { n, err = tally.Add(ctx, 1) })
	return n, err
}

// tally reads the tally; user and info ask about the session.
func (b *browser) tally() (n int64) {
	b.t.Helper()
	var err error
	b.fetch(func(ctx context.Context, _ *pazzo.Session) { n, err = tally.Get(ctx) })
	must(b.t, err)
	return n
}

func (b *browser) info() (info pazzo.Info, found bool) {
	b.t.Helper()
	var err error
	b.fetch(func(ctx context.Context, s *pazzo.Session) { info, found, err = s.Info(ctx) })
	must(b.t, err)
	return info, found
}

func (b *browser) user() string {
	b.t.Helper()
	info, _ := b.info()
	return info.User
}

func (b *browser) handle() pazzo.Handle {
	b.t.Helper()
	info, found := b.info()
	if !found {
		b.t.Fatal("there is no session")
	}
	return info.Handle
}
