package record

import "crypto/subtle"

// judge decides what a token opens, and whether this is the first presentation
// of the current generation.
func (r *Record) judge(a Access, now int64) (status Status, presents bool) {
	switch r.State {
	case None:
		return Absent, false
	case Dead:
		return Ended, false
	}
	if status, decided := a.Judge(&r.Meta); decided {
		return status, false
	}
	if a.Generation == r.Meta.Generation {
		return OK, true
	}
	if a.Generation < r.Meta.Floor || a.Generation != r.Meta.Generation-1 || !r.Meta.HasPrevious {
		return Superseded, false
	}
	if !a.Secret.Equal(r.Previous.Secret) {
		return Absent, false
	}
	if !r.Previous.Good(now) {
		return Superseded, false
	}
	return OK, false
}

// Judge decides access to a live record from its Meta alone. That suffices for a
// held session and for the token of the current generation, and so for nearly
// every read. When decided is false the store must apply the batch in full:
// either the token is of an older generation, or this is the first presentation
// of the current one, which the record has to remember.
func (a Access) Judge(m *Meta) (status Status, decided bool) {
	switch {
	case a.Mode == Admin:
		return OK, true
	case a.Generation > m.Generation:
		// A failover lost the renewal, or somebody holds our key.
		return Absent, true
	case a.Mode == Held && a.Generation < m.Floor:
		return Superseded, true
	case a.Mode == Held:
		return OK, true
	case a.Generation < m.Generation:
		return OK, false
	case !a.Secret.Equal(m.Secret):
		return Absent, true
	}
	return OK, !m.Unpresented
}

// Equal compares in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(s[:], other[:]) == 1
}
