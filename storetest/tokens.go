package storetest

import (
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Rules on what a token opens.
var tokenRules = []rule{
	{"TokenNeedsItsSecret", "a token with a wrong secret, or of a generation above the record's, opens nothing (Absent)", checkSecret},
	{"AdminIsNotJudged", "the server's own access by handle is not judged", checkAdmin},
	{"RotateKeepsThePrevious", "the generation that Rotate replaces stays good until the new one is first presented", checkRotate},
	{"GraceEndsAfterPresentation", "the previous generation stays good for the grace after the new one was first presented, and no longer", timed(checkGrace)},
	{"GraceIsNotExtended", "a token presented again does not extend the grace", timed(checkGraceExtended)},
	{"EveryOpeningPresents", "the first opening with the new token starts the grace, be the batch a read, a write or refused", checkPresents},
	{"RotateWaitsForTheGrace", "Rotate does nothing while the previous generation is good, or from another generation than the current one", timed(checkRotateWaits)},
	{"RenewEndsOlderTokens", "Renew and Authenticate end all older generations at once (Superseded)", checkRenew},
	{"HeldIsJudgedByTheFloor", "a held session is judged by floor ≤ generation ≤ current only", checkHeld},
	{"SupersededChangesNothing", "a superseded token reads nothing and writes nothing, and the reply hides the secret", checkSuperseded},
	{"OldGenerationsAreSuperseded", "a generation before the previous one is superseded", checkOld},
}

// open returns the access by a token.
func open(generation uint32, secret record.Secret) record.Access {
	return record.Access{Mode: record.Open, Generation: generation, Secret: secret}
}

func held(generation uint32) record.Access {
	return record.Access{Mode: record.Held, Generation: generation}
}

// rotated returns a session that is rotated once, with the access by its tokens.
func (c *check) rotated(grace time.Duration) (s *session, previous, current record.Access) {
	c.t.Helper()
	s = c.create(record.Set("f", "1"))
	next := record.NewSecret()
	if !s.do(record.Rotate(1, next, ms(grace))).Values[0].Found {
		c.fatalf("Rotate from the current generation did nothing")
	}
	return s, s.token(), open(2, next)
}

func checkSecret(c *check) {
	s := c.create(record.Set("f", "1"))
	s.opens(s.token(), record.OK)
	almost := s.secret
	almost[15] ^= 1
	for _, a := range []record.Access{open(1, record.NewSecret()), open(1, almost), open(1, record.Secret{}),
		open(2, s.secret), open(1<<32-1, s.secret), held(2)} {
		reply := s.opens(a, record.Absent)
		if reply.Meta != (record.Meta{}) || reply.Values != nil {
			c.errorf("a wrong token was answered meta data or values")
		}
		s.expect(record.Absent, &record.Batch{Access: a, Ops: []record.Op{record.Set("f", "2"), record.Touch()}})
		s.expect(record.Absent, &record.Batch{Access: a, Ops: []record.Op{record.Renew(record.NewSecret())}})
	}
	s.opens(open(0, s.secret), record.Superseded)
	s.holds("f", "1")

	renewed := record.NewSecret()
	s.do(record.Rotate(1, renewed, minute))
	for _, a := range []record.Access{open(2, s.secret), open(1, renewed), open(1, record.NewSecret())} {
		s.opens(a, record.Absent)
	}
	s.opens(s.token(), record.OK)
}

func checkAdmin(c *check) {
	s := c.create(record.Set("f", "1"))
	s.do(record.Rotate(1, record.NewSecret(), minute))
	s.do(record.Renew(record.NewSecret()))
	s.has("f", "1")
	s.do(record.Set("f", "2"))
	s.has("f", "2")
}

func checkRotate(c *check) {
	s, previous, current := c.rotated(time.Millisecond)
	time.Sleep(5 * time.Millisecond) // the grace has not begun
	reply := s.opens(previous, record.OK)
	if reply.Meta.Secret != current.Secret || reply.Meta.Generation != 2 {
		c.errorf("the reply to the previous token does not carry the current secret")
	}
	if !reply.Meta.Unpresented {
		c.errorf("the previous token presented the current one")
	}
	s.expect(record.OK, &record.Batch{Access: previous, Ops: []record.Op{record.Set("f", "2")}})
	s.expect(record.OK, &record.Batch{Access: held(1), Ops: []record.Op{record.Set("f", "3")}})
	s.expect(record.OK, &record.Batch{Access: held(2), Ops: []record.Op{record.Set("f", "4")}})
	s.opens(record.Access{}, record.OK)
	if !s.opens(previous, record.OK).Meta.Unpresented {
		c.errorf("an access other than the new token presented it")
	}
	if s.opens(current, record.OK).Meta.Unpresented {
		c.errorf("the new token was not presented")
	}
	s.turns(previous, record.Superseded, time.Now(), time.Millisecond)
}

func checkGrace(c *check) {
	grace := 2 * c.unit()
	s, previous, current := c.rotated(grace)
	before := time.Now()
	s.opens(current, record.OK)
	after := time.Now()
	s.stays(previous, record.OK, before, grace)
	s.turns(previous, record.Superseded, after, grace)
	s.opens(current, record.OK)
	s.opens(held(1), record.OK)
}

func checkGraceExtended(c *check) {
	grace := 2 * c.unit()
	s, previous, current := c.rotated(grace)
	s.opens(current, record.OK)
	after := time.Now()
	for time.Since(after) < grace-slack {
		s.status(previous)
		s.status(current)
		c.must(s.h, record.Set("f", "1"))
		time.Sleep(grace / 8)
	}
	s.turns(previous, record.Superseded, after, grace)
}

func checkPresents(c *check) {
	for _, b := range []*record.Batch{
		{Ops: []record.Op{record.Get("f")}},
		{Ops: []record.Op{record.GetAll()}},
		{},
		{Ops: []record.Op{record.Touch()}},
		{Ops: []record.Op{record.Set("f", "1")}},
		{Ops: []record.Op{record.Append("f", "1")}},
		{Conditions: []record.Condition{fieldAbsent("f")}},
	} {
		s, previous, current := c.rotated(time.Millisecond)
		revision := s.revision()
		b.Access = current
		s.apply(b)
		after := time.Now()
		s.turns(previous, record.Superseded, after, time.Millisecond)
		if len(b.Ops) == 0 && s.revision() != revision {
			c.errorf("presenting a token raised the revision")
		}
	}
}

func checkRotateWaits(c *check) {
	grace := c.unit()
	s, previous, current := c.rotated(grace)
	does := func(from uint32, want bool) {
		c.t.Helper()
		if got := s.do(record.Rotate(from, record.NewSecret(), ms(grace))).Values[0].Found; got != want {
			c.fatalf("Rotate from %d took effect: %t, want %t", from, got, want)
		}
	}
	does(1, false)
	does(2, false)
	s.opens(current, record.OK)
	after := time.Now()
	does(3, false)
	s.turns(previous, record.Superseded, after, grace)
	does(1, false)
	does(2, true)
	s.opens(current, record.OK)
	s.opens(previous, record.Superseded)
}

func checkRenew(c *check) {
	for _, op := range []record.Op{record.Renew(record.NewSecret()), record.Authenticate("ann", record.NewSecret(), 0)} {
		s, previous, current := c.rotated(time.Minute)
		reply := s.expect(record.OK, &record.Batch{Access: previous, Ops: []record.Op{op}})
		if reply.Meta.Generation != 3 || reply.Meta.Floor != 3 || reply.Meta.Secret != op.Secret {
			c.fatalf("%s left generation %d, floor %d", opNames[op.Kind], reply.Meta.Generation, reply.Meta.Floor)
		}
		for _, a := range []record.Access{previous, current, held(1), held(2)} {
			s.opens(a, record.Superseded)
		}
		s.opens(open(3, op.Secret), record.OK)
		s.opens(held(3), record.OK)
		s.opens(held(4), record.Absent)
		s.has("f", "1")
	}
}

func checkHeld(c *check) {
	s, previous, current := c.rotated(time.Millisecond)
	s.opens(current, record.OK)
	s.turns(previous, record.Superseded, time.Now(), time.Millisecond)
	s.do(record.Rotate(2, record.NewSecret(), 1))
	s.expect(record.OK, &record.Batch{Access: held(1), Ops: []record.Op{record.Set("f", "2")}})
	s.opens(held(2), record.OK)
	s.opens(held(3), record.OK)
	s.opens(held(0), record.Superseded)
	s.do(record.Renew(record.NewSecret()))
	s.expect(record.Superseded, &record.Batch{Access: held(3), Ops: []record.Op{record.Set("f", "3")}})
	s.has("f", "2")
}

func checkSuperseded(c *check) {
	s := c.create(record.Set("f", "1"), record.Set("l", "[]"))
	s.do(record.Renew(record.NewSecret()))
	revision := s.revision()
	for _, op := range []record.Op{record.Get("f"), record.GetAll(), record.GetIdentity(), record.Set("f", "2"),
		record.Pop("f"), record.Add("n", 1), record.Append("l", "1"), record.Clear(), record.Touch(),
		record.Renew(record.NewSecret()), record.Authenticate("ann", record.NewSecret(), 0), record.SetExpiry(long),
		record.Describe("phone"), record.Rotate(2, record.NewSecret(), 1), record.Destroy(record.Logout, minute)} {
		for _, a := range []record.Access{s.token(), held(1)} {
			reply := s.expect(record.Superseded, &record.Batch{Access: a, Ops: []record.Op{op}})
			if reply.Meta.Secret != (record.Secret{}) {
				c.fatalf("the reply to a superseded token holds the secret")
			}
			if reply.Meta.Floor != 2 || reply.Meta.FloorTime == 0 {
				c.errorf("the reply to a superseded token does not tell when the privilege changed")
			}
			if reply.Values != nil || reply.Fields != nil || reply.Identity != (record.Identity{}) {
				c.errorf("a superseded token was answered values")
			}
		}
	}
	s.holds("f", "1", "l", "[]")
	same(c, "revision", s.revision(), revision)
}

func checkOld(c *check) {
	s, first, second := c.rotated(time.Millisecond)
	s.opens(second, record.OK)
	s.turns(first, record.Superseded, time.Now(), time.Millisecond)
	third := record.NewSecret()
	s.do(record.Rotate(2, third, minute))
	s.opens(first, record.Superseded)
	s.opens(second, record.OK)
	s.opens(open(1, record.NewSecret()), record.Superseded)
	s.opens(open(3, third), record.OK)
	s.opens(second, record.OK)
}
