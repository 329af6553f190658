// Command domain puts the example apps behind one address: several frameworks and
// languages on one domain, with one cookie and one session. It starts them, the
// agent that keeps their sessions, and a page to look at.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "domain:", err)
		os.Exit(1)
	}
}

// settings are what the command line and the environment say.
type settings struct {
	addr     string
	examples string   // the folder that holds the apps
	agent    string   // the program `pazzo`
	names    []string // of the apps
	ports    int      // beside the page's own
	store    string   // a store URL, or "" for an agent of our own
	key      string
}

func parse(args []string, env func(string) string) (*settings, error) {
	s := &settings{addr: env("ADDR"), store: env("PAZZO_STORE"), key: env("PAZZO_SECRET_KEY")}
	flags := flag.NewFlagSet("domain", flag.ContinueOnError)
	flags.StringVar(&s.examples, "examples", "..", "the folder of the example apps")
	flags.StringVar(&s.agent, "agent", "bin/pazzo", "the program pazzo, whose agent keeps the sessions if PAZZO_STORE is not set")
	flags.IntVar(&s.ports, "ports", 12, "ports beside the page's own: a browser has 6 connections to each")
	names := flags.String("apps", "", "the apps, separated by commas; all that there are if empty")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if s.ports < 1 || s.ports > 40 {
		return nil, fmt.Errorf("-ports %d: want 1 to 40", s.ports)
	}
	if s.addr == "" {
		s.addr = "127.0.0.1:8088"
	}
	if s.key == "" {
		s.key = rand.Text() + rand.Text()
	}
	var err error
	s.names, err = choose(s.examples, *names)
	return s, err
}

// choose returns the apps of the list, or all that the folder has.
func choose(examples, list string) (names []string, err error) {
	for _, known := range frameworks {
		if _, err := os.Stat(filepath.Join(examples, known.Name, "run")); err == nil {
			names = append(names, known.Name)
		}
	}
	if list == "" {
		return names, nil
	}
	var chosen []string
	for name := range strings.SplitSeq(list, ",") {
		found := false
		for _, known := range names {
			found = found || name == known
		}
		if !found {
			return nil, fmt.Errorf("-apps: there is no app %q; there are %s", name, strings.Join(names, ", "))
		}
		chosen = append(chosen, name)
	}
	return chosen, nil
}

// run serves until ctx is done, and leaves no process behind.
func run(ctx context.Context, args []string, env func(string) string) (err error) {
	s, err := parse(args, env)
	if err != nil {
		return err
	}
	page, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("ADDR: %w", err)
	}
	defer page.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all processes
	defer func() { err = errors.Join(err, all.end()) }()
	if s.store == "" {
		dir, err := os.MkdirTemp("", "pazzo-domain-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if s.store, err = all.startAgent(ctx, cancel, s.agent, dir); err != nil {
			return err
		}
	}
	apps, err := all.startApps(ctx, cancel, s)
	if err != nil {
		return err
	}
	return serve(ctx, newFront(apps), page, s.ports)
}

// serve serves the front on the page's port and n more until ctx is done.
func serve(ctx context.Context, f *front, page net.Listener, n int) error {
	listeners := []net.Listener{page}
	host, _, _ := net.SplitHostPort(page.Addr().String())
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return err
		}
		defer l.Close()
		listeners = append(listeners, l)
	}
	f.listensOn(listeners)
	server := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- server.Serve(l) }()
	}
	fmt.Printf("listening on http://%s\n", page.Addr())
	<-ctx.Done()
	grace, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	err := server.Shutdown(grace)
	// gunicorn waits for a request on each open connection before it ends.
	f.transport.CloseIdleConnections()
	for range listeners {
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	if cause := context.Cause(ctx); errors.Is(cause, errEnded) {
		err = errors.Join(cause, err)
	}
	return err
}
