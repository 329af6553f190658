package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// The demo's storm keeps every click over every store.
func TestDemoOverEveryStore(t *testing.T) {
	database := pgtest.Start(t).URL()
	if _, err := pgstore.Migrate(t.Context(), database, &pgstore.MigrateOptions{Tell: pgstore.On}); err != nil {
		t.Fatal(err)
	}
	for name, url := range map[string]string{
		"redis":     redistest.Start(t).URL(),
		"pebble":    "pebble://" + t.TempDir() + "/data",
		"postgres":  database,
		"nearcache": database + "?prefix=near:&nearcache=1",
		"memcached": memcachedtest.Start(t).URL(),
		"secured":   memcachedtest.StartSecured(t).URL(),
		"an agent":  serveAgent(t, "pebble://"+t.TempDir()+"/data"),
	} {
		t.Run(name, func(t *testing.T) {
			page, end := startDemo(t, url)
			defer end()
			demoStorm(t, page)
		})
	}
}

// startDemo runs the demo, and returns the address of its page and what stops it.
func startDemo(t *testing.T, store string) (page string, end func()) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"demo", "-addr", "127.0.0.1:0", "-store", store}, func(string) string { return "" }, write, write)
		write.Close()
	}()
	lines := bufio.NewScanner(read)
	for page == "" && lines.Scan() {
		if _, rest, found := strings.Cut(lines.Text(), "Look at "); found {
			page, _, _ = strings.Cut(rest, " ")
		} else {
			t.Log(lines.Text())
		}
	}
	go io.Copy(io.Discard, read)
	end = func() {
		interrupt()
		if code := <-ended; code != exitOK {
			t.Errorf("exit %d", code)
		}
	}
	if page == "" {
		end()
		t.Fatal("the demo does not start")
	}
	return page, end
}

// demoStorm clicks as the page does, and checks that Pazzo's session has every click.
func demoStorm(t *testing.T, page string) {
	t.Helper()
	const clicks, atOnce = 160, 8
	client := newClient(t)
	client.Timeout = 30 * time.Second
	ask := func(method, path string, answer any) error {
		r, err := http.NewRequestWithContext(t.Context(), method, page+path, nil)
		if err != nil {
			return err
		}
		r.Header.Set("Origin", page)
		r.Header.Set("Sec-Fetch-Mode", "cors")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s %s: %s", method, path, response.Status)
		}
		return json.NewDecoder(response.Body).Decode(answer)
	}
	var begun struct{ Run string }
	if err := ask("POST", fmt.Sprintf("/mux/storm?atOnce=%d", atOnce), &begun); err != nil {
		t.Fatal(err)
	}
	numbers := make(chan int, clicks)
	for i := range clicks {
		numbers <- i
	}
	close(numbers)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range numbers {
				if err := ask("POST", fmt.Sprintf("%s/storm/eggs?run=%s&i=%d", []string{"/mux", "/chi"}[i%2], begun.Run, i), new(any)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	var result struct{ Pazzo map[string]int64 }
	if err := ask("GET", "/mux/storm/"+begun.Run, &result); err != nil {
		t.Fatal(err)
	}
	if kept := result.Pazzo["eggs"]; kept != clicks {
		t.Errorf("%d clicks of %d were kept", kept, clicks)
	}
}
