package pazzo_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

func TestAuthenticate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b := newBrowser(t, s)
		_, err := b.add()
		must(t, err)
		before, _ := b.info()
		visitor := b.other()

		time.Sleep(time.Minute)
		must(t, b.login("ann")) // nobody → user
		ann, _ := b.info()
		equal(t, "handle", ann.Handle, before.Handle)
		equal(t, "generation", ann.Generation, before.Generation+1)
		equal(t, "user", ann.User, "ann")
		equal(t, "tally", b.tally(), 1)
		visitor.findsNothing()
		older := b.other()

		time.Sleep(time.Minute)
		must(t, b.login("ann")) // the same user
		again, _ := b.info()
		equal(t, "handle", again.Handle, ann.Handle)
		equal(t, "generation", again.Generation, ann.Generation+1)
		equal(t, "auth time", again.AuthTime.Sub(ann.AuthTime), time.Minute)
		equal(t, "deadline", again.Deadline.Sub(ann.Deadline), time.Minute)
		equal(t, "tally", b.tally(), 1)
		older.findsNothing()
		older = b.other()

		r := b.fetch(func(ctx context.Context, session *pazzo.Session) { // another user
			must(t, session.Authenticate(ctx, "bob"))
			equal(t, "IsNew", session.IsNew(), true)
			n, err := tally.Get(ctx)
			must(t, err)
			equal(t, "tally of the new session", n, 0)
		})
		oneCookie(t, r)
		bob, _ := b.info()
		equal(t, "user", bob.User, "bob")
		if bob.Handle == ann.Handle {
			t.Error("the session passed from one user to another")
		}
		_, err = older.add()
		wantError(t, err, pazzo.ErrGone)
		reply, err := s.store.Store.Apply(t.Context(), ann.Handle, &record.Batch{Ops: []record.Op{record.GetAll()}})
		must(t, err)
		equal(t, "status of the old session", reply.Status, record.Ended)
		equal(t, "reason", reply.Reason, record.Replaced)
		listed(t, s, "ann")
		listed(t, s, "bob", bob.Handle)
	})
}

// listed fails the test unless the user's sessions are those, in any order.
func listed(t testing.TB, s *site, user string, want ...pazzo.Handle) {
	t.Helper()
	infos, err := s.Sessions(context.Background(), user)
	must(t, err)
	got := make(map[pazzo.Handle]bool)
	for _, info := range infos {
		got[info.Handle] = true
		equal(t, "user of a session in the list of "+user, info.User, user)
	}
	for _, h := range want {
		if !got[h] {
			t.Errorf("%v is not in the list of %s", h, user)
		}
		delete(got, h)
	}
	for h := range got {
		t.Errorf("%v is in the list of %s", h, user)
	}
}

// TestAuthenticateWithSupersededToken plays a login whose response was lost: the
// next one is by the old token.
func TestAuthenticateWithSupersededToken(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	_, err := b.add()
	must(t, err)
	lost := b.other()
	must(t, lost.login("ann"))
	first := lost.handle()
	for _, user := range []string{"ann", "bob"} {
		b := b.other()
		must(t, b.login(user))
		if b.handle() == first {
			t.Errorf("the superseded token opened the session, for %s", user)
		}
		equal(t, "user", b.user(), user)
		equal(t, "tally", b.tally(), 0)
	}
	equal(t, "user of the first login", lost.user(), "ann")
	equal(t, "tally of the first login", lost.tally(), 1)
}

// TestAuthenticateTwiceAtOnce has one visitor's two logins overlap, as by a
// double click. Both lead to a session of the user, and both are listed.
func TestAuthenticateTwiceAtOnce(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	_, err := b.add()
	must(t, err)
	slow, quick := b.other(), b.other()
	// Between the slow one's enlisting and its record, the quick one goes through.
	s.store.before = func(batch *record.Batch) error {
		if !renews(batch) {
			return nil
		}
		s.store.before = nil
		return quick.login("ann")
	}
	must(t, slow.login("ann"))
	equal(t, "user of the slow one", slow.user(), "ann")
	equal(t, "user of the quick one", quick.user(), "ann")
	equal(t, "tally", quick.tally(), 1)
	listed(t, s, "ann", slow.handle(), quick.handle())
}

// renews reports whether a batch is a login's.
func renews(b *record.Batch) bool {
	for _, op := range b.Ops {
		if op.Kind == record.OpAuthenticate {
			return true
		}
	}
	return false
}

