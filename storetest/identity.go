package storetest

import (
	"strings"

	"github.com/pazzo-sessions/pazzo/record"
)

// Rules on the user, the device and what Authenticate does.
var identityRules = []rule{
	{"IdentityIsKept", "user, time of authentication and device are kept as given", checkIdentity},
	{"AuthenticateKeepsTheFields", "Authenticate keeps the fields, and records activity", checkAuthenticate},
	{"AuthenticateRefusesAnotherUser", "Authenticate over another user is refused (OtherUser) and changes nothing", checkOtherUser},
	{"AuthenticateMovesTheEnd", "Authenticate moves the absolute end, unless that is 0 or the expiry is custom", checkMovesEnd},
	{"OneAuthenticateWins", "of several users who log in to one session at the same time one does (else OtherUser)", checkAuthenticateRace},
}

func checkIdentity(c *check) {
	s := c.create()
	same(c, "identity of nobody", s.do(record.GetIdentity()).Identity, record.Identity{})
	for _, text := range []string{"phone", "Mozilla/5.0 (X11; Linux)\n" + `"ü😀"`, "", "\x00", strings.Repeat("d", record.MaxDevice)} {
		s.do(record.Describe(text))
		same(c, "device", s.do(record.GetIdentity()).Identity.Device, text)
	}
	for _, user := range oddUsers() {
		s := c.create(record.Set("f", "1"))
		auth := s.do(record.Authenticate(user, record.NewSecret(), 0)).Now
		reply := s.do(record.GetIdentity(), record.Get("f"))
		same(c, "identity", reply.Identity, record.Identity{User: user, Auth: auth})
		if !reply.Meta.HasUser {
			c.errorf("the meta data does not tell that somebody is logged in")
		}
		reply = s.do(record.Destroy(record.Logout, minute))
		c.answers(reply, user, true)
	}
}

// oddUsers are names that a careless store mixes up.
func oddUsers() []string {
	return []string{"ann", "Ann", "ann ", "{ann}", "a:b", "ann@example.org", "日本語", "ä", "a\u0308", "a\x00b", "\r\n", "*", "0",
		strings.Repeat("u", record.MaxUser)}
}

func checkAuthenticate(c *check) {
	s := c.create(record.Set("f", "1"), record.Describe("phone"))
	first := s.do(record.Authenticate("ann", record.NewSecret(), 0))
	again := s.do(record.Authenticate("ann", record.NewSecret(), 0), record.Set("g", "2"))
	same(c, "touched", again.Meta.Touched, again.Now)
	same(c, "generation", again.Meta.Generation, first.Meta.Generation+1)
	identity := s.do(record.GetIdentity()).Identity
	same(c, "identity", identity, record.Identity{User: "ann", Auth: again.Now, Device: "phone"})
	s.holds("f", "1", "g", "2")
}

func checkOtherUser(c *check) {
	s := c.create(record.Set("f", "1"))
	secret := record.NewSecret()
	before := s.do(record.Authenticate("ann", secret, 0))
	for _, user := range []string{"bob", "Ann", "ann ", "anna", "an"} {
		s.expect(record.OtherUser, &record.Batch{Ops: []record.Op{record.Set("f", "2"),
			record.Authenticate(user, record.NewSecret(), 1000)}})
	}
	s.holds("f", "1")
	after := s.opens(open(2, secret), record.OK)
	same(c, "meta", after.Meta, before.Meta)
	same(c, "user", s.do(record.GetIdentity()).Identity.User, "ann")
}

func checkMovesEnd(c *check) {
	s := c.create()
	created := s.do().Meta.Deadline
	same(c, "deadline", s.do(record.Authenticate("ann", record.NewSecret(), 0)).Meta.Deadline, created)
	reply := s.do(record.Authenticate("ann", record.NewSecret(), 200_000_000))
	same(c, "deadline", reply.Meta.Deadline, reply.Now+200_000_000)
	custom := s.do(record.SetExpiry(record.Expiry{Idle: 5_000_000, Absolute: 6_000_000, BrowserClose: true}))
	reply = s.do(record.Authenticate("ann", record.NewSecret(), 200_000_000))
	same(c, "deadline", reply.Meta.Deadline, custom.Meta.Deadline)
	if !reply.Meta.BrowserClose || !reply.Meta.CustomExpiry {
		c.errorf("Authenticate undid SetExpiry")
	}
}

func checkAuthenticateRace(c *check) {
	users := strings.Split("ann bob cyn dan eve fay gus hal ivy joe kim leo mia ned oda pia", " ")
	c.winners(func() record.Handle { return c.create().h }, len(users),
		func(i int) record.Op { return record.Authenticate(users[i], record.NewSecret(), 0) },
		func(_ int, r record.Reply) bool {
			if r.Status != record.OK && r.Status != record.OtherUser {
				c.t.Errorf("Authenticate over another user answered %q", r.Status)
			}
			return r.Status == record.OK
		})
}
