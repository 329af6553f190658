package record

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Batch is what a store applies to one session: all of it or none.
//
// The access is judged first, then the conditions, then every operation is
// checked; only then is anything written. Reads see the record as it was before
// the batch's writes. A field is the subject of at most one operation; Clear
// takes effect before the other writes.
type Batch struct {
	Access     Access
	Conditions []Condition
	Ops        []Op
	Limits     Limits
	// Fresh asks a cache in front of a store to read from the store itself.
	Fresh bool
	// MinRevision is a revision that the record is known to have had, or 0: a cache does
	// not answer by what is older, but reads once from the store, and answers by that in any case.
	MinRevision uint64
}

// Access says who asks, and how strictly that is judged. Held has the secret too,
// though it is not judged: a store may use it to tell one session's reply from
// another's.
type Access struct {
	Mode       Mode
	Generation uint32
	Secret     Secret
}

// Mode is the strictness of an Access.
type Mode uint8

const (
	// Admin is the server's own access, by handle: no token is judged.
	Admin Mode = iota
	// Open judges a token in full: the current generation with its secret, or
	// the previous one with its own while its grace lasts. Opening with the
	// current generation for the first time starts the previous one's grace.
	Open
	// Held is the access of a request that has opened the session before: only
	// that its generation is not below the floor, nor above the current one.
	Held
)

// Condition holds a batch back unless the record is as expected.
type Condition struct {
	Kind     ConditionKind
	Name     string // the field
	Text     string // the raw text that the field must have, or the user
	Revision uint64
}

// ConditionKind is what a Condition looks at.
type ConditionKind uint8

const (
	// FieldIs holds when the field Name has exactly the bytes Text.
	FieldIs ConditionKind = iota
	// FieldAbsent holds when there is no field Name.
	FieldAbsent
	// RevisionIs holds when the record's revision is Revision.
	RevisionIs
	// UserIsOrNone holds when the record belongs to the user Text or to nobody,
	// and when there is no record.
	UserIsOrNone
)

// OpKind is what an operation does.
type OpKind uint8

// The operations on fields, then those on the record.
const (
	// OpGet reads the field Name.
	OpGet OpKind = iota
	// OpGetAll reads all fields into Reply.Fields.
	OpGetAll
	// OpSet gives the field Name the value Text.
	OpSet
	// OpSetIfAbsent is OpSet for a field that does not exist. The value answered
	// is the one that was there; Found tells whether there was.
	OpSetIfAbsent
	// OpDelete removes the field Name. Found tells whether it was there.
	OpDelete
	// OpPop removes the field Name and answers its value: of several at the same
	// time one finds it.
	OpPop
	// OpAdd adds Int to the integer field Name, 0 when absent, and answers the
	// sum. An integer is 0|-?[1-9][0-9]* within ±(2^53−1), so that every
	// language reads it exactly.
	OpAdd
	// OpAppend adds Text as the last element of the array in the field Name,
	// empty when absent.
	OpAppend
	// OpDrain is OpPop for an array; anything else is left there (NotList).
	OpDrain
	// OpClear removes all fields. User and life cycle stay.
	OpClear

	// OpGetIdentity reads the user, the time of authentication and the device
	// into Reply.Identity.
	OpGetIdentity
	// OpTouch records activity, if that is due (Meta.TouchDue). Found tells
	// whether it was; Text is then the session's user, whose index is refreshed.
	OpTouch
	// OpRotate begins a new generation with Secret if the current one is Int and
	// the one before it is no longer good; otherwise it does nothing. Found tells
	// whether it did. The generation it replaces stays good until Expiry.Idle ms
	// after the new one is first presented.
	OpRotate
	// OpRenew begins a new generation with Secret and raises the floor to it.
	OpRenew
	// OpAuthenticate is OpRenew, and makes Text the session's user. Activity is
	// recorded; the absolute end moves to Expiry.Absolute from now unless that is
	// 0 or the expiry is custom. Over another user it is refused (OtherUser).
	OpAuthenticate
	// OpSetExpiry chooses the timeouts of this session, counted from now.
	OpSetExpiry
	// OpDescribe records Text, at most MaxDevice bytes that the app chose, about
	// the user's device.
	OpDescribe
	// OpCreate makes the record with Secret and Expiry, at generation 1. It is
	// the first operation of its batch, whose access is Admin, and nothing else
	// makes a record: it is refused over a live one (Exists) and over a tombstone
	// (Ended).
	OpCreate
	// OpDestroy replaces the record, or none, by a tombstone with Reason for Keep
	// ms. It is the only operation of its batch. Over a tombstone it does nothing
	// (Ended). Found tells whether there was a live record; Text is then its user,
	// from whose index it is dropped.
	OpDestroy
	lastOp = OpDestroy
)

