package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/demo"
	"github.com/pazzo-sessions/pazzo/stores"
)

func demoCommand(ctx context.Context, p *program) error {
	var addr, url string
	var python bool
	err := p.parse("demo", func(flags *flag.FlagSet) {
		flags.StringVar(&addr, "addr", "127.0.0.1:8080", "loopback `host:port` of the page; the next free port if it is taken")
		flags.StringVar(&url, "store", "memory:", "`URL` of the store that keeps the sessions")
		flags.BoolVar(&python, "python", false, "have Django and Flask take part, in a checkout and with Python 3 there")
	})
	if err != nil {
		return err
	}
	secret := newSecret()
	var peers []demo.Peer
	if python {
		apps, err := p.startPython(ctx, url, secret)
		if err != nil {
			return err
		}
		defer apps.end()
		url, peers = apps.store, apps.peers
	}
	store, err := open(ctx, url)
	if err != nil {
		return err
	}
	defer store.Close()
	server, err := demo.Listen(addr, store, secret, peers...)
	if err != nil {
		return err
	}
	if wanted := server.Taken(); wanted != "" {
		fmt.Fprintf(p.stdout, "%s is taken, so the demo is on the next free port.\n", wanted)
	}
	fmt.Fprintf(p.stdout, "Look at %s in a browser.\nSessions: %s. Ctrl-C stops the demo.\n", server.URL(), server.StoreName())
	return server.Serve(ctx)
}

// open opens a store, or gives up after a while.
func open(ctx context.Context, url string) (pazzo.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return stores.Open(ctx, url)
}
