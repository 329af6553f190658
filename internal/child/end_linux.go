package child

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel kill the child when its parent is gone.
func endWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
