package main

import (
	"net/http/httptest"
	"testing"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/internal/adaptertest"
)

func TestApp(t *testing.T) {
	adaptertest.Example(t, func(t *testing.T, sessions *pazzo.Manager) string {
		server := httptest.NewServer(newApp(sessions))
		t.Cleanup(server.Close)
		return server.URL
	})
}

func TestEnvironment(t *testing.T) { adaptertest.Environment(t, run) }
