package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
)

var nodeSection = &section{"Node",
	"Express in one process, 64 requests in flight with one cookie. Pazzo's middleware with `session.data`, which is loaded once and " +
		"of which each changed field is written before the headers go out; beside it express-session with connect-redis."}

// express serves the app of the folder node and returns it as a site.
func (b *bench) express(name, sessions string) (*site, error) {
	env, err := b.endpoints("")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	l.Close()
	child := exec.Command("node/run")
	child.Env = append(append(os.Environ(), "SESSIONS="+sessions, "ADDR="+address, "NODE_ENV=production"), env...)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		return nil, err
	}
	b.started(child)
	if err := b.listens("tcp4", address); err != nil {
		return nil, err
	}
	return b.connect(name, address)
}

// benchNode compares Express on Pazzo with its usual sessions, both on Redis.
func benchNode(b *bench) ([]figure, error) {
	const peer = "express-session"
	var sites []*site
	for _, s := range []struct{ name, sessions string }{{namePazzo, "pazzo"}, {peer, "peer"}} {
		made, err := b.express(s.name, s.sessions)
		if err != nil {
			return nil, err
		}
		if err := made.fill(append(mixed[:], counters[:]...)); err != nil {
			return nil, err
		}
		sites = append(sites, made)
	}
	got, err := b.race(sites, []string{namePazzo, peer}, []string{"/mix?k=sum"})
	if err != nil {
		return nil, err
	}
	figures := []figure{httpFigure(got, "Express /mix", namePazzo, peer, atLeast(1.2))}
	for _, s := range sites {
		acked, kept, err := b.count(s, inFlight)
		if err != nil {
			return nil, err
		}
		f := single(fmt.Sprintf("Express `/inc`, lost: %s", s.name), 100*float64(acked-kept)/float64(acked), percent, bound{})
		if s.name == namePazzo {
			f.bound = exactly0()
		}
		figures = append(figures, f.noted(fmt.Sprintf("%s acknowledged, %s kept", thousands(float64(acked)), thousands(float64(kept)))))
	}
	return figures, nil
}
