package pgtest

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

// process is one run of a program. A goroutine of its own starts it, waits for it and
// ends with it.
type process struct {
	cmd  *exec.Cmd
	log  *tail
	done chan struct{} // closed when the process is gone
}

// launch starts a program and returns once it has printed ready.
func launch(ctx context.Context, o owner, dir, ready, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...), log: newTail(ready), done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.WaitDelay = time.Second // its children may hold the log open
	p.cmd.SysProcAttr = o.attributes()
	started := make(chan error, 1)
	go func() {
		// “Gone with the parent” means the thread that started the child. Locked, it
		// lives as long as the child does.
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
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	select {
	case <-p.log.seen:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("pgtest: %s ended while starting; its log:\n%s", program, p.log)
	case <-ctx.Done():
		p.end(syscall.SIGKILL)
		return nil, fmt.Errorf("pgtest: %s is not ready: %w; its log:\n%s", program, ctx.Err(), p.log)
	}
}

// endWait is how long a process may take to end before it is killed.
const endWait = 10 * time.Second

// end sends a signal and waits until the process is gone. One that is gone already is no
// error.
func (p *process) end(s syscall.Signal) error {
	if err := p.signal(s); err != nil {
		return err
	}
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

func (p *process) signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("pgtest: signal %v: %w", s, err)
	}
	return nil
}

// tail keeps what a program prints and watches for one text.
type tail struct {
	ready string
	seen  chan struct{} // closed when ready was printed

	mu    sync.Mutex
	text  []byte
	found bool
}

// tailKept is how much of the log is kept, in bytes.
const tailKept = 64 << 10

func newTail(ready string) *tail { return &tail{ready: ready, seen: make(chan struct{})} }

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if !l.found && strings.Contains(string(l.text), l.ready) {
		l.found = true
		close(l.seen)
	}
	if over := len(l.text) - tailKept; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(b), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// onFreePort calls run with one port after another until one is really free.
func onFreePort(run func(port int) (*process, error)) (p *process, port int, err error) {
	const attempts = 20
	for range attempts {
		port = freePort()
		p, err = run(port)
		if err == nil || !strings.Contains(err.Error(), "Address already in use") {
			return p, port, err
		}
	}
	return nil, 0, err
}

// freePort returns a port that is free at the moment, below the range from which Linux
// picks ports for outgoing connections, so that it stays free over a restart.
func freePort() int {
	for {
		port := 22000 + rand.IntN(10000)
		if l, err := net.Listen("tcp4", address(port)); err == nil {
			l.Close()
			return port
		}
	}
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
