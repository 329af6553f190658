package verify

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/pazzo-sessions/pazzo/record"
)

// generator draws batches that hit: few names, few values, tokens that are often
// right, or were once.
type generator struct {
	t    *rapid.T
	meta record.Meta   // as last seen
	past []record.Meta // with other generations
}

// see notes what a reply tells of the record.
func (g *generator) see(m record.Meta) {
	if m.Generation == 0 || m.Secret == (record.Secret{}) {
		return
	}
	if m.Generation != g.meta.Generation {
		g.past = append(g.past, g.meta)
	}
	g.meta = m
}

var (
	names  = []string{"a", "b", "count", "list", "é", "new\x00line", "z"}
	texts  = []string{"1", "0", "-5", "[]", "[1]", `["x",2]`, `"text"`, "null", "9007199254740991", "-9007199254740990", "12345678901234567890", "01", "1.0", "true", "{}", `"a longer text, of more than 64 bytes: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"`}
	users  = []string{"ann", "bob", "ü"}
	ints   = []int64{0, 1, -1, 7, 1<<53 - 1, -(1<<53 - 1), 1 << 53, 1<<63 - 1, -1 << 63, 10}
	idles  = []int64{1, 5, 100, 1000, 60_000, 3_600_000}
	graces = []int64{0, 1, 100, 15_000}
)

func draw[T any](g *generator, name string, from []T) T {
	return rapid.SampledFrom(from).Draw(g.t, name)
}

func (g *generator) one(in int, name string) bool {
	return rapid.IntRange(1, in).Draw(g.t, name) == 1
}

func (g *generator) secret() (s record.Secret) {
	copy(s[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(g.t, "secret"))
	s[0] |= 1
	return s
}

func (g *generator) expiry() record.Expiry {
	return record.Expiry{
		Idle:         draw(g, "idle", idles[2:]),
		Absolute:     draw(g, "absolute", idles[3:]),
		BrowserClose: g.one(3, "close"),
	}
}

func (g *generator) access() record.Access {
	a := record.Access{Mode: record.Mode(rapid.IntRange(0, 2).Draw(g.t, "mode"))}
	if a.Mode == record.Admin && g.one(2, "not admin") {
		a.Mode = record.Open
	}
	m := g.meta
	if len(g.past) > 0 && g.one(3, "old token") {
		m = draw(g, "past", g.past)
	}
	a.Generation, a.Secret = m.Generation, m.Secret
	if g.one(12, "wrong secret") {
		a.Secret = g.secret()
	}
	if g.one(15, "wrong generation") {
		a.Generation += uint32(rapid.IntRange(0, 2).Draw(g.t, "by")) - 1
	}
	return a
}

func (g *generator) batch() record.Batch {
	var b record.Batch
	switch {
	case g.meta.Generation == 0 && !g.one(4, "not yet") || g.one(12, "create"):
		b.Ops = append(b.Ops, record.Create(g.secret(), g.expiry()))
	case g.one(14, "destroy"):
		b.Access = g.access()
		reason := record.Reason(rapid.IntRange(0, 3).Draw(g.t, "reason"))
		b.Ops = append(b.Ops, record.Destroy(reason, draw(g, "keep", idles[2:])))
		b.Conditions = g.conditions()
		return b
	default:
		b.Access = g.access()
		if g.one(4, "conditions") {
			b.Conditions = g.conditions()
		}
	}
	if g.one(4, "limits") {
		b.Limits = record.Limits{
			Value:  rapid.IntRange(60, 130).Draw(g.t, "max value"),
			Fields: rapid.IntRange(1, 4).Draw(g.t, "max fields"),
			Size:   rapid.IntRange(5, 150).Draw(g.t, "max size"),
		}
	}
	for range rapid.IntRange(0, 5).Draw(g.t, "operations") {
		b.Ops = append(b.Ops, g.op())
		if b.Check() != nil {
			b.Ops = b.Ops[:len(b.Ops)-1]
		}
	}
	return b
}

func (g *generator) conditions() (list []record.Condition) {
	for range rapid.IntRange(0, 2).Draw(g.t, "conditions") {
		c := record.Condition{Kind: record.ConditionKind(rapid.IntRange(0, 3).Draw(g.t, "condition"))}
		switch c.Kind {
		case record.FieldIs:
			c.Name, c.Text = draw(g, "name", names), draw(g, "text", texts)
		case record.FieldAbsent:
			c.Name = draw(g, "name", names)
		case record.RevisionIs:
			c.Revision = draw(g, "revision", []uint64{0, 1, 2, 3, 4, 1 << 60})
		case record.UserIsOrNone:
			c.Text = draw(g, "user", users)
		}
		list = append(list, c)
	}
	return list
}

// weighted are the kinds of operation, with those on fields more often.
var weighted = slices.Concat(
	[]record.OpKind{record.OpGet, record.OpSet, record.OpSet, record.OpSetIfAbsent, record.OpDelete, record.OpPop,
		record.OpAdd, record.OpAppend, record.OpDrain, record.OpClear, record.OpGetAll, record.OpGetIdentity},
	[]record.OpKind{record.OpGet, record.OpSet, record.OpAdd, record.OpAppend, record.OpTouch, record.OpRotate,
		record.OpRotate, record.OpRenew, record.OpAuthenticate, record.OpSetExpiry, record.OpDescribe})

func (g *generator) op() record.Op {
	name := draw(g, "name", names)
	switch kind := draw(g, "kind", weighted); kind {
	case record.OpSet, record.OpSetIfAbsent, record.OpAppend:
		return record.Op{Kind: kind, Name: name, Text: draw(g, "text", texts)}
	case record.OpAdd:
		return record.Add(name, draw(g, "addend", ints))
	case record.OpRotate:
		from := g.meta.Generation
		if g.one(4, "other generation") {
			from++
		}
		return record.Rotate(from, g.secret(), draw(g, "grace", graces))
	case record.OpRenew:
		return record.Renew(g.secret())
	case record.OpAuthenticate:
		return record.Authenticate(draw(g, "user", users), g.secret(), draw(g, "absolute", []int64{0, 1000, 60_000}))
	case record.OpSetExpiry:
		return record.SetExpiry(g.expiry())
	case record.OpDescribe:
		return record.Describe(draw(g, "device", []string{"", "phone", "a laptop"}))
	default:
		op := record.Op{Kind: kind}
		if kind <= record.OpDrain && kind != record.OpGetAll {
			op.Name = name
		}
		return op
	}
}
