package memstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
)

var lasting = record.Expiry{Idle: 3_600_000, Absolute: 3_600_000}

// put makes a session with some fields.
func put(t testing.TB, s *memstore.Store, h record.Handle, expiry record.Expiry, ops ...record.Op) {
	t.Helper()
	b := record.Batch{Ops: append([]record.Op{record.Create(record.NewSecret(), expiry)}, ops...)}
	if reply, err := s.Apply(context.Background(), h, &b); err != nil || reply.Status != record.OK {
		t.Fatal(reply.Status, err)
	}
}

func look(t testing.TB, s *memstore.Store, h record.Handle) record.Reply {
	t.Helper()
	reply, err := s.Apply(context.Background(), h, &record.Batch{Ops: []record.Op{record.GetAll(), record.GetIdentity()}})
	if err != nil {
		t.Fatal(err)
	}
	reply.Now = 0
	return reply
}

func listed(t testing.TB, s *memstore.Store, user string) record.IndexReply {
	t.Helper()
	reply, err := s.ApplyIndex(context.Background(), user, &record.IndexStep{Kind: record.List})
	if err != nil {
		t.Fatal(err)
	}
	reply.Now = 0
	return reply
}

func newStore(t testing.TB, opts *memstore.Options) *memstore.Store {
	s := memstore.New(opts)
	t.Cleanup(func() { s.Close() })
	return s
}

