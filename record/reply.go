package record

import "fmt"

// Reply is the answer to a batch. Its strings are the caller's to keep; they may
// share memory with the store's, which never changes them.
type Reply struct {
	Status Status
	// At is the index of the condition (Conflict) or the operation (OtherUser,
	// NotInteger, OutOfRange, NotList, TooLarge) that stood in the way.
	At int
	// Reason says why the session ended, when Status is Ended.
	Reason Reason
	// Now is the store's clock, in ms since 1970, when it applied the batch. For
	// a read that a server answered by itself it is an estimate.
	Now int64
	// Meta, Revision and Size are the record's after the batch; Size is the sum of
	// the bytes of all field names and texts. They are zero when Status is Absent,
	// Ended or Exists, when the batch destroyed the record, and when one with Create
	// was refused, whatever stood in the way. When Status is Superseded, Meta.Secret
	// is hidden. Revision and Size may be 0 (unknown) in the answer to a batch of
	// nothing but OpGet.
	Meta     Meta
	Revision uint64
	Size     int
	// Values answer the operations, one for each in its place; nil unless
	// Status is OK.
	Values []Value
	// Fields answer GetAll, sorted by name. Identity answers GetIdentity.
	Fields   []Field
	Identity Identity
	// Cached says that a cache in front of the store answered.
	Cached bool
}

// Value is what an operation on a field answers; see OpKind.
type Value struct {
	Text  string
	Found bool
}

// Field is a name and a JSON text.
type Field struct {
	Name, Text string
}

// Identity is who is logged in, since when (ms since 1970), and what the app
// recorded of the device.
type Identity struct {
	User   string
	Auth   int64
	Device string
}

// Status says whether a batch was applied, and if not, why. Anything but OK
// means that nothing was changed, except the grace that a first presentation of
// the current token starts.
type Status uint8

const (
	// OK: the batch was applied.
	OK Status = iota
	// Absent: there is no such session, or the token's secret is not its own.
	Absent
	// Ended: the session was destroyed a short while ago.
	Ended
	// Superseded: the token is older than the record accepts.
	Superseded
	// Conflict: a condition does not hold.
	Conflict
	// Exists: Create found a live record.
	Exists
	// OtherUser: Authenticate found another user's session.
	OtherUser
	// NotInteger: Add found something else than an integer.
	NotInteger
	// OutOfRange: Add's operand or result is beyond ±(2^53−1).
	OutOfRange
	// NotList: Append or Drain found something else than an array.
	NotList
	// TooLarge: the record would pass a limit.
	TooLarge
	lastStatus = TooLarge
)

var statusNames = [...]string{"ok", "absent", "ended", "superseded", "conflict", "exists", "other user",
	"not an integer", "out of range", "not a list", "too large"}

// String returns the status in words.
func (s Status) String() string {
	if s <= lastStatus {
		return statusNames[s]
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}
