package redistest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strconv"
	"sync"

	"github.com/pazzo-sessions/pazzo/internal/child"
)

const (
	serverReady   = "Ready to accept connections"
	sentinelReady = "Sentinel ID is"
)

// Server is one running server. Its methods may be called from any goroutine.
type Server struct {
	program  string
	dir      string
	ready    string
	port     int
	args     []string // with the port in them: Restart uses them again
	password string
	auth     *authority // nil without TLS

	mu   sync.Mutex
	proc *child.Process
}

// Run starts one server that keeps its files in dir, and returns when it
// accepts connections. The args go to its command line after ours. ctx bounds
// the start only; the caller ends the server with [Server.Stop] or
// [Server.Kill].
func Run(ctx context.Context, dir string, args ...string) (*Server, error) {
	return runServer(ctx, dir, nil, args)
}

// RunTLS is [Run] for a server that accepts TLS only: see [StartTLS].
func RunTLS(ctx context.Context, dir string, args ...string) (*Server, error) {
	auth, err := newAuthority(dir)
	if err != nil {
		return nil, err
	}
	return runServer(ctx, dir, auth, args)
}

func runServer(ctx context.Context, dir string, auth *authority, args []string) (*Server, error) {
	s := &Server{dir: dir, ready: serverReady, auth: auth, password: argument(args, "--requirepass")}
	err := s.run(ctx, func(port int) ([]string, error) {
		return append(serverArgs(port, dir, auth), args...), nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// run launches s for the first time, with the arguments that args returns for
// the port.
func (s *Server) run(ctx context.Context, args func(port int) ([]string, error)) (err error) {
	if s.program, err = serverProgram(); err != nil {
		return err
	}
	s.proc, s.port, err = ports.Start(func(port int) (*child.Process, error) {
		var err error
		if s.args, err = args(port); err != nil {
			return nil, err
		}
		return launch(ctx, s.program, s.dir, s.ready, s.args)
	})
	return err
}

func serverArgs(port int, dir string, auth *authority) []string {
	p := strconv.Itoa(port)
	args := []string{"--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no"}
	if auth == nil {
		return append(args, "--port", p)
	}
	return append(args, "--port", "0", "--tls-port", p, "--tls-auth-clients", "no",
		"--tls-cert-file", auth.certFile, "--tls-key-file", auth.keyFile, "--tls-ca-cert-file", auth.caFile)
}

// argument returns the value that follows name, or "".
func argument(args []string, name string) (value string) {
	for i := range len(args) - 1 {
		if args[i] == name {
			value = args[i+1]
		}
	}
	return value
}

// Addr returns the address, 127.0.0.1:port. It stays the same after Restart.
func (s *Server) Addr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
}

// URL returns the store URL, redis://127.0.0.1:port/0, or rediss:// with TLS.
// It has the password in it if the arguments had --requirepass.
func (s *Server) URL() string {
	u := url.URL{Scheme: s.scheme(), Host: s.Addr(), Path: "/0"}
	if s.password != "" {
		u.User = url.UserPassword("", s.password)
	}
	return u.String()
}

func (s *Server) scheme() string {
	if s.auth == nil {
		return "redis"
	}
	return "rediss"
}

// CAs returns the pool to verify the server with, or nil without TLS.
func (s *Server) CAs() *x509.CertPool {
	if s.auth == nil {
		return nil
	}
	return s.auth.pool
}

// CAFile returns the path of the authority's certificate in PEM, or "" without
// TLS.
func (s *Server) CAFile() string {
	if s.auth == nil {
		return ""
	}
	return s.auth.caFile
}

// Pid returns the id of the process, also of one that has ended.
func (s *Server) Pid() int { return s.process().Pid() }

// Log returns the last 64 KiB of what the server printed since its last start.
func (s *Server) Log() string { return s.process().Log() }

// Running reports whether the process is there; a paused one is.
func (s *Server) Running() bool {
	select {
	case <-s.process().Gone():
		return false
	default:
		return true
	}
}

func (s *Server) process() *child.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

// Stop ends the server in good order (SIGTERM) and waits until it is gone. A
// second Stop does nothing.
func (s *Server) Stop() error { return stop(s.process()) }

// Kill ends the server at once (SIGKILL) and waits until it is gone. A second
// Kill does nothing.
func (s *Server) Kill() error { return s.process().Kill() }

// Pause freezes the server (SIGSTOP) and returns once it runs no more. The kernel goes on
// accepting connections and data for it.
func (s *Server) Pause() error { return child.Pause(s.process().Pid()) }

// Resume lets a paused server go on (SIGCONT).
func (s *Server) Resume() error { return child.Resume(s.process().Pid()) }

// Restart stops the server if it runs and starts it on the same port with the
// same arguments. Its data is gone, unless the arguments had "--appendonly",
// "yes".
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := stop(s.proc); err != nil {
		return err
	}
	proc, err := launch(ctx, s.program, s.dir, s.ready, s.args)
	if err != nil {
		return err
	}
	s.proc = proc
	return nil
}

// Do sends one command over a connection of its own and returns the reply: a
// string, an int64, a []any, or nil. An error reply is a [ReplyError].
func (s *Server) Do(ctx context.Context, args ...string) (any, error) {
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.do(ctx, args...)
}

// text is Do for a command that replies with a string.
func (s *Server) text(ctx context.Context, args ...string) (string, error) {
	reply, err := s.Do(ctx, args...)
	if err != nil {
		return "", err
	}
	text, ok := reply.(string)
	if !ok {
		return "", errors.New("redistest: not a string reply")
	}
	return text, nil
}

// role returns "master", "slave" or "sentinel".
func (s *Server) role(ctx context.Context) (string, error) {
	reply, err := s.Do(ctx, "ROLE")
	if err != nil {
		return "", err
	}
	if list, ok := reply.([]any); ok && len(list) > 0 {
		if role, ok := list[0].(string); ok {
			return role, nil
		}
	}
	return "", errors.New("redistest: unknown reply to ROLE")
}

func (s *Server) dial(ctx context.Context) (*conn, error) {
	var config *tls.Config
	if s.auth != nil {
		config = &tls.Config{RootCAs: s.auth.pool, ServerName: "127.0.0.1"}
	}
	c, err := dial(ctx, s.Addr(), config)
	if err != nil || s.password == "" {
		return c, err
	}
	if _, err := c.do(ctx, "AUTH", s.password); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}
