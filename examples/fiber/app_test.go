package main

import (
	"net"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/internal/adaptertest"
)

func TestApp(t *testing.T) {
	adaptertest.Example(t, func(t *testing.T, sessions *pazzo.Manager) string {
		return start(t, newApp(sessions))
	})
}

// start serves the app on loopback.
func start(t *testing.T, app *fiber.App) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(listener, fiber.ListenConfig{DisableStartupMessage: true}) }()
	t.Cleanup(func() {
		if err := app.ShutdownWithTimeout(10 * time.Second); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

func TestEnvironment(t *testing.T) { adaptertest.Environment(t, run) }
