package storetest

import (
	"slices"

	"github.com/pazzo-sessions/pazzo/record"
)

// Rules on conditions, atomicity and the revision.
var batchRules = []rule{
	{"ConditionsHoldBack", "a batch with a condition that does not hold is refused (Conflict, At) and changes nothing", checkConditions},
	{"ConditionsCompareRawText", "a condition on a field holds for exactly the bytes of its text", checkRawText},
	{"ConditionsLookBefore", "conditions see the record as it was before the writes of their batch", checkConditionsBefore},
	{"RefusedBatchChangesNothing", "a batch is applied in whole or not at all, whichever operation is refused", checkAtomic},
	{"OneBatchMayDoEverything", "operations of all kinds may be in one batch, in any order, each answered in its place", checkEverything},
	{"CreateAppliesTheRest", "the operations after Create find a record without fields, user or device", checkCreateAll},
	{"RevisionRisesWithEveryChange", "the revision rises with every change except Touch, and with nothing else", checkRevision},
	{"AccessComesFirst", "the access is judged first, then the conditions, then the operations", checkOrder},
	{"SessionsAreIndependent", "what is done to one session is not seen in another", checkIndependent},
}

func fieldIs(name, text string) record.Condition {
	return record.Condition{Kind: record.FieldIs, Name: name, Text: text}
}

func fieldAbsent(name string) record.Condition {
	return record.Condition{Kind: record.FieldAbsent, Name: name}
}

func revisionIs(revision uint64) record.Condition {
	return record.Condition{Kind: record.RevisionIs, Revision: revision}
}

func userIsOrNone(user string) record.Condition {
	return record.Condition{Kind: record.UserIsOrNone, Text: user}
}

func checkConditions(c *check) {
	s := c.create(record.Set("f", "1"), record.Set("l", "[]"))
	good := []record.Condition{fieldIs("f", "1"), fieldIs("l", "[]"), fieldAbsent("g"), userIsOrNone("ann")}
	s.expect(record.OK, &record.Batch{Conditions: good, Ops: []record.Op{record.Get("f")}})
	revision := s.revision()
	good = append(good, revisionIs(revision))
	for _, bad := range []record.Condition{
		fieldIs("f", "2"), fieldIs("g", "1"), fieldIs("g", ""), fieldAbsent("f"), revisionIs(revision + 1), revisionIs(revision - 1),
		revisionIs(0),
	} {
		for at := range len(good) + 1 {
			reply := s.expect(record.Conflict, &record.Batch{
				Conditions: slices.Insert(slices.Clone(good), at, bad),
				Ops:        []record.Op{record.Set("f", "9"), record.Renew(record.NewSecret()), record.Delete("l")},
			})
			same(c, "the condition that does not hold", reply.At, at)
		}
	}
	s.holds("f", "1", "l", "[]")
	same(c, "revision", s.revision(), revision)
	s.expect(record.OK, &record.Batch{Conditions: good, Ops: []record.Op{record.Set("f", "2")}})

	s.do(record.Authenticate("bob", record.NewSecret(), 0))
	s.expect(record.OK, &record.Batch{Conditions: []record.Condition{userIsOrNone("bob")}})
	s.expect(record.Conflict, &record.Batch{Conditions: []record.Condition{userIsOrNone("ann")}})
}

func checkRawText(c *check) {
	s := c.create(record.Set("f", `"\u003c"`), record.Set("n", "1.0"))
	for _, other := range []record.Condition{fieldIs("f", `"<"`), fieldIs("f", `"\u003C"`), fieldIs("n", "1"), fieldIs("n", "1.00")} {
		s.expect(record.Conflict, &record.Batch{Conditions: []record.Condition{other}, Ops: []record.Op{record.Clear()}})
	}
	s.expect(record.OK, &record.Batch{
		Conditions: []record.Condition{fieldIs("f", `"\u003c"`), fieldIs("n", "1.0")},
		Ops:        []record.Op{record.Clear()},
	})
}