// TestAuthenticateThatFailsLeavesTheOtherListed is as above, but the slow one
// meets a store that is down.
func TestAuthenticateThatFailsLeavesTheOtherListed(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	_, err := b.add()
	must(t, err)
	quick := b.other()
	s.store.before = func(batch *record.Batch) error {
		if !renews(batch) {
			return nil
		}
		s.store.before = nil
		must(t, quick.login("ann"))
		return pazzo.ErrUnavailable
	}
	wantError(t, b.login("ann"), pazzo.ErrUnavailable)
	equal(t, "user", quick.user(), "ann")
	listed(t, s, "ann", quick.handle())
}

// TestRefusedLoginChangesNothing has somebody else's login refused in a session.
func TestRefusedLoginChangesNothing(t *testing.T) {
	s := newSite(t, onePerUser, func(o *pazzo.Options) { o.WhenFull = pazzo.Refuse })
	must(t, newBrowser(t, s).login("full"))
	must(t, s.Block(t.Context(), "blocked", 0))
	b := newBrowser(t, s)
	_, err := b.add()
	must(t, err)
	must(t, b.login("ann"))
	before, _ := b.info()
	for _, c := range []struct {
		user string
		err  error
	}{
		{"blocked", pazzo.ErrBlocked},
		{"full", pazzo.ErrTooManySessions},
		{"", record.ErrBatch},
		{"\xff", record.ErrBatch},
		{strings.Repeat("x", record.MaxUser+1), pazzo.ErrTooLarge},
	} {
		r := b.fetch(func(ctx context.Context, s *pazzo.Session) { wantError(t, s.Authenticate(ctx, c.user), c.err) })
		noCookie(t, r)
		after, _ := b.info()
		equal(t, "session after a refused login", after, before)
	}
	equal(t, "tally", b.tally(), 1)
}

// TestLoginInFlightAtLogout has the session end while a login is under way: the
// login leads to a new one, but after a revocation it does not.
func TestLoginInFlightAtLogout(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(t *testing.T, b *browser)
		err  error
	}{
		{"logout", func(t *testing.T, b *browser) {
			b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
		}, nil},
		{"revoke", func(t *testing.T, b *browser) { _, err := b.site.Revoke(t.Context(), b.handle()); must(t, err) }, pazzo.ErrGone},
		{"revoke all", func(t *testing.T, b *browser) {
			n, err := b.site.RevokeAll(t.Context(), "ann")
			must(t, err)
			equal(t, "revoked", n, 1)
		}, pazzo.ErrGone},
		{"block", func(t *testing.T, b *browser) { must(t, b.site.Block(t.Context(), "ann", 0)) }, pazzo.ErrGone},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			b := newBrowser(t, s)
			_, err := b.add()
			must(t, err)
			first, ended := b.handle(), b.other()
			s.store.before = func(batch *record.Batch) error {
				if renews(batch) {
					s.store.before = nil
					c.end(t, b.other())
				}
				return nil
			}
			r := b.fetch(func(ctx context.Context, s *pazzo.Session) { wantError(t, s.Authenticate(ctx, "ann"), c.err) })
			if c.err != nil {
				noCookie(t, r)
				listed(t, s, "ann")
			} else {
				equal(t, "user", b.user(), "ann")
				listed(t, s, "ann", b.handle())
			}
			_, err = ended.add()
			wantError(t, err, pazzo.ErrGone)
			if b.cookie != ended.cookie && b.handle() == first {
				t.Error("the session came back")
			}
		})
	}
}

// unconfirmed is a store that fails at the last step of a login.
type unconfirmed struct{ record.Store }

func (u unconfirmed) ApplyIndex(ctx context.Context, user string, s *record.IndexStep) (record.IndexReply, error) {
	if s.Kind == record.Confirm {
		return record.IndexReply{}, pazzo.ErrUnavailable
	}
	return u.Store.ApplyIndex(ctx, user, s)
}

// TestUnconfirmedLoginIsUndone has a login fail when its record is written.
func TestUnconfirmedLoginIsUndone(t *testing.T) {
	s := newSite(t)
	s.store.Store = unconfirmed{s.store.Store}
	b := newBrowser(t, s)
	_, err := b.add()
	must(t, err)
	wantError(t, b.login("ann"), pazzo.ErrUnavailable)
	isEnded(t, b)
	listed(t, s, "ann")
}