// Op is one operation. Which members count depends on Kind; use the
// constructors ([Get], [Set], …).
type Op struct {
	Kind   OpKind
	Reason Reason // OpDestroy
	Name   string // the field
	Text   string // the JSON text, the user or the device
	Int    int64  // OpAdd: the addend; OpRotate: the generation; OpDestroy: ms to keep the tombstone
	Secret Secret // of the generation that begins
	Expiry Expiry // OpCreate, OpSetExpiry, OpAuthenticate; OpRotate: Idle is the grace
}

// Expiry is how long a session lasts, in milliseconds.
type Expiry struct {
	Idle         int64 // without activity; capped at Absolute
	Absolute     int64 // in all
	BrowserClose bool  // the cookie ends with the browser
}

// Get reads a field.
func Get(name string) Op { return Op{Kind: OpGet, Name: name} }

// GetAll reads all fields.
func GetAll() Op { return Op{Kind: OpGetAll} }

// Set gives a field the value text.
func Set(name, text string) Op { return Op{Kind: OpSet, Name: name, Text: text} }

// SetIfAbsent gives a field the value text if it does not exist.
func SetIfAbsent(name, text string) Op { return Op{Kind: OpSetIfAbsent, Name: name, Text: text} }

// Delete removes a field.
func Delete(name string) Op { return Op{Kind: OpDelete, Name: name} }

// Pop removes a field and answers its value.
func Pop(name string) Op { return Op{Kind: OpPop, Name: name} }

// Add adds n to an integer field.
func Add(name string, n int64) Op { return Op{Kind: OpAdd, Name: name, Int: n} }

// Append adds text as the last element of an array field.
func Append(name, text string) Op { return Op{Kind: OpAppend, Name: name, Text: text} }

// Drain removes an array field and answers it.
func Drain(name string) Op { return Op{Kind: OpDrain, Name: name} }

// Clear removes all fields.
func Clear() Op { return Op{Kind: OpClear} }

// GetIdentity reads the user, the time of authentication and the device.
func GetIdentity() Op { return Op{Kind: OpGetIdentity} }

// Touch records activity if that is due.
func Touch() Op { return Op{Kind: OpTouch} }

// Rotate begins a new generation if the current one is still from.
func Rotate(from uint32, secret Secret, grace int64) Op {
	return Op{Kind: OpRotate, Int: int64(from), Secret: secret, Expiry: Expiry{Idle: grace}}
}

// Renew begins a new generation and ends the older ones.
func Renew(secret Secret) Op { return Op{Kind: OpRenew, Secret: secret} }

// Authenticate makes user the session's user in a new generation, with absolute
// ms from now (0: as before) to live.
func Authenticate(user string, secret Secret, absolute int64) Op {
	return Op{Kind: OpAuthenticate, Text: user, Secret: secret, Expiry: Expiry{Absolute: absolute}}
}

// SetExpiry chooses the timeouts of this session.
func SetExpiry(e Expiry) Op { return Op{Kind: OpSetExpiry, Expiry: e} }

// Describe records what the app knows of the user's device.
func Describe(device string) Op { return Op{Kind: OpDescribe, Text: device} }

// Create makes the record.
func Create(secret Secret, e Expiry) Op { return Op{Kind: OpCreate, Secret: secret, Expiry: e} }

// Destroy ends the session and keeps a tombstone for keep ms.
func Destroy(reason Reason, keep int64) Op {
	return Op{Kind: OpDestroy, Reason: reason, Int: keep}
}

