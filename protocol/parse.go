package protocol

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/pazzo-sessions/pazzo/record"
)

// Errors of arguments that a script would not take, or would take wrong.
var (
	// ErrArgs is wrapped when arguments are not what README.md says. A script may
	// do anything with them; whoever parses them refuses, and nothing is executed.
	ErrArgs = errors.New("malformed arguments")
	// ErrBatchLayout and ErrStepLayout are returned for arguments in another
	// layout. The texts are those of the scripts.
	ErrBatchLayout = errors.New("unknown batch layout")
	ErrStepLayout  = errors.New("unknown step layout")
)

// headSize is the length of the head of apply.lua's arguments up to the kinds.
const headSize = 63

// ParseBatch reads the arguments of apply.lua into b, whose capacity it uses: it is
// the reverse of [AppendBatch]. The strings of b are parts of args. It allocates no
// more than one condition or operation for each byte of the head. Check remains to
// be called. It returns ErrArgs or ErrBatchLayout.
//
// What AppendBatch makes of b then is args again, byte for byte, unless a decimal
// operand is beyond 64 bits: of that only the sign is kept, since it is out of range
// either way.
func ParseBatch(args []string, b *record.Batch) (h record.Handle, err error) {
	if len(args) == 0 || args[0] == "" {
		return h, fmt.Errorf("%w: no head", ErrArgs)
	}
	head := args[0]
	if head[0] != record.Layout {
		return h, ErrBatchLayout
	}
	if len(head) < headSize {
		return h, fmt.Errorf("%w: a head of %d bytes", ErrArgs, len(head))
	}
	names, conditions, ops := uint32At(head, 51), uint32At(head, 55), uint32At(head, 59)
	if uint64(len(head)) != headSize+uint64(conditions)+uint64(ops) || uint64(names) > uint64(len(args)-1) {
		return h, fmt.Errorf("%w: a head of %d bytes for %d conditions and %d operations, %d arguments for %d names",
			ErrArgs, len(head), conditions, ops, len(args), names)
	}
	copy(h[:], head[1:])
	if err := parseHead(head, b); err != nil {
		return h, err
	}
	kinds := head[headSize:]
	in := arguments{names: args[1 : 1+names], operands: args[1+names:]}
	b.Conditions = resize(b.Conditions, int(conditions))
	for i := range b.Conditions {
		in.condition(&b.Conditions[i], record.ConditionKind(kinds[i]))
	}
	b.Ops = resize(b.Ops, int(ops))
	for i := range b.Ops {
		in.operation(&b.Ops[i], record.OpKind(kinds[int(conditions)+i]))
	}
	if in.err == nil && len(in.names)+len(in.operands) > 0 {
		in.err = fmt.Errorf("%w: %d too many", ErrArgs, len(in.names)+len(in.operands))
	}
	if in.err == nil && (head[18] == 1) != clears(b) {
		in.err = fmt.Errorf("%w: the head and the operations differ on clear", ErrArgs)
	}
	return h, in.err
}

// parseHead reads what the head has beside counts and kinds.
func parseHead(head string, b *record.Batch) error {
	b.Access = record.Access{Mode: record.Mode(head[17]), Generation: uint32At(head, 19)}
	copy(b.Access.Secret[:], head[23:39])
	b.Limits = record.Limits{
		Value:  int(uint32At(head, 39)),
		Fields: int(uint32At(head, 43)),
		Size:   int(uint32At(head, 47)),
	}
	b.Fresh = false
	switch {
	case b.Access.Mode > record.Held:
		return fmt.Errorf("%w: mode %d", ErrArgs, head[17])
	case head[18] > 1:
		return fmt.Errorf("%w: clear is %d", ErrArgs, head[18])
	case b.Limits.Value == 0 || b.Limits.Fields == 0 || b.Limits.Size == 0:
		return fmt.Errorf("%w: a limit of 0", ErrArgs) // to record.Limits that is the default
	}
	return nil
}

// resize returns a slice of n zero elements, s's if it is large enough.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// arguments are those not read yet. After the first that is wrong there is an
// error, and what is read counts no longer.
type arguments struct {
	names, operands []string
	err             error
}

func (in *arguments) fail(format string, args ...any) {
	if in.err == nil {
		in.err = fmt.Errorf("%w: "+format, append([]any{ErrArgs}, args...)...)
	}
}

func (in *arguments) name() string {
	if len(in.names) == 0 {
		in.fail("too few names")
		return ""
	}
	s := in.names[0]
	in.names = in.names[1:]
	return s
}

