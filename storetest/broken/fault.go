package broken

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Fault is what is wrong with a [Store].
type Fault int

const (
	// None: nothing is wrong.
	None Fault = iota
	// LostUpdate: a write loads and saves the record in two steps.
	LostUpdate
	// LateSave: writes exclude each other but not a Destroy, so that one in
	// flight puts the session back over its tombstone.
	LateSave
	// Resurrection: a write to a destroyed session makes it anew.
	Resurrection
	// LostTTL: a record never expires.
	LostTTL
	// TwoWinners: Pop, Drain, SetIfAbsent and Rotate look before they leap.
	TwoWinners
	// TornBatch: what came before the refused operation is done all the same.
	TornBatch
	// StaleRead: a read soon after a write sees the record as it was before.
	StaleRead
	// TornRead: a batch of reads reads one field after the other.
	TornRead
	// ErrorAsAbsent: a failure is answered as an empty session.
	ErrorAsAbsent
	// EternalTombstone: a tombstone never expires.
	EternalTombstone
	// NoTombstone: Destroy only deletes.
	NoTombstone
	// NoTombstoneForNothing: Destroy of no session leaves no tombstone.
	NoTombstoneForNothing
	// UncountedPending: the cap on a user's sessions overlooks pending ones.
	UncountedPending
	// LostListing: an index step loads and saves the index in two steps.
	LostListing
	// BlindToBlock: a blocked user is listed.
	BlindToBlock
	// SilentOnDoomed: an index step does not name the entries to be destroyed.
	SilentOnDoomed
	// EagerTouch: Touch fires each time.
	EagerTouch
	// WritesTouch: every write moves the idle deadline.
	WritesTouch
	// DoubleApply: now and then a batch is sent twice.
	DoubleApply
	// Reencoded: texts are decoded and encoded again.
	Reencoded
	// FoldedNames: field names are compared without regard to case.
	FoldedNames
	// ForgetsPresentation: a read does not remember that it presented a token.
	ForgetsPresentation
	// FloorIgnored: tokens older than a privilege change still open the session.
	FloorIgnored
	// NoLimits: the limits of a batch are ignored.
	NoLimits
	// SharedReply: a reply's slices are the store's own.
	SharedReply
	// KeepsBatch: a batch is read again after the call that brought it.
	KeepsBatch
	// DeafToContext: a call under a dead context is executed.
	DeafToContext
	// OpenAfterClose: a closed store goes on.
	OpenAfterClose
	lastFault = OpenAfterClose
)

var faultNames = [...]string{"None", "LostUpdate", "LateSave", "Resurrection", "LostTTL", "TwoWinners", "TornBatch",
	"StaleRead", "TornRead", "ErrorAsAbsent", "EternalTombstone", "NoTombstone", "NoTombstoneForNothing",
	"UncountedPending", "LostListing", "BlindToBlock", "SilentOnDoomed", "EagerTouch", "WritesTouch", "DoubleApply", "Reencoded",
	"FoldedNames", "ForgetsPresentation", "FloorIgnored", "NoLimits", "SharedReply", "KeepsBatch", "DeafToContext",
	"OpenAfterClose"}

// String returns the fault's name.
func (f Fault) String() string { return faultNames[f] }

// Faults returns all faults but None.
func Faults() (all []Fault) {
	for f := None + 1; f <= lastFault; f++ {
		all = append(all, f)
	}
	return all
}

// staleFor is how long StaleRead serves the past.
const staleFor = 2 * time.Millisecond

// has reports whether b has an operation of one of the kinds.
func has(b *record.Batch, kinds ...record.OpKind) bool {
	return slices.ContainsFunc(b.Ops, func(op record.Op) bool { return slices.Contains(kinds, op.Kind) })
}

// serialize makes the writes of LateSave wait for each other.
func (s *Store) serialize(h record.Handle, b *record.Batch) (done func()) {
	if s.fault != LateSave || b.ReadOnly() || has(b, record.OpDestroy) {
		return func() {}
	}
	s.mu.Lock()
	m := s.writing[h]
	if m == nil {
		m = new(sync.Mutex)
		s.writing[h] = m
	}
	s.mu.Unlock()
	m.Lock()
	return m.Unlock
}

// hesitates reports whether others may come in between loading and saving.
func (s *Store) hesitates(b *record.Batch) bool {
	switch s.fault {
	case LostUpdate:
		return !b.ReadOnly()
	case LateSave:
		return !b.ReadOnly() && !has(b, record.OpDestroy)
	case TwoWinners:
		return has(b, record.OpPop, record.OpDrain, record.OpSetIfAbsent, record.OpRotate)
	}
	return false
}

func (s *Store) load(h record.Handle, b *record.Batch) (r record.Record, err error) {
	text, p := s.sessions[h], s.past[h]
	if s.fault == StaleRead && b.ReadOnly() && p.before != "" && time.Since(p.written) < staleFor {
		text = p.before
	}
	if s.fault == Resurrection && record.IsTombstone(text) && !b.ReadOnly() &&
		!has(b, record.OpDestroy, record.OpCreate) {
		text = p.alive
	}
	return r, r.Decode(text)
}

