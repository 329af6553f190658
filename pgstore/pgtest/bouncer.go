package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pazzo-sessions/pazzo/internal/child"
)

// Bouncer is a running PgBouncer.
type Bouncer struct {
	port int
	proc *child.Process
	dir  string
}

// StartBouncer runs a PgBouncer in transaction mode, with four connections to s, and ends
// it when the test does.
func StartBouncer(t testing.TB, s *Server) *Bouncer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	b, err := runBouncer(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.proc.End(syscall.SIGTERM); err != nil {
			t.Errorf("clean-up: %v", err)
		}
		if err := os.RemoveAll(b.dir); err != nil {
			t.Errorf("clean-up: %v", err)
		}
	})
	return b
}

const bouncerSettings = `[databases]
postgres = host=127.0.0.1 port=%s user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
`

func runBouncer(ctx context.Context, s *Server) (*Bouncer, error) {
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			return nil, fmt.Errorf("pgtest: install PgBouncer (Debian: apt-get install pgbouncer): %w", err)
		}
	}
	b := &Bouncer{}
	if b.dir, err = s.owner.directory(); err != nil {
		return nil, err
	}
	_, server, _ := net.SplitHostPort(s.Addr())
	b.proc, b.port, err = ports.Start(func(port int) (*child.Process, error) {
		file := filepath.Join(b.dir, "pgbouncer.ini")
		if err := os.WriteFile(file, fmt.Appendf(nil, bouncerSettings, server, port), 0o644); err != nil {
			return nil, fmt.Errorf("pgtest: %w", err)
		}
		return launch(ctx, s.owner, b.dir, "process up", path, file)
	})
	if err != nil {
		os.RemoveAll(b.dir)
		return nil, err
	}
	return b, nil
}

// URL returns the store URL, without parameters.
func (b *Bouncer) URL() string { return urlOf(child.Address(b.port)) }
