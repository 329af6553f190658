package storetest

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Rules on the end of a session.
var destroyRules = []rule{
	{"NothingButCreateMakesARecord", "an operation on a session that does not exist is Absent and makes nothing", checkOnlyCreate},
	{"CreateOverALiveOneIsRefused", "Create over a live session is refused (Exists) and changes nothing", checkCreateExists},
	{"DestroyIsFinal", "after Destroy every operation answers Ended with the reason, Create too, and nothing brings the session back", checkFinal},
	{"DestroyStopsWritersInFlight", "a write in flight when the session is destroyed gets Ended, and does not bring it back", checkWritersInFlight},
	{"DestroyOfNothingLeavesATombstone", "Destroy by the server leaves a tombstone where there was no session", checkDestroyNothing},
	{"DestroyIsJudged", "Destroy by a token or under a condition is judged like any batch", checkDestroyJudged},
	{"DestroyOverATombstoneDoesNothing", "Destroy over a tombstone answers Ended and leaves the first reason and end", timed(checkDestroyTwice)},
	{"TombstoneExpires", "a tombstone lasts as long as Destroy said, and then goes", timed(checkTombstone)},
	{"TombstoneHoldsNoData", "the reply to an ended session holds nothing but the reason", checkNoData},
}

// every returns one operation of every kind but Create and Destroy.
func every() []record.Op {
	return []record.Op{record.Get("f"), record.GetAll(), record.Set("f", "2"), record.SetIfAbsent("f", "2"),
		record.Delete("f"), record.Pop("f"), record.Add("f", 1), record.Append("l", "1"), record.Drain("l"), record.Clear(),
		record.GetIdentity(), record.Touch(), record.Rotate(1, record.NewSecret(), minute), record.Renew(record.NewSecret()),
		record.Authenticate("ann", record.NewSecret(), 1000), record.SetExpiry(long), record.Describe("phone")}
}

func checkOnlyCreate(c *check) {
	s := c.none()
	for _, op := range every() {
		for _, a := range []record.Access{{}, s.token(), held(1)} {
			reply := s.expect(record.Absent, &record.Batch{Access: a, Ops: []record.Op{op}})
			if reply.Meta != (record.Meta{}) || reply.Revision != 0 || reply.Values != nil {
				c.fatalf("%s of nothing answered meta data or values", opNames[op.Kind])
			}
		}
	}
	s.expect(record.Absent, &record.Batch{
		Conditions: []record.Condition{fieldAbsent("f"), userIsOrNone("ann")},
		Ops:        []record.Op{record.Set("f", "1")},
	})
	s.do(record.Create(s.secret, long))
	s.holds()
}

func checkCreateExists(c *check) {
	s := c.create(record.Set("f", "1"))
	before := s.do()
	reply := s.expect(record.Exists, &record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), long), record.Set("f", "2")}})
	if reply.Meta != (record.Meta{}) {
		c.errorf("the refused Create was answered the meta data of another's session")
	}
	s.holds("f", "1")
	same(c, "meta", s.opens(s.token(), record.OK).Meta, before.Meta)
}

func checkFinal(c *check) {
	for _, reason := range []record.Reason{record.Logout, record.Replaced, record.Revoked, record.Evicted} {
		s := c.create(record.Set("f", "1"), record.Set("l", "[]"))
		s.do(record.Authenticate("ann", record.NewSecret(), 0))
		c.answers(s.do(record.Destroy(reason, minute)), "ann", true)
		ended := func(a record.Access, ops ...record.Op) {
			c.t.Helper()
			reply := s.expect(record.Ended, &record.Batch{Access: a, Ops: ops})
			same(c, "reason", reply.Reason, reason)
		}
		for _, op := range every() {
			for _, a := range []record.Access{{}, s.token(), open(9, record.NewSecret()), held(1)} {
				ended(a, op)
			}
		}
		ended(record.Access{}, record.Create(record.NewSecret(), long), record.Set("f", "2"))
		ended(record.Access{}, record.Get("f"))
	}
}

