// Package memcachedtest runs real memcached processes, for tests and benchmarks.
//
// They listen on 127.0.0.1 only, on ports that are chosen afresh, keep nothing, and end
// with the test. On Linux they end with the process as well, even if that is killed. The
// program is memcached from PATH; the environment variable PAZZO_MEMCACHED names another.
// A missing program fails the test; it never skips it.
package memcachedtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is a running memcached. Its methods may be called from any goroutine.
type Server struct {
	program string
	args    []string
	port    int

	mu   sync.Mutex
	proc *process
}

// process is one run of the program.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it is gone
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
func Run(ctx context.Context, args ...string) (*Server, error) {
	name := os.Getenv("PAZZO_MEMCACHED")
	if name == "" {
		name = "memcached"
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("memcachedtest: install memcached (Debian: apt-get install memcached), or set PAZZO_MEMCACHED: %w", err)
	}
	s := &Server{program: program}
	const attempts = 20
	for range attempts {
		s.port = freePort()
		s.args = append([]string{"-l", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", "0"}, args...)
		if s.proc, err = s.launch(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// freePort returns a port that is free at the moment, below the range from which Linux
// picks ports for outgoing connections, so that it stays free over a restart.
func freePort() int {
	for {
		port := 22000 + rand.IntN(10000)
		if l, err := net.Listen("tcp4", address(port)); err == nil {
			l.Close()
			return port
		}
	}
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// launch starts the program and returns once it answers with its own process id, so that
// it is not another that has won the race for the port.
func (s *Server) launch(ctx context.Context) (*process, error) {
	var log strings.Builder // written until done is closed
	p := &process{cmd: exec.Command(s.program, s.args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &log, &log
	var err error
	if p.cmd.SysProcAttr, err = attributes(); err != nil {
		return nil, err
	}
	started := make(chan error, 1)
	go func() {
		// “End with the parent” means the thread that started the child. Locked, it lives
		// as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("memcachedtest: %w", err)
	}
	for {
		if pid, err := ask(s.Addr(), "stats\r\nquit\r\n"); err == nil && strings.Contains(pid, fmt.Sprintf("STAT pid %d\r\n", p.cmd.Process.Pid)) {
			return p, nil
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("memcachedtest: memcached ended while starting: %s", log.String())
		case <-ctx.Done():
			p.end()
			return nil, fmt.Errorf("memcachedtest: memcached is not ready: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *process) end() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("memcachedtest: %w", err)
	}
	<-p.done
	return nil
}

// ask sends lines, the last of which is quit, and returns what comes back.
func ask(addr, lines string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(lines)); err != nil {
		return "", err
	}
	var all strings.Builder
	b := make([]byte, 4096)
	for {
		n, err := conn.Read(b)
		all.Write(b[:n])
		if err != nil {
			return all.String(), nil
		}
	}
}

// Addr returns the address, 127.0.0.1:port. It stays the same after Restart.
func (s *Server) Addr() string { return address(s.port) }

// URL returns the store URL, without parameters.
func (s *Server) URL() string { return "memcached://" + s.Addr() }

// Ask sends commands, each with its line's end, and returns the answers.
func (s *Server) Ask(commands string) (string, error) { return ask(s.Addr(), commands+"quit\r\n") }

// Kill ends the server at once and waits until it is gone. A second Kill does nothing.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.end()
}

// Restart kills the server if it runs and starts it on the same port, empty.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.end(); err != nil {
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
	return s.proc.cmd.Process.Pid
}

// Pause freezes the server. The kernel goes on accepting connections and data for it.
func (s *Server) Pause() error { return syscall.Kill(s.Pid(), syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() error { return syscall.Kill(s.Pid(), syscall.SIGCONT) }
