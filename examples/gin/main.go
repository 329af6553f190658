// Command gin is the example app on gin. Its sessions are shared with the other
// examples when they are given the same store and the same key.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/stores"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "gin:", err)
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
	server := &http.Server{Handler: newApp(sessions), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	fmt.Printf("listening on http://%s\n", listener.Addr())
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(grace), closed(<-ended))
}

// closed returns err unless it says that the server was shut down.
func closed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