func checkConditionsBefore(c *check) {
	s := c.create(record.Set("f", "1"))
	s.expect(record.OK, &record.Batch{
		Conditions: []record.Condition{fieldIs("f", "1"), fieldAbsent("g")},
		Ops:        []record.Op{record.Set("f", "2"), record.Set("g", "1")},
	})
	s.expect(record.OK, &record.Batch{
		Conditions: []record.Condition{fieldIs("f", "2")},
		Ops:        []record.Op{record.Clear(), record.Set("h", "1")},
	})
	s.holds("h", "1")
}

func checkAtomic(c *check) {
	prepare := []record.Op{record.Set("text", `"x"`), record.Set("most", "9007199254740991"), record.Set("gone", "1"),
		record.Set("list", "[1]"), record.Describe("phone")}
	writes := []record.Op{record.Set("a", "1"), record.Add("n", 1), record.Append("list", "2"), record.Delete("gone"),
		record.SetIfAbsent("b", "1"), record.Renew(record.NewSecret()), record.Describe("other"),
		record.SetExpiry(record.Expiry{Idle: 1000, Absolute: 1000}), record.Touch()}
	for _, refused := range []struct {
		op     record.Op
		status record.Status
	}{
		{record.Add("text", 1), record.NotInteger},
		{record.Add("most", 1), record.OutOfRange},
		{record.Append("text", "1"), record.NotList},
		{record.Drain("text"), record.NotList},
		{record.Set("big", bulk(1000)), record.TooLarge},
	} {
		for at := range len(writes) + 1 {
			s := c.create(prepare...)
			before := s.do(record.GetAll(), record.GetIdentity())
			revision := s.revision()
			reply := s.expect(refused.status, &record.Batch{
				Ops:    slices.Insert(slices.Clone(writes), at, refused.op),
				Limits: record.Limits{Size: 500},
			})
			same(c, "the operation refused", reply.At, at)
			after := s.do(record.GetAll(), record.GetIdentity())
			same(c, "fields after the refusal", after.Fields, before.Fields)
			same(c, "identity after the refusal", after.Identity, before.Identity)
			same(c, "meta after the refusal", after.Meta, before.Meta)
			same(c, "revision after the refusal", s.revision(), revision)
		}
	}
	c.checkAtomicCreate()
	s := c.create(record.Set("f", "1"))
	s.do(record.Authenticate("ann", record.NewSecret(), 0))
	s.expect(record.OtherUser, &record.Batch{Ops: []record.Op{record.Set("f", "2"),
		record.Authenticate("bob", record.NewSecret(), 0), record.Clear()}})
	s.holds("f", "1")
}

func (c *check) checkAtomicCreate() {
	s := c.none()
	s.expect(record.OutOfRange, &record.Batch{Ops: []record.Op{record.Create(s.secret, long),
		record.Set("a", "1"), record.Add("n", record.MaxInt+1), record.Append("l", "1")}})
	s.expect(record.Absent, &record.Batch{Ops: []record.Op{record.GetAll()}})
	s.do(record.Create(s.secret, long))
	s.holds()
}

// everything returns one operation of each kind that others may go with.
func everything() []record.Op {
	return []record.Op{record.Get("get"), record.GetAll(), record.Set("set", "1"), record.SetIfAbsent("ifabsent", "1"),
		record.Delete("delete"), record.Pop("pop"), record.Add("add", 1), record.Append("append", "1"), record.Drain("drain"),
		record.GetIdentity(), record.Touch(), record.Authenticate("ann", record.NewSecret(), minute), record.SetExpiry(long),
		record.Describe("phone")}
}

func checkEverything(c *check) {
	prepare := []record.Op{record.Set("get", "1"), record.Set("set", "0"), record.Set("ifabsent", "0"), record.Set("delete", "0"),
		record.Set("pop", "0"), record.Set("add", "41"), record.Set("append", "[0]"), record.Set("drain", "[0]"), record.Describe("old")}
	for _, extra := range [][]record.Op{nil, {record.Clear()}} {
		forward, backward := slices.Concat(everything(), extra), slices.Concat(extra, everything())
		slices.Reverse(backward)
		for _, ops := range [][]record.Op{forward, backward} {
			full, empty := c.create(prepare...), c.create()
			full.do(ops...)
			full.do(record.GetAll(), record.GetIdentity())
			empty.do(ops...)
			empty.do(record.GetAll(), record.GetIdentity())
			same(c, "revision", full.revision(), 2)
		}
	}
}