// ReadOnly reports whether the batch asks only for values and identity, under no
// condition: a store may answer it without its write path.
func (b *Batch) ReadOnly() bool {
	if len(b.Conditions) > 0 {
		return false
	}
	for i := range b.Ops {
		switch b.Ops[i].Kind {
		case OpGet, OpGetAll, OpGetIdentity:
		default:
			return false
		}
	}
	return true
}

// SeldomWrites reports whether the batch only reads and touches, so that a store may
// find it worth trying on a copy first, without its write path.
func (b *Batch) SeldomWrites() bool {
	for i := range b.Ops {
		switch b.Ops[i].Kind {
		case OpGet, OpGetAll, OpGetIdentity, OpTouch:
		default:
			return false
		}
	}
	return true
}

// Limits bound a record. A zero member means its default.
type Limits struct {
	Name   int // bytes of a field's name; default 256, and at most that
	Value  int // bytes of a field's JSON text; default 256 KiB
	Fields int // fields in a record; default 1,024
	Size   int // bytes of all names and values; default 1 MiB
}

// DefaultLimits are what a zero Limits means.
var DefaultLimits = Limits{Name: 256, Value: 256 << 10, Fields: 1024, Size: 1 << 20}

// The limits that no option moves.
const (
	MaxName   = 256       // bytes of a field's name
	MaxUser   = 1024      // bytes of a user's name
	MaxDevice = 1024      // bytes recorded of a device
	MaxInt    = 1<<53 - 1 // the largest integer that Add takes or yields; the smallest is -MaxInt
	// MaxTimeout bounds every duration: 10 years, in ms.
	MaxTimeout = 10 * 366 * 24 * 3600 * 1000
)

// OrDefault returns l with its zero members replaced by their defaults.
func (l Limits) OrDefault() Limits {
	d := DefaultLimits
	if l.Name > 0 {
		d.Name = min(l.Name, MaxName)
	}
	if l.Value > 0 {
		d.Value = l.Value
	}
	if l.Fields > 0 {
		d.Fields = l.Fields
	}
	if l.Size > 0 {
		d.Size = l.Size
	}
	return d
}

// Errors of a batch that no store may be given.
var (
	// ErrName is returned when a field's name is not 1–256 bytes of valid UTF-8
	// without a leading NUL.
	ErrName = errors.New("record: invalid field name")
	// ErrTooLarge is returned when a name, a value, a user or a device is longer
	// than its limit.
	ErrTooLarge = errors.New("record: too large")
	// ErrBatch is returned when a batch is against the rules on Batch and OpKind.
	ErrBatch = errors.New("record: invalid batch")
)

// Check returns an error that names the first thing wrong with the batch itself,
// whatever the record: ErrName, ErrTooLarge or ErrBatch. Values are taken to be
// checked JSON texts. Stores are given only batches that pass.
func (b *Batch) Check() error {
	limits := b.Limits.OrDefault()
	if b.Access.Mode > Held {
		return fmt.Errorf("%w: unknown access mode %d", ErrBatch, b.Access.Mode)
	}
	for i := range b.Conditions {
		if err := b.Conditions[i].check(&limits); err != nil {
			return err
		}
	}
	var seen subjects
	if len(b.Ops) > fewOps {
		seen.names = make(map[string]bool, len(b.Ops))
	}
	for i := range b.Ops {
		op := &b.Ops[i]
		if err := op.check(&limits); err != nil {
			return err
		}
		if op.Kind == OpDestroy && len(b.Ops) > 1 {
			return fmt.Errorf("%w: destroy is not alone", ErrBatch)
		}
		if op.Kind == OpCreate && (i > 0 || b.Access.Mode != Admin || len(b.Conditions) > 0) {
			return fmt.Errorf("%w: create is not first, or not by the server, or under a condition", ErrBatch)
		}
		if seen.repeats(b.Ops[:i], op) {
			return fmt.Errorf("%w: two operations on field %q, or twice the same on the record", ErrBatch, op.Name)
		}
	}
	return nil
}

// fewOps is how many operations are compared one by one, without allocating.
const fewOps = 16

// subjects are what the operations of a batch so far are about.
type subjects struct {
	kinds uint32          // bits for those on the record
	names map[string]bool // fields, for more than fewOps operations
}

