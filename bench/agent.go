package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
)

// agent is a running `pazzo agent` with its sessions in memory.
type agent struct {
	socket  string
	process *os.Process
}

func (a *agent) url() string { return "unix://" + a.socket }

// startAgent builds and starts an agent on a Unix socket.
func (b *bench) startAgent(args ...string) (*agent, error) {
	dir, err := os.MkdirTemp("", "pazzo-bench-")
	if err != nil {
		return nil, err
	}
	b.onClose(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "pazzo")
	build := exec.CommandContext(b.ctx, "go", "build", "-C", "../cmd/pazzo", "-o", program, ".")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	socket := filepath.Join(dir, "agent.sock")
	child := exec.Command(program, append([]string{"agent", "-socket", socket, "-log-level", "error"}, args...)...)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		return nil, err
	}
	b.started(child)
	return &agent{socket, child.Process}, b.listens("unix", socket)
}

// started counts the processor time of a child, and ends it with the contests.
func (b *bench) started(child *exec.Cmd) {
	b.children = append(b.children, child.Process.Pid)
	b.onClose(func() {
		child.Process.Signal(syscall.SIGTERM)
		hard := time.AfterFunc(10*time.Second, func() { child.Process.Kill() })
		defer hard.Stop()
		child.Wait()
	})
}

// listens waits until somebody accepts connections there.
func (b *bench) listens(network, address string) error {
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	for {
		conn, err := net.Dial(network, address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("nobody listens at %s: %w", address, err)
		}
	}
}

// benchAgent compares the same batches, through redisstore, over the agent's socket
// and over Redis on TCP.
func benchAgent(b *bench) ([]figure, error) {
	a, err := b.startAgent()
	if err != nil {
		return nil, err
	}
	through, err := b.agentStore(a)
	if err != nil {
		return nil, err
	}
	redis, err := b.redisStore()
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, c := range []struct {
		what    string
		op      record.Op
		workers int
		target  bound
		slower  bool // the ratio is one of times, else of rates
	}{
		{"one write at a time, time", record.Set("theme", `"dark"`), 1, atMost(0.6), true},
		{"one live read at a time, time", record.Get("theme"), 1, atMost(0.6), true},
		{"writes, 64 in flight, throughput", record.Set("theme", `"dark"`), inFlight, atLeast(1), false},
		{"additions, 64 in flight, throughput", record.Add("visits", 1), inFlight, atLeast(1), false},
		{"live reads, 64 in flight, throughput", record.Get("theme"), inFlight, bound{}, false},
	} {
		got, err := b.compareStores(through, redis, c.op, c.workers)
		if err != nil {
			return nil, err
		}
		wall, cpu := got.faster("agent", "redis")
		if c.slower {
			wall, cpu = got.times("agent", "redis")
		}
		figures = append(figures, ratio("agent on a Unix socket beside Redis over TCP: "+c.what, wall, cpu, c.target).
			noted(fmt.Sprintf("agent: %.1f µs each", 1e6/got.rate("agent"))))
	}
	return figures, nil
}

func (b *bench) agentStore(a *agent) (*redisstore.Store, error) {
	store, err := redisstore.Open(b.ctx, a.url(), &redisstore.Options{Timeout: storeTimeout})
	if err == nil {
		b.onClose(func() { store.Close() })
	}
	return store, err
}

func (b *bench) compareStores(through, redis *redisstore.Store, op record.Op, workers int) (results, error) {
	var contestants []contestant
	for _, s := range []struct {
		name  string
		store *redisstore.Store
	}{{"agent", through}, {"redis", redis}} {
		c := &callers{ctx: b.ctx, store: s.store, handle: record.NewHandle()}
		if err := c.fillStore(); err != nil {
			return nil, err
		}
		contestants = append(contestants, contestant{s.name, func(d time.Duration) (sample, error) {
			return parallel(workers, d, c.batch(op))
		}})
	}
	return b.compare(contestants)
}

// benchIdle measures what a connection that does nothing takes of the agent.
func benchIdle(b *bench) ([]figure, error) {
	const connections = 9_900 // of the 10,000 that the agent has by default
	a, err := b.startAgent()
	if err != nil {
		return nil, err
	}
	before, err := resident(a.process.Pid)
	if err != nil {
		return nil, err
	}
	conns := make([]net.Conn, 0, connections)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	buffer := make([]byte, 64)
	for range connections {
		c, err := net.Dial("unix", a.socket)
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
		if _, err := c.Write([]byte("PING\r\n")); err != nil {
			return nil, err
		}
		if _, err := c.Read(buffer); err != nil {
			return nil, err
		}
	}
	after, err := resident(a.process.Pid)
	if err != nil {
		return nil, err
	}
	each := float64(after-before) / connections / 1024
	return []figure{single("agent: memory of an idle connection", each, kibibytes, atMost(15)).
		noted(fmt.Sprintf("%s connections", thousands(connections)))}, nil
}

// resident returns the memory of a process, as Linux tells it, in bytes.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, pages int64
	_, err = fmt.Sscan(string(text), &size, &pages)
	return pages * int64(os.Getpagesize()), err
}
