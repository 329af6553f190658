package record

import (
	"slices"
	"strings"
)

// plan is a batch on its way through a record: every operation is checked before
// the first is written.
type plan struct {
	record  *Record
	limits  Limits
	now     int64
	cleared bool
	fields  int // that the record will have
	size    int // that the record will have
	touched bool
}

// change is a write of one field.
type change struct {
	name, text string
	remove     bool
}

// get returns a field as the batch's writes find it.
func (p *plan) get(name string) (string, bool) {
	if p.cleared {
		return "", false
	}
	return p.record.Get(name)
}

// check says whether op can be done, answers it in reply.Values[at], and notes
// what it will write to its field.
func (p *plan) check(op *Op, reply *Reply, at int) Status {
	r, value := p.record, &reply.Values[at]
	switch op.Kind {
	case OpGet:
		value.Text, value.Found = r.Get(op.Name)
	case OpGetAll:
		reply.Fields = slices.Clone(r.Fields)
	case OpGetIdentity:
		reply.Identity = Identity{User: r.User, Auth: r.Auth, Device: r.Device}
	case OpSet:
		old, found := p.get(op.Name)
		return p.put(op.Name, old, op.Text, found)
	case OpSetIfAbsent:
		if value.Text, value.Found = p.get(op.Name); !value.Found {
			return p.put(op.Name, "", op.Text, false)
		}
	case OpDelete:
		var old string
		old, value.Found = p.get(op.Name)
		p.remove(op.Name, old, value.Found)
	case OpPop:
		value.Text, value.Found = p.get(op.Name)
		p.remove(op.Name, value.Text, value.Found)
	case OpDrain:
		text, found := p.get(op.Name)
		if found && !IsList(text) {
			return NotList
		}
		value.Text, value.Found = text, found
		p.remove(op.Name, text, found)
	case OpAdd:
		return p.add(op, value)
	case OpAppend:
		return p.append(op)
	case OpAuthenticate:
		if r.User != "" && r.User != op.Text {
			return OtherUser
		}
	}
	return OK
}

func (p *plan) add(op *Op, value *Value) Status {
	old, found := p.get(op.Name)
	text, status := sum(old, found, op.Int)
	if status != OK {
		return status
	}
	value.Text, value.Found = text, found
	return p.put(op.Name, old, text, found)
}

// sum adds n to the integer that a field holds, 0 if there is none.
func sum(old string, found bool, n int64) (text string, status Status) {
	before := int64(0)
	if found {
		var ok bool
		if before, ok = ParseInt(old); !ok {
			return "", NotInteger
		}
	}
	if !inRange(before) || !inRange(n) || !inRange(before+n) {
		return "", OutOfRange
	}
	return formatInt(before + n), OK
}

func (p *plan) append(op *Op) Status {
	old, found := p.get(op.Name)
	text := ""
	switch {
	case !found || old == "[]":
		text = "[" + op.Text + "]"
	case IsList(old):
		text = old[:len(old)-1] + "," + op.Text + "]"
	default:
		return NotList
	}
	if len(text) > p.limits.Value {
		return TooLarge
	}
	return p.put(op.Name, old, text, found)
}

// IsList reports whether a JSON text is an array. The text is valid JSON, so its
// first byte tells.
func IsList(text string) bool { return strings.HasPrefix(text, "[") }

// put notes that a field gets a text, unless that takes the record past a limit.
// A write that does not make the record larger is always allowed, and one that
// adds no field is not held to the number of fields.
func (p *plan) put(name, old, text string, found bool) Status {
	grows := len(text) - len(old)
	if !found {
		grows += len(name)
		p.fields++
	}
	p.size += grows
	if grows > 0 && p.size > p.limits.Size || !found && p.fields > p.limits.Fields {
		return TooLarge
	}
	p.record.changes = append(p.record.changes, change{name: name, text: text})
	return OK
}

func (p *plan) remove(name, old string, found bool) {
	if found {
		p.fields--
		p.size -= len(name) + len(old)
		p.record.changes = append(p.record.changes, change{name: name, remove: true})
	}
}

// write does what check has allowed, and reports whether the record's revision
// rises.
func (p *plan) write(ops []Op, reply *Reply, base int) (revised bool) {
	r := p.record
	if p.cleared && len(r.Fields) > 0 {
		r.clear()
		revised = true
	}
	for _, c := range r.changes {
		if c.remove {
			r.remove(c.name)
		} else {
			r.set(c.name, c.text)
		}
		revised = true
	}
	for i := range ops {
		if p.writeMeta(&ops[i], &reply.Values[base+i]) {
			revised = true
		}
	}
	return revised
}

// writeMeta does an operation on the record itself.
func (p *plan) writeMeta(op *Op, value *Value) (revised bool) {
	r, m := p.record, &p.record.Meta
	switch op.Kind {
	case OpTouch:
		if m.TouchDue(p.now) {
			m.Touched, p.touched = p.now, true
			value.Found, value.Text = true, r.User
		}
		return false
	case OpRotate:
		if int64(m.Generation) != op.Int || m.HasPrevious && r.Previous.Good(p.now) {
			return false
		}
		value.Found = true
		r.Previous = Previous{Secret: m.Secret, Grace: op.Expiry.Idle}
		m.HasPrevious, m.Unpresented = true, true
		m.Generation++
		m.Secret, m.Renewed = op.Secret, p.now
	case OpRenew:
		r.renew(op.Secret, p.now)
	case OpAuthenticate:
		r.renew(op.Secret, p.now)
		r.User, r.Auth, m.HasUser = op.Text, p.now, true
		m.Touched = p.now
		if op.Expiry.Absolute > 0 && !m.CustomExpiry {
			m.Deadline = p.now + op.Expiry.Absolute
		}
	case OpSetExpiry:
		m.expire(op.Expiry, p.now)
		m.Touched, m.CustomExpiry = p.now, true
	case OpDescribe:
		r.Device = op.Text
	default:
		return false
	}
	return true
}

// renew begins a generation that alone is accepted.
func (r *Record) renew(secret Secret, now int64) {
	r.Previous = Previous{}
	m := &r.Meta
	m.HasPrevious, m.Unpresented = false, false
	m.Generation++
	m.Floor = m.Generation
	m.Secret, m.FloorTime, m.Renewed = secret, now, now
}
