package storetest

import (
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Rules on time.
var timeRules = []rule{
	{"IdleTimeoutEnds", "a session ends after its idle timeout, and not before", timed(checkIdle)},
	{"AbsoluteTimeoutEnds", "a session ends at its absolute deadline, whatever its activity", timed(checkAbsolute)},
	{"OnlyTouchExtends", "reads and writes do not extend a session", timed(checkOnlyTouch)},
	{"TouchMovesTheDeadline", "Touch moves the idle deadline, and tells so", timed(checkTouch)},
	{"TouchIsThrottled", "Touch takes effect at most once per tenth of the idle timeout", timed(checkThrottle)},
	{"SetExpiryReplacesTheTimeouts", "SetExpiry chooses the timeouts from now on, longer or shorter", timed(checkSetExpiry)},
	{"ExpiredIsAbsent", "an expired session is absent to every operation, and its handle can be created anew", timed(checkExpired)},
	{"ClockIsTheStores", "Reply.Now is the store's clock, and the times in Meta are by it", checkClock},
}

// lasting returns the expiry of a session that ends after d without activity.
func lasting(d time.Duration) record.Expiry {
	return record.Expiry{Idle: ms(d), Absolute: ms(time.Hour)}
}

func checkIdle(c *check) {
	idle := 2 * c.unit()
	s := c.createFor(lasting(idle), record.Set("f", "1"))
	s.stays(record.Access{}, record.OK, s.before, idle)
	s.turns(record.Access{}, record.Absent, s.after, idle)
	s.turns(s.token(), record.Absent, s.after, idle)
}

func checkAbsolute(c *check) {
	end := 3 * c.unit()
	s := c.createFor(record.Expiry{Idle: ms(time.Hour), Absolute: ms(end)}, record.Set("f", "1"))
	same(c, "idle timeout, capped at the absolute one", s.do().Meta.Idle, ms(end))
	t := c.createFor(record.Expiry{Idle: ms(2 * c.unit()), Absolute: ms(end)})
	for time.Since(t.before) < end-c.grain-slack {
		c.must(t.h, record.Touch())
		time.Sleep(c.unit() / 4)
		if time.Since(t.before) > end-c.grain-slack {
			break
		}
		s.status(record.Access{})
	}
	s.turns(record.Access{}, record.Absent, s.after, end)
	t.turns(record.Access{}, record.Absent, t.after, end)
}

func checkOnlyTouch(c *check) {
	idle := 3 * c.unit()
	s := c.createFor(lasting(idle), record.Set("f", "1"))
	for i := 0; time.Since(s.before) < idle-c.grain-2*slack; i++ {
		b := &record.Batch{Ops: []record.Op{record.Set("f", "1"), record.Add("n", 1), record.Describe("phone")}}
		switch i % 4 {
		case 1:
			b.Ops = []record.Op{record.GetAll(), record.GetIdentity()}
		case 2:
			b = &record.Batch{Access: s.token(), Ops: []record.Op{record.Get("f")}}
		case 3:
			b.Conditions = []record.Condition{fieldAbsent("f")}
		}
		if _, err := c.apply(s.h, b); err != nil {
			c.fatalf("%s: %v", describe(b), err)
		}
		time.Sleep(idle / 16)
	}
	s.turns(record.Access{}, record.Absent, s.after, idle)
}

func checkTouch(c *check) {
	idle := 4 * c.unit()
	s := c.createFor(lasting(idle), record.Set("f", "1"))
	s.do(record.Rotate(1, record.NewSecret(), minute))
	revision := s.revision()
	time.Sleep(c.unit())
	before := time.Now()
	reply := s.do(record.Touch())
	after := time.Now()
	c.answers(reply, "", true)
	same(c, "touched", reply.Meta.Touched, reply.Now)
	same(c, "revision", s.revision(), revision)
	s.stays(record.Access{}, record.OK, before, idle)
	s.turns(record.Access{}, record.Absent, after, idle)

	u := c.createFor(lasting(10 * c.unit()))
	u.do(record.Authenticate("ann", record.NewSecret(), 0))
	time.Sleep(c.unit() + slack)
	c.answers(u.do(record.Touch()), "ann", true)
	time.Sleep(c.unit() + slack)
	c.answers(u.do(record.Touch(), record.Set("f", "1")), "ann", true)
}

func checkThrottle(c *check) {
	tenth := c.unit()
	s := c.createFor(lasting(10*tenth), record.Set("f", "1"))
	fired := 0
	for time.Since(s.before) < 3*tenth {
		reply := s.do(record.Touch())
		if reply.Values[0].Found {
			fired++
		}
		time.Sleep(tenth / 10)
	}
	if passed := int(time.Since(s.before)/tenth) + 1; fired > passed {
		c.fatalf("Touch took effect %d times in %d tenths of the idle timeout", fired, passed)
	}
	if fired == 0 {
		c.fatalf("Touch never took effect in %v of an idle timeout of %v", time.Since(s.before), 10*tenth)
	}
	same(c, "Touch right after the creation", c.create().do(record.Touch()).Values[0].Found, false)
}

func checkSetExpiry(c *check) {
	// Longer.
	s := c.createFor(lasting(c.unit()), record.Set("f", "1"))
	reply := s.do(record.SetExpiry(record.Expiry{Idle: ms(time.Hour), Absolute: ms(2 * time.Hour), BrowserClose: true}))
	m := reply.Meta
	if m.Idle != ms(time.Hour) || m.Deadline != reply.Now+ms(2*time.Hour) || m.Touched != reply.Now || !m.CustomExpiry || !m.BrowserClose {
		c.fatalf("SetExpiry left %+v", m)
	}
	// Shorter, idle and absolute.
	idle, absolute := c.create(), c.create()
	before := time.Now()
	idle.do(record.SetExpiry(lasting(2 * c.unit())))
	absolute.do(record.SetExpiry(record.Expiry{Idle: ms(time.Hour), Absolute: ms(2 * c.unit())}))
	after := time.Now()
	idle.stays(record.Access{}, record.OK, before, 2*c.unit())
	idle.turns(record.Access{}, record.Absent, after, 2*c.unit())
	absolute.turns(record.Access{}, record.Absent, after, 2*c.unit())
	s.turns(record.Access{}, record.OK, s.after, 2*c.unit())
	s.has("f", "1")
}

func checkExpired(c *check) {
	s := c.createFor(lasting(c.unit()), record.Set("f", "1"), record.Set("l", "[]"), record.Describe("phone"))
	s.turns(record.Access{}, record.Absent, s.after, c.unit())
	for _, op := range []record.Op{record.Get("f"), record.GetAll(), record.GetIdentity(), record.Set("f", "2"),
		record.Add("n", 1), record.Append("l", "1"), record.Touch(), record.Renew(record.NewSecret()),
		record.SetExpiry(long), record.Authenticate("ann", record.NewSecret(), 0)} {
		for _, a := range []record.Access{{}, s.token(), held(1)} {
			s.expect(record.Absent, &record.Batch{Access: a, Ops: []record.Op{op}})
		}
	}
	s.secret = record.NewSecret()
	s.do(record.Create(s.secret, long))
	s.holds()
	same(c, "identity of the new session", s.do(record.GetIdentity()).Identity, record.Identity{})
	s.opens(s.token(), record.OK)
}

func checkClock(c *check) {
	s := c.none()
	reply := s.do(record.Create(s.secret, long))
	m := reply.Meta
	for _, t := range []int64{m.Created, m.Touched, m.FloorTime, m.Renewed} {
		same(c, "a time of the new session", t, reply.Now)
	}
	same(c, "deadline", m.Deadline, reply.Now+long.Absolute)
	last := reply.Now
	for range 10 {
		time.Sleep(3 * time.Millisecond)
		now := s.do(record.Set("f", "1")).Now
		if now < last {
			c.fatalf("the store's clock went from %d to %d", last, now)
		}
		last = now
	}
	if last == reply.Now {
		c.fatalf("the store's clock stands still at %d", last)
	}
}
