// Package memcachedtest runs real memcached processes, for tests and benchmarks.
//
// They listen on 127.0.0.1 only, on ports that are chosen afresh, keep nothing, and end
// with the test. On Linux they end with the process as well, even if that is killed. The
// program is memcached from PATH; the environment variable PAZZO_MEMCACHED names another.
// A missing program fails the test; it never skips it.
package memcachedtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/internal/child"
)

// Server is a running memcached. Its methods may be called from any goroutine.
type Server struct {
	program string
	args    []string
	port    int
	secured *secured // or nil

	mu   sync.Mutex
	proc *child.Process
}

// startDeadline bounds a start.
const startDeadline = 30 * time.Second

// Start runs a server and ends it when the test does. The args go to its command line:
// "-m", "8".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	s, err := Run(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Errorf("clean-up: %v", err)
		}
	})
	return s
}

// Run is Start for who has no test. ctx bounds the start only; the caller ends the server
// with Kill.
func Run(ctx context.Context, args ...string) (*Server, error) { return run(ctx, nil, args...) }

func run(ctx context.Context, secured *secured, args ...string) (*Server, error) {
	name := os.Getenv("PAZZO_MEMCACHED")
	if name == "" {
		name = "memcached"
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("memcachedtest: install memcached (Debian: apt-get install memcached), or set PAZZO_MEMCACHED: %w", err)
	}
	s := &Server{program: program, secured: secured}
	s.proc, s.port, err = ports.Start(func(port int) (*child.Process, error) {
		s.port = port
		s.args = append([]string{"-l", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "0"}, args...)
		return s.launch(ctx)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ports are those of the servers.
var ports = child.Ports{First: 22000, Count: 10000}

// launch starts the program and returns once it answers with its own process id, so that
// it is not another that has won the race for the port.
func (s *Server) launch(ctx context.Context) (*child.Process, error) {
	// It refuses root, and would forget about its parent if it changed to another user itself.
	other, err := child.Ordinary("nobody")
	if err != nil {
		return nil, fmt.Errorf("memcachedtest: %w", err)
	}
	cmd := exec.Command(s.program, s.args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: other}
	p, err := child.Start(ctx, cmd, "")
	if err != nil {
		return nil, fmt.Errorf("memcachedtest: %w", err)
	}
	for {
		if stats, err := s.Ask("stats\r\n"); err == nil && strings.Contains(stats, fmt.Sprintf("STAT pid %d\r\n", p.Pid())) {
			return p, nil
		}
		select {
		case <-p.Gone():
			return nil, fmt.Errorf("memcachedtest: %w", &child.EndedError{Program: s.program, Log: p.Log()})
		case <-ctx.Done():
			p.Kill()
			return nil, fmt.Errorf("memcachedtest: memcached is not ready: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// dial connects as a client does, and logs in.
func (s *Server) dial() (net.Conn, error) {
	dialer := &net.Dialer{Timeout: time.Second}
	if s.secured == nil {
		return dialer.Dial("tcp", s.Addr())
	}
	conn, err := tls.DialWithDialer(dialer, "tcp", s.Addr(), s.secured.config)
	if err != nil {
		return nil, err
	}
	text := User + " " + Password
	_, err = fmt.Fprintf(conn, "set login 0 0 %d\r\n%s\r\n", len(text), text)
	return conn, err
}

// Addr returns the address, 127.0.0.1:port. It stays the same after Restart.
func (s *Server) Addr() string { return child.Address(s.port) }

// URL returns the store URL, without parameters, but for ca after StartSecured.
func (s *Server) URL() string {
	if s.secured == nil {
		return "memcached://" + s.Addr()
	}
	return "memcacheds://" + User + ":" + Password + "@" + s.Addr() + "?ca=" + s.CAFile()
}

// Ask sends commands, each with its line's end, and returns the answers.
func (s *Server) Ask(commands string) (string, error) {
	conn, err := s.dial()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(commands + "quit\r\n")); err != nil {
		return "", err
	}
	all, _ := io.ReadAll(conn) // up to its end, however it ends
	return string(all), nil
}

// Kill ends the server at once and waits until it is gone. A second Kill does nothing.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.Kill()
}

// Restart kills the server if it runs and starts it on the same port, empty.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.Kill(); err != nil {
		return err
	}
	proc, err := s.launch(ctx)
	if err == nil {
		s.proc = proc
	}
	return err
}

// Pid returns the id of the process, also of one that has ended.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.Pid()
}

// Pause freezes the server (SIGSTOP) and returns once it runs no more. The kernel goes on
// accepting connections and data for it.
func (s *Server) Pause() error { return child.Pause(s.Pid()) }

// Resume lets a paused server go on (SIGCONT).
func (s *Server) Resume() error { return child.Resume(s.Pid()) }
