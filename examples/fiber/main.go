// Command fiber is the example app on fiber. Its sessions are shared with the other
// examples when they are given the same store and the same key.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gofiber/fiber/v3"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/stores"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "fiber:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done, then lets the requests under way end.
func run(ctx context.Context, env func(string) string) error {
	for _, name := range []string{"ADDR", "PAZZO_STORE", "PAZZO_SECRET_KEY"} {
		if env(name) == "" {
			return fmt.Errorf("%s is not set; want ADDR=host:port PAZZO_STORE=URL PAZZO_SECRET_KEY=text, and `pazzo secret` makes a key", name)
		}
	}
	store, err := stores.Open(ctx, env("PAZZO_STORE"))
	if err != nil {
		return fmt.Errorf("PAZZO_STORE: %w", err)
	}
	defer store.Close()
	sessions, err := pazzo.New(store, &pazzo.Options{
		SecretKeys:   []string{env("PAZZO_SECRET_KEY")},
		InsecureHTTP: true, // development: plain http, and a cookie named session
	})
	if err != nil {
		return fmt.Errorf("PAZZO_SECRET_KEY: %w", err)
	}
	listener, err := net.Listen("tcp", env("ADDR"))
	if err != nil {
		return fmt.Errorf("ADDR: %w", err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	app, ended := newApp(sessions), make(chan error, 1)
	go func() { ended <- app.Listener(listener, fiber.ListenConfig{DisableStartupMessage: true}) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	err = app.ShutdownWithTimeout(10 * time.Second)
	listener.Close() // for one that has not begun to serve yet, which a shutdown does not reach
	return errors.Join(err, <-ended)
}
