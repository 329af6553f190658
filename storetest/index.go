package storetest

import (
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Rules on the index of a user's sessions.
var indexRules = []rule{
	{"EnlistAddsPending", "Enlist lists a handle as pending, the oldest first; one already listed keeps its state", checkEnlist},
	{"EnlistLosesNothing", "of handles that are listed or unlisted at the same time none is lost or left", checkEnlistRace},
	{"CapIsVerifiedFirst", "over the cap Enlist answers Unverified, then Full, and changes nothing", checkCap},
	{"EvictDoomsTheOldest", "with Evict, Enlist over the cap dooms the oldest that count; the doomed count no longer", checkEvict},
	{"CapHoldsUnderLoad", "whatever happens at the same time, no more than Max sessions count", checkCapRace},
	{"ConfirmMakesActive", "Confirm makes a pending handle active, or answers Missing or Doomed", checkConfirm},
	{"RefreshHeals", "Refresh lists a handle as active, whether or not it was listed, but not a doomed one", checkRefresh},
	{"UnlistRemoves", "Unlist removes the handles given, and only them", checkUnlist},
	{"BlockRefusesLogins", "Block refuses Enlist, Confirm and Refresh until it is over or Unblock; a shorter one does not shorten it", checkBlock},
	{"BlockEnds", "a block ends by itself, and lives as long even if nothing else is listed", timed(checkBlockEnds)},
	{"BlockStopsLoginsInFlight", "once Block has returned no login is listed or confirmed", checkBlockRace},
	{"EntriesExpire", "an entry is forgotten at its deadline and not before; Enlist and Refresh move that later only", timed(checkEntriesExpire)},
	{"UsersAreIndependent", "what is done to one user's index is not seen in another's", checkUsers},
	{"AnswersNameTheDoomed", "List, Block, Unverified and what concerns a blocked user name all entries, other answers the doomed only", checkAnswers},
	{"ManyEntriesAreKept", "an index keeps 500 entries", checkManyEntries},
}

// user is one user's index, and the model that says what it should answer.
type user struct {
	c     *check
	name  string
	model record.Index
}

// user returns a user whom nobody else uses.
func (c *check) user() *user { return &user{c: c, name: "user-" + rand.Text()} }

const hour = 3_600_000

// step applies a step and compares the reply with that of [record.Index.Apply].
func (u *user) step(status record.IndexStatus, s record.IndexStep) record.IndexReply {
	u.c.t.Helper()
	reply := u.raw(s)
	want, _ := u.model.Apply(&s, reply.Now)
	if reply.Status != want.Status || reply.BlockedUntil != want.BlockedUntil || !slices.Equal(reply.Entries, want.Entries) {
		u.c.fatalf("index step %d answered %+.300v, while record.Index.Apply answers %+.300v", s.Kind, reply, want)
	}
	if reply.Status != status {
		u.c.fatalf("index step %d answered %q, want %q", s.Kind, reply.Status, status)
	}
	return reply
}

// raw applies a step, without the model.
func (u *user) raw(s record.IndexStep) record.IndexReply {
	u.c.t.Helper()
	reply, err := u.try(s)
	if err != nil {
		u.c.fatalf("index step %d: %v", s.Kind, err)
	}
	return reply
}

func (u *user) try(s record.IndexStep) (record.IndexReply, error) {
	if err := s.Check(); err != nil {
		return record.IndexReply{}, fmt.Errorf("the suite made an invalid step: %w", err)
	}
	return u.c.store.ApplyIndex(u.c.ctx, u.name, &s)
}

func enlist(h record.Handle, max int) record.IndexStep {
	return record.IndexStep{Kind: record.Enlist, Handle: h, Max: max, Lifetime: hour}
}

// evict is an Enlist that dooms the oldest.
func evict(h record.Handle, max int) record.IndexStep {
	return record.IndexStep{Kind: record.Enlist, Handle: h, Max: max, Lifetime: hour, Evict: true, Verified: true}
}

func confirm(h record.Handle) record.IndexStep {
	return record.IndexStep{Kind: record.Confirm, Handle: h}
}

func refresh(h record.Handle) record.IndexStep {
	return record.IndexStep{Kind: record.Refresh, Handle: h, Lifetime: hour}
}

func unlist(handles ...record.Handle) record.IndexStep {
	return record.IndexStep{Kind: record.Unlist, Handles: handles}
}

func block(d time.Duration) record.IndexStep {
	return record.IndexStep{Kind: record.Block, Duration: ms(d)}
}

var (
	list    = record.IndexStep{Kind: record.List}
	unblock = record.IndexStep{Kind: record.Unblock}
)

// handles returns n new ones.
func handles(n int) (all []record.Handle) {
	for range n {
		all = append(all, record.NewHandle())
	}
	return all
}

// list returns all entries.
func (u *user) list() record.IndexReply {
	u.c.t.Helper()
	return u.step(record.IndexOK, list)
}

// state returns a listed handle's state, and whether it is listed.
func state(r record.IndexReply, h record.Handle) (record.EntryState, bool) {
	for _, e := range r.Entries {
		if e.Handle == h {
			return e.State, true
		}
	}
	return 0, false
}

// counted returns how many count against the cap.
func counted(r record.IndexReply) (n int) {
	for _, e := range r.Entries {
		if e.State != record.Doomed {
			n++
		}
	}
	return n
}

func checkEnlist(c *check) {
	u := c.user()
	same(c, "entries of a new user", len(u.list().Entries), 0)
	hs := handles(3)
	for _, h := range hs {
		u.step(record.IndexOK, enlist(h, 10))
		time.Sleep(2 * time.Millisecond)
	}
	reply := u.list()
	for i, h := range hs {
		if e := reply.Entries[i]; e.Handle != h || e.State != record.Pending || e.Deadline != e.Added+hour {
			c.fatalf("entry %d is %+v", i, e)
		}
	}
	u.step(record.IndexOK, confirm(hs[0]))
	u.step(record.IndexOK, enlist(hs[0], 10))
	again := u.list()
	if s, _ := state(again, hs[0]); s != record.Active || len(again.Entries) != 3 {
		c.errorf("listing a handle again changed its state or listed it twice")
	}
	u.step(record.IndexOK, enlist(hs[0], 1))
}

func checkEnlistRace(c *check) {
	const n = 120
	u := c.user()
	old, fresh := handles(n), handles(n)
	for _, h := range old {
		u.raw(enlist(h, 1000))
	}
	c.concurrently(n, func(i int) error {
		_, err := u.try(enlist(fresh[i], 1000))
		if err == nil {
			_, err = u.try(unlist(old[i]))
		}
		return err
	})
	reply := u.raw(list)
	for i := range n {
		if _, listed := state(reply, fresh[i]); !listed {
			c.fatalf("handle %d of %d was listed and is lost", i, n)
		}
	}
	same(c, "entries", len(reply.Entries), n)
}

func checkCap(c *check) {
	u := c.user()
	hs := handles(4)
	u.step(record.IndexOK, enlist(hs[0], 2))
	u.step(record.IndexOK, confirm(hs[0]))
	u.step(record.IndexOK, enlist(hs[1], 2))
	for range 2 {
		u.step(record.IndexUnverified, enlist(hs[2], 2))
		evicting := evict(hs[2], 2)
		evicting.Verified = false
		u.step(record.IndexUnverified, evicting)
		verified := enlist(hs[2], 2)
		verified.Verified = true
		u.step(record.IndexFull, verified)
	}
	u.step(record.IndexOK, unlist(hs[0]))
	u.step(record.IndexOK, enlist(hs[2], 2))
	u.step(record.IndexOK, enlist(hs[2], 1))
	u.step(record.IndexUnverified, enlist(hs[3], 1))
}

func checkEvict(c *check) {
	u := c.user()
	hs := handles(7)
	for i, h := range hs[:4] {
		u.step(record.IndexOK, enlist(h, 10))
		if i%2 == 0 {
			u.step(record.IndexOK, confirm(h))
		}
		time.Sleep(2 * time.Millisecond)
	}
	u.step(record.IndexOK, evict(hs[4], 4))
	reply := u.list()
	if s, _ := state(reply, hs[0]); s != record.Doomed || counted(reply) != 4 {
		c.fatalf("Enlist at the cap left the oldest %d, %d counted", s, counted(reply))
	}
	u.step(record.IndexOK, evict(hs[5], 2)) // the cap was lowered
	reply = u.list()
	for i, h := range hs[:6] {
		s, listed := state(reply, h)
		if !listed || (s == record.Doomed) != (i < 4) {
			c.fatalf("of 6 under a cap of 2 handle %d is in state %d, listed: %t", i, s, listed)
		}
	}
	u.step(record.IndexDoomed, evict(hs[0], 2))
	u.step(record.IndexOK, unlist(hs[:4]...))
	u.step(record.IndexOK, evict(hs[6], 1))
}

func checkCapRace(c *check) {
	const n, most = 120, 3
	for _, evicting := range []bool{true, false} {
		u := c.user()
		hs := handles(n)
		var ok, confirmed atomic.Int32
		accepted := make([]bool, n)
		login := func(i int) error {
			reply, err := u.try(confirm(hs[i]))
			if err == nil && reply.Status == record.IndexOK {
				confirmed.Add(1)
			}
			return err
		}
		c.concurrently(n, func(i int) error {
			s := evict(hs[i], most)
			s.Evict = evicting
			reply, err := u.try(s)
			if err != nil {
				return err
			}
			all, err := u.try(list)
			if err != nil {
				return err
			}
			if counted(all) > most {
				return fmt.Errorf("%d sessions counted, %d are allowed", counted(all), most)
			}
			if reply.Status != record.IndexOK {
				return nil
			}
			ok.Add(1)
			accepted[i] = true
			if i%2 == 0 { // the others dawdle
				return login(i)
			}
			return nil
		})
		c.concurrently(n, func(i int) error {
			if i%2 == 0 || !accepted[i] {
				return nil
			}
			return login(i)
		})
		reply := u.raw(list)
		same(c, "sessions that count in the end", counted(reply), most)
		if !evicting {
			same(c, "logins accepted", ok.Load(), most)
			same(c, "logins confirmed", confirmed.Load(), most)
			continue
		}
		same(c, "logins accepted", ok.Load(), n)
		for _, e := range reply.Entries {
			if e.State == record.Pending {
				c.errorf("a confirmed entry is pending")
			}
		}
	}
}

func checkConfirm(c *check) {
	u := c.user()
	hs := handles(2)
	u.step(record.IndexMissing, confirm(hs[0]))
	u.step(record.IndexOK, enlist(hs[0], 1))
	u.step(record.IndexOK, confirm(hs[0]))
	if s, _ := state(u.list(), hs[0]); s != record.Active {
		c.fatalf("the confirmed entry is in state %d", s)
	}
	u.step(record.IndexOK, confirm(hs[0]))
	u.step(record.IndexOK, evict(hs[1], 1))
	u.step(record.IndexDoomed, confirm(hs[0]))
	u.step(record.IndexDoomed, refresh(hs[0]))
	u.step(record.IndexOK, unlist(hs[0]))
	u.step(record.IndexMissing, confirm(hs[0]))
}

func checkRefresh(c *check) {
	u := c.user()
	hs := handles(3)
	u.step(record.IndexOK, refresh(hs[0])) // the index was lost
	u.step(record.IndexOK, enlist(hs[1], 2))
	u.step(record.IndexOK, refresh(hs[1]))
	reply := u.list()
	for _, h := range hs[:2] {
		if s, listed := state(reply, h); s != record.Active || !listed {
			c.fatalf("the refreshed entry is in state %d, listed: %t", s, listed)
		}
	}
	u.step(record.IndexOK, refresh(hs[2])) // over any cap: the session is there
	u.step(record.IndexUnverified, enlist(record.NewHandle(), 3))
}

func checkUnlist(c *check) {
	u := c.user()
	hs := handles(5)
	for _, h := range hs {
		u.step(record.IndexOK, enlist(h, 10))
	}
	u.step(record.IndexOK, unlist())
	u.step(record.IndexOK, unlist(hs[1], hs[3], record.NewHandle()))
	same(c, "entries", len(u.list().Entries), 3)
	u.step(record.IndexOK, unlist(hs...))
	same(c, "entries", len(u.list().Entries), 0)
	u.step(record.IndexOK, unlist(hs...))
	u.step(record.IndexOK, enlist(hs[0], 1))
}

func checkBlock(c *check) {
	u := c.user()
	hs := handles(3)
	u.step(record.IndexOK, enlist(hs[0], 10))
	reply := u.step(record.IndexOK, block(time.Hour))
	same(c, "blocked until", reply.BlockedUntil, reply.Now+hour)
	u.step(record.IndexBlocked, enlist(hs[1], 10))
	u.step(record.IndexBlocked, enlist(hs[0], 10))
	u.step(record.IndexBlocked, confirm(hs[0]))
	u.step(record.IndexBlocked, confirm(hs[1]))
	u.step(record.IndexBlocked, refresh(hs[2]))
	same(c, "blocked until", u.step(record.IndexOK, block(time.Minute)).BlockedUntil, reply.BlockedUntil)
	longer := u.step(record.IndexOK, block(2*time.Hour))
	same(c, "blocked until", longer.BlockedUntil, longer.Now+2*hour)
	if len(u.list().Entries) != 1 {
		c.errorf("the listed entry went with the block")
	}
	u.step(record.IndexOK, unlist(hs[0]))
	u.step(record.IndexBlocked, enlist(hs[0], 10))
	u.step(record.IndexOK, unblock)
	u.step(record.IndexOK, enlist(hs[1], 10))
	u.step(record.IndexOK, unblock)
}

func checkBlockEnds(c *check) {
	u := c.user()
	last := 3 * c.unit()
	short := enlist(record.NewHandle(), 10)
	short.Lifetime = ms(c.unit())
	u.step(record.IndexOK, short)
	before := time.Now()
	u.raw(block(last))
	after := time.Now()
	for time.Since(before) < last {
		reply := u.raw(enlist(record.NewHandle(), 10))
		if time.Since(before) < last-c.grain-slack && reply.Status != record.IndexBlocked {
			c.fatalf("blocked for %v, a login after %v answered %q", last, time.Since(before), reply.Status)
		}
		time.Sleep(last / 16)
	}
	time.Sleep(time.Until(after.Add(last + c.grain + slack)))
	if reply := u.raw(enlist(record.NewHandle(), 10)); reply.Status != record.IndexOK || reply.BlockedUntil != 0 {
		c.fatalf("a login after the block answered %q, blocked until %d", reply.Status, reply.BlockedUntil)
	}
}

func checkBlockRace(c *check) {
	const n = 32
	u := c.user()
	var blocked atomic.Bool
	c.concurrently(n+1, func(i int) error {
		if i == n {
			time.Sleep(2 * time.Millisecond)
			_, err := u.try(block(time.Hour))
			blocked.Store(true)
			return err
		}
		for {
			late := blocked.Load()
			h := record.NewHandle()
			reply, err := u.try(enlist(h, 1000))
			if err == nil && reply.Status == record.IndexOK {
				reply, err = u.try(confirm(h))
			}
			if err != nil {
				return err
			}
			if reply.Status == record.IndexBlocked {
				return nil
			}
			if late {
				return fmt.Errorf("a login was accepted after Block had returned: %q", reply.Status)
			}
			if _, err := u.try(unlist(h)); err != nil {
				return err
			}
		}
	})
}

func checkEntriesExpire(c *check) {
	u := c.user()
	last := 2 * c.unit()
	hs := handles(3)
	short := func(kind record.IndexKind, h record.Handle) record.IndexStep {
		return record.IndexStep{Kind: kind, Handle: h, Max: 10, Lifetime: ms(last)}
	}
	before := time.Now()
	for _, h := range hs[:2] {
		u.step(record.IndexOK, short(record.Enlist, h))
	}
	u.step(record.IndexOK, enlist(hs[2], 10))
	u.step(record.IndexOK, short(record.Refresh, hs[2])) // does not shorten
	after := time.Now()
	u.step(record.IndexOK, refresh(hs[1]))
	for time.Since(before) < last {
		_, listed := state(u.raw(list), hs[0])
		if !listed && time.Since(before) < last-c.grain-slack {
			c.fatalf("an entry for %v was forgotten after %v", last, time.Since(before))
		}
		time.Sleep(last / 16)
	}
	time.Sleep(time.Until(after.Add(last + c.grain + slack)))
	reply := u.list()
	for i, h := range hs {
		if _, listed := state(reply, h); listed != (i > 0) {
			c.fatalf("after the deadline of the first entry, entry %d is listed: %t", i, listed)
		}
	}
	u.step(record.IndexOK, enlist(record.NewHandle(), 3))
	u.step(record.IndexMissing, confirm(hs[0]))
}

func checkUsers(c *check) {
	prefix := rand.Text() + "-"
	all := map[string]record.Handle{}
	for _, name := range oddUsers() {
		if len(prefix+name) > record.MaxUser {
			name = name[len(prefix):]
		}
		u := &user{c: c, name: prefix + name}
		all[u.name] = record.NewHandle()
		u.step(record.IndexOK, enlist(all[u.name], 1))
	}
	for name, h := range all {
		u := &user{c: c, name: name}
		reply := u.raw(list)
		if _, listed := state(reply, h); !listed || len(reply.Entries) != 1 {
			c.fatalf("user %.60q has %d entries", name, len(reply.Entries))
		}
		u.raw(block(time.Hour))
		u.raw(unlist(h))
		delete(all, name)
	}
}

func checkManyEntries(c *check) {
	const n = 500
	u := c.user()
	hs := handles(n)
	c.concurrently(16, func(i int) error {
		for k := i; k < n; k += 16 {
			if _, err := u.try(enlist(hs[k], n)); err != nil {
				return err
			}
		}
		return nil
	})
	same(c, "entries", len(u.raw(list).Entries), n)
	same(c, "status over the cap", u.raw(enlist(record.NewHandle(), n)).Status, record.IndexUnverified)
	u.raw(unlist(hs[:n-1]...))
	same(c, "entries after Unlist", len(u.raw(list).Entries), 1)
}

func checkAnswers(c *check) {
	u := c.user()
	hs := handles(4)
	// Each step is compared with the model; these figures say what is at stake.
	names := func(n int, status record.IndexStatus, s record.IndexStep) {
		c.t.Helper()
		same(c, fmt.Sprintf("entries in the answer to index step %d", s.Kind), len(u.step(status, s).Entries), n)
	}
	names(0, record.IndexOK, enlist(hs[0], 2))
	time.Sleep(2 * time.Millisecond) // so that it is the oldest
	names(0, record.IndexOK, enlist(hs[1], 2))
	names(0, record.IndexOK, confirm(hs[0]))
	names(2, record.IndexUnverified, enlist(hs[2], 2))
	names(1, record.IndexOK, evict(hs[2], 2))
	names(1, record.IndexDoomed, confirm(hs[0]))
	names(1, record.IndexMissing, confirm(hs[3]))
	names(1, record.IndexOK, refresh(hs[1]))
	names(3, record.IndexOK, list)
	names(3, record.IndexOK, block(time.Hour))
	names(3, record.IndexBlocked, confirm(hs[1]))
	names(2, record.IndexOK, unlist(hs[0]))
	names(0, record.IndexOK, unblock)
}
