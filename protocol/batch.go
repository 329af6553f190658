package protocol

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/pazzo-sessions/pazzo/record"
)

// AppendBatch appends the arguments of apply.lua for b, which has passed Check; the
// script's comment defines them.
func AppendBatch(args []string, h record.Handle, b *record.Batch) []string {
	args = append(args, "")
	args = appendNames(args, b)
	args[0] = head(h, b, len(args)-1)
	for i := range b.Conditions {
		args = appendConditionOperand(args, &b.Conditions[i])
	}
	for i := range b.Ops {
		args = appendOperand(args, &b.Ops[i])
	}
	return args
}

func head(h record.Handle, b *record.Batch, names int) string {
	var buffer [128]byte
	limits := b.Limits.OrDefault()
	p := append(buffer[:0], record.Layout)
	p = append(p, h[:]...)
	p = append(p, byte(b.Access.Mode), flag(clears(b)))
	p = binary.BigEndian.AppendUint32(p, b.Access.Generation)
	p = append(p, b.Access.Secret[:]...)
	for _, n := range [...]int{limits.Value, limits.Fields, limits.Size, names, len(b.Conditions), len(b.Ops)} {
		p = binary.BigEndian.AppendUint32(p, uint32(min(n, math.MaxUint32)))
	}
	for i := range b.Conditions {
		p = append(p, byte(b.Conditions[i].Kind))
	}
	for i := range b.Ops {
		p = append(p, byte(b.Ops[i].Kind))
	}
	return string(p)
}

func clears(b *record.Batch) bool {
	return slices.ContainsFunc(b.Ops, func(op record.Op) bool { return op.Kind == record.OpClear })
}

func appendNames(args []string, b *record.Batch) []string {
	for i := range b.Conditions {
		if c := &b.Conditions[i]; c.Kind == record.FieldIs || c.Kind == record.FieldAbsent {
			args = append(args, c.Name)
		}
	}
	for i := range b.Ops {
		if op := &b.Ops[i]; op.Kind <= record.OpDrain && op.Kind != record.OpGetAll {
			args = append(args, op.Name)
		}
	}
	return args
}

func appendConditionOperand(args []string, c *record.Condition) []string {
	switch c.Kind {
	case record.FieldIs, record.UserIsOrNone:
		return append(args, c.Text)
	case record.RevisionIs:
		if c.Revision > maxUint48 {
			return append(args, "") // no record has it
		}
		return append(args, string(appendUint48(nil, int64(c.Revision))))
	}
	return args
}

func appendOperand(args []string, op *record.Op) []string {
	var buffer [64]byte
	p := buffer[:0]
	switch op.Kind {
	case record.OpSet, record.OpSetIfAbsent, record.OpAppend, record.OpDescribe:
		return append(args, op.Text)
	case record.OpAdd:
		return append(args, strconv.FormatInt(op.Int, 10))
	case record.OpRotate:
		p = appendUint48(append(appendGeneration(p, op.Int), op.Secret[:]...), op.Expiry.Idle)
	case record.OpRenew:
		p = append(p, op.Secret[:]...)
	case record.OpAuthenticate:
		p = appendUint48(append(p, op.Secret[:]...), max(op.Expiry.Absolute, 0))
		p = append(p, op.Text...)
	case record.OpSetExpiry:
		p = appendExpiry(p, op.Expiry)
	case record.OpCreate:
		p = appendExpiry(append(p, op.Secret[:]...), op.Expiry)
	case record.OpDestroy:
		p = appendUint48(append(p, byte(op.Reason)), op.Int)
	default:
		return args
	}
	return append(args, string(p))
}

// appendGeneration writes 0, which no record has, for what is no generation.
func appendGeneration(p []byte, n int64) []byte {
	if n < 0 || n > math.MaxUint32 {
		n = 0
	}
	return binary.BigEndian.AppendUint32(p, uint32(n))
}

func appendExpiry(p []byte, e record.Expiry) []byte {
	p = appendUint48(p, min(e.Idle, e.Absolute))
	p = appendUint48(p, e.Absolute)
	if e.BrowserClose {
		return append(p, 1)
	}
	return append(p, 0)
}