func checkWritersInFlight(c *check) {
	const writers = 24
	for round := range 20 {
		s := c.create(record.Set("f", "1"))
		var written atomic.Int32
		var destroyed atomic.Bool
		c.concurrently(writers+1, func(i int) error {
			if i == writers {
				for written.Load() < writers {
					time.Sleep(50 * time.Microsecond)
				}
				reply, err := c.apply(s.h, &record.Batch{Ops: []record.Op{record.Destroy(record.Logout, minute)}})
				destroyed.Store(true)
				if err == nil && reply.Status != record.OK {
					err = fmt.Errorf("the Destroy answered %q", reply.Status)
				}
				return err
			}
			ops := []record.Op{record.Set("f", "2"), record.Touch()}
			if i%2 == 0 {
				ops = []record.Op{record.Add("n", 1), record.Append("l", "1")}
			}
			for {
				late := destroyed.Load()
				reply, err := c.apply(s.h, &record.Batch{Ops: ops})
				if err != nil {
					written.Store(writers)
					return err
				}
				written.Add(1)
				switch {
				case reply.Status == record.Ended:
					return nil
				case reply.Status != record.OK:
					return fmt.Errorf("a write in flight answered %q", reply.Status)
				case late:
					return fmt.Errorf("in round %d a write was accepted after Destroy had returned", round)
				}
			}
		})
		if got := s.status(record.Access{}); got != record.Ended {
			c.fatalf("in round %d the destroyed session is %q", round, got)
		}
	}
}

func checkDestroyNothing(c *check) {
	s := c.none()
	c.answers(s.do(record.Destroy(record.Revoked, minute)), "", false)
	reply := s.expect(record.Ended, &record.Batch{Ops: []record.Op{record.Create(s.secret, long)}})
	same(c, "reason", reply.Reason, record.Revoked)
	s.opens(s.token(), record.Ended)

	t := c.none()
	t.expect(record.Absent, &record.Batch{Access: t.token(), Ops: []record.Op{record.Destroy(record.Logout, minute)}})
	t.do(record.Create(t.secret, long))

	u := c.none()
	u.expect(record.OK, &record.Batch{
		Conditions: []record.Condition{userIsOrNone("ann")},
		Ops:        []record.Op{record.Destroy(record.Revoked, minute)},
	})
	u.opens(record.Access{}, record.Ended)
}

func checkDestroyJudged(c *check) {
	s := c.create(record.Set("f", "1"))
	destroy := []record.Op{record.Destroy(record.Logout, minute)}
	s.expect(record.Absent, &record.Batch{Access: open(1, record.NewSecret()), Ops: destroy})
	s.do(record.Authenticate("ann", record.NewSecret(), 0))
	s.expect(record.Superseded, &record.Batch{Access: s.token(), Ops: destroy})
	s.expect(record.Superseded, &record.Batch{Access: held(1), Ops: destroy})
	reply := s.expect(record.Conflict, &record.Batch{
		Conditions: []record.Condition{fieldIs("f", "1"), userIsOrNone("bob")}, Ops: destroy,
	})
	same(c, "the condition that does not hold", reply.At, 1)
	s.has("f", "1")
	reply = s.expect(record.OK, &record.Batch{
		Access: held(2), Conditions: []record.Condition{userIsOrNone("ann")}, Ops: destroy,
	})
	c.answers(reply, "ann", true)
	same(c, "meta after Destroy", reply.Meta, record.Meta{})
	same(c, "revision after Destroy", reply.Revision, 0)
	s.opens(s.token(), record.Ended)
}

func checkDestroyTwice(c *check) {
	s := c.create()
	before := time.Now()
	s.do(record.Destroy(record.Evicted, ms(2*c.unit())))
	after := time.Now()
	for _, a := range []record.Access{{}, s.token(), held(1)} {
		reply := s.expect(record.Ended, &record.Batch{Access: a, Ops: []record.Op{record.Destroy(record.Logout, minute)}})
		same(c, "reason", reply.Reason, record.Evicted)
	}
	s.stays(record.Access{}, record.Ended, before, 2*c.unit())
	s.turns(record.Access{}, record.Absent, after, 2*c.unit())
}

func checkTombstone(c *check) {
	keep := 2 * c.unit()
	s, nothing := c.create(record.Set("f", "1")), c.none()
	before := time.Now()
	for _, t := range []*session{s, nothing} {
		t.do(record.Destroy(record.Logout, ms(keep)))
	}
	after := time.Now()
	s.stays(s.token(), record.Ended, before, keep)
	for _, t := range []*session{s, nothing} {
		t.turns(record.Access{}, record.Absent, after, keep)
		t.expect(record.Absent, &record.Batch{Ops: []record.Op{record.Set("f", "1")}})
		t.do(record.Create(t.secret, long))
		t.holds()
	}
}

func checkNoData(c *check) {
	s := c.create(record.Set("f", "1"), record.Describe("phone"))
	s.do(record.Authenticate("ann", record.NewSecret(), 0))
	s.do(record.Destroy(record.Logout, minute))
	reply := s.expect(record.Ended, &record.Batch{Ops: []record.Op{record.GetAll(), record.GetIdentity(), record.Get("f")}})
	if reply.Meta != (record.Meta{}) || reply.Revision != 0 || reply.Values != nil || reply.Fields != nil || reply.Identity != (record.Identity{}) {
		c.fatalf("an ended session answered %+v", reply)
	}
}