// TestSetExpiryDoesNotLoseTheLoginsCookie has SetExpiry, which may leave the cookie
// when in doubt, follow a login in one request, or overlap with it.
func TestSetExpiryDoesNotLoseTheLoginsCookie(t *testing.T) {
	t.Run("the store fails in the end", func(t *testing.T) {
		s := newSite(t)
		b := newBrowser(t, s)
		_, err := b.add()
		must(t, err)
		b.fetch(func(ctx context.Context, session *pazzo.Session) {
			must(t, session.Authenticate(ctx, "ann"))
			must(t, session.SetExpiry(ctx, pazzo.Expiry{}))
			s.store.before = func(*record.Batch) error { return pazzo.ErrUnavailable }
		})
		s.store.before = nil
		isAlive(t, b, "ann")
	})
	t.Run("they overlap", func(t *testing.T) {
		s := newSite(t)
		b := newBrowser(t, s)
		_, err := b.add()
		must(t, err)
		meddler := &meddler{Store: s.store.Store}
		s.store.Store = meddler
		b.fetch(func(ctx context.Context, session *pazzo.Session) {
			_, err := tally.Add(ctx, 1)
			must(t, err)
			meddler.after = func() { // SetExpiry has been executed, and not yet returned
				meddler.after = nil
				must(t, session.Authenticate(ctx, "ann"))
			}
			must(t, session.SetExpiry(ctx, pazzo.Expiry{}))
		})
		isAlive(t, b, "ann")
	})
}

// TestLongerExpiryIsListed has a session live longer than the manager's timeouts
// say, chosen before the login and after it: its entry must not go before it.
func TestLongerExpiryIsListed(t *testing.T) {
	for _, when := range []string{"before", "after", "during"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, func(o *pazzo.Options) { o.Timeouts = pazzo.Timeouts{Idle: time.Minute, Absolute: time.Minute} })
				b := newBrowser(t, s)
				_, err := b.add()
				must(t, err)
				longer := func(b *browser) {
					b.fetch(func(ctx context.Context, s *pazzo.Session) {
						hours := 4 * time.Hour
						must(t, s.SetExpiry(ctx, pazzo.Expiry{Timeouts: pazzo.Timeouts{Idle: hours, Absolute: hours}}))
					})
				}
				if when == "before" {
					longer(b)
				}
				if when == "during" {
					s.store.before = func(batch *record.Batch) error {
						if renews(batch) {
							s.store.before = nil
							longer(b.other())
						}
						return nil
					}
				}
				must(t, b.login("ann"))
				if when == "after" {
					longer(b)
				}
				time.Sleep(4*time.Hour - time.Second) // no touch before
				n, err := s.RevokeAll(t.Context(), "ann")
				must(t, err)
				equal(t, "revoked", n, 1)
				_, err = b.add()
				wantError(t, err, pazzo.ErrGone)
			})
		})
	}
}

// TestListedUntilTheEnd has time pass between the two writes of a login.
func TestListedUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(o *pazzo.Options) { o.Timeouts = pazzo.Timeouts{Idle: 2 * time.Minute, Absolute: 2 * time.Minute} })
		b := newBrowser(t, s)
		s.store.before = func(batch *record.Batch) error {
			if renews(batch) {
				time.Sleep(10 * time.Second)
			}
			return nil
		}
		must(t, b.login("ann"))
		s.store.before = nil
		time.Sleep(2*time.Minute - time.Second)
		n, err := s.RevokeAll(t.Context(), "ann")
		must(t, err)
		equal(t, "revoked", n, 1)
	})
}

func TestInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b := newBrowser(t, s)
		start := time.Now()
		b.navigate(func(ctx context.Context, s *pazzo.Session) {
			must(t, memo.Set(ctx, "x"))
			must(t, s.SetDevice(ctx, pazzo.Device{IP: "203.0.113.9", UserAgent: "Browser/1"}))
			auth, err := s.AuthTime(ctx)
			must(t, err)
			equal(t, "auth time of nobody", auth.IsZero(), true)
		})
		time.Sleep(time.Minute)
		must(t, b.login("ann"))
		b.fetch(func(ctx context.Context, s *pazzo.Session) {
			equal(t, "IsNew", s.IsNew(), false)
			handle, found, err := s.Handle(ctx)
			must(t, err)
			equal(t, "found", found, true)
			user, err := s.User(ctx)
			must(t, err)
			equal(t, "user", user, "ann")
			auth, err := s.AuthTime(ctx)
			must(t, err)
			equal(t, "auth time", auth.Sub(start), time.Minute)
			info, _, err := s.Info(ctx)
			must(t, err)
			equal(t, "info", info, pazzo.Info{
				Handle: handle, User: "ann", AuthTime: auth, Created: info.Created, Touched: info.Touched,
				Idle: time.Hour, Deadline: info.Deadline, Generation: 2, Revision: 3,
				Device: pazzo.Device{IP: "203.0.113.9", UserAgent: "Browser/1"},
			})
			equal(t, "created", info.Created.Sub(start), 0)
			equal(t, "touched", info.Touched.Sub(start), time.Minute)
			equal(t, "deadline", info.Deadline.Sub(start), 24*time.Hour+time.Minute)
		})
		b.fetch(func(ctx context.Context, s *pazzo.Session) {
			wantError(t, s.SetDevice(ctx, pazzo.Device{UserAgent: strings.Repeat("x", 1100)}), pazzo.ErrTooLarge)
		})
	})
}
