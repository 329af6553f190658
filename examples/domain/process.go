package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	startTime = 5 * time.Minute  // an app's first start installs what it needs
	endTime   = 10 * time.Second // from SIGTERM to SIGKILL
)

// agentName is that of the process which keeps the sessions of the others.
const agentName = "agent"

// processes are what we have started.
type processes []*process

// process is an app or the agent.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
	err   error         // then: how
}

// start runs a program. What it prints goes to our standard error, line by line
// behind its name. If it ends by itself, failed is told.
func (p *processes) start(failed context.CancelCauseFunc, name, program string, args []string, env ...string) (*process, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	child := &process{name: name, cmd: exec.Command(program, args...), ended: make(chan struct{})}
	child.cmd.Env = append(os.Environ(), env...)
	output, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	child.cmd.Stdout, child.cmd.Stderr = writer, writer
	err = child.cmd.Start()
	writer.Close()
	if err != nil {
		output.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	*p = append(*p, child)
	go prefix(name, output)
	go func() {
		child.err = child.cmd.Wait()
		close(child.ended)
		failed(fmt.Errorf("%s has ended: %w", name, errors.Join(child.err, errEnded)))
	}()
	return child, nil
}

var errEnded = errors.New("nobody asked it to")

func prefix(name string, output io.ReadCloser) {
	defer output.Close()
	for lines := bufio.NewScanner(output); lines.Scan(); {
		fmt.Fprintf(os.Stderr, "%-9s | %s\n", name, lines.Text())
	}
}

// answers returns when the process accepts connections.
func (c *process) answers(ctx context.Context, network, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-c.ended:
			return fmt.Errorf("%s did not start: %w", c.name, c.err)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer at %s: %w", c.name, addr, ctx.Err())
		}
	}
}

// end ends all of them: the apps at once, and then their agent.
func (p processes) end() error {
	apps, agents := processes{}, processes{}
	for _, child := range p {
		if child.name == agentName {
			agents = append(agents, child)
		} else {
			apps = append(apps, child)
		}
	}
	return errors.Join(apps.stop(), agents.stop())
}

func (p processes) stop() (err error) {
	for _, child := range p {
		child.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	for _, child := range p {
		if !child.hasEnded(ctx) {
			child.cmd.Process.Kill()
			<-child.ended
			err = errors.Join(err, fmt.Errorf("%s did not end by itself", child.name))
		}
	}
	return err
}

// hasEnded waits until the process has ended or ctx is over, and reports whether it
// has ended.
func (c *process) hasEnded(ctx context.Context) bool {
	select {
	case <-c.ended:
		return true
	default:
	}
	select {
	case <-c.ended:
		return true
	case <-ctx.Done():
		return false
	}
}