// filled returns a store with sessions of all kinds, and their handles.
func filled(t testing.TB) (s *memstore.Store, handles []record.Handle) {
	s = newStore(t, nil)
	for i := range 300 {
		h := record.NewHandle()
		handles = append(handles, h)
		put(t, s, h, lasting, record.Set("n", fmt.Sprint(i)))
		user := fmt.Sprint("user ", i%7)
		step := record.IndexStep{Kind: record.Refresh, Handle: h, Lifetime: 3_600_000}
		if _, err := s.ApplyIndex(context.Background(), user, &step); err != nil {
			t.Fatal(err)
		}
		var op record.Op
		switch i % 3 {
		case 0:
			op = record.Authenticate(user, record.NewSecret(), 0)
		case 1:
			op = record.Rotate(1, record.NewSecret(), 1000)
		case 2:
			op = record.Destroy(record.Revoked, 3_600_000)
		}
		if _, err := s.Apply(context.Background(), h, &record.Batch{Ops: []record.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	return s, handles
}

func snapshot(t testing.TB, s *memstore.Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshotsHoldEverything(t *testing.T) {
	s, handles := filled(t)
	from := bytes.NewReader(append(snapshot(t, s), "what follows"...))
	loaded := newStore(t, nil)
	if err := loaded.Load(from); err != nil {
		t.Fatal(err)
	}
	if from.Len() != len("what follows") {
		t.Errorf("%d bytes are left, not what follows", from.Len())
	}
	for _, h := range handles {
		if got, want := fmt.Sprintf("%+v", look(t, loaded, h)), fmt.Sprintf("%+v", look(t, s, h)); got != want {
			t.Fatalf("session %s is\n%s\nwant\n%s", h, got, want)
		}
	}
	for i := range 7 {
		user := fmt.Sprint("user ", i)
		if got, want := fmt.Sprint(listed(t, loaded, user)), fmt.Sprint(listed(t, s, user)); got != want {
			t.Errorf("%s: %s, want %s", user, got, want)
		}
	}
	n1, bytes1 := s.Stats()
	if n2, bytes2 := loaded.Stats(); n1 != n2 || bytes1 != bytes2 {
		t.Errorf("%d records, %d bytes; want %d, %d", n2, bytes2, n1, bytes1)
	}
}

// A session that was unlisted while the snapshot was written is listed again, or
// ended where there must be none.
func TestLoadListsWhoIsLoggedIn(t *testing.T) {
	s := newStore(t, nil)
	login := func(user string) record.Handle {
		h := record.NewHandle()
		put(t, s, h, lasting, record.Authenticate(user, record.NewSecret(), 0))
		return h
	}
	listedNot, blocked, visitor := login("ann"), login("bob"), record.NewHandle()
	put(t, s, visitor, lasting)
	block := record.IndexStep{Kind: record.Block, Duration: 3_600_000}
	if _, err := s.ApplyIndex(context.Background(), "bob", &block); err != nil {
		t.Fatal(err)
	}
	loaded := newStore(t, nil)
	if err := loaded.Load(bytes.NewReader(snapshot(t, s))); err != nil {
		t.Fatal(err)
	}
	ann := listed(t, loaded, "ann")
	if len(ann.Entries) != 1 || ann.Entries[0].Handle != listedNot || ann.Entries[0].State != record.Active {
		t.Errorf("ann: %+v", ann)
	}
	if reply := look(t, loaded, listedNot); reply.Status != record.OK {
		t.Errorf("ann's session: %s", reply.Status)
	}
	if reply := look(t, loaded, blocked); reply.Status != record.Ended || reply.Reason != record.Revoked {
		t.Errorf("the session of a blocked user: %s", reply.Status)
	}
	if reply := look(t, loaded, visitor); reply.Status != record.OK {
		t.Errorf("a visitor's session: %s", reply.Status)
	}
}

// Anything but a whole snapshot is refused, whichever byte is wrong or missing.
func TestDamagedSnapshotsAreRefused(t *testing.T) {
	s := newStore(t, nil)
	for range 3 {
		put(t, s, record.NewHandle(), lasting, record.Set("a", "1"))
	}
	whole := snapshot(t, s)
	for n := range whole {
		if err := newStore(t, nil).Load(bytes.NewReader(whole[:n])); !errors.Is(err, memstore.ErrSnapshot) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
		damaged := bytes.Clone(whole)
		damaged[n] ^= 0x41
		if err := newStore(t, nil).Load(bytes.NewReader(damaged)); !errors.Is(err, memstore.ErrSnapshot) {
			t.Fatalf("byte %d of %d wrong: %v", n, len(whole), err)
		}
	}
}

func TestLoadHonoursTheCap(t *testing.T) {
	s, _ := filled(t)
	if err := newStore(t, &memstore.Options{MaxBytes: 10_000}).Load(bytes.NewReader(snapshot(t, s))); !errors.Is(err, record.ErrFull) {
		t.Errorf("%v", err)
	}
}

func TestClosedStoresGiveNoSnapshot(t *testing.T) {
	s := newStore(t, nil)
	s.Close()
	var b bytes.Buffer
	if err := s.Snapshot(&b); !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// A snapshot under load holds every session that was there all the time, and none
// that is half of one.
func TestSnapshotsUnderLoad(t *testing.T) {
	s := newStore(t, nil)
	var handles []record.Handle
	for range 2000 {
		h := record.NewHandle()
		handles = append(handles, h)
		put(t, s, h, lasting, record.Set("a", "0"), record.Set("b", "0"))
	}
	ctx, stop := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := w; ctx.Err() == nil; i += 4 {
				b := record.Batch{Ops: []record.Op{record.Add("a", 1), record.Add("b", 1)}}
				if _, err := s.Apply(context.Background(), handles[i%len(handles)], &b); err != nil {
					t.Error(err)
					return
				}
				gone := record.NewHandle() // moves others about in the slab
				put(t, s, gone, lasting)
				b = record.Batch{Ops: []record.Op{record.Destroy(record.Logout, 1)}}
				if _, err := s.Apply(context.Background(), gone, &b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		loaded := newStore(t, nil)
		if err := loaded.Load(bytes.NewReader(snapshot(t, s))); err != nil {
			t.Fatal(err)
		}
		for _, h := range handles {
			reply := look(t, loaded, h)
			if reply.Status != record.OK || len(reply.Fields) != 2 || reply.Fields[0].Text != reply.Fields[1].Text {
				t.Fatalf("session %s: %+v", h, reply)
			}
		}
	}
	stop()
	writers.Wait()
}

// FuzzLoad holds Load to take anything without a panic, and nothing twice.
func FuzzLoad(f *testing.F) {
	s := newStore(f, nil)
	put(f, s, record.NewHandle(), lasting, record.Set("a", "1"))
	f.Add(snapshot(f, s))
	f.Fuzz(func(t *testing.T, data []byte) {
		loaded := newStore(t, nil)
		if err := loaded.Load(bytes.NewReader(data)); err == nil {
			if err := newStore(t, nil).Load(bytes.NewReader(snapshot(t, loaded))); err != nil {
				t.Error(err)
			}
		}
	})
}
