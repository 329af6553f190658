package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/agent"
)

// daemon is the agent and what a reload changes of its surroundings.
type daemon struct {
	*agent.Agent
	program *program
	log     *slog.Logger
	level   *slog.LevelVar
}

func agentCommand(ctx context.Context, p *program) error {
	s, err := p.agentSettings()
	if err != nil {
		return err
	}
	d := &daemon{program: p, level: new(slog.LevelVar)}
	d.level.Set(s.logLevel)
	d.log = slog.New(s.logFormat.handler(p.stderr, d.level))
	if d.Agent, err = agent.New(ctx, s.Config, d.log); err != nil {
		return err
	}
	if s.check {
		if err := d.Close(); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.stdout, "The settings are valid.")
		return err
	}
	return d.serve(ctx)
}

// serve runs the agent until ctx ends, and reloads the settings upon SIGHUP.
func (d *daemon) serve(ctx context.Context) error {
	inherited, err := agent.Inherited(d.program.env)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	listeners, err := d.Listen(inherited)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	for _, l := range listeners {
		d.log.Info("listening", "network", l.Addr().Network(), "address", l.Addr().String())
	}
	ctx, end := context.WithCancel(ctx)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for {
			select {
			case <-ctx.Done():
				d.notify("STOPPING=1")
				return
			case <-hangups:
				d.reload(ctx)
			}
		}
	})
	d.notify("READY=1")
	err = d.Serve(ctx, listeners)
	end()
	reloading.Wait()
	d.log.Info("ended")
	return err
}

// reload reads the settings again. If they are invalid, it says so and goes on with
// those that it has.
func (d *daemon) reload(ctx context.Context) {
	d.notify("RELOADING=1")
	defer d.notify("READY=1")
	s, err := d.program.agentSettings()
	if err != nil {
		d.log.Error("not reloaded", "error", err)
		return
	}
	later, err := d.Reload(ctx, s.Config)
	if err != nil {
		d.log.Error("not reloaded", "error", err)
		return
	}
	d.level.Set(s.logLevel)
	d.log.Info("reloaded")
	for _, name := range later {
		d.log.Warn("this setting has changed, which takes effect at the next start", "setting", name)
	}
}

// notify tells systemd.
func (d *daemon) notify(state string) {
	if err := agent.Notify(d.program.env, state); err != nil {
		d.log.Warn("systemd was not told", "state", state, "error", err)
	}
}
