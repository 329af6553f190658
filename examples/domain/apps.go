package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"sync"
)

// framework is an app that may lie beside this folder, under its name.
type framework struct {
	Name     string `json:"name"`
	Title    string `json:"title"`
	Language string `json:"language"`
}

var frameworks = []framework{
	{"nethttp", "net/http", "Go"},
	{"chi", "chi", "Go"},
	{"gin", "gin", "Go"},
	{"echo", "echo", "Go"},
	{"fiber", "fiber", "Go"},
	{"django", "Django", "Python"},
	{"flask", "Flask", "Python"},
	{"bottle", "Bottle", "Python"},
	{"starlette", "Starlette", "Python"},
	{"express", "Express", "Node"},
	{"fastify", "Fastify", "Node"},
}

// app is a framework's app that runs.
type app struct {
	framework
	target *url.URL
}

// startApps starts all apps at once, on free ports, and returns when all listen.
func (p *processes) startApps(ctx context.Context, failed context.CancelCauseFunc, s *settings) ([]app, error) {
	apps := make([]app, len(s.names))
	var starting sync.WaitGroup
	errs := make([]error, len(s.names))
	for i, name := range s.names {
		for _, known := range frameworks {
			if known.Name == name {
				apps[i].framework = known
			}
		}
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		apps[i].target = &url.URL{Scheme: "http", Host: addr}
		child, err := p.start(failed, name, filepath.Join(s.examples, name, "run"), nil,
			"ADDR="+addr, "PAZZO_STORE="+s.store, "PAZZO_SECRET_KEY="+s.key)
		if err != nil {
			return nil, err
		}
		starting.Go(func() { errs[i] = child.answers(ctx, "tcp", addr) })
	}
	starting.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return apps, nil
}

// startAgent starts an agent with its sessions in memory, and returns the URL of
// its store.
func (p *processes) startAgent(ctx context.Context, failed context.CancelCauseFunc, program, dir string) (string, error) {
	socket := filepath.Join(dir, "agent.sock")
	child, err := p.start(failed, agentName, program, []string{"agent", "-socket", socket})
	if err != nil {
		return "", err
	}
	return "unix://" + socket, child.answers(ctx, "unix", socket)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("no free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
