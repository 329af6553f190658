package pgtest

import (
	"fmt"
	"os"
	"os/exec"
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
