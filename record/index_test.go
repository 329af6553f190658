package record

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func handle(n byte) Handle { return Handle{n} }

// step applies a step and holds Apply to what it promises of every step. The reply
// returned has all entries in it, so that tests see what they have become.
func step(t testing.TB, x *Index, s IndexStep, now int64) IndexReply {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	var before Index
	if err := before.Decode(string(x.Append(nil))); err != nil {
		t.Fatal(err)
	}
	reply, changed := x.Apply(&s, now)
	same := string(before.Append(nil)) == string(x.Append(nil))
	if !changed && !same {
		t.Fatalf("changed, and not said so: %+v", x)
	}
	if reply.Now != now || reply.BlockedUntil != x.BlockedUntil || !slices.Equal(reply.Entries, toActOn(x, s.Kind, reply.Status)) {
		t.Fatalf("reply %+v, index %+v", reply, x)
	}
	checkIndex(t, x)
	reply.Entries = slices.Clone(x.Entries)
	return reply
}

// toActOn returns the entries that an answer names.
func toActOn(x *Index, kind IndexKind, status IndexStatus) (list []Entry) {
	for _, e := range x.Entries {
		if e.State == Doomed || kind == List || kind == Block || x.BlockedUntil != 0 || status == IndexUnverified {
			list = append(list, e)
		}
	}
	return list
}

func checkIndex(t testing.TB, x *Index) {
	t.Helper()
	var again Index
	encoded := string(x.Append(nil))
	if err := again.Decode(encoded); err != nil {
		t.Fatal(err)
	}
	if again.BlockedUntil != x.BlockedUntil || !slices.Equal(again.Entries, x.Entries) {
		t.Fatalf("%+v became %+v", x, again)
	}
	if string(again.Append(nil)) != encoded {
		t.Fatal("encoded otherwise the second time")
	}
	if (x.Expires() == 0) != (encoded == "") {
		t.Fatalf("expires at %d, encoded in %d bytes", x.Expires(), len(encoded))
	}
}

func wantIndex(t testing.TB, reply IndexReply, status IndexStatus, states ...EntryState) {
	t.Helper()
	var got []EntryState
	for _, e := range reply.Entries {
		got = append(got, e.State)
	}
	if reply.Status != status || !slices.Equal(got, states) {
		t.Fatalf("status %q, states %d; want %q, %d", reply.Status, got, status, states)
	}
}

func enlist(n byte) IndexStep {
	return IndexStep{Kind: Enlist, Handle: handle(n), Max: 2, Lifetime: hour}
}

func TestLogin(t *testing.T) {
	x := new(Index)
	wantIndex(t, step(t, x, IndexStep{Kind: List}, start), IndexOK)
	wantIndex(t, step(t, x, enlist(1), start), IndexOK, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: Confirm, Handle: handle(1)}, start), IndexOK, Active)
	wantIndex(t, step(t, x, IndexStep{Kind: Confirm, Handle: handle(1)}, start), IndexOK, Active)
	wantIndex(t, step(t, x, IndexStep{Kind: Confirm, Handle: handle(2)}, start), IndexMissing, Active)
	// Enlisted again: the state stays, the deadline moves later only.
	again := enlist(1)
	again.Lifetime = 2 * hour
	wantIndex(t, step(t, x, again, start+1), IndexOK, Active)
	again.Lifetime = 1
	if reply := step(t, x, again, start+2); reply.Entries[0].Deadline != start+1+2*hour || reply.Entries[0].Added != start {
		t.Errorf("entry %+v", reply.Entries[0])
	}
	wantIndex(t, step(t, x, enlist(2), start+3), IndexOK, Active, Pending)
	// Pending ones count.
	third := enlist(3)
	wantIndex(t, step(t, x, third, start+4), IndexUnverified, Active, Pending)
	third.Evict = true
	wantIndex(t, step(t, x, third, start+4), IndexUnverified, Active, Pending)
	third.Verified, third.Evict = true, false
	wantIndex(t, step(t, x, third, start+4), IndexFull, Active, Pending)
	third.Evict = true
	wantIndex(t, step(t, x, third, start+4), IndexOK, Doomed, Pending, Pending)
	wantIndex(t, step(t, x, enlist(1), start+5), IndexDoomed, Doomed, Pending, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: Confirm, Handle: handle(1)}, start+5), IndexDoomed, Doomed, Pending, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: Refresh, Handle: handle(1), Lifetime: hour}, start+5), IndexDoomed, Doomed, Pending, Pending)
	// A lower cap dooms several; the doomed are not counted.
	fourth := IndexStep{Kind: Enlist, Handle: handle(4), Max: 1, Lifetime: hour, Verified: true, Evict: true}
	wantIndex(t, step(t, x, fourth, start+6), IndexOK, Doomed, Doomed, Doomed, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: Unlist, Handles: []Handle{handle(1), handle(3), handle(9)}}, start+7), IndexOK, Doomed, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: Unlist}, start+7), IndexOK, Doomed, Pending)
	// What is past its deadline is forgotten.
	wantIndex(t, step(t, x, IndexStep{Kind: List}, start+3+hour), IndexOK, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: List}, start+6+hour), IndexOK)
}

