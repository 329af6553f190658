package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/agent"
	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/demo"
)

const (
	pythonStart = 5 * time.Minute  // the first one installs what the apps need
	pythonEnd   = 10 * time.Second // from SIGTERM to SIGKILL
)

// pythonApps are the example apps on Django and Flask, and the agent that they share
// their sessions with us by.
type pythonApps struct {
	store string // the agent's URL
	peers []demo.Peer

	dir       string
	stop      context.CancelFunc // the apps
	stopAgent context.CancelFunc // after them
	apps      sync.WaitGroup
	agent     sync.WaitGroup
}

// startPython starts an agent over the store, and the apps of the checkout that we
// are in, and returns when they answer.
func (p *program) startPython(ctx context.Context, store, secret string) (_ *pythonApps, err error) {
	if _, err := os.Stat("examples/flask/run"); err != nil {
		return nil, usageError{"-python: there are no examples here; run the demo from the root of a checkout"}
	}
	a := &pythonApps{}
	if a.dir, err = os.MkdirTemp("", "pazzo-demo-"); err != nil {
		return nil, err
	}
	agentCtx, stopAgent := context.WithCancel(context.WithoutCancel(ctx))
	ctx, a.stop = context.WithCancel(ctx)
	a.stopAgent = stopAgent
	defer func() {
		if err != nil {
			a.end()
		}
	}()
	if err := a.startAgent(agentCtx, p, store); err != nil {
		return nil, err
	}
	fmt.Fprintln(p.stdout, "Starting Django and Flask. The first time, that installs them in examples/.venv.")
	for _, app := range []struct{ name, title string }{{"django", "Django"}, {"flask", "Flask"}} {
		addr, err := a.startApp(ctx, p, app.name, secret)
		if err != nil {
			return nil, err
		}
		a.peers = append(a.peers, demo.Peer{Name: app.name, Title: app.title, Target: "http://" + addr})
	}
	for _, peer := range a.peers {
		if err := answers(ctx, peer.Target[len("http://"):]); err != nil {
			return nil, fmt.Errorf("%s does not start: %w", peer.Title, err)
		}
	}
	return a, nil
}

// end stops the apps, and then the agent, and waits for them.
func (a *pythonApps) end() {
	a.stop()
	a.apps.Wait()
	a.stopAgent()
	a.agent.Wait()
	os.RemoveAll(a.dir)
}

func (a *pythonApps) startAgent(ctx context.Context, p *program, store string) error {
	c := agent.Default()
	c.Store, c.Socket = store, filepath.Join(a.dir, "agent.sock")
	daemon, err := agent.New(ctx, c, slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	listeners, err := daemon.Listen(nil)
	if err != nil {
		return errors.Join(err, daemon.Close())
	}
	a.store = "unix://" + c.Socket
	a.agent.Go(func() {
		if err := daemon.Serve(ctx, listeners); err != nil {
			fmt.Fprintln(p.stderr, "pazzo:", err)
		}
	})
	return nil
}

// startApp starts one of the apps on a free port. It ends with ctx.
func (a *pythonApps) startApp(ctx context.Context, p *program, name, secret string) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr = l.Addr().String()
	l.Close()
	app := exec.CommandContext(ctx, filepath.Join("examples", name, "run"))
	app.Env = append(os.Environ(), "ADDR="+addr, "PAZZO_STORE="+a.store, "PAZZO_SECRET_KEY="+secret,
		"GUNICORN_CMD_ARGS=--log-level=warning")
	app.Stderr = p.stderr
	app.Cancel = func() error { return app.Process.Signal(syscall.SIGTERM) }
	app.WaitDelay = pythonEnd
	if err := app.Start(); err != nil {
		return "", err
	}
	a.apps.Go(func() {
		if err := app.Wait(); err != nil && ctx.Err() == nil {
			fmt.Fprintf(p.stderr, "pazzo: %s has ended, and so the Python apps do: %v\n", name, err)
			a.stop()
		}
	})
	return addr, nil
}

// answers returns when somebody accepts connections at addr.
func answers(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, pythonStart)
	defer cancel()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
