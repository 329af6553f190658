package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/stores"
)

func TestMigrate(t *testing.T) {
	url := pgtest.Start(t).URL()
	if store, err := stores.Open(t.Context(), url); err == nil || !strings.Contains(err.Error(), "pazzo migrate") {
		t.Fatalf("before it: %v, %v", store, err)
	}
	for _, want := range []string{"Made the tables", "already"} {
		code, out, stderr := invoke(t, "migrate", "-store", url)
		if code != exitOK || !strings.Contains(out, want) {
			t.Fatalf("exit %d, stdout %q, stderr %q; want %q", code, out, stderr, want)
		}
	}
	store, err := stores.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// Tables that tell of changes let near caches work.
func TestMigrateTell(t *testing.T) {
	url := pgtest.Start(t).URL()
	for _, args := range [][]string{{"-tell"}, {}} { // each deployment migrates, and keeps it so
		if code, _, stderr := invoke(t, append([]string{"migrate", "-store", url}, args...)...); code != exitOK {
			t.Fatal(stderr)
		}
	}
	store, err := stores.Open(t.Context(), url+"?nearcache=1")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	h, secret := record.NewHandle(), record.NewSecret()
	create := record.Batch{Ops: []record.Op{record.Create(secret, record.Expiry{Idle: 60_000, Absolute: 60_000})}}
	if reply, err := store.Apply(t.Context(), h, &create); err != nil || reply.Status != record.OK {
		t.Fatal(reply.Status, err)
	}
	read := record.Batch{Access: record.Access{Mode: record.Held, Generation: 1, Secret: secret}, Ops: []record.Op{record.Get("a")}}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		reply, err := store.Apply(t.Context(), h, &read)
		if err != nil || reply.Status != record.OK {
			t.Fatal(reply.Status, err)
		}
		if reply.Cached {
			return
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal("the near cache does not work")
		}
	}
}

func TestMigrateTakesTheURLFromTheEnvironment(t *testing.T) {
	url := pgtest.Start(t).URL()
	env := func(name string) string {
		if name == "PAZZO_STORE" {
			return url
		}
		return ""
	}
	var out, stderr bytes.Buffer
	if code := run(t.Context(), []string{"migrate", "-unlogged"}, env, &out, &stderr); code != exitOK {
		t.Errorf("exit %d, stderr %q", code, stderr.String())
	}
}

func TestMigrateMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"migrate"}, exitUsage, "PAZZO_STORE"},
		{[]string{"migrate", "-tell=perhaps"}, exitUsage, "perhaps"},
		{[]string{"migrate", "-store", "redis://u:TOPSECRET@h"}, exitFailed, "postgres"},
		{[]string{"migrate", "-store", "postgres://u:TOPSECRET@h/", "-role", "a b"}, exitFailed, "role"},
		{[]string{"migrate", "-store", "postgres://u:TOPSECRET@127.0.0.1:1/"}, exitFailed, "unavailable"},
	} {
		code, out, stderr := invoke(t, c.args...)
		if code != c.code || out != "" || !strings.Contains(stderr, c.says) || strings.Contains(stderr, "TOPSECRET") {
			t.Errorf("pazzo %q: exit %d, stdout %q, stderr %q", c.args, code, out, stderr)
		}
	}
}
