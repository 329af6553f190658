package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
)

// pythonEnv makes the Python environment of the benchmark, if it is not there yet.
func (b *bench) pythonEnv() (string, error) {
	make := exec.CommandContext(b.ctx, "../scripts/python-env", "python")
	make.Stderr = os.Stderr
	dir, err := make.Output()
	return strings.TrimSpace(string(dir)), err
}

// endpoints are where Python's sessions are, and the same Redis for bare clients.
func (b *bench) endpoints(store string) ([]string, error) {
	server, err := b.redis()
	if err != nil {
		return nil, err
	}
	if store == "" {
		store = server.URL()
	}
	return []string{"PAZZO_STORE=" + store, "BARE=" + server.URL()}, nil
}

// benchPythonAccess compares one access in live mode with a bare HGET.
func benchPythonAccess(b *bench) ([]figure, error) {
	venv, err := b.pythonEnv()
	if err != nil {
		return nil, err
	}
	env, err := b.endpoints("")
	if err != nil {
		return nil, err
	}
	script := exec.Command(venv+"/bin/python", "python/access.py")
	script.Env, script.Stderr = append(os.Environ(), env...), os.Stderr
	in, err := script.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := script.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := script.Start(); err != nil {
		return nil, err
	}
	defer script.Wait()
	defer in.Close()
	answers := bufio.NewReader(out)
	const calls = 3_000
	turn := func() (seconds float64, err error) {
		fmt.Fprintln(in, calls)
		_, err = fmt.Fscan(answers, &seconds)
		return seconds, err
	}
	var ratios []float64
	var session float64
	for round := -1; round < b.pairs; round++ { // the first is not counted
		ours, err := turn()
		if err != nil {
			return nil, err
		}
		bare, err := turn()
		if err != nil {
			return nil, err
		}
		if round >= 0 {
			ratios, session = append(ratios, ours/bare), ours/calls
		}
	}
	return []figure{ratio("Python: one access of a field, beside a bare redis-py HGET", ratios, nil, atMost(1.15)).
		noted(fmt.Sprintf("session: %.0f µs each", 1e6*session))}, nil
}

// gunicorn serves an app of the folder python and returns it as a site. It has two processes,
// each with half of the connections: where they share a socket, luck decides who gets how many.
func (b *bench) gunicorn(name, app, sessions string, env []string) (*site, error) {
	venv, err := b.pythonEnv()
	if err != nil {
		return nil, err
	}
	var addresses [2]string
	for i := range addresses {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		addresses[i] = l.Addr().String()
		l.Close()
		child := exec.Command(venv+"/bin/gunicorn", "--chdir", "python", "--bind", addresses[i], "--workers", "1", "--threads", "32",
			"--keep-alive", "60", "--log-level", "warning", "--no-control-socket", app+":app")
		child.Env, child.Stderr = append(append(os.Environ(), "SESSIONS="+sessions), env...), os.Stderr
		if err := child.Start(); err != nil {
			return nil, err
		}
		b.started(child)
		if err := b.listens("tcp4", addresses[i]); err != nil {
			return nil, err
		}
	}
	return b.connect(name, addresses[:]...)
}

// benchPython compares a framework's app on Pazzo, over Redis and over the agent, with
// its peer on Redis.
func benchPython(framework, app, peer, peerSessions string, overRedis, overAgent bound) func(*bench) ([]figure, error) {
	return func(b *bench) ([]figure, error) {
		a, err := b.startAgent()
		if err != nil {
			return nil, err
		}
		const onRedis, onAgent = "Pazzo over Redis", "Pazzo over the agent"
		var sites []*site
		for _, s := range []struct{ name, sessions, store string }{
			{onRedis, "pazzo", ""}, {onAgent, "pazzo", a.url()}, {peer, peerSessions, ""},
		} {
			env, err := b.endpoints(s.store)
			if err != nil {
				return nil, err
			}
			made, err := b.gunicorn(s.name, app, s.sessions, env)
			if err != nil {
				return nil, err
			}
			if err := made.fill(append(mixed[:], counters[:]...)); err != nil {
				return nil, err
			}
			sites = append(sites, made)
		}
		got, err := b.race(sites, []string{onRedis, peer, onAgent}, []string{"/mix?k=sum"})
		if err != nil {
			return nil, err
		}
		figures := []figure{
			httpFigure(got, framework+" /mix", onRedis, peer, overRedis),
			httpFigure(got, framework+" /mix", onAgent, peer, overAgent),
		}
		for _, s := range sites {
			acked, kept, err := b.count(s, inFlight)
			if err != nil {
				return nil, err
			}
			f := single(fmt.Sprintf("%s `/inc`, lost: %s", framework, s.name), 100*float64(acked-kept)/float64(acked), percent, bound{})
			if s.name != peer {
				f.bound = exactly0()
			}
			figures = append(figures, f.noted(fmt.Sprintf("%s acknowledged, %s kept", thousands(float64(acked)), thousands(float64(kept)))))
		}
		return figures, nil
	}
}
