package redistest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/pazzo-sessions/pazzo/internal/child"
)

// busOffset is a Cluster node's bus port, counted from its port.
const busOffset = 10000

// ports are those of the servers.
var ports = child.Ports{First: 10000, Count: 12000, Beside: busOffset}

// serverProgram finds the program to run.
func serverProgram() (string, error) {
	name := os.Getenv("PAZZO_REDIS_SERVER")
	if name == "" {
		name = "redis-server"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("redistest: install redis-server (Debian: apt-get install redis-server), or set PAZZO_REDIS_SERVER: %w", err)
	}
	return path, nil
}

// launch starts the program and returns once its own log has a line with ready
// in it. The log, and not an answer on the port, because another process may
// have won the race for the port, and because it needs no password and no TLS.
func launch(ctx context.Context, program, dir, ready string, args []string) (*child.Process, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	p, err := child.Start(ctx, cmd, ready)
	if err != nil {
		return nil, fmt.Errorf("redistest: %w", err)
	}
	return p, nil
}

// stop ends a process in good order, also a paused one.
func stop(p *child.Process) error { return p.End(syscall.SIGCONT, syscall.SIGTERM) }
