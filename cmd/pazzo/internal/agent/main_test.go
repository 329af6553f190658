package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// running is an agent that a test has started.
type running struct {
	*Agent
	t      testing.TB
	socket string
	stop   func() error // ends it, and returns what Serve did
	log    *logBuffer
}

// logBuffer collects the log.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// testConfig is the default for a test, with a socket of its own.
func testConfig(t testing.TB) Config {
	c := Default()
	c.Socket = filepath.Join(t.TempDir(), "agent.sock")
	return c
}

// start runs an agent until the test ends.
func start(t testing.TB, c Config) *running {
	t.Helper()
	log := &logBuffer{}
	a, err := New(t.Context(), c, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := a.Listen(nil)
	if err != nil {
		a.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx, listeners) }()
	stop := sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience + c.DrainTimeout):
			return fmt.Errorf("the agent does not end")
		}
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return &running{Agent: a, t: t, socket: c.Socket, stop: stop, log: log}
}

// wire is a raw connection.
type wire struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (a *running) dial() *wire {
	a.t.Helper()
	nc, err := net.Dial("unix", a.socket)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &wire{a.t, nc, bufio.NewReader(nc)}
}

// send writes what a client would, or what it should not.
func (w *wire) send(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		w.t.Fatal(err)
	}
}

// frame is a command as clients send it.
func frame(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

// do sends a command and returns its reply, as it came.
func (w *wire) do(args ...string) string {
	w.t.Helper()
	w.send(frame(args...))
	return w.read()
}

// read returns the next reply, as it came.
func (w *wire) read() string {
	w.t.Helper()
	reply, err := readReply(w.r)
	if err != nil {
		w.t.Fatalf("%q, %v", reply, err)
	}
	return reply
}

// readReply reads one reply of any kind.
func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil || len(line) < 3 {
		return line, fmt.Errorf("reply %q: %w", line, err)
	}
	n := 0
	switch line[0] {
	case '$', '=', '*', '~', '%', '>':
		if _, err := fmt.Sscanf(line[1:], "%d", &n); err != nil {
			return line, err
		}
	}
	switch line[0] {
	case '$', '=':
		if n < 0 {
			return line, nil
		}
		text := make([]byte, n+2)
		_, err := io.ReadFull(r, text)
		return line + string(text), err
	case '%':
		n *= 2
	}
	for range n {
		part, err := readReply(r)
		if line += part; err != nil {
			return line, err
		}
	}
	return line, nil
}

// want fails unless a command gets a reply.
func (w *wire) want(reply string, args ...string) {
	w.t.Helper()
	if got := w.do(args...); got != reply {
		w.t.Errorf("%q: %q, want %q", args, got, reply)
	}
}

// ended fails unless the agent closes the connection, and returns what came before.
func (w *wire) ended() string {
	w.t.Helper()
	rest, err := io.ReadAll(w.r)
	if err != nil && !isReset(err) {
		w.t.Errorf("the connection is still open: %v", err)
	}
	return string(rest)
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset") }
