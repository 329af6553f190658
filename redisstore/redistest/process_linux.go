package redistest

import "syscall"

// endWithParent has the kernel kill the child when its parent is gone: a test
// binary that panics on its timeout runs no clean-up.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
