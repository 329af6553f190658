package record

import "encoding/binary"

// Splice applies b to the record that s encodes without decoding it, if that is
// simple: one Get, or one Set or Add on a field that there is, by an access that the
// meta data decide. It puts into reply, which is zero, what Record.Apply answers; of a
// write it appends the new encoding to dst. ok is false, and dst and reply as they were,
// when the batch is to be applied in full.
func Splice(dst []byte, s string, b *Batch, now int64, reply *Reply) (encoded []byte, ok bool) {
	if encoded, ok = splice(dst, s, b, now, reply); !ok {
		*reply = Reply{}
	}
	return encoded, ok
}

func splice(dst []byte, s string, b *Batch, now int64, reply *Reply) (encoded []byte, ok bool) {
	if len(b.Ops) != 1 || len(b.Conditions) > 0 || len(s) < MetaSize {
		return dst, false
	}
	op, m := &b.Ops[0], &reply.Meta
	if op.Kind != OpGet && op.Kind != OpSet && op.Kind != OpAdd || m.Unpack(s[:MetaSize]) != nil || now >= m.Expires() {
		return dst, false
	}
	if status, decided := b.Access.Judge(m); status != OK || !decided {
		return dst, false
	}
	reply.Now = now
	place, ok := look(s, op.Name, reply)
	if !ok {
		return dst, false
	}
	value := Value{Text: s[place.start:place.end], Found: place.end > 0}
	if op.Kind == OpGet {
		reply.Values = []Value{value}
		return dst, true
	}
	text, status := op.Text, OK
	if op.Kind == OpAdd {
		text, status = sum(value.Text, value.Found, op.Int)
	}
	grows := len(text) - len(value.Text)
	if !value.Found || status != OK || grows > 0 && reply.Size+grows > b.Limits.OrDefault().Size {
		return dst, false
	}
	reply.Values = make([]Value, 1)
	if op.Kind == OpAdd {
		reply.Values[0] = Value{Text: text, Found: true}
	}
	reply.Revision++
	reply.Size += grows
	dst = binary.AppendUvarint(append(dst, s[:MetaSize]...), reply.Revision)
	dst = appendText(append(dst, s[place.revised:place.length]...), text)
	return append(dst, s[place.end:]...), true
}

// place is where a field stands in an encoding.
type place struct {
	revised            int // behind the revision
	length, start, end int // of its text; 0 if there is no such field
}

// look finds a field, and the record's revision and size. ok is false when s, whose
// meta data are in reply, is not what Append writes.
func look(s, name string, reply *Reply) (p place, ok bool) {
	in := input{rest: s[MetaSize:]}
	reply.Revision = in.uvarint()
	p.revised = len(s) - len(in.rest)
	if reply.Meta.HasPrevious {
		in.take(PreviousSize)
	}
	if reply.Meta.HasUser {
		in.text()
		in.uint48()
	}
	in.text()
	last, ordered := "", true
	for n, first := in.uvarint(), true; n > 0 && !in.bad; n, first = n-1, false {
		next := in.text()
		length := len(s) - len(in.rest)
		text := in.text()
		if next == name {
			p.length, p.end = length, len(s)-len(in.rest)
			p.start = p.end - len(text)
		}
		ordered = ordered && (first || last < next)
		last = next
		reply.Size += len(next) + len(text)
	}
	return p, ordered && !in.bad && in.rest == ""
}
