package record

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Index lists the sessions of one user. It lives apart from the records, so that
// the two change in steps of their own; the order of the steps makes it safe.
//
// To log a user in: (1) Enlist, which adds the handle as pending and dooms what
// is over the cap; (2) the record's batch; (3) Confirm: if the entry is missing
// or doomed, the session destroys itself; (4) the doomed are destroyed, then
// Unlisted. Whoever comes by later finishes what a crash left.
type Index struct {
	BlockedUntil int64 // ms since 1970; no login until then
	Entries      []Entry
}

// Entry is one listed session.
type Entry struct {
	Handle   Handle
	State    EntryState
	Added    int64 // when it was listed, ms since 1970
	Deadline int64 // when the entry is forgotten, at the session's absolute end or later
}

// EntryState is how far a listed session is.
type EntryState uint8

const (
	// Pending: the login is under way, or was cut short.
	Pending EntryState = iota
	// Active: the user's session.
	Active
	// Doomed: over the cap. It is to be destroyed and is counted no longer.
	Doomed
	lastEntryState = Doomed
)

// IndexKind is what a step does.
type IndexKind uint8

const (
	// Enlist adds Handle as pending. It is refused if the user is blocked
	// (Blocked). When that would make more than Max, it answers Unverified until
	// Verified is set, so that dead entries are looked up and unlisted first;
	// then it dooms the oldest if Evict is set and refuses otherwise (Full).
	// A handle already listed keeps its state; if that is doomed, so is the
	// answer.
	Enlist IndexKind = iota
	// Confirm makes a pending Handle active. The answer is Missing or Doomed if
	// the session must destroy itself, Blocked if the user is blocked.
	Confirm
	// Refresh lists Handle as active, as after a touch: it heals an index that
	// was lost. Doomed and Blocked are as for Confirm.
	Refresh
	// Unlist removes Handles.
	Unlist
	// List only answers.
	List
	// Block refuses logins for Duration from now, or as long as before if that is
	// longer. The index lives at least as long.
	Block
	// Unblock ends that.
	Unblock
	lastIndexKind = Unblock
)

// IndexStep is what a store applies to one index, atomically.
type IndexStep struct {
	Kind     IndexKind
	Handle   Handle   // Enlist, Confirm, Refresh
	Handles  []Handle // Unlist
	Max      int      // Enlist: sessions the user may have, from 1
	Evict    bool     // Enlist: doom the oldest rather than refuse
	Verified bool     // Enlist: dead entries have been dropped
	Lifetime int64    // Enlist, Refresh: ms from now that the entry is kept
	Duration int64    // Block: ms
}

// IndexReply is the answer to a step.
type IndexReply struct {
	Status       IndexStatus
	Now          int64
	BlockedUntil int64
	// Entries are those that the caller may have to act on, as they are after the
	// step, the oldest first: all of them for List and Block, whenever the user is
	// blocked, and when Status is IndexUnverified; otherwise the doomed ones only,
	// so that a login costs no more than it must.
	Entries []Entry
}

// IndexStatus says whether a step was done. Anything but IndexOK means that
// nothing changed.
type IndexStatus uint8

// The statuses.
const (
	IndexOK IndexStatus = iota
	IndexBlocked
	IndexFull
	IndexUnverified
	IndexMissing
	IndexDoomed
	lastIndexStatus = IndexDoomed
)

var indexStatusNames = [...]string{"ok", "blocked", "full", "unverified", "missing", "doomed"}

// String returns the status in one word.
func (s IndexStatus) String() string {
	if s <= lastIndexStatus {
		return indexStatusNames[s]
	}
	return fmt.Sprintf("index status(%d)", uint8(s))
}

// MaxSessions bounds IndexStep.Max: what an Enlist allows, not what is listed.
// Doomed entries are beyond it, and Refresh lists whatever is there.
const MaxSessions = 10_000

// ErrIndexStep is returned when a step is against the rules on IndexStep.
var ErrIndexStep = errors.New("record: invalid index step")

// Check returns ErrIndexStep, naming what is wrong with the step.
func (s *IndexStep) Check() error {
	switch {
	case s.Kind > lastIndexKind:
		return fmt.Errorf("%w: unknown kind %d", ErrIndexStep, s.Kind)
	case s.Kind == Enlist && (s.Max < 1 || s.Max > MaxSessions):
		return fmt.Errorf("%w: at most %d sessions; 1 to %d are allowed", ErrIndexStep, s.Max, MaxSessions)
	case (s.Kind == Enlist || s.Kind == Refresh) && (s.Lifetime <= 0 || s.Lifetime > MaxTimeout):
		return fmt.Errorf("%w: lifetime of %d ms", ErrIndexStep, s.Lifetime)
	case s.Kind == Block && (s.Duration <= 0 || s.Duration > MaxTimeout):
		return fmt.Errorf("%w: block for %d ms", ErrIndexStep, s.Duration)
	}
	return nil
}

