package redistest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/internal/child"
)

// testContext ends well before the test binary's own limit, so that a hang
// shows what it waited for.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantReply sends a command and compares the reply, printed.
func wantReply(t *testing.T, ctx context.Context, s *Server, want string, args ...string) {
	t.Helper()
	reply, err := s.Do(ctx, args...)
	must(t, err)
	if got := fmt.Sprint(reply); got != want {
		t.Fatalf("%v: got %s, want %s", args, got, want)
	}
}

func TestServerLifeCycle(t *testing.T) {
	ctx := testContext(t)
	s := Start(t)
	wantReply(t, ctx, s, "PONG", "PING")
	wantReply(t, ctx, s, "[save ]", "CONFIG", "GET", "save")
	wantReply(t, ctx, s, "[bind 127.0.0.1]", "CONFIG", "GET", "bind")
	if want := "redis://" + s.Addr() + "/0"; s.URL() != want {
		t.Errorf("URL is %s, want %s", s.URL(), want)
	}

	addr, pid := s.Addr(), s.Pid()
	must(t, s.Stop())
	must(t, s.Stop())
	if s.Running() {
		t.Error("runs after Stop")
	}
	if _, err := s.Do(ctx, "PING"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after Stop: got %v, want connection refused", err)
	}
	if err := s.Pause(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Pause after Stop: got %v", err)
	}
	must(t, s.Restart(ctx))
	wantReply(t, ctx, s, "PONG", "PING")
	if s.Addr() != addr || s.Pid() == pid {
		t.Errorf("after Restart: %s as %d, was %s as %d", s.Addr(), s.Pid(), addr, pid)
	}
	must(t, s.Kill())
	must(t, s.Kill())
	must(t, s.Restart(ctx))
	must(t, s.Restart(ctx)) // of one that runs
	wantReply(t, ctx, s, "PONG", "PING")
}

func TestPauseAndResume(t *testing.T) {
	ctx := testContext(t)
	s := Start(t)
	must(t, s.Pause())
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := s.Do(short, "PING"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("paused: got %v, want deadline exceeded", err)
	}
	must(t, s.Resume())
	wantReply(t, ctx, s, "PONG", "PING")
	must(t, s.Pause())
	must(t, s.Stop()) // a paused one too
}

func TestPasswordAndUsers(t *testing.T) {
	ctx := testContext(t)
	s := Start(t, "--requirepass", "se cret", "--user", "app", "on", ">pw", "~*", "+@all")
	wantReply(t, ctx, s, "PONG", "PING")
	if want := "redis://:se%20cret@" + s.Addr() + "/0"; s.URL() != want {
		t.Errorf("URL is %s, want %s", s.URL(), want)
	}
	c, err := dial(ctx, s.Addr(), nil)
	must(t, err)
	defer c.close()
	var refused ReplyError
	if _, err := c.do(ctx, "PING"); !errors.As(err, &refused) || !strings.HasPrefix(string(refused), "NOAUTH") {
		t.Errorf("without a password: got %v", err)
	}
	_, err = c.do(ctx, "AUTH", "app", "pw")
	must(t, err)
}

func TestDataSurvivesRestartWithAppendOnly(t *testing.T) {
	ctx := testContext(t)
	s := Start(t, "--appendonly", "yes", "--appendfsync", "always")
	wantReply(t, ctx, s, "OK", "SET", "k", "v")
	must(t, s.Kill())
	must(t, s.Restart(ctx))
	wantReply(t, ctx, s, "v", "GET", "k")
}

func TestTLS(t *testing.T) {
	ctx := testContext(t)
	s := StartTLS(t)
	wantReply(t, ctx, s, "PONG", "PING")
	if !strings.HasPrefix(s.URL(), "rediss://127.0.0.1:") {
		t.Errorf("URL is %s", s.URL())
	}
	if _, err := os.Stat(s.CAFile()); err != nil {
		t.Error(err)
	}
	c, err := dial(ctx, s.Addr(), nil)
	must(t, err)
	defer c.close()
	if reply, err := c.do(ctx, "PING"); err == nil {
		t.Errorf("plain text was answered: %v", reply)
	}
}

func TestServersStartAtOnce(t *testing.T) {
	ctx := testContext(t)
	servers, err := runAll(12, func(int) (*Server, error) { return Run(ctx, t.TempDir()) })
	must(t, err)
	defer killAll(servers)
	for i, s := range servers {
		wantReply(t, ctx, s, "OK", "SET", "who", fmt.Sprint(i))
	}
	for i, s := range servers {
		wantReply(t, ctx, s, fmt.Sprint(i), "GET", "who")
	}
}

// A port that was free when it was looked at and is taken when the server wants
// it: the next one is tried.
func TestPortRace(t *testing.T) {
	ctx := testContext(t)
	program, err := serverProgram()
	must(t, err)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	dir, tries := t.TempDir(), 0
	p, port, err := ports.Start(func(port int) (*child.Process, error) {
		if tries++; tries <= 2 {
			port = taken
		}
		return launch(ctx, program, dir, serverReady, serverArgs(port, dir, nil))
	})
	must(t, err)
	defer p.Kill()
	if tries != 3 || port == taken {
		t.Errorf("%d tries, port %d", tries, port)
	}
}

func TestStartFailures(t *testing.T) {
	ctx := testContext(t)
	t.Run("bad argument", func(t *testing.T) {
		_, err := Run(ctx, t.TempDir(), "--no-such-option", "1")
		if err == nil || !strings.Contains(err.Error(), "no-such-option") {
			t.Errorf("got %v, want the server's own words", err)
		}
	})
	t.Run("missing server", func(t *testing.T) {
		t.Setenv("PAZZO_REDIS_SERVER", "no-such-server")
		_, err := Run(ctx, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), "install redis-server") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no time", func(t *testing.T) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err := launch(ended, "sleep", t.TempDir(), serverReady, []string{"60"})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestReplies(t *testing.T) {
	ctx := testContext(t)
	s := Start(t)
	wantReply(t, ctx, s, "<nil>", "GET", "none")
	wantReply(t, ctx, s, "2", "RPUSH", "list", "a\r\nb", "")
	wantReply(t, ctx, s, "[a\r\nb ]", "LRANGE", "list", "0", "-1")
	wantReply(t, ctx, s, "[1 inner [<nil>]]", "EVAL", "return {1, {err='inner'}, {false}}", "0")
	var refused ReplyError
	if _, err := s.Do(ctx, "GET", "list"); !errors.As(err, &refused) || !strings.HasPrefix(string(refused), "WRONGTYPE") {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"", "\n", "?\r\n", ":x\r\n", "!1\r\n", "$5\r\nab"} {
		client, server := net.Pipe()
		go func() {
			server.Read(make([]byte, 64)) // the whole request
			io.WriteString(server, bad)
			server.Close()
		}()
		c := newConn(client)
		if reply, err := c.do(ctx, "X"); err == nil {
			t.Errorf("%q gave %v", bad, reply)
		}
		c.close()
	}
}
