// Package child runs real servers for tests and benchmarks: as child processes that end
// with the one that started them, on ports that are free.
package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is one run of a program. A goroutine of its own starts it, waits for it and ends
// with it. Its methods may be called from any goroutine.
type Process struct {
	cmd  *exec.Cmd
	log  *tail
	gone chan struct{}
}

// EndedError is returned by Start when the program ended before it was ready.
type EndedError struct {
	Program string
	Log     string // the end of what it printed
}

func (e *EndedError) Error() string {
	return fmt.Sprintf("%s ended while starting; its log:\n%s", e.Program, e.Log)
}

// Start runs cmd and returns once it has printed ready, or at once if that is empty; ctx
// bounds that wait only. What it prints is its log. On Linux the kernel kills it when this
// process is gone: a test binary that panics on its timeout runs no clean-up. EndedError is
// returned when the program ends before it is ready.
func Start(ctx context.Context, cmd *exec.Cmd, ready string) (*Process, error) {
	p := &Process{cmd: cmd, log: newTail(ready), gone: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.WaitDelay = time.Second // its own children may hold the log open
	endWithParent(cmd)
	started := make(chan error, 1)
	go func() {
		// “End with the parent” means the thread that started the child. Locked, it lives as
		// long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.gone)
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // how it ended is in the log
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	select {
	case <-p.log.seen:
		return p, nil
	case <-p.gone:
		return nil, &EndedError{cmd.Path, p.Log()}
	case <-ctx.Done():
		p.Kill()
		return nil, fmt.Errorf("%s is not ready: %w; its log:\n%s", cmd.Path, ctx.Err(), p.Log())
	}
}

// Pid returns the id of the process, also of one that has ended.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log returns the last 64 KiB of what the program printed.
func (p *Process) Log() string { return p.log.String() }

// Gone returns a channel that is closed when the process has ended.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Signal sends a signal. One to a process that is gone is an error.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %v: %w", s, err)
	}
	return nil
}

// Kill ends the process at once and waits until it is gone. One that is gone already is no
// error.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.gone
	return nil
}

// endWait is how long a process may take to end before it is killed.
const endWait = 10 * time.Second

// End sends the signals in order and waits until the process is gone; after 10 seconds it
// kills it. One that is gone already is no error.
func (p *Process) End(signals ...os.Signal) error {
	for _, s := range signals {
		if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-p.gone:
		return nil
	case <-timer.C:
		return p.Kill()
	}
}