// Expires returns when a store may forget the index, in ms since 1970: when the
// last entry and the block are over; 0 if it holds nothing.
func (x *Index) Expires() int64 {
	end := x.BlockedUntil
	for i := range x.Entries {
		end = max(end, x.Entries[i].Deadline)
	}
	return end
}

// Apply applies s, which has passed Check, at the time now, and reports whether
// x changed. Entries past their deadline are forgotten.
func (x *Index) Apply(s *IndexStep, now int64) (reply IndexReply, changed bool) {
	before := len(x.Entries)
	x.Entries = slices.DeleteFunc(x.Entries, func(e Entry) bool { return now >= e.Deadline })
	changed = len(x.Entries) != before
	if x.BlockedUntil != 0 && now >= x.BlockedUntil {
		x.BlockedUntil, changed = 0, true
	}
	status, stepped := x.step(s, now)
	reply = IndexReply{Status: status, Now: now, BlockedUntil: x.BlockedUntil}
	if s.Kind == List || s.Kind == Block || x.BlockedUntil != 0 || status == IndexUnverified {
		reply.Entries = slices.Clone(x.Entries)
	} else {
		reply.Entries = x.doomed()
	}
	return reply, changed || stepped
}

// doomed returns the entries that are to be destroyed.
func (x *Index) doomed() (list []Entry) {
	for i := range x.Entries {
		if x.Entries[i].State == Doomed {
			list = append(list, x.Entries[i])
		}
	}
	return list
}

func (x *Index) step(s *IndexStep, now int64) (status IndexStatus, changed bool) {
	at := slices.IndexFunc(x.Entries, func(e Entry) bool { return e.Handle == s.Handle })
	switch s.Kind {
	case Enlist:
		return x.enlist(s, at, now)
	case Confirm, Refresh:
		return x.confirm(s, at, now)
	case Unlist:
		return IndexOK, x.unlist(s.Handles)
	case Block:
		until := max(x.BlockedUntil, now+s.Duration)
		changed = until != x.BlockedUntil
		x.BlockedUntil = until
	case Unblock:
		changed = x.BlockedUntil != 0
		x.BlockedUntil = 0
	}
	return IndexOK, changed
}

func (x *Index) unlist(handles []Handle) (changed bool) {
	gone := make(map[Handle]bool, len(handles))
	for _, h := range handles {
		gone[h] = true
	}
	before := len(x.Entries)
	x.Entries = slices.DeleteFunc(x.Entries, func(e Entry) bool { return gone[e.Handle] })
	return len(x.Entries) != before
}

func (x *Index) enlist(s *IndexStep, at int, now int64) (IndexStatus, bool) {
	if x.BlockedUntil != 0 {
		return IndexBlocked, false
	}
	if at >= 0 {
		e := &x.Entries[at]
		if e.State == Doomed {
			return IndexDoomed, false
		}
		e.Deadline = max(e.Deadline, now+s.Lifetime)
		return IndexOK, true
	}
	excess := x.counted() + 1 - s.Max
	if excess > 0 {
		if !s.Verified {
			return IndexUnverified, false
		}
		if !s.Evict {
			return IndexFull, false
		}
		x.doom(excess)
	}
	x.add(s.Handle, Pending, now, s.Lifetime)
	return IndexOK, true
}

func (x *Index) confirm(s *IndexStep, at int, now int64) (IndexStatus, bool) {
	switch {
	case x.BlockedUntil != 0:
		return IndexBlocked, false
	case at >= 0 && x.Entries[at].State == Doomed:
		return IndexDoomed, false
	case at < 0 && s.Kind == Confirm:
		return IndexMissing, false
	case at < 0:
		x.add(s.Handle, Active, now, s.Lifetime)
		return IndexOK, true
	}
	e := &x.Entries[at]
	before := *e
	e.State = Active
	if s.Kind == Refresh {
		e.Deadline = max(e.Deadline, now+s.Lifetime)
	}
	return IndexOK, *e != before
}

// counted returns how many entries count against the cap.
func (x *Index) counted() (n int) {
	for i := range x.Entries {
		if x.Entries[i].State != Doomed {
			n++
		}
	}
	return n
}

// doom marks the n oldest counted entries.
func (x *Index) doom(n int) {
	for i := range x.Entries {
		if n > 0 && x.Entries[i].State != Doomed {
			x.Entries[i].State = Doomed
			n--
		}
	}
}

// add keeps the entries sorted: by the time they were added, then by handle.
func (x *Index) add(h Handle, state EntryState, now, lifetime int64) {
	e := Entry{Handle: h, State: state, Added: now, Deadline: now + lifetime}
	at, _ := slices.BinarySearchFunc(x.Entries, e, compareEntries)
	x.Entries = slices.Insert(x.Entries, at, e)
}

func compareEntries(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Added, b.Added), slices.Compare(a.Handle[:], b.Handle[:]))
}