// disturb changes what Apply is about to see, and the time.
func (s *Store) disturb(r *record.Record, b *record.Batch, now int64) int64 {
	live := r.State == record.Live && now < r.Expires()
	switch s.fault {
	case LostTTL:
		if r.State == record.Live {
			now = min(now, r.Expires()-1)
		}
	case EternalTombstone:
		if r.State == record.Dead {
			now = min(now, r.Expires()-1)
		}
	case EagerTouch:
		if live && has(b, record.OpTouch) {
			r.Meta.Touched = min(r.Meta.Touched, now-r.Meta.Idle/10)
		}
	case WritesTouch:
		if live && !b.ReadOnly() {
			r.Meta.Touched = now
		}
	case FloorIgnored:
		if live && b.Access.Generation > 0 && b.Access.Generation < r.Meta.Floor {
			b.Access.Mode = record.Admin
		}
	case NoLimits:
		b.Limits = record.Limits{Value: 1 << 30, Fields: 1 << 20, Size: 1 << 30}
	case Reencoded:
		for i := range b.Ops {
			b.Ops[i].Text = strings.ReplaceAll(b.Ops[i].Text, `\u003c`, "<")
		}
	case FoldedNames:
		for i := range b.Ops {
			b.Ops[i].Name = strings.ToLower(b.Ops[i].Name)
		}
	}
	return now
}

// spoil changes what Apply has done, and reports whether it changed r.
func (s *Store) spoil(h record.Handle, r *record.Record, b *record.Batch, reply *record.Reply, now int64) bool {
	switch s.fault {
	case TornBatch:
		if reply.Status > record.Conflict && reply.At > 0 {
			r.Apply(&record.Batch{Access: b.Access, Ops: b.Ops[:reply.At], Limits: b.Limits}, now)
			return true
		}
	case TornRead:
		if reply.Status == record.OK && b.ReadOnly() && len(b.Ops) > 1 {
			s.readLast(h, b, reply)
		}
	case DoubleApply:
		if s.writes++; s.writes%50 == 0 && has(b, record.OpAdd, record.OpAppend) {
			r.Apply(b, now)
		}
	case NoTombstone:
		if r.State == record.Dead {
			r.Reset()
			return true
		}
	case NoTombstoneForNothing:
		if r.State == record.Dead && reply.Status == record.OK && !reply.Values[0].Found {
			r.Reset()
			return true
		}
	case SharedReply:
		s.share(h, b, reply)
	}
	return false
}

// readLast reads the last field of a batch a moment later than the others.
func (s *Store) readLast(h record.Handle, b *record.Batch, reply *record.Reply) {
	s.mu.Unlock()
	time.Sleep(100 * time.Microsecond)
	s.mu.Lock()
	var later record.Record
	last := len(b.Ops) - 1
	if later.Decode(s.sessions[h]) == nil {
		text, found := later.Get(b.Ops[last].Name)
		reply.Values[last] = record.Value{Text: text, Found: found}
	}
}

// share answers a repeated read with the slices of the first.
func (s *Store) share(h record.Handle, b *record.Batch, reply *record.Reply) {
	if reply.Status != record.OK || !has(b, record.OpGetAll) {
		return
	}
	if known, ok := s.replies[h]; ok && known.Revision == reply.Revision && len(known.Values) == len(reply.Values) {
		reply.Values, reply.Fields = known.Values, known.Fields
	}
	s.replies[h] = *reply
}

// save keeps r, or for some faults something else.
func (s *Store) save(h record.Handle, r *record.Record, b *record.Batch, changed bool) {
	if !changed || s.fault == ForgetsPresentation && b.ReadOnly() {
		return
	}
	p := s.past[h]
	p.before, p.written = s.sessions[h], time.Now()
	if r.State == record.Live {
		p.alive = string(r.Append(nil))
	}
	s.past[h] = p
	if s.fault == KeepsBatch && !has(b, record.OpCreate, record.OpDestroy) {
		s.late[h] = b
		return
	}
	s.sessions[h] = string(r.Append(nil))
}

// catchUp does what KeepsBatch has put off.
func (s *Store) catchUp(h record.Handle) {
	b := s.late[h]
	if b == nil {
		return
	}
	delete(s.late, h)
	var r record.Record
	if r.Decode(s.sessions[h]) == nil {
		r.Apply(b, time.Now().UnixMilli())
		s.sessions[h] = string(r.Append(nil))
	}
}

func (s *Store) applyIndex(x *record.Index, step *record.IndexStep, now int64) (record.IndexReply, bool) {
	if s.fault == SilentOnDoomed {
		reply, changed := x.Apply(step, now)
		if step.Kind != record.List && step.Kind != record.Block {
			reply.Entries = nil
		}
		return reply, changed
	}
	if step.Kind != record.Enlist {
		return x.Apply(step, now)
	}
	switch s.fault {
	case UncountedPending:
		relaxed := *step
		for i := range x.Entries {
			if x.Entries[i].State == record.Pending {
				relaxed.Max++
			}
		}
		return x.Apply(&relaxed, now)
	case BlindToBlock:
		until := x.BlockedUntil
		x.BlockedUntil = 0
		reply, changed := x.Apply(step, now)
		x.BlockedUntil = until
		return reply, changed
	}
	return x.Apply(step, now)
}
