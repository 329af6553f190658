package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/internal/child"
)

// startDeadline bounds a start. It is generous, because other tests share the machine.
const startDeadline = time.Minute

// Server is one running PostgreSQL, with the database and superuser postgres and no
// password. Its methods may be called from any goroutine.
type Server struct {
	owner   owner
	dir     string
	program string
	args    []string // with the port in them: Restart uses them again
	port    int

	mu   sync.Mutex
	proc *child.Process
}

// Start makes a cluster, runs its server and ends it when the test does. Each of settings,
// as "fsync=on", is one of the server's; fsync is off by default.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	s, err := Run(ctx, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("clean-up: %v", err)
		}
	})
	return s
}

// Run is Start for who has no test. ctx bounds the start only; the caller ends the server
// with Close.
func Run(ctx context.Context, settings ...string) (*Server, error) {
	o, err := findOwner()
	if err != nil {
		return nil, err
	}
	s := &Server{owner: o}
	if s.program, err = program("postgres"); err != nil {
		return nil, err
	}
	if s.dir, err = o.directory(); err != nil {
		return nil, err
	}
	if err := s.start(ctx, settings); err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, settings []string) error {
	data := filepath.Join(s.dir, "data")
	initdb, err := program("initdb")
	if err != nil {
		return err
	}
	made := exec.CommandContext(ctx, initdb, "--pgdata", data, "--username", "postgres", "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C", "--no-sync")
	made.Dir = s.dir
	s.owner.runs(made)
	if out, err := made.CombinedOutput(); err != nil {
		return fmt.Errorf("pgtest: initdb: %w:\n%s", err, out)
	}
	s.proc, s.port, err = ports.Start(func(port int) (*child.Process, error) {
		s.args = []string{"-D", data, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1",
			"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "lc_messages=C"}
		for _, setting := range settings {
			s.args = append(s.args, "-c", setting)
		}
		return s.launch(ctx)
	})
	return err
}

func (s *Server) launch(ctx context.Context) (*child.Process, error) {
	return launch(ctx, s.owner, s.dir, "database system is ready to accept connections", s.program, s.args...)
}

// Addr returns the address, 127.0.0.1:port. It stays the same after Restart.
func (s *Server) Addr() string { return child.Address(s.port) }

// URL returns the store URL, without parameters.
func (s *Server) URL() string { return urlOf(s.Addr()) }

func urlOf(address string) string { return "postgres://postgres@" + address + "/postgres" }

// Pid returns the id of the process, also of one that has ended.
func (s *Server) Pid() int { return s.process().Pid() }

// Log returns the last 64 KiB of what the server printed since its last start.
func (s *Server) Log() string { return s.process().Log() }

func (s *Server) process() *child.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

// Stop ends the server in good order (a fast shutdown) and waits until it is gone. A
// second Stop does nothing.
func (s *Server) Stop() error { return s.process().End(syscall.SIGINT) }

// Crash ends the server at once (an immediate shutdown) and waits until it is gone. The
// next start recovers, and empties unlogged tables.
func (s *Server) Crash() error { return s.process().End(syscall.SIGQUIT) }

// Restart stops the server if it runs and starts it on the same port, with its data.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.End(syscall.SIGINT); err != nil {
		return err
	}
	proc, err := s.launch(ctx)
	if err == nil {
		s.proc = proc
	}
	return err
}

// Close ends the server and removes its files.
func (s *Server) Close() error {
	if err := s.Crash(); err != nil {
		return err
	}
	return os.RemoveAll(s.dir)
}
