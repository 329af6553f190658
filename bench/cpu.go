package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// cpuTime is the processor time that this process and its Redis have taken.
func (b *bench) cpuTime() time.Duration {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0
	}
	total := time.Duration(own.Utime.Nano() + own.Stime.Nano())
	if b.server != nil {
		total += cpuTimeOf(b.server.Pid())
	}
	return total
}

// cpuTimeOf reads the time of another process's threads where Linux tells it.
func cpuTimeOf(pid int) (total time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, name := range threads {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		var ran int64
		fmt.Sscan(string(text), &ran)
		total += time.Duration(ran)
	}
	return total
}