// An answer names what the caller has to act on, and no more.
func TestIndexReplyEntries(t *testing.T) {
	x := &Index{Entries: []Entry{{handle(1), Doomed, start, start + hour}, {handle(2), Active, start, start + hour}}}
	for _, test := range []struct {
		name string
		step IndexStep
		want []EntryState
	}{
		{"list", IndexStep{Kind: List}, []EntryState{Doomed, Active}},
		{"confirm", IndexStep{Kind: Confirm, Handle: handle(2)}, []EntryState{Doomed}},
		{"confirm a doomed one", IndexStep{Kind: Confirm, Handle: handle(1)}, []EntryState{Doomed}},
		{"confirm a missing one", IndexStep{Kind: Confirm, Handle: handle(9)}, []EntryState{Doomed}},
		{"refresh", IndexStep{Kind: Refresh, Handle: handle(2), Lifetime: hour}, []EntryState{Doomed}},
		{"enlist", IndexStep{Kind: Enlist, Handle: handle(3), Max: 2, Lifetime: hour}, []EntryState{Doomed}},
		{"enlist over the cap", IndexStep{Kind: Enlist, Handle: handle(4), Max: 2, Lifetime: hour}, []EntryState{Doomed, Active, Pending}},
		{"enlist verified", IndexStep{Kind: Enlist, Handle: handle(4), Max: 2, Lifetime: hour, Verified: true}, []EntryState{Doomed}},
		{"enlist and evict", IndexStep{Kind: Enlist, Handle: handle(4), Max: 2, Lifetime: hour, Verified: true, Evict: true}, []EntryState{Doomed, Doomed}},
		{"unlist", IndexStep{Kind: Unlist, Handles: []Handle{handle(2)}}, []EntryState{Doomed}},
		{"block", IndexStep{Kind: Block, Duration: hour}, []EntryState{Doomed, Pending, Pending}},
		{"confirm when blocked", IndexStep{Kind: Confirm, Handle: handle(3)}, []EntryState{Doomed, Pending, Pending}},
		{"unlist when blocked", IndexStep{Kind: Unlist}, []EntryState{Doomed, Pending, Pending}},
		{"unblock", IndexStep{Kind: Unblock}, []EntryState{Doomed}},
	} {
		reply, _ := x.Apply(&test.step, start)
		var got []EntryState
		for _, e := range reply.Entries {
			got = append(got, e.State)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: states %d, want %d", test.name, got, test.want)
		}
		clear(reply.Entries) // they are the caller's
	}
	if len(x.doomed()) != 1 {
		t.Errorf("%+v", x)
	}
}

func TestRefresh(t *testing.T) {
	x := new(Index)
	refresh := func(n byte, lifetime, now int64) IndexReply {
		return step(t, x, IndexStep{Kind: Refresh, Handle: handle(n), Lifetime: lifetime}, now)
	}
	wantIndex(t, refresh(1, hour, start), IndexOK, Active) // heals what was lost
	refresh(1, minute, start+1)
	if x.Entries[0].Deadline != start+hour {
		t.Error("refreshed to an earlier end")
	}
	refresh(1, hour, start+2)
	if x.Entries[0].Deadline != start+2+hour {
		t.Error("not refreshed")
	}
	step(t, x, enlist(2), start+3)
	wantIndex(t, refresh(2, hour, start+3), IndexOK, Active, Active)
	// Refresh is beyond the cap: the sessions are there.
	wantIndex(t, refresh(3, hour, start+3), IndexOK, Active, Active, Active)
	// Sorted by the time they were added, then by handle.
	refresh(0, hour, start+3)
	if got := []byte{x.Entries[0].Handle[0], x.Entries[1].Handle[0], x.Entries[2].Handle[0], x.Entries[3].Handle[0]}; !slices.Equal(got, []byte{1, 0, 2, 3}) {
		t.Errorf("order %d", got)
	}
	reply, changed := x.Apply(&IndexStep{Kind: Refresh, Handle: handle(1), Lifetime: minute}, start+4)
	if reply.Status != IndexOK || changed {
		t.Error("a refresh that does nothing is a change")
	}
}

