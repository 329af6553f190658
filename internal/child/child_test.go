//go:build linux

package child

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sh(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

func start(t *testing.T, script, ready string) *Process {
	t.Helper()
	p, err := Start(t.Context(), sh(script), ready)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill() })
	return p
}

func TestStartWaitsUntilReady(t *testing.T) {
	began := time.Now()
	p := start(t, "echo one; sleep 0.2; echo two >&2; sleep 60", "two")
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("ready after %s", took)
	}
	if got := p.Log(); got != "one\ntwo\n" {
		t.Errorf("log: %q", got)
	}
	if err := syscall.Kill(p.Pid(), 0); err != nil {
		t.Error(err)
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := p.Signal(syscall.SIGSTOP); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal to one that is gone: %v", err)
	}
}

func TestStartFails(t *testing.T) {
	var ended *EndedError
	if _, err := Start(t.Context(), sh("echo why; exit 1"), "ready"); !errors.As(err, &ended) || !strings.Contains(ended.Log, "why") {
		t.Errorf("ended: %v", err)
	}
	if _, err := Start(t.Context(), exec.Command("/no/such/program"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	cmd := sh("exec sleep 60")
	if _, err := Start(ctx, cmd, "ready"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("not ready: %v", err)
	}
	if err := syscall.Kill(cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("what did not get ready is still there: %v", err)
	}
}

func TestEnd(t *testing.T) {
	p := start(t, "trap 'echo bye; exit' TERM; echo ready; while :; do sleep 0.01; done", "ready")
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := p.End(syscall.SIGCONT, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if got := p.Log(); got != "ready\nbye\n" {
		t.Errorf("log: %q", got)
	}
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("again: %v", err)
	}
}

// What is paused answers nothing more, from its first moment on.
func TestPause(t *testing.T) {
	p := start(t, "echo ready; while :; do echo line; done", "ready")
	for range 100 {
		if err := Pause(p.Pid()); err != nil {
			t.Fatal(err)
		}
		if stopped, err := allStopped(p.Pid()); !stopped || err != nil {
			t.Errorf("it runs: %v", err)
		}
		if err := Resume(p.Pid()); err != nil {
			t.Fatal(err)
		}
	}
	if stopped, err := allStopped(p.Pid()); stopped || err != nil {
		t.Errorf("it is still paused: %v", err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := Pause(p.Pid()); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("one that is gone: %v", err)
	}
	if err := Resume(p.Pid()); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("one that is gone, resumed: %v", err)
	}
}

func TestLogIsBounded(t *testing.T) {
	l := newTail("ready")
	for range 100 {
		l.Write(make([]byte, 4096))
	}
	l.Write([]byte("rea"))
	l.Write([]byte("dy"))
	<-l.seen
	if n := len(l.String()); n > logKept {
		t.Errorf("%d bytes are kept", n)
	}
}

// Another process may take a port between the look and the start.
func TestPortThatIsTaken(t *testing.T) {
	tries, ports := 0, Ports{First: 22000, Count: 10000, Beside: 1}
	p, port, err := ports.Start(func(port int) (*Process, error) {
		if tries++; tries < 3 {
			return Start(t.Context(), sh("echo bind: Address already in use; exit 1"), "is up")
		}
		l, err := net.Listen("tcp4", Address(port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return Start(t.Context(), sh("echo it is up; sleep 60"), "is up")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if tries != 3 || port < 22000 || port >= 32000 {
		t.Errorf("%d tries, port %d", tries, port)
	}
	tries = 0
	if _, _, err := ports.Start(func(int) (*Process, error) { tries++; return nil, os.ErrInvalid }); err != os.ErrInvalid || tries != 1 {
		t.Errorf("another error: %v after %d tries", err, tries)
	}
}

// TestEndsWithItsParent kills a process that has started a child.
func TestEndsWithItsParent(t *testing.T) {
	if file := os.Getenv("PAZZO_TEST_CHILD"); file != "" { // we are that process
		p, err := Start(t.Context(), sh("echo ready; exec sleep 60"), "ready")
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(file+".new", []byte(strconv.Itoa(p.Pid())), 0o600)
		os.Rename(file+".new", file)
		select {}
	}
	file := filepath.Join(t.TempDir(), "pid")
	parent := exec.Command(os.Args[0], "-test.run=^TestEndsWithItsParent$")
	parent.Env = append(os.Environ(), "PAZZO_TEST_CHILD="+file)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for end := time.Now().Add(20 * time.Second); pid == 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(file); err == nil {
			pid, _ = strconv.Atoi(string(text))
		}
	}
	parent.Process.Kill()
	parent.Wait()
	for end := time.Now().Add(5 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return // gone, but nobody has waited for it
		}
		if time.Now().After(end) {
			t.Fatal("the child has outlived its parent")
		}
	}
}
