//go:build !unix

package agent

import "os"

// lockFile makes a file that stands for a lock, where there is none.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// isRefused cannot tell here: a socket that is there stays.
func isRefused(error) bool { return false }
