package child

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// Pause stops a process (SIGSTOP) and returns once none of its threads runs. The signal alone
// is not enough: a thread on another core goes on until the kernel gets to it, and may answer
// one more request. The kernel goes on accepting connections and data for a paused server.
// os.ErrProcessDone is returned when the process is gone.
func Pause(pid int) error {
	if err := signal(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("pause process %d: %w", pid, err)
	}
	for end := time.Now().Add(endWait); ; time.Sleep(time.Millisecond) {
		switch stopped, err := allStopped(pid); {
		case err != nil:
			return fmt.Errorf("pause process %d: %w", pid, err)
		case stopped:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("pause process %d: it still runs after %s", pid, endWait)
		}
	}
}

// Resume lets a paused process go on (SIGCONT). os.ErrProcessDone is returned when it is gone.
func Resume(pid int) error {
	if err := signal(pid, syscall.SIGCONT); err != nil {
		return fmt.Errorf("resume process %d: %w", pid, err)
	}
	return nil
}

func signal(pid int, s os.Signal) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	defer p.Release()
	return p.Signal(s)
}
