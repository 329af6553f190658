package redistest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	busOffset    = 10000 // a Cluster node's bus port, counted from its port
	portAttempts = 50
	logKept      = 64 << 10
	stopWait     = 5 * time.Second
)

// process is one run of the server program. A goroutine of its own starts it,
// waits for it and ends with it.
type process struct {
	cmd  *exec.Cmd
	log  *logTail
	done chan struct{} // closed when the process is gone
}

// serverProgram finds the program to run.
func serverProgram() (string, error) {
	name := os.Getenv("PAZZO_REDIS_SERVER")
	if name == "" {
		name = "redis-server"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("redistest: install redis-server (Debian: apt-get install redis-server), or set PAZZO_REDIS_SERVER: %w", err)
	}
	return path, nil
}

// launch starts the program and returns once its own log has a line with ready
// in it. The log, and not an answer on the port, because another process may
// have won the race for the port, and because it needs no password and no TLS.
func launch(ctx context.Context, program, dir, ready string, args []string) (*process, error) {
	p := &process{
		cmd:  exec.Command(program, args...),
		log:  newLogTail(ready),
		done: make(chan struct{}),
	}
	p.cmd.Dir = dir
	p.cmd.Stdout = p.log
	p.cmd.Stderr = p.log
	p.cmd.WaitDelay = time.Second // a snapshot's child may hold the log open
	p.cmd.SysProcAttr = endWithParent()

	started := make(chan error, 1)
	go func() {
		// "End with the parent" means the thread that started the child.
		// Locked, it lives as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait() // how it ended is in the log
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("redistest: %w", err)
	}
	select {
	case <-p.log.seen:
		return p, nil
	case <-p.done:
		return nil, &startError{log: p.log.String()}
	case <-ctx.Done():
		p.kill()
		return nil, fmt.Errorf("redistest: not ready: %w; its log:\n%s", ctx.Err(), p.log)
	}
}

// startError is returned when the program ended before it was ready.
type startError struct{ log string }

func (e *startError) Error() string {
	return "redistest: the server ended while starting; its log:\n" + e.log
}

// portTaken reports whether another process won the race for the port.
func portTaken(err error) bool {
	var e *startError
	return errors.As(err, &e) && (strings.Contains(e.log, "Address already in use") ||
		strings.Contains(e.log, "Failed listening on port"))
}

// launchOnFreePort launches on one port after another until one is really free.
func launchOnFreePort(ctx context.Context, run func(ctx context.Context, port int) (*process, error)) (*process, int, error) {
	var err error
	for range portAttempts {
		port := freePort()
		var p *process
		if p, err = run(ctx, port); err == nil {
			return p, port, nil
		}
		if !portTaken(err) {
			break
		}
	}
	return nil, 0, err
}

// freePort returns a port that is free at the moment, and so is its bus port.
// Both lie below the range from which Linux picks ports for outgoing
// connections, so that only another test can take them meanwhile.
func freePort() int {
	for {
		port := busOffset + rand.IntN(12000)
		if portFree(port) && portFree(port+busOffset) {
			return port
		}
	}
}

func portFree(port int) bool {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func (p *process) signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("redistest: signal %v: %w", sig, err)
	}
	return nil
}

// kill ends the process with SIGKILL and waits until it is gone. A process that
// is gone already is no error.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("redistest: kill: %w", err)
	}
	<-p.done
	return nil
}

// stop ends the process with SIGTERM, or with SIGKILL if that takes too long.
func (p *process) stop() error {
	for _, sig := range []os.Signal{syscall.SIGCONT, syscall.SIGTERM} {
		if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("redistest: stop: %w", err)
		}
	}
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return p.kill()
	}
}

// logTail keeps the end of what the program prints and watches for one text.
type logTail struct {
	ready string
	seen  chan struct{} // closed when ready was printed

	mu    sync.Mutex
	text  []byte
	found bool
}

func newLogTail(ready string) *logTail {
	return &logTail{ready: ready, seen: make(chan struct{})}
}

func (l *logTail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if !l.found && strings.Contains(string(l.text), l.ready) {
		l.found = true
		close(l.seen)
	}
	if over := len(l.text) - logKept; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(b), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
