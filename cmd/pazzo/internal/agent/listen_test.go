package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// quiet is for agents whose log does not matter.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func listenAt(t *testing.T, path string) (*socketListener, error) {
	t.Helper()
	l, err := listenSocket(path, 0o640)
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, err
}

func TestASocketThatIsServedIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenAt(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := os.Stat(path); err != nil || found.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", found.Mode(), err)
	}
	if _, err := listenAt(t, path); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent: %v", err)
	}
	l.lock.Close() // then only the socket itself tells
	if _, err := listenAt(t, path); err == nil || !strings.Contains(err.Error(), "served by another process") {
		t.Errorf("a second agent without the lock: %v", err)
	}
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if _, err := listenAt(t, path); err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	path := write(t, "s", "precious")
	if _, err := listenAt(t, path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}

// A socket that has taken the place of ours is not removed with ours.
func TestOnlyOursIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenAt(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the other's socket is gone: %v", err)
	}

	l, err = listenAt(t, path+"2")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Stat(path + "2"); err == nil {
		t.Error("ours is still there")
	}
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := func(name string) string { return map[string]string{"NOTIFY_SOCKET": path}[name] }
	if err := Notify(env, "READY=1"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	if n, err := l.Read(got); string(got[:n]) != "READY=1" {
		t.Errorf("%q, %v", got[:n], err)
	}
	if err := Notify(func(string) string { return "" }, "READY=1"); err != nil {
		t.Errorf("nobody wants to know: %v", err)
	}
}

func TestNothingIsInheritedFromOthers(t *testing.T) {
	for _, pid := range []string{"", "1", strconv.Itoa(os.Getppid())} {
		env := func(name string) string { return map[string]string{"LISTEN_PID": pid, "LISTEN_FDS": "1"}[name] }
		if l, err := Inherited(env); l != nil || err != nil {
			t.Errorf("LISTEN_PID=%s: %v, %v", pid, l, err)
		}
	}
}

// An inherited socket takes the place of those in the settings.
func TestInheritedSockets(t *testing.T) {
	c := testConfig(t)
	a, err := New(t.Context(), c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := a.Listen([]net.Listener{inherited})
	if err != nil || len(listeners) != 1 {
		t.Fatal(listeners, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx, listeners) }()
	nc, err := net.Dial("tcp", inherited.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 7)
	if _, err := io.ReadFull(nc, reply); string(reply) != "+PONG\r\n" {
		t.Errorf("%q, %v", reply, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(c.Socket); err == nil {
		t.Error("the socket of the settings was opened as well")
	}
}