// repeats notes op, and reports whether one before it has the same subject.
func (s *subjects) repeats(before []Op, op *Op) bool {
	if !op.Kind.onField() {
		kind := uint32(1) << op.Kind
		if op.Kind.renews() {
			kind = 1 << OpRenew
		}
		repeated := s.kinds&kind != 0
		s.kinds |= kind
		return repeated
	}
	if s.names != nil {
		repeated := s.names[op.Name]
		s.names[op.Name] = true
		return repeated
	}
	for i := range before {
		if before[i].Kind.onField() && before[i].Name == op.Name {
			return true
		}
	}
	return false
}

func (k OpKind) onField() bool {
	switch k {
	case OpGet, OpSet, OpSetIfAbsent, OpDelete, OpPop, OpAdd, OpAppend, OpDrain:
		return true
	}
	return false
}

// renews reports whether the operation begins a generation or a record.
func (k OpKind) renews() bool {
	return k == OpRotate || k == OpRenew || k == OpAuthenticate
}

func (c *Condition) check(l *Limits) error {
	switch c.Kind {
	case FieldIs, FieldAbsent:
		return checkName(c.Name, l.Name)
	case UserIsOrNone:
		return checkUser(c.Text)
	case RevisionIs:
		return nil
	}
	return fmt.Errorf("%w: unknown condition %d", ErrBatch, c.Kind)
}

func (op *Op) check(l *Limits) error {
	if op.Kind > lastOp {
		return fmt.Errorf("%w: unknown operation %d", ErrBatch, op.Kind)
	}
	if op.Kind.onField() {
		if err := checkName(op.Name, l.Name); err != nil {
			return err
		}
		if len(op.Text) > l.Value {
			return fmt.Errorf("%w: value of field %q has %d bytes, the limit is %d", ErrTooLarge, op.Name, len(op.Text), l.Value)
		}
	}
	switch op.Kind {
	case OpAuthenticate:
		if op.Expiry.Absolute < 0 || op.Expiry.Absolute > MaxTimeout {
			return fmt.Errorf("%w: authenticated for %d ms", ErrBatch, op.Expiry.Absolute)
		}
		return checkUser(op.Text)
	case OpRotate:
		if op.Expiry.Idle < 0 || op.Expiry.Idle > MaxTimeout {
			return fmt.Errorf("%w: grace of %d ms", ErrBatch, op.Expiry.Idle)
		}
	case OpDescribe:
		if len(op.Text) > MaxDevice {
			return fmt.Errorf("%w: device of %d bytes, the limit is %d", ErrTooLarge, len(op.Text), MaxDevice)
		}
	case OpCreate, OpSetExpiry:
		if op.Expiry.Idle <= 0 || op.Expiry.Absolute <= 0 || op.Expiry.Absolute > MaxTimeout {
			return fmt.Errorf("%w: timeouts of %d ms idle, %d ms absolute", ErrBatch, op.Expiry.Idle, op.Expiry.Absolute)
		}
	case OpDestroy:
		if op.Int <= 0 || op.Int > MaxTimeout || op.Reason > lastReason {
			return fmt.Errorf("%w: tombstone for %d ms, %s", ErrBatch, op.Int, op.Reason)
		}
	}
	return nil
}

// CheckName returns ErrName or ErrTooLarge when name cannot name a field.
func CheckName(name string, l Limits) error { return checkName(name, l.OrDefault().Name) }

func checkName(name string, limit int) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > limit:
		return fmt.Errorf("%w: field name of %d bytes, the limit is %d", ErrTooLarge, len(name), limit)
	case name[0] == 0:
		return fmt.Errorf("%w: %q begins with NUL", ErrName, name)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: %q is not UTF-8", ErrName, name)
	}
	return nil
}

func checkUser(user string) error {
	if user == "" || !utf8.ValidString(user) {
		return fmt.Errorf("%w: user %q is empty or not UTF-8", ErrBatch, user)
	}
	if len(user) > MaxUser {
		return fmt.Errorf("%w: user of %d bytes, the limit is %d", ErrTooLarge, len(user), MaxUser)
	}
	return nil
}
