package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/pebblestore"
	"github.com/pazzo-sessions/pazzo/record"
)

// A copy of a store that is open has its sessions, and makes one of its own.
func TestBackupAndRestore(t *testing.T) {
	dir, copied, restored := t.TempDir(), filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "restored")
	store, err := pebblestore.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	h := record.NewHandle()
	batch := &record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), record.Expiry{Idle: 3_600_000, Absolute: 3_600_000}), record.Set("a", "1")}}
	if reply, err := store.Apply(t.Context(), h, batch); err != nil || reply.Status != record.OK {
		t.Fatal(reply.Status, err)
	}
	for _, args := range [][]string{
		{"backup", "-store", "pebble://" + dir, "-to", copied},
		{"restore", "-from", copied, "-store", "pebble://" + restored},
	} {
		if code, out, stderr := invoke(t, args...); code != exitOK || stderr != "" || !strings.Contains(out, copied) {
			t.Fatalf("pazzo %q: exit %d, stdout %q, stderr %q", args, code, out, stderr)
		}
	}
	again, err := pebblestore.Open(restored, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	reply, err := again.Apply(t.Context(), h, &record.Batch{Ops: []record.Op{record.Get("a")}})
	if err != nil || reply.Status != record.OK || reply.Values[0].Text != "1" {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestBackupErrors(t *testing.T) {
	used, missing := t.TempDir(), filepath.Join(t.TempDir(), "missing")
	if err := pebbleWith(used); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"backup"}, exitUsage, "-store is missing"},
		{[]string{"backup", "-store", "redis://host"}, exitUsage, "pebble://"},
		{[]string{"backup", "-store", "pebble://" + used}, exitUsage, "-to is missing"},
		{[]string{"backup", "-store", "pebble://" + used, "-to", used}, exitFailed, "must not exist"},
		{[]string{"backup", "-store", "pebble://" + missing, "-to", missing + "2"}, exitFailed, missing},
		{[]string{"restore", "-store", "pebble://" + missing}, exitUsage, "-from is missing"},
		{[]string{"restore", "-from", used}, exitUsage, "-store is missing"},
		{[]string{"restore", "-from", used, "-store", "pebble://" + used}, exitFailed, "must not exist"},
	} {
		code, out, stderr := invoke(t, c.args...)
		if code != c.code || out != "" || !strings.Contains(stderr, c.says) {
			t.Errorf("pazzo %q: exit %d, stdout %q, stderr %q; want exit %d and %q", c.args, code, out, stderr, c.code, c.says)
		}
	}
}

// pebbleWith makes an empty store.
func pebbleWith(dir string) error {
	store, err := pebblestore.Open(dir, nil)
	if err != nil {
		return err
	}
	return store.Close()
}
