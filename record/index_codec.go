package record

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// The encoding of an index, for stores that keep one value for it:
//
//	layout 1 | blocked until 6
//	number of entries                 uvarint
//	handle 16 | entry 13              for each, in order
//
// The empty string is an index that holds nothing.

// EntrySize is the length of a packed [Entry] without its handle, in bytes.
const EntrySize = 13

// Pack returns e without its handle: state 1 | added 6 | deadline 6.
func (e *Entry) Pack() [EntrySize]byte {
	b := [EntrySize]byte{byte(e.State)}
	putUint48(b[1:], e.Added)
	putUint48(b[7:], e.Deadline)
	return b
}

// Unpack reads what Pack wrote, or returns ErrCorrupt.
func (e *Entry) Unpack(s string) error {
	if len(s) != EntrySize || EntryState(s[0]) > lastEntryState {
		return fmt.Errorf("%w: index entry", ErrCorrupt)
	}
	e.State = EntryState(s[0])
	e.Added = getUint48(s[1:7])
	e.Deadline = getUint48(s[7:13])
	return nil
}

// Append appends x's encoding to dst: nothing if x holds nothing.
func (x *Index) Append(dst []byte) []byte {
	if x.BlockedUntil == 0 && len(x.Entries) == 0 {
		return dst
	}
	var blocked [6]byte
	putUint48(blocked[:], x.BlockedUntil)
	dst = append(append(dst, Layout), blocked[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(x.Entries)))
	for i := range x.Entries {
		packed := x.Entries[i].Pack()
		dst = append(append(dst, x.Entries[i].Handle[:]...), packed[:]...)
	}
	return dst
}

// Decode makes x the index that s encodes. ErrLayout is returned for an unknown
// layout, ErrCorrupt for anything that Append does not write; x then holds
// nothing.
func (x *Index) Decode(s string) error {
	*x = Index{Entries: x.Entries[:0]}
	if s == "" {
		return nil
	}
	if err := checkLayout(s); err != nil {
		return err
	}
	in := input{rest: s[1:]}
	blocked := in.uint48()
	n := in.uvarint()
	if in.bad || n != uint64(len(in.rest)/(16+EntrySize)) || len(in.rest)%(16+EntrySize) != 0 {
		return fmt.Errorf("%w: index of %d bytes", ErrCorrupt, len(s))
	}
	if n == 0 && blocked == 0 {
		return fmt.Errorf("%w: index that holds nothing", ErrCorrupt)
	}
	entries := slices.Grow(x.Entries, int(n))
	for range n {
		var e Entry
		copy(e.Handle[:], in.take(16))
		if err := e.Unpack(in.take(EntrySize)); err != nil {
			return err
		}
		if last := len(entries) - 1; last >= 0 && compareEntries(entries[last], e) >= 0 {
			return fmt.Errorf("%w: index entries out of order", ErrCorrupt)
		}
		entries = append(entries, e)
	}
	x.BlockedUntil, x.Entries = blocked, entries
	return nil
}
