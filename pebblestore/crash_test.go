package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pazzo-sessions/pazzo/record"
)

// place is where a session of the crash test is, and what is known of it. All values
// only rise, so that one read before a crash is a lower bound after it.
type place struct {
	handle   record.Handle
	user     string
	created  atomic.Bool  // acknowledged
	seen     atomic.Int64 // the greatest value that was acknowledged or read
	tried    atomic.Int64 // adds that were begun
	listed   atomic.Bool  // in the user's index, acknowledged
	ending   atomic.Bool  // a destroy was begun
	ended    atomic.Bool  // and acknowledged, or seen
	over     atomic.Bool  // ended, and found so after a crash
	expected expectation  // of the life that goes on
}

// expectation is what must be there after a crash.
type expectation struct {
	created, listed, ending, ended bool
	least, most                    int64
}

// crashWorld survives crashes.
type crashWorld struct {
	fs     *vfs.MemFS
	random *rand.Rand
	places []*place
}

const crashPlaces = 8

// unlocked has no locks: those of MemFS hang at times when it is cloned meanwhile. And
// it keeps the name of a new manifest, as the file systems of Linux do with a file
// that is synced: Pebble counts on that.
type unlocked struct{ vfs.FS }

// Create implements [vfs.FS].
func (u unlocked) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := u.FS.Create(name, category)
	if err == nil && strings.HasPrefix(u.PathBase(name), "MANIFEST") {
		err = syncDir(u.FS, u.PathDir(name))
	}
	return f, err
}

// Lock implements [vfs.FS].
func (unlocked) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func newCrashWorld(seed uint64) *crashWorld {
	w := &crashWorld{fs: vfs.NewCrashableMem(), random: rand.New(rand.NewPCG(seed, 1))}
	for range crashPlaces {
		w.places = append(w.places, newPlace())
	}
	return w
}

func newPlace() *place {
	return &place{handle: record.NewHandle(), user: record.NewHandle().String()}
}

// TestCrash cuts the power at random moments, during recovery as well: what was
// acknowledged, or seen by a reader, is there after it, and the order of expiry
// agrees with the records.
func TestCrash(t *testing.T) {
	points := 300
	if nightly {
		points = 10_000
	}
	seed := rand.Uint64()
	t.Logf("%d crash points, from seed %d", points, seed)
	var w *crashWorld
	for n := range points {
		if n%30 == 0 {
			w = newCrashWorld(seed + uint64(n))
		}
		if err := w.round(); err != nil {
			t.Fatalf("crash point %d: %v", n, err)
		}
	}
}

// round opens the store, checks it, has it stormed, and cuts the power somewhere in
// all that.
func (w *crashWorld) round() error {
	var stop atomic.Bool
	failed := make(chan error, 1)
	go func() { failed <- w.live(&stop) }()
	time.Sleep(time.Duration(w.random.IntN(8000)) * time.Microsecond)
	next := make([]expectation, len(w.places))
	for i, p := range w.places {
		next[i] = expectation{created: p.created.Load(), listed: p.listed.Load(), ended: p.ended.Load(), least: p.seen.Load()}
	}
	config := vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 0, 50, 100}[w.random.IntN(4)], RNG: w.random}
	clone := w.fs.CrashClone(config)
	for i, p := range w.places {
		next[i].most, next[i].ending = p.tried.Load(), p.ending.Load()
	}
	stop.Store(true)
	if err := <-failed; err != nil {
		return err
	}
	w.fs = clone
	for i, p := range w.places {
		w.places[i] = p.after(next[i])
	}
	return nil
}

// after forgets what came after the crash.
func (p *place) after(e expectation) *place {
	if p.over.Load() {
		return newPlace()
	}
	q := &place{handle: p.handle, user: p.user, expected: e}
	q.created.Store(e.created)
	q.listed.Store(e.listed)
	q.ended.Store(e.ended)
	q.ending.Store(e.ending)
	q.seen.Store(e.least)
	q.tried.Store(e.most)
	return q
}

