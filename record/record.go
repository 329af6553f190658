package record

import "slices"

// Record is one session as a store keeps it: live, a tombstone, or absent (the
// zero Record). It is not for concurrent use. Its strings may be shared; they
// are never changed in place.
type Record struct {
	State     State
	Meta      Meta      // of a live record
	Previous  Previous  // if Meta.HasPrevious
	Tombstone Tombstone // of a tombstone
	Revision  uint64    // rises with every change except touch
	User      string    // if Meta.HasUser
	Auth      int64     // when User was authenticated, ms since 1970
	Device    string    // what the app recorded of the device
	Fields    []Field   // sorted by name

	size    int      // bytes of all names and texts
	changes []change // scratch of Apply, kept for its capacity
}

// State tells what a Record is.
type State uint8

// The states.
const (
	None State = iota
	Live
	Dead // a tombstone
)

// Scratch returns a live record that holds fields, which are sorted by name, to
// try operations on, as a transaction does before it commits. Whoever has no
// store needs no other record.
func Scratch(fields []Field) *Record {
	r := &Record{State: Live, Fields: slices.Clone(fields)}
	r.Meta.Deadline, r.Meta.Idle = MaxTimeout, MaxTimeout
	for _, f := range fields {
		r.size += len(f.Name) + len(f.Text)
	}
	return r
}

// Expires returns when a store may forget the record, in ms since 1970 by its
// own clock. It is 0 for an absent one.
func (r *Record) Expires() int64 {
	switch r.State {
	case Live:
		return r.Meta.Expires()
	case Dead:
		return r.Tombstone.Until
	}
	return 0
}

// Size returns the bytes of all field names and texts, which Limits.Size bounds.
func (r *Record) Size() int { return r.size }

// Reset makes r absent and keeps its capacity, but none of its strings.
func (r *Record) Reset() {
	clear(r.Fields)
	clear(r.changes)
	*r = Record{Fields: r.Fields[:0], changes: r.changes[:0]}
}

// Get returns a field's text and whether there is such a field.
func (r *Record) Get(name string) (text string, found bool) {
	if i, found := r.find(name); found {
		return r.Fields[i].Text, true
	}
	return "", false
}

// Find returns the index of a field in r.Fields, or -1.
func (r *Record) Find(name string) int {
	if i, found := r.find(name); found {
		return i
	}
	return -1
}

// find returns where a field is, or would be. Few fields are looked through:
// names of different lengths are told apart at once.
func (r *Record) find(name string) (at int, found bool) {
	if len(r.Fields) <= 8 {
		for i := range r.Fields {
			if r.Fields[i].Name == name {
				return i, true
			}
		}
	}
	low, high := 0, len(r.Fields)
	for low < high {
		middle := (low + high) / 2
		if r.Fields[middle].Name < name {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(r.Fields) && r.Fields[low].Name == name
}

func (r *Record) set(name, text string) {
	i, found := r.find(name)
	if found {
		r.size += len(text) - len(r.Fields[i].Text)
		r.Fields[i].Text = text
		return
	}
	r.size += len(name) + len(text)
	r.Fields = slices.Insert(r.Fields, i, Field{name, text})
}

func (r *Record) remove(name string) {
	if i, found := r.find(name); found {
		r.size -= len(name) + len(r.Fields[i].Text)
		r.Fields = slices.Delete(r.Fields, i, i+1)
	}
}

func (r *Record) clear() {
	clear(r.Fields)
	r.Fields, r.size = r.Fields[:0], 0
}
