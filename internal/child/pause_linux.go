package child

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// allStopped says whether each thread of a process is stopped: state T in its stat file, the
// first letter after the name in parentheses (proc_pid_stat(5)). A thread that ends while we
// look is the process' way to go on: it is not stopped yet.
func allStopped(pid int) (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		return false, os.ErrProcessDone
	}
	for _, name := range threads {
		stat, err := os.ReadFile(name)
		if err != nil {
			return false, nil
		}
		if end := bytes.LastIndexByte(stat, ')'); !bytes.HasPrefix(stat[end+1:], []byte(" T")) {
			return false, nil
		}
	}
	return true, nil
}
