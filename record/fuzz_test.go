package record

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"unsafe"
)

func FuzzDecode(f *testing.F) {
	for _, test := range golden {
		encoded, _ := hex.DecodeString(test.hex)
		f.Add(string(encoded))
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r Record
		err := r.Decode(s)
		if _, ok := Splice(nil, s, batch(Get("cart")), start, new(Reply)); ok && err != nil {
			t.Fatalf("Splice reads what Decode does not: %v", err)
		}
		if justified := (len(s)/2 + 1) * 2; cap(r.Fields) > max(justified, 4) {
			t.Fatalf("%d fields of %d bytes allocated for %d bytes", cap(r.Fields), unsafe.Sizeof(Field{}), len(s))
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLayout) || r.State != None || len(r.Fields) != 0 || r.Size() != 0 {
				t.Fatalf("%v, left %+v", err, r)
			}
			return
		}
		if again := text(&r); again != s {
			t.Fatalf("%q encodes as %q", s, again)
		}
		r.Expires()
		reply, _ := r.Apply(batch(GetAll(), GetIdentity(), Touch()), start)
		if reply.Status > lastStatus {
			t.Fatal(reply.Status)
		}
	})
}

func FuzzIndexDecode(f *testing.F) {
	encoded, _ := hex.DecodeString(indexHex)
	f.Add(string(encoded))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		var x Index
		err := x.Decode(s)
		if cap(x.Entries) > len(s)/(16+EntrySize)+2 {
			t.Fatalf("%d entries allocated for %d bytes", cap(x.Entries), len(s))
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLayout) || x.BlockedUntil != 0 || len(x.Entries) != 0 {
				t.Fatalf("%v, left %+v", err, x)
			}
			return
		}
		if again := string(x.Append(nil)); again != s {
			t.Fatalf("%q encodes as %q", s, again)
		}
		x.Expires()
		x.Apply(&IndexStep{Kind: List}, start)
	})
}

// FuzzApply reads batches out of the input, and apply holds each to the rules.
func FuzzApply(f *testing.F) {
	f.Add([]byte("\x10\x00\x00\x01\x00\x03\x02\x00\x41"))
	f.Add([]byte(strings.Repeat("\x02\x01\x00\x02\x05\x06\x13\x02", 20)))
	f.Add([]byte("\x01\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x00\x0e\x0f\x10\x11\x12\x13\x14\x15"))
	f.Fuzz(func(t *testing.T, input []byte) {
		in := choices{rest: input}
		r, now := new(Record), int64(start)
		apply(t, r, batch(Create(key(1), expiry)), now)
		for len(in.rest) > 0 {
			now += []int64{0, 1, 1000, minute, 11 * minute}[in.next(5)]
			b := in.batch(r)
			if b.Check() != nil {
				b.Ops = b.Ops[:min(len(b.Ops), 1)]
				if b.Check() != nil {
					continue
				}
			}
			if r.Meta.Generation > 1<<31 {
				return
			}
			apply(t, r, b, now)
		}
	})
}

// choices are decisions read off a fuzzer's input.
type choices struct{ rest []byte }

func (c *choices) next(n int) int {
	if len(c.rest) == 0 {
		return 0
	}
	v := int(c.rest[0])
	c.rest = c.rest[1:]
	return v % n
}

func (c *choices) batch(r *Record) *Batch {
	b := &Batch{Access: Access{Mode: Mode(c.next(4))}, Limits: []Limits{{}, {Size: 30, Fields: 3, Value: 20}, {Size: 1}}[c.next(3)]}
	b.Access.Generation = max(r.Meta.Generation+2-uint32(c.next(5)), 2) - 2
	b.Access.Secret = []Secret{r.Meta.Secret, r.Previous.Secret, key(9)}[c.next(3)]
	names := []string{"a", "b", "c", "é", "long name of a field"}
	texts := []string{"1", "[]", "[1,2]", `"x"`, "9007199254740991", "-1", `{"a":[1,2,3,4,5,6,7,8,9]}`}
	for range c.next(3) {
		b.Conditions = append(b.Conditions, Condition{Kind: ConditionKind(c.next(5)), Name: names[c.next(5)], Text: texts[c.next(7)],
			Revision: r.Revision - uint64(c.next(2))})
	}
	for range c.next(6) {
		op := Op{Kind: OpKind(c.next(int(lastOp) + 2)), Name: names[c.next(5)], Text: texts[c.next(7)], Int: int64(c.next(256)) - 100,
			Reason: Reason(c.next(5)), Secret: key(byte(c.next(256)))}
		op.Expiry = Expiry{Idle: int64(c.next(256)) * 5000, Absolute: int64(c.next(256)) * 10000, BrowserClose: c.next(2) == 0}
		if op.Kind == OpRotate {
			op.Int = int64(r.Meta.Generation) - int64(c.next(2))
		}
		b.Ops = append(b.Ops, op)
	}
	return b
}
