package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

func openIn(t testing.TB, dir string, opts *Options) *Store {
	t.Helper()
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func closeStore(t testing.TB, s record.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// value returns a field's text, and the status.
func value(t testing.TB, s record.Store, h record.Handle, name string) (string, record.Status) {
	t.Helper()
	reply, err := apply(s, h, record.Get(name))
	if err != nil {
		t.Fatal(err)
	}
	if reply.Status != record.OK {
		return "", reply.Status
	}
	return reply.Values[0].Text, reply.Status
}

func TestReopen(t *testing.T) {
	for _, loses := range []time.Duration{0, time.Minute} {
		dir := filepath.Join(t.TempDir(), "made", "too")
		s := openIn(t, dir, &Options{LoseUpTo: loses})
		stays, ends := create(t, s, lasting, record.Set("a", "1")), create(t, s, lasting)
		short := create(t, s, record.Expiry{Idle: 200, Absolute: hour})
		if _, err := apply(s, ends, record.Destroy(record.Revoked, hour)); err != nil {
			t.Fatal(err)
		}
		block := &record.IndexStep{Kind: record.Block, Duration: hour}
		if _, err := s.ApplyIndex(context.Background(), "ann", block); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		time.Sleep(200 * time.Millisecond)
		s = openIn(t, dir, nil)
		if text, status := value(t, s, stays, "a"); text != "1" {
			t.Errorf("%q, %s", text, status)
		}
		if _, status := value(t, s, ends, "a"); status != record.Ended {
			t.Errorf("the session that was destroyed is %s", status)
		}
		if _, status := value(t, s, short, "a"); status != record.Absent {
			t.Errorf("the session that expired meanwhile is %s", status)
		}
		reply, err := s.ApplyIndex(context.Background(), "ann", &record.IndexStep{Kind: record.Enlist, Max: 1, Lifetime: hour})
		if err != nil || reply.Status != record.IndexBlocked {
			t.Errorf("%s, %v", reply.Status, err)
		}
		closeStore(t, s)
	}
}

// TestSecondOpenerIsRefused runs itself in another process with these.
const (
	otherProcess = "PAZZO_TEST_OPEN"
	refusedCode  = 3
)

func TestSecondOpenerIsRefused(t *testing.T) {
	if dir := os.Getenv(otherProcess); dir != "" {
		_, err := Open(dir, nil)
		if errors.Is(err, ErrInUse) && strings.Contains(err.Error(), dir) {
			os.Exit(refusedCode)
		}
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := openIn(t, dir, nil)
	if _, err := Open(dir, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("in this process: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("by another path: %v", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSecondOpenerIsRefused$")
	cmd.Env = append(os.Environ(), otherProcess+"="+dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != refusedCode {
		t.Errorf("in another process: %v\n%s", err, out)
	}
	create(t, s, lasting)
	closeStore(t, s)
	closeStore(t, openIn(t, dir, nil))
}

// tree is what there is in a directory.
func tree(t testing.TB, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		list = append(list, fmt.Sprintf("%s: %q", path, text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestOtherDirectoriesAreLeftAlone(t *testing.T) {
	newer := t.TempDir()
	s := openIn(t, newer, nil)
	create(t, s, lasting)
	closeStore(t, s)
	write(t, filepath.Join(newer, formatFile), "pazzo sessions, format 2\n")
	foreign, empty, garbled := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(foreign, "photo.jpg"), "x")
	write(t, filepath.Join(garbled, formatFile), "something else")
	for _, c := range []struct {
		dir  string
		want error
		says string
	}{
		{newer, ErrVersion, "format 2"},
		{foreign, ErrForeign, "photo.jpg"},
		{garbled, ErrForeign, formatFile},
		{empty, nil, ""},
	} {
		before := tree(t, c.dir)
		s, err := Open(c.dir, nil)
		if c.want == nil {
			if err != nil {
				t.Errorf("%s: %v", c.dir, err)
				continue
			}
			closeStore(t, s)
			continue
		}
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v", c.dir, err, c.want)
		}
		if after := tree(t, c.dir); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s has changed", c.dir)
		}
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPrefixesAreApart(t *testing.T) {
	dir := t.TempDir()
	a := openIn(t, dir, &Options{Prefix: "a:"})
	b, err := a.WithPrefix("b:")
	if err != nil {
		t.Fatal(err)
	}
	h := create(t, a, lasting, record.Set("f", "1"))
	step := &record.IndexStep{Kind: record.Refresh, Handle: h, Lifetime: hour}
	if _, err := a.ApplyIndex(context.Background(), "ann", step); err != nil {
		t.Fatal(err)
	}
	if _, status := value(t, b, h, "f"); status != record.Absent {
		t.Errorf("a session of a: is %s in b:", status)
	}
	list, err := b.ApplyIndex(context.Background(), "ann", &record.IndexStep{Kind: record.List})
	if err != nil || len(list.Entries) > 0 {
		t.Errorf("%+v, %v", list, err)
	}
	closeStore(t, a)
	create(t, b, lasting) // goes on
	if _, err := a.WithPrefix("c:"); !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if _, err := apply(a, h, record.Get("f")); !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	closeStore(t, b)
	if text, status := value(t, openIn(t, dir, &Options{Prefix: "a:"}), h, "f"); text != "1" {
		t.Errorf("%q, %s", text, status)
	}
}

func TestParseURL(t *testing.T) {
	dir, opts, err := ParseURL("pebble:///var/lib/pazzo?prefix=x:&lose-up-to=100ms&cache=2000000&min-free=0")
	if err != nil || dir != "/var/lib/pazzo" || opts.Prefix != "x:" || opts.LoseUpTo != 100*time.Millisecond || opts.CacheBytes != 2_000_000 || opts.MinFree >= 0 {
		t.Errorf("%q, %+v, %v", dir, opts, err)
	}
	for url, says := range map[string]string{
		"pebble:data":                     "absolute path",
		"pebble://host/data":              "absolute path",
		"pebble://":                       "absolute path",
		"redis:///data":                   "absolute path",
		"pebble:///data?sync=no":          `unknown parameter "sync"`,
		"pebble:///data?prefix=x":         `prefix "x"`,
		"pebble:///data?lose-up-to=1":     "a duration such as 100ms",
		"pebble:///data?lose-up-to=2m":    "0 to 1m0s",
		"pebble:///data?cache=1":          "1048576 or more",
		"pebble:///data?cache=1&cache=2":  "2 times",
		"pebble:///data?min-free=-1":      "a number of bytes",
		"pebble:///data?%zz":              "malformed",
		"pebble:///data?lose-up-to=-10ms": "0 to 1m0s",
	} {
		if _, _, err := ParseURL(url); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", url, err, says)
		}
	}
}

// A value that cannot be read is told as such and left as it is, by the sweeper too.
func TestUnreadableValues(t *testing.T) {
	s := openIn(t, t.TempDir(), nil)
	h := record.NewHandle()
	key := append([]byte("s\x06pazzo:"), h[:]...)
	for text, want := range map[string]error{"": record.ErrCorrupt, "\x01": record.ErrCorrupt, "\x00\x00\x00\x01\x01junk": record.ErrCorrupt,
		"\x00\x00\x00\x01\x09" + strings.Repeat("x", 100): record.ErrLayout} {
		if err := s.db.Set(key, []byte(text), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.db.Set(expiryKey(nil, 1, key), nil, nil); err != nil {
			t.Fatal(err)
		}
		s.shard(key).entries = map[string]entry{}
		for _, ops := range [][]record.Op{{record.Get("a")}, {record.Set("a", "1")}, {record.Destroy(record.Logout, hour)}} {
			if _, err := apply(s, h, ops...); !errors.Is(err, want) {
				t.Errorf("%q: %v, want %v", text, err, want)
			}
		}
		if err := s.sweep(0, 10); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if got, closer, err := s.db.Get(key); err != nil || string(got) != text {
			t.Errorf("%q has become %q, %v", text, got, err)
		} else {
			closer.Close()
		}
	}
}
