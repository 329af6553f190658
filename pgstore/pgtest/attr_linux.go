package pgtest

import "syscall"

// attributes have the child run as the owner, and the kernel kill it when its parent is
// gone: a test binary that panics on its timeout runs no clean-up.
func (o owner) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if o.other {
		a.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
	}
	return a
}
