package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
)

// An agent whose disk has failed ends with an error that says so, for its supervisor to
// start another. The disk fails in that its directory is gone when the store wants a new
// file.
func TestAgentEndsWhenItsDiskFails(t *testing.T) {
	dir := t.TempDir()
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "agent.sock")
	var log bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		args := []string{"agent", "-store", "pebble://" + data, "-socket", socket, "-log-level", "warn"}
		ended <- run(t.Context(), args, func(string) string { return "" }, io.Discard, &log)
	}()
	store := openWhenReady(t, "unix://"+socket)
	write := func() (err error) {
		create := record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), record.Expiry{Idle: 3_600_000, Absolute: 3_600_000}),
			record.Set("filling", fmt.Sprintf(`"%060000d"`, 0))}}
		reply, err := store.Apply(t.Context(), record.NewHandle(), &create)
		if err == nil && reply.Status != record.OK {
			t.Fatal(reply.Status)
		}
		return err
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	var err error
	for n := 0; err == nil; n++ {
		if err = write(); n > 10_000 {
			t.Fatal("600 MB were written without a directory")
		}
	}
	if !errors.Is(err, record.ErrUnavailable) && !errors.Is(err, record.ErrOutcomeUnknown) {
		t.Errorf("the write that met it: %v", err)
	}
	select {
	case code := <-ended:
		if code != exitFailed {
			t.Errorf("exit %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the agent does not end")
	}
	for _, part := range []string{"failed for good", "must be opened by a new process"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %q:\n%s", part, log.String())
		}
	}
}

// openWhenReady opens a store once there is an agent.
func openWhenReady(t *testing.T, url string) record.Store {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		s, err := redisstore.Open(t.Context(), url, &redisstore.Options{Timeout: 20 * time.Second})
		if err == nil {
			t.Cleanup(func() { s.Close() })
			return s
		}
		if time.Since(start) > 20*time.Second {
			t.Fatal(err)
		}
	}
}
