package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpuTime is the processor time that this process has taken, and what it has started.
func (b *bench) cpuTime() time.Duration {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0
	}
	total := time.Duration(own.Utime.Nano() + own.Stime.Nano())
	if b.server != nil {
		total += cpuTimeOf(b.server.Pid())
	}
	for _, pid := range b.children {
		total += cpuTimeOf(pid)
	}
	return total
}

// cpuTimeOf reads the time of another process's threads, and of its children, where
// Linux tells it.
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
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range lists {
		text, _ := os.ReadFile(name)
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				total += cpuTimeOf(child)
			}
		}
	}
	return total
}
