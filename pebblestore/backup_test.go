package pebblestore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// A backup of an open store has what was acknowledged before, whole, and the store
// goes on.
func TestBackupOfAnOpenStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30)) // longer than a socket's path
	s := openIn(t, dir, &Options{memTable: 256 << 10})
	fill(t, s, 1000, 500, lasting)
	h := create(t, s, lasting, record.Set("a", "0"), record.Set("b", "0"))
	ctx, stop := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for ctx.Err() == nil {
				if _, err := apply(s, h, record.Add("a", 1), record.Add("b", 1)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		least := number(t, s, h, "a")
		backup := filepath.Join(t.TempDir(), "backup")
		if err := Backup(context.Background(), dir, backup); err != nil {
			t.Fatal(err)
		}
		most := number(t, s, h, "a") + 4
		restored := filepath.Join(t.TempDir(), "restored")
		if err := Restore(context.Background(), backup, restored); err != nil {
			t.Fatal(err)
		}
		r := openIn(t, restored, nil)
		a, b := number(t, r, h, "a"), number(t, r, h, "b")
		if a != b || a < least || a > most {
			t.Errorf("a is %d and b %d, want the same, %d to %d", a, b, least, most)
		}
		if err := agree(r); err != nil {
			t.Error(err)
		}
		closeStore(t, r)
	}
	stop()
	writers.Wait()
	eventually(t, "no checkpoint is left", func() bool {
		left, err := filepath.Glob(filepath.Join(dir, checkpoints+"*"))
		return err == nil && len(left) == 0
	})
}

func number(t testing.TB, s record.Store, h record.Handle, name string) int64 {
	t.Helper()
	text, status := value(t, s, h, name)
	n, ok := record.ParseInt(text)
	if !ok {
		t.Fatalf("%q, %s", text, status)
	}
	return n
}

func TestBackupOfAClosedStore(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	s := openIn(t, dir, nil)
	h := create(t, s, lasting, record.Set("a", "1"))
	closeStore(t, s)
	if err := Backup(context.Background(), dir, backup); err != nil {
		t.Fatal(err)
	}
	restored := t.TempDir() // empty, but there
	if err := Restore(context.Background(), backup, restored); err != nil {
		t.Fatal(err)
	}
	if n := number(t, openIn(t, restored, nil), h, "a"); n != 1 {
		t.Errorf("%d", n)
	}
	closeStore(t, openIn(t, dir, nil)) // its lock is free
}

func TestBackupsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, nil)
	create(t, s, lasting)
	used, foreign := t.TempDir(), t.TempDir()
	write(t, filepath.Join(used, "something"), "x")
	write(t, filepath.Join(foreign, "photo.jpg"), "x")
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	target := filepath.Join(t.TempDir(), "target")
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"to where something is", Backup(context.Background(), dir, used), ErrExists},
		{"of something else", Backup(context.Background(), foreign, target), ErrForeign},
		{"of nothing", Backup(context.Background(), filepath.Join(foreign, "none"), target), ErrForeign},
		{"no time", Backup(ended, dir, target), context.Canceled},
		{"restored over a store", Restore(context.Background(), dir, dir), ErrExists},
		{"restored from nothing", Restore(context.Background(), t.TempDir(), target), ErrForeign},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
	if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target is there: %v", err)
	}
	create(t, s, lasting)
}

// A backup that was damaged is noticed when it is restored, or gives the sessions.
func TestDamagedBackup(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	s := openIn(t, dir, nil)
	fill(t, s, 100, 100, lasting)
	if err := Backup(context.Background(), dir, backup); err != nil {
		t.Fatal(err)
	}
	manifests, err := filepath.Glob(filepath.Join(backup, dataDir, "MANIFEST-*"))
	if err != nil || len(manifests) != 1 {
		t.Fatal(manifests, err)
	}
	if err := os.Truncate(manifests[0], 10); err != nil {
		t.Fatal(err)
	}
	if err := Restore(context.Background(), backup, filepath.Join(t.TempDir(), "restored")); err == nil {
		t.Error("a backup with a damaged manifest was restored")
	}
}

// What a backup left that was cut off by a crash is removed.
func TestLeftCheckpointIsRemoved(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, openIn(t, dir, nil))
	left := filepath.Join(dir, checkpoints+"1", dataDir)
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	openIn(t, dir, nil)
	if _, err := os.Stat(filepath.Dir(left)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
}

// A client that hangs keeps nobody from closing the store.
func TestCloseDuringABackup(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, nil)
	c, err := askCheckpoint(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Close hangs")
	}
}
