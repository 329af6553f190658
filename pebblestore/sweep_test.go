package pebblestore

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// fill makes n sessions, several at a time, each with a field of some bytes.
func fill(t testing.TB, s record.Store, n, bytes int, expiry record.Expiry) []record.Handle {
	t.Helper()
	handles := make([]record.Handle, n)
	const workers = 64
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < n; i += workers {
				var pad strings.Builder
				for pad.Len() < bytes {
					fmt.Fprintf(&pad, "%016x", rand.Uint64()) // does not compress by much
				}
				handles[i] = create(t, s, expiry, record.Set("pad", `"`+pad.String()[:bytes]+`"`))
			}
		})
	}
	group.Wait()
	return handles
}

func TestSweep(t *testing.T) {
	s := openIn(t, t.TempDir(), nil)
	stay := fill(t, s, 100, 10, lasting)
	short := record.Expiry{Idle: 1500, Absolute: hour}
	prolonged := fill(t, s, 300, 10, short)
	step := &record.IndexStep{Kind: record.Refresh, Handle: stay[0], Lifetime: 1500}
	if _, err := s.ApplyIndex(context.Background(), "ann", step); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 2000, 10, short)
	for _, h := range prolonged {
		if reply, err := apply(s, h, record.SetExpiry(lasting)); err != nil || reply.Status != record.OK {
			t.Fatal(reply.Status, err)
		}
	}
	eventually(t, "what has expired is reclaimed", func() bool { return s.sweptTotal.Load() == 2001 })
	for _, h := range append(stay, prolonged...) {
		if _, status := value(t, s, h, "pad"); status != record.OK {
			t.Fatalf("a session that stays is %s", status)
		}
	}
	eventually(t, "those that were prolonged are filed again", func() bool {
		due, err := s.places(expiryKey(nil, 0, nil), expiryKey(nil, secondAfter(s.now()), nil))
		return err == nil && len(due) == 0
	})
	if err := agree(s); err != nil {
		t.Error(err)
	}
	for i := range s.shards {
		for key, e := range s.shards[i].entries {
			if e.value == "" {
				t.Fatalf("%q is kept", key)
			}
		}
	}
}

// Sessions that expired while the store was closed are reclaimed once it is open.
func TestSweepAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, nil)
	fill(t, s, 500, 10, record.Expiry{Idle: 1, Absolute: hour})
	closeStore(t, s)
	s = openIn(t, dir, nil)
	eventually(t, "what has expired is reclaimed", func() bool {
		due, err := s.places(expiryKey(nil, 0, nil), expiryKey(nil, secondAfter(s.now()), nil))
		return err == nil && len(due) == 0
	})
}

// A session that is used while it is swept is either there or not, and one that is
// made anew under the same handle stays.
func TestSweepAgainstWriters(t *testing.T) {
	s := openIn(t, t.TempDir(), nil)
	handles := fill(t, s, 1000, 10, record.Expiry{Idle: 1000, Absolute: hour})
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
				h := handles[rand.IntN(100)*8+w]
				b := createBatch()
				if _, err := s.Apply(context.Background(), h, b); err != nil {
					t.Error(err)
					return
				}
				if _, status := value(t, s, h, "pad"); status != record.OK {
					t.Errorf("a session that was just there, or made, is %s", status)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	time.Sleep(1100 * time.Millisecond) // all have expired: from here on each is made once
	group.Wait()
	if err := agree(s); err != nil {
		t.Error(err)
	}
}

// The disk is given back after many have expired.
func TestSpaceIsReturned(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, &Options{memTable: 1 << 20})
	handles := fill(t, s, 8000, 1500, lasting)
	var group sync.WaitGroup
	before := diskUse(t, dir)
	if before < 8<<20 {
		t.Fatalf("only %d bytes", before)
	}
	for part := range 64 {
		group.Go(func() {
			for _, h := range handles[part*125:][:125] {
				if _, err := apply(s, h, record.SetExpiry(record.Expiry{Idle: 1000, Absolute: hour})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	eventually(t, "what has expired is reclaimed", func() bool { return s.sweptTotal.Load() == 8000 })
	var after int64
	eventually(t, "a fifth is used, or less", func() bool {
		after = diskUse(t, dir)
		return after <= before/5
	})
	t.Logf("%d bytes before, %d after", before, after)
}

// diskUse is the size of the tables. The logs have theirs whatever is stored.
func diskUse(t testing.TB, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(d.Name(), ".sst") {
			return nil // or a file that is gone meanwhile
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}
