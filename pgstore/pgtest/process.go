package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/pazzo-sessions/pazzo/internal/child"
)

// ports are those of the servers.
var ports = child.Ports{First: 22000, Count: 10000}

// launch starts a program as o and returns once it has printed ready.
func launch(ctx context.Context, o owner, dir, ready, program string, args ...string) (*child.Process, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	o.runs(cmd)
	p, err := child.Start(ctx, cmd, ready)
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	return p, nil
}

// owner is who runs the programs: nil if that is who runs the test.
type owner struct{ other *syscall.Credential }

// findOwner returns an ordinary user: PostgreSQL refuses root.
func findOwner() (owner, error) {
	other, err := child.Ordinary("postgres", "nobody")
	if err != nil {
		return owner{}, fmt.Errorf("pgtest: %w", err)
	}
	return owner{other}, nil
}

// runs has a command run as the owner.
func (o owner) runs(cmd *exec.Cmd) {
	if o.other != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: o.other}
	}
}

// directory makes a directory of the owner's. It is not within testing.T.TempDir, which
// root alone may enter.
func (o owner) directory() (string, error) {
	dir, err := os.MkdirTemp("", "pgtest")
	if err == nil && o.other != nil {
		err = os.Chown(dir, int(o.other.Uid), int(o.other.Gid))
	}
	if err != nil {
		return "", fmt.Errorf("pgtest: %w", err)
	}
	return dir, nil
}