// live is one life of the store.
func (w *crashWorld) live(stop *atomic.Bool) (err error) {
	s, err := Open("/sessions", &Options{fs: unlocked{w.fs}, memTable: 64 << 10, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, p := range w.places {
		if err := p.check(s); err != nil {
			return err
		}
	}
	if err := agree(s); err != nil {
		return err
	}
	var workers sync.WaitGroup
	errs := make(chan error, 6)
	for i := range 6 {
		random := rand.New(rand.NewPCG(uint64(i), rand.Uint64()))
		workers.Go(func() {
			for !stop.Load() {
				if err := w.places[random.IntN(len(w.places))].use(s, random); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	workers.Wait()
	close(errs)
	return errors.Join(<-errs)
}

// check compares what is there with the expectation.
func (p *place) check(s *Store) error {
	want := p.expected
	reply, err := apply(s, p.handle, record.Get("n"))
	if err != nil {
		return err
	}
	switch reply.Status {
	case record.Ended:
		if !want.ending {
			return errors.New("a session has ended that nobody destroyed")
		}
		p.ended.Store(true)
		p.over.Store(want.ended)
		return nil
	case record.Absent:
		if want.created {
			return errors.New("a session is gone")
		}
		return nil
	}
	if want.ended {
		return fmt.Errorf("a destroyed session is %s", reply.Status)
	}
	p.created.Store(true)
	n, _ := record.ParseInt(reply.Values[0].Text)
	if n < want.least || n > want.most {
		return fmt.Errorf("%d, of which %d were acknowledged or seen and %d tried", n, want.least, want.most)
	}
	raise(&p.seen, n)
	list, err := s.ApplyIndex(context.Background(), p.user, &record.IndexStep{Kind: record.List})
	if err != nil {
		return err
	}
	if want.listed && (len(list.Entries) != 1 || list.Entries[0].Handle != p.handle) {
		return errors.New("a session is not listed any more")
	}
	return nil
}

// use does something with the session and notes what is known by it.
func (p *place) use(s *Store, random *rand.Rand) error {
	expiry := record.Expiry{Idle: hour + random.Int64N(10*hour), Absolute: 24 * hour}
	var ops []record.Op
	switch n := random.IntN(100); {
	case !p.created.Load():
		ops = []record.Op{record.Create(record.NewSecret(), expiry), record.Set("n", "0")}
	case n < 50:
		p.tried.Add(1)
		ops = []record.Op{record.Add("n", 1)}
	case n < 75:
		ops = []record.Op{record.Get("n")}
	case n < 85:
		ops = []record.Op{record.SetExpiry(expiry), record.Set("pad", fmt.Sprintf(`"%0500d"`, n))}
	case n < 98:
		_, err := s.ApplyIndex(context.Background(), p.user, &record.IndexStep{Kind: record.Refresh, Handle: p.handle, Lifetime: expiry.Idle})
		if err == nil {
			p.listed.Store(true)
		}
		return err
	default:
		p.ending.Store(true)
		ops = []record.Op{record.Destroy(record.Logout, hour)}
	}
	reply, err := apply(s, p.handle, ops...)
	switch {
	case err != nil:
		return err
	case reply.Status == record.Ended:
		p.ended.Store(true)
	case reply.Status == record.Exists:
		p.created.Store(true)
	case reply.Status != record.OK:
		return fmt.Errorf("%+v: %s", ops[0].Kind, reply.Status)
	case ops[0].Kind == record.OpCreate:
		p.created.Store(true)
	case ops[0].Kind == record.OpDestroy:
		p.ended.Store(true)
	case ops[0].Kind == record.OpAdd, ops[0].Kind == record.OpGet:
		n, ok := record.ParseInt(reply.Values[0].Text)
		if !ok {
			return fmt.Errorf("n is %q", reply.Values[0].Text)
		}
		raise(&p.seen, n)
	}
	return nil
}

func apply(s record.Store, h record.Handle, ops ...record.Op) (record.Reply, error) {
	return s.Apply(context.Background(), h, &record.Batch{Ops: ops})
}

// raise makes a at least n.
func raise(a *atomic.Int64, n int64) {
	for old := a.Load(); n > old && !a.CompareAndSwap(old, n); old = a.Load() {
	}
}

// agree checks that each entry has one place in the order of expiry, not after its
// end, and that there are no other places. Nobody writes meanwhile.
func agree(s *Store) error {
	places := map[string]uint32{}
	entries := 0
	iter, err := s.db.NewIter(&pebble.IterOptions{})
	if err != nil {
		return err
	}
	defer iter.Close()
	for valid := iter.Last(); valid; valid = iter.Prev() { // the order of expiry first
		key := string(iter.Key())
		if key[0] == expiryKind {
			if _, twice := places[key[1+filedSize:]]; twice {
				return fmt.Errorf("%q is filed twice", key)
			}
			places[key[1+filedSize:]] = binary.BigEndian.Uint32([]byte(key[1:]))
			continue
		}
		entries++
		e := entry{value: string(iter.Value())}
		expires, err := expiresOf(key[0], e.text())
		if err != nil {
			return err
		}
		if filed, found := places[key]; !found || filed != e.filed() || filed > secondAfter(expires) {
			return fmt.Errorf("%q ends at %d and is filed at %d, %v, and says %d", key, expires, filed, found, e.filed())
		}
	}
	if entries != len(places) {
		return fmt.Errorf("%d entries, %d places", entries, len(places))
	}
	return iter.Error()
}
