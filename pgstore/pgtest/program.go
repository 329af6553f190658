package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
)

// program finds a program of PostgreSQL.
func program(name string) (string, error) {
	if dir := os.Getenv("PAZZO_PG_BIN"); dir != "" {
		return exec.LookPath(filepath.Join(dir, name))
	}
	// Debian keeps those of each version apart; the newest is the longest or last name.
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err == nil && len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int { return major(a) - major(b) }), nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("pgtest: install PostgreSQL (Debian: apt-get install postgresql), or set PAZZO_PG_BIN: %w", err)
	}
	return path, nil
}

// major is the version in a path of Debian's.
func major(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// owner is who runs the programs.
type owner struct {
	uid, gid int
	other    bool // not who runs the test
}

// findOwner returns an ordinary user.
func findOwner() (owner, error) {
	if os.Getuid() != 0 {
		return owner{uid: os.Getuid(), gid: os.Getgid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil {
			return owner{uid, gid, true}, nil
		}
	}
	return owner{}, fmt.Errorf("pgtest: this is root, and there is no user postgres or nobody to run PostgreSQL as")
}

// directory makes a directory of the owner's. It is not within testing.T.TempDir, which
// root alone may enter.
func (o owner) directory() (string, error) {
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return "", fmt.Errorf("pgtest: %w", err)
	}
	if o.other {
		if err := os.Chown(dir, o.uid, o.gid); err != nil {
			return "", fmt.Errorf("pgtest: %w", err)
		}
	}
	return dir, nil
}
