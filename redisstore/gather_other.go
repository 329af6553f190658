//go:build !linux

package redisstore

import (
	"errors"
	"syscall"
)

// wakeAt is not known to be of use elsewhere.
func wakeAt(syscall.RawConn, int) error { return errors.ErrUnsupported }