func TestBlock(t *testing.T) {
	x := new(Index)
	step(t, x, enlist(1), start)
	block := func(duration, now int64) IndexReply {
		return step(t, x, IndexStep{Kind: Block, Duration: duration}, now)
	}
	wantIndex(t, block(2*hour, start), IndexOK, Pending)
	block(hour, start+1)
	if x.BlockedUntil != start+2*hour || x.Expires() != start+2*hour {
		t.Errorf("blocked until %d, expires at %d", x.BlockedUntil, x.Expires())
	}
	wantIndex(t, step(t, x, enlist(2), start+1), IndexBlocked, Pending)
	wantIndex(t, step(t, x, enlist(1), start+1), IndexBlocked, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: Confirm, Handle: handle(1)}, start+1), IndexBlocked, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: Refresh, Handle: handle(1), Lifetime: hour}, start+1), IndexBlocked, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: Unblock}, start+2), IndexOK, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: Unblock}, start+2), IndexOK, Pending)
	wantIndex(t, step(t, x, IndexStep{Kind: Confirm, Handle: handle(1)}, start+2), IndexOK, Active)
	block(hour, start+3)
	wantIndex(t, step(t, x, enlist(2), start+3+hour-1), IndexBlocked)
	wantIndex(t, step(t, x, enlist(2), start+3+hour), IndexOK, Pending)
	if x.BlockedUntil != 0 {
		t.Error("the block has not ended")
	}
}

func TestIndexCheck(t *testing.T) {
	for _, s := range []IndexStep{
		{Kind: lastIndexKind + 1},
		{Kind: Enlist, Lifetime: 1},
		{Kind: Enlist, Max: MaxSessions + 1, Lifetime: 1},
		{Kind: Enlist, Max: 1},
		{Kind: Enlist, Max: 1, Lifetime: MaxTimeout + 1},
		{Kind: Refresh},
		{Kind: Block},
		{Kind: Block, Duration: MaxTimeout + 1},
	} {
		if err := s.Check(); !errors.Is(err, ErrIndexStep) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	for _, s := range []IndexStep{
		{Kind: Enlist, Max: MaxSessions, Lifetime: MaxTimeout}, {Kind: Block, Duration: MaxTimeout}, {Kind: Confirm}, {Kind: Unlist}, {Kind: List}, {Kind: Unblock},
	} {
		if err := s.Check(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

const indexHex = "01" + "000000000009" + "02" +
	"01000000000000000000000000000000" + "01" + "000000000001" + "000000000005" +
	"02000000000000000000000000000000" + "02" + "000000000001" + "000000000006"

func TestIndexGolden(t *testing.T) {
	x := &Index{BlockedUntil: 9, Entries: []Entry{{handle(1), Active, 1, 5}, {handle(2), Doomed, 1, 6}}}
	if got := hex.EncodeToString(x.Append(nil)); got != indexHex {
		t.Errorf("got %s", got)
	}
	checkIndex(t, x)
	checkIndex(t, &Index{})
	checkIndex(t, &Index{BlockedUntil: 1})
}

func TestIndexDecodeRefuses(t *testing.T) {
	encoded, _ := hex.DecodeString(indexHex)
	s := string(encoded)
	x := &Index{Entries: make([]Entry, 3)}
	for cut := 1; cut < len(s); cut++ {
		if err := x.Decode(s[:cut]); !errors.Is(err, ErrCorrupt) || x.BlockedUntil != 0 || len(x.Entries) > 0 {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	entry := s[8:37]
	for name, test := range map[string]struct {
		s   string
		err error
	}{
		"another layout":   {"\x02" + s[1:], ErrLayout},
		"a byte more":      {s + "\x00", ErrCorrupt},
		"an entry more":    {s + entry, ErrCorrupt},
		"the same twice":   {s[:8] + entry + entry, ErrCorrupt},
		"out of order":     {s[:8] + s[37:] + entry, ErrCorrupt},
		"nothing":          {"\x01" + strings.Repeat("\x00", 7), ErrCorrupt},
		"an unknown state": {s[:7] + "\x01" + entry[:16] + "\x03" + entry[17:], ErrCorrupt},
		"a huge count":     {s[:7] + strings.Repeat("\xff", 9) + "\x01" + entry, ErrCorrupt},
	} {
		if err := x.Decode(test.s); !errors.Is(err, test.err) || len(x.Entries) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Steps in any order: the cap holds, and every answer fits the state.
func TestIndexRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	x, now := new(Index), int64(start)
	for range 50_000 {
		s := IndexStep{Kind: IndexKind(rng.IntN(7)), Handle: handle(byte(rng.IntN(8))), Max: 1 + rng.IntN(4), Evict: rng.IntN(2) == 0,
			Verified: rng.IntN(2) == 0, Lifetime: 1 + rng.Int64N(1000), Duration: 1 + rng.Int64N(30)}
		for range rng.IntN(4) {
			s.Handles = append(s.Handles, handle(byte(rng.IntN(8))))
		}
		now += rng.Int64N(20)
		counted, listed := x.counted(), len(x.Entries)
		reply := step(t, x, s, now)
		if s.Kind == Enlist && reply.Status == IndexOK && len(x.Entries) > listed && x.counted() > s.Max {
			t.Fatalf("%d sessions, the cap is %d", x.counted(), s.Max)
		}
		if s.Kind != Enlist && s.Kind != Refresh && x.counted() > counted {
			t.Fatalf("kind %d added a session", s.Kind)
		}
	}
}
