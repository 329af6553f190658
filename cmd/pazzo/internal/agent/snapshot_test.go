package agent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

func snapshotConfig(t testing.TB) Config {
	c := testConfig(t)
	c.Snapshot = filepath.Join(t.TempDir(), "sessions")
	c.SnapshotInterval = 0
	return c
}

// What was in memory at the end is there at the next start: every prefix, every
// database.
func TestSnapshotsOutliveTheAgent(t *testing.T) {
	c := snapshotConfig(t)
	users := write(t, "users", "ann a: "+digits("1")+"\n")
	c.PasswordFile, c.UsersFile = write(t, "password", "pw"), users
	a := start(t, c)
	w := a.dial()
	w.want("+OK\r\n", "AUTH", "pw")
	k := w.session(record.Set("n", "42"))
	w.want("+OK\r\n", "SELECT", "15")
	k15 := w.session(record.Set("n", "15"))
	ann := a.dial()
	ann.want("+OK\r\n", "AUTH", "ann", "1")
	ann.want("+OK\r\n", "SELECT", "3")
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	if found, err := os.Stat(c.Snapshot); err != nil || found.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", found, err)
	}

	c.UsersFile = "" // ann is gone, and what she has is kept
	a = start(t, c)
	w = a.dial()
	w.want("+OK\r\n", "AUTH", "pw")
	w.want(bulk("42"), "HGET", k.key(), "n")
	w.want(":0\r\n", "EXISTS", k15.key())
	w.want("+OK\r\n", "SELECT", "15")
	w.want(bulk("15"), "HGET", k15.key(), "n")
	names := map[spaceName]bool{}
	for _, s := range a.spaces.all() {
		names[s.spaceName] = true
	}
	if len(names) != 4 || !names[spaceName{3, "a:"}] {
		t.Errorf("the spaces are %v", names)
	}
}

func TestSnapshotsAtAnInterval(t *testing.T) {
	c := snapshotConfig(t)
	c.SnapshotInterval = 100 * time.Millisecond
	a := start(t, c)
	w := a.dial()
	k := w.session(record.Set("n", "1"))
	eventually(t, "it is in a snapshot", func() bool {
		text, err := os.ReadFile(c.Snapshot)
		return err == nil && bytes.Contains(text, k.handle[:])
	})
	eventually(t, "it is told of", func() bool { return strings.Contains(w.do("PAZZO.INFO"), "snapshot") })
	// A folder that is gone is an error in the log, and no end.
	if err := os.RemoveAll(filepath.Dir(c.Snapshot)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is noticed", func() bool { return strings.Contains(a.log.String(), "no snapshot was written") })
	w.want("+PONG\r\n", "PING")
	if err := os.Mkdir(filepath.Dir(c.Snapshot), 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next one is written", func() bool { _, err := os.Stat(c.Snapshot); return err == nil })
}

// A file that is not a whole snapshot keeps the agent from starting, and is left as
// it is.
func TestForeignFilesAreLeftAlone(t *testing.T) {
	c := snapshotConfig(t)
	a := start(t, c)
	a.dial().session(record.Set("n", "1"))
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(c.Snapshot)
	if err != nil {
		t.Fatal(err)
	}
	version := bytes.Clone(whole)
	version[len(snapshotMagic)] = 2
	prefix := bytes.Clone(whole)
	prefix[len(snapshotMagic)+5] ^= 1
	last := bytes.Clone(whole)
	last[len(last)-1] ^= 1
	for name, c2 := range map[string]struct {
		text []byte
		says string
	}{
		"empty":           {nil, "not written by an agent"},
		"foreign":         {[]byte("root:x:0:0:root:/root:/bin/bash\n"), "not written by an agent"},
		"a newer version": {version, "it has version 2"},
		"damaged head":    {prefix, "its checksum is wrong"},
		"damaged":         {last, "its checksum is wrong"},
		"cut short":       {whole[:len(whole)-1], "cut short"},
		"cut in the head": {whole[:len(snapshotMagic)+4], "cut short"},
		"with more":       {append(bytes.Clone(whole), 0), "more after its end"},
	} {
		if err := os.WriteFile(c.Snapshot, c2.text, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := New(t.Context(), c, quiet())
		if !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), c2.says) || !strings.Contains(err.Error(), c.Snapshot) {
			t.Errorf("%s: %v, want %s", name, err, c2.says)
		}
		if a != nil {
			a.Close()
		}
		if text, err := os.ReadFile(c.Snapshot); err != nil || !bytes.Equal(text, c2.text) {
			t.Errorf("%s: the file has changed, %v", name, err)
		}
	}
}