func (in *arguments) operand() string {
	if len(in.operands) == 0 {
		in.fail("too few operands")
		return ""
	}
	s := in.operands[0]
	in.operands = in.operands[1:]
	return s
}

// packed returns the next operand if it has that many bytes, or zeros.
func (in *arguments) packed(size int) string {
	s := in.operand()
	if len(s) == size {
		return s
	}
	in.fail("an operand of %d bytes instead of %d", len(s), size)
	return zeros[:size]
}

// zeros stand for an operand that is missing, so that reading goes on to the end.
var zeros = strings.Repeat("\x00", 29)

func (in *arguments) condition(c *record.Condition, kind record.ConditionKind) {
	c.Kind = kind
	switch kind {
	case record.FieldIs:
		c.Name, c.Text = in.name(), in.operand()
	case record.FieldAbsent:
		c.Name = in.name()
	case record.RevisionIs:
		c.Revision = in.revision()
	case record.UserIsOrNone:
		c.Text = in.operand()
	default:
		in.fail("condition %d", kind)
	}
}

// revision reads an operand that may be empty, which no revision is.
func (in *arguments) revision() uint64 {
	if len(in.operands) > 0 && in.operands[0] == "" {
		in.operand()
		return maxUint48 + 1
	}
	return uint64(Uint48(in.packed(6)))
}

func (in *arguments) operation(op *record.Op, kind record.OpKind) {
	op.Kind = kind
	if kind <= record.OpDrain && kind != record.OpGetAll {
		op.Name = in.name()
	}
	switch kind {
	case record.OpGet, record.OpGetAll, record.OpDelete, record.OpPop, record.OpDrain, record.OpClear,
		record.OpGetIdentity, record.OpTouch:
	case record.OpSet, record.OpSetIfAbsent, record.OpAppend, record.OpDescribe:
		op.Text = in.operand()
	case record.OpAdd:
		op.Int = in.decimal()
	default:
		in.lifeCycle(op)
	}
}

// lifeCycle reads the operations whose operands are packed.
func (in *arguments) lifeCycle(op *record.Op) {
	switch op.Kind {
	case record.OpRotate:
		s := in.packed(26)
		op.Int = int64(uint32At(s, 0))
		copy(op.Secret[:], s[4:])
		op.Expiry.Idle = Uint48(s[20:])
	case record.OpRenew:
		copy(op.Secret[:], in.packed(16))
	case record.OpAuthenticate:
		s := in.operand()
		if len(s) < 22 {
			in.fail("authenticate with %d bytes", len(s))
			return
		}
		copy(op.Secret[:], s)
		op.Expiry.Absolute, op.Text = Uint48(s[16:]), s[22:]
	case record.OpSetExpiry:
		op.Expiry = in.expiry(in.packed(13))
	case record.OpCreate:
		s := in.packed(29)
		copy(op.Secret[:], s)
		op.Expiry = in.expiry(s[16:])
	case record.OpDestroy:
		s := in.packed(7)
		op.Reason, op.Int = record.Reason(s[0]), Uint48(s[1:])
	default:
		in.fail("operation %d", op.Kind)
	}
}

func (in *arguments) expiry(s string) record.Expiry {
	e := record.Expiry{Idle: Uint48(s), Absolute: Uint48(s[6:]), BrowserClose: s[12] == 1}
	if s[12] > 1 || e.Idle > e.Absolute {
		in.fail("timeouts of %d ms idle and %d ms absolute, browser close %d", e.Idle, e.Absolute, s[12])
	}
	return e
}

// decimal reads an integer as strconv.FormatInt writes it. One of more than 64
// bits becomes the greatest or the smallest.
func (in *arguments) decimal() int64 {
	s := in.operand()
	digits, negative := s, false
	if s != "" && s[0] == '-' {
		digits, negative = s[1:], true
	}
	if digits == "" || digits[0] == '0' && s != "0" {
		in.fail("%q is not a decimal integer", cut(s))
		return 0
	}
	n := uint64(0)
	for i := range len(digits) {
		d := digits[i] - '0'
		if d > 9 {
			in.fail("%q is not a decimal integer", cut(s))
			return 0
		}
		if n > math.MaxInt64/10 {
			n = math.MaxInt64 + 1 // it stays there
		} else {
			n = 10*n + uint64(d)
		}
	}
	switch {
	case !negative:
		return int64(min(n, math.MaxInt64))
	case n > math.MaxInt64:
		return math.MinInt64
	}
	return -int64(n)
}

// cut keeps an error short.
func cut(s string) string { return s[:min(len(s), 32)] }