func checkCreateAll(c *check) {
	for _, op := range append(everything(), record.Clear(), record.Renew(record.NewSecret()), record.Rotate(1, record.NewSecret(), minute)) {
		s := c.create(op)
		s.do(record.GetAll(), record.GetIdentity())
		same(c, "revision", s.revision(), 1)
	}
	s := c.create(append(everything(), record.Clear())...)
	s.holds("add", "1", "append", "[1]", "ifabsent", "1", "set", "1")
}

func checkRevision(c *check) {
	s := c.create(record.Set("f", "1"), record.Set("l", "[]"), record.Set("n", "1"))
	last := s.revision()
	if last == 0 {
		c.fatalf("a record has revision 0")
	}
	rises := func(by uint64, ops ...record.Op) {
		c.t.Helper()
		if s.do(ops...); s.revision() != last+by {
			c.fatalf("%s: the revision went from %d to %d", describe(&record.Batch{Ops: ops}), last, s.revision())
		}
		last += by
	}
	rises(1, record.Set("f", "2"))
	rises(1, record.Set("f", "2"))
	rises(1, record.Set("g", "1"), record.Add("n", 1), record.Append("l", "1"))
	rises(0, record.SetIfAbsent("f", "3"))
	rises(0, record.Delete("none"), record.Pop("no"), record.Drain("nothing"))
	rises(0, record.GetAll(), record.Get("f"), record.GetIdentity())
	rises(0, record.Touch())
	rises(1, record.Delete("g"))
	rises(1, record.Describe("phone"))
	rises(1, record.Renew(record.NewSecret()))
	rises(0, record.Rotate(1, record.NewSecret(), 1000))
	rises(1, record.Rotate(2, record.NewSecret(), 1000))
	rises(1, record.SetExpiry(long))
	rises(1, record.Authenticate("ann", record.NewSecret(), 0))
	rises(1, record.Clear())
	rises(0, record.Clear())
}

func checkOrder(c *check) {
	s := c.create(record.Set("f", `"x"`))
	wrong := record.Access{Mode: record.Open, Generation: 1, Secret: record.NewSecret()}
	conflict := []record.Condition{fieldAbsent("f")}
	refused := []record.Op{record.Add("f", 1)}
	s.expect(record.Absent, &record.Batch{Access: wrong, Conditions: conflict, Ops: refused})
	s.expect(record.Conflict, &record.Batch{Access: s.token(), Conditions: conflict, Ops: refused})
	s.expect(record.NotInteger, &record.Batch{Access: s.token(), Ops: refused})
	s.expect(record.Absent, &record.Batch{Access: wrong, Ops: []record.Op{record.Destroy(record.Logout, minute)}})
	s.has("f", `"x"`)
}

func checkIndependent(c *check) {
	a, b := c.create(record.Set("f", `"a"`)), c.none()
	// Handles that differ in one bit, and in nothing but their last byte.
	near := c.none()
	near.h = a.h
	near.h[15] ^= 1
	for _, s := range []*session{b, near} {
		s.do(record.Create(s.secret, long), record.Set("f", `"other"`))
	}
	c.concurrently(8, func(i int) error {
		s := []*session{b, near}[i%2]
		_, err := c.apply(s.h, &record.Batch{Ops: []record.Op{record.Add("n", 1)}})
		return err
	})
	a.holds("f", `"a"`)
	a.do(record.Destroy(record.Logout, minute))
	for _, s := range []*session{b, near} {
		if got := s.status(record.Access{}); got != record.OK {
			c.errorf("destroying one session made another %q", got)
		}
	}
}
