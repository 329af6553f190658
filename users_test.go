package pazzo_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
)

// logins makes n sessions of a user, the oldest first.
func logins(t testing.TB, s *site, user string, n int) (list []*browser) {
	t.Helper()
	for range n {
		b := newBrowser(t, s)
		must(t, b.login(user))
		_, err := b.add()
		must(t, err)
		list = append(list, b)
		time.Sleep(time.Millisecond) // so that their order is known
	}
	return list
}

// isAlive fails the test unless b is logged in as user; isEnded unless it is not,
// and its session has been destroyed.
func isAlive(t testing.TB, b *browser, user string) {
	t.Helper()
	equal(t, "user", b.user(), user)
}

func isEnded(t testing.TB, b *browser) {
	t.Helper()
	equal(t, "user", b.user(), "")
	_, err := b.add()
	wantError(t, err, pazzo.ErrGone)
}

func TestSessionsOfUser(t *testing.T) {
	s := newSite(t)
	list := logins(t, s, "ann", 3)
	logins(t, s, "bob", 1)
	list[1].fetch(func(ctx context.Context, s *pazzo.Session) {
		must(t, s.SetDevice(ctx, pazzo.Device{IP: "203.0.113.9", UserAgent: "Browser/1"}))
	})
	infos, err := s.Sessions(t.Context(), "ann")
	must(t, err)
	if len(infos) != 3 {
		t.Fatalf("%d sessions, want 3", len(infos))
	}
	for i, info := range infos { // the oldest login first
		want, _ := list[i].info()
		equal(t, "info", info, want)
	}
	equal(t, "device", infos[1].Device.UserAgent, "Browser/1")
	list[0].fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
	listed(t, s, "ann", list[1].handle(), list[2].handle())
	listed(t, s, "nobody")
}

func TestRevoke(t *testing.T) {
	s := newSite(t)
	list := logins(t, s, "ann", 2)
	found, err := s.Revoke(t.Context(), list[0].handle())
	must(t, err)
	equal(t, "found", found, true)
	isEnded(t, list[0])
	isAlive(t, list[1], "ann")
	listed(t, s, "ann", list[1].handle())
	found, err = s.Revoke(t.Context(), record.NewHandle())
	must(t, err)
	equal(t, "found a session that never was", found, false)

	visitor := newBrowser(t, s) // nobody's session can be revoked too
	_, err = visitor.add()
	must(t, err)
	found, err = s.Revoke(t.Context(), visitor.handle())
	must(t, err)
	equal(t, "found", found, true)
	isEnded(t, visitor)
}

func TestRevokeAll(t *testing.T) {
	s := newSite(t)
	list := logins(t, s, "ann", 4)
	bob := logins(t, s, "bob", 1)[0]
	n, err := s.RevokeAll(t.Context(), "ann", list[1].handle(), record.NewHandle())
	must(t, err)
	equal(t, "revoked", n, 3)
	for i, b := range list {
		if i == 1 {
			isAlive(t, b, "ann")
		} else {
			isEnded(t, b)
		}
	}
	isAlive(t, bob, "bob")
	listed(t, s, "ann", list[1].handle())
	n, err = s.RevokeAll(t.Context(), "ann")
	must(t, err)
	equal(t, "revoked", n, 1)
	n, err = s.RevokeAll(t.Context(), "ann")
	must(t, err)
	equal(t, "revoked", n, 0)
	must(t, newBrowser(t, s).login("ann")) // it hinders no later login
}

// TestRevokeAllSparesOthers has a session be listed for one user and belong to
// another.
func TestRevokeAllSparesOthers(t *testing.T) {
	s := newSite(t)
	bob := logins(t, s, "bob", 1)[0]
	must(t, index(t, s, "ann", record.IndexStep{Kind: record.Refresh, Handle: bob.handle(), Lifetime: 60_000}))
	n, err := s.RevokeAll(t.Context(), "ann")
	must(t, err)
	equal(t, "revoked", n, 0)
	isAlive(t, bob, "bob")
	listed(t, s, "ann")
	listed(t, s, "bob", bob.handle())
}

// index applies a step to a user's index behind the manager's back.
func index(t testing.TB, s *site, user string, step record.IndexStep) error {
	t.Helper()
	must(t, step.Check())
	_, err := s.store.Store.ApplyIndex(context.Background(), user, &step)
	return err
}

// lose empties a user's index, as a failover may.
func lose(t testing.TB, s *site, user string) {
	t.Helper()
	reply, err := s.store.Store.ApplyIndex(context.Background(), user, &record.IndexStep{Kind: record.List})
	must(t, err)
	var all []record.Handle
	for _, e := range reply.Entries {
		all = append(all, e.Handle)
	}
	must(t, index(t, s, user, record.IndexStep{Kind: record.Unlist, Handles: all}))
	listed(t, s, user)
}

func TestMaxPerUserEvicts(t *testing.T) {
	s := newSite(t, func(o *pazzo.Options) { o.MaxPerUser = 3 })
	list := logins(t, s, "ann", 5)
	bob := logins(t, s, "bob", 3)
	for _, b := range list[:2] {
		isEnded(t, b)
	}
	for _, b := range list[2:] {
		isAlive(t, b, "ann")
	}
	listed(t, s, "ann", list[2].handle(), list[3].handle(), list[4].handle())
	must(t, list[2].login("ann")) // again, in a session that counts already
	for _, b := range list[2:] {
		isAlive(t, b, "ann")
	}
	for _, b := range bob {
		isAlive(t, b, "bob")
	}
}

func TestMaxPerUserRefuses(t *testing.T) {
	s := newSite(t, func(o *pazzo.Options) { o.MaxPerUser, o.WhenFull = 2, pazzo.Refuse })
	list := logins(t, s, "ann", 2)
	late := newBrowser(t, s)
	err := late.login("ann")
	wantError(t, err, pazzo.ErrTooManySessions)
	equal(t, "status", pazzo.StatusCode(err), 403)
	equal(t, "cookie", late.cookie, "")
	for _, b := range list {
		isAlive(t, b, "ann")
		must(t, b.login("ann"))
	}
	list[0].fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
	must(t, late.login("ann"))
	isAlive(t, list[1], "ann")
}

// TestLoweredCap has a user have many more sessions than are allowed now: the next
// login ends all that are too many.
func TestLoweredCap(t *testing.T) {
	s := newSite(t)
	list := logins(t, s, "ann", 30)
	lower := newSiteOn(t, s.store, func(o *pazzo.Options) { o.MaxPerUser = 2 })
	again := newBrowser(t, lower)
	must(t, again.login("ann"))
	for _, b := range list[:29] {
		isEnded(t, b)
	}
	isAlive(t, list[29], "ann")
	isAlive(t, again, "ann")
}

// TestLoginEndsFewRemains has crashes leave many sessions that should have been
// ended: a login ends some of them, or many at once would each end them all, and
// whoever looks at the list ends the others.
func TestLoginEndsFewRemains(t *testing.T) {
	s := newSite(t)
	list := logins(t, s, "ann", 30)
	must(t, index(t, s, "ann", record.IndexStep{Kind: record.Enlist, Handle: record.NewHandle(), Max: 1, Evict: true, Verified: true, Lifetime: 86_400_000}))
	alive := func() (n int) {
		for _, b := range list {
			if b.user() == "ann" {
				n++
			}
		}
		return n
	}
	must(t, newBrowser(t, s).login("ann"))
	if n := alive(); n == 0 || n >= 30 {
		t.Errorf("%d of 30 sessions are left after a login", n)
	}
	infos, err := s.Sessions(t.Context(), "ann")
	must(t, err)
	equal(t, "sessions listed", len(infos), 1)
	equal(t, "sessions left after a look at the list", alive(), 0)
}

// TestDeadEntriesDoNotCount has sessions end in every way that leaves their
// entries listed.
func TestDeadEntriesDoNotCount(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(t *testing.T, s *site, b *browser)
	}{
		{"expired", func(*testing.T, *site, *browser) { time.Sleep(time.Hour) }},
		{"destroyed", func(t *testing.T, s *site, b *browser) { destroyRecord(t, s, b.handle()) }},
		{"destroyed long ago", func(t *testing.T, s *site, b *browser) {
			destroyRecord(t, s, b.handle())
			time.Sleep(2 * time.Minute)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, func(o *pazzo.Options) { o.MaxPerUser, o.WhenFull = 2, pazzo.Refuse })
				list := logins(t, s, "ann", 2)
				c.end(t, s, list[0])
				if c.name == "expired" {
					list = nil
				} else {
					list = list[1:]
				}
				again := newBrowser(t, s)
				must(t, again.login("ann"))
				for _, b := range list {
					isAlive(t, b, "ann")
				}
				listed(t, s, "ann", handles(append(list, again))...)
			})
		})
	}
}

func handles(list []*browser) (all []pazzo.Handle) {
	for _, b := range list {
		all = append(all, b.handle())
	}
	return all
}

// destroyRecord ends a session and leaves it listed, as a crash does.
func destroyRecord(t testing.TB, s *site, h pazzo.Handle) {
	t.Helper()
	_, err := s.store.Store.Apply(context.Background(), h, &record.Batch{Ops: []record.Op{record.Destroy(record.Logout, 60_000)}})
	must(t, err)
}

// TestPendingLoginsCount has logins be cut short after they were listed: one that
// was to make a session counts for a minute, one in a visitor's session for as long
// as that lasts, since it may still become the user's.
func TestPendingLoginsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(o *pazzo.Options) { o.MaxPerUser, o.WhenFull = 2, pazzo.Refuse })
		visitor := newBrowser(t, s) // one is in a visitor's session, which goes on without the login
		_, err := visitor.add()
		must(t, err)
		for _, h := range []pazzo.Handle{visitor.handle(), record.NewHandle()} {
			must(t, index(t, s, "ann", record.IndexStep{Kind: record.Enlist, Handle: h, Max: 2, Lifetime: 86_400_000}))
		}
		b := newBrowser(t, s)
		time.Sleep(59 * time.Second)
		wantError(t, b.login("ann"), pazzo.ErrTooManySessions)
		time.Sleep(2 * time.Second)
		must(t, b.login("ann"))
		wantError(t, newBrowser(t, s).login("ann"), pazzo.ErrTooManySessions)
		equal(t, "tally of the visitor", visitor.tally(), 1)
		visitor.navigate(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
		must(t, newBrowser(t, s).login("ann"))
		wantError(t, newBrowser(t, s).login("ann"), pazzo.ErrTooManySessions)
	})
}

// TestStalledLogin has a login take longer than it may count as under way, while
// somebody looks at the list: in the end its session is listed or dead.
func TestStalledLogin(t *testing.T) {
	for _, fresh := range []bool{true, false} {
		for stall := range 3 {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				b := newBrowser(t, s)
				if !fresh {
					_, err := b.add()
					must(t, err)
				}
				meddler := &meddler{Store: s.store.Store}
				s.store.Store = meddler
				calls := 0
				meddler.before = func() {
					// The reading of the old session, if any, the listing, the record, the entry.
					if calls++; calls == stall+2 {
						meddler.before = nil
						time.Sleep(2 * time.Minute)
						_, err := s.Sessions(t.Context(), "ann")
						must(t, err)
					}
				}
				err := b.login("ann")
				meddler.before = nil
				if err == nil {
					listed(t, s, "ann", b.handle())
				} else {
					wantError(t, err, pazzo.ErrGone)
					listed(t, s, "ann")
					equal(t, "user", b.user(), "")
				}
			})
		}
	}
}

// meddler is a store in which a test acts before and after every call.
type meddler struct {
	record.Store
	before, after func()
}

func (m *meddler) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	m.call(m.before)
	reply, err := m.Store.Apply(ctx, h, b)
	m.call(m.after)
	return reply, err
}

func (m *meddler) ApplyIndex(ctx context.Context, user string, s *record.IndexStep) (record.IndexReply, error) {
	m.call(m.before)
	reply, err := m.Store.ApplyIndex(ctx, user, s)
	m.call(m.after)
	return reply, err
}

func (m *meddler) call(f func()) {
	if f != nil {
		f()
	}
}

// TestLoginCancelled has the client go away after each call of a login that
// evicts: nobody stays logged in over the cap or unlisted.
func TestLoginCancelled(t *testing.T) {
	for at := range 6 {
		s := newSite(t, onePerUser)
		first := newBrowser(t, s)
		must(t, first.login("ann"))
		ctx, cancel := context.WithCancel(t.Context())
		meddler, calls := &meddler{Store: s.store.Store}, 0
		s.store.Store = meddler
		meddler.after = func() {
			if calls++; calls == at+1 {
				cancel()
			}
		}
		session, err := s.Acquire("")
		must(t, err)
		err = session.Authenticate(ctx, "ann")
		cancel()
		infos, problem := s.Sessions(t.Context(), "ann")
		must(t, problem)
		if len(infos) > 1 || err != nil && len(infos) == 1 && infos[0].Handle != first.handle() {
			t.Errorf("cancelled after call %d: %v, and %d sessions", at+1, err, len(infos))
		}
		live := 0
		for _, b := range []*browser{first, {t: t, site: s, cookie: session.Token()}} {
			if b.user() == "ann" {
				live++
			}
		}
		equal(t, "live sessions", live, len(infos))
	}
}

func TestBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(o *pazzo.Options) { o.Timeouts = pazzo.Timeouts{Idle: time.Hour, Absolute: 2 * time.Hour} })
		list := logins(t, s, "ann", 2)
		bob := logins(t, s, "bob", 1)[0]
		must(t, s.Block(t.Context(), "ann", 0)) // for the absolute timeout
		for _, b := range list {
			isEnded(t, b)
		}
		isAlive(t, bob, "bob")
		time.Sleep(30 * time.Minute)
		isAlive(t, bob, "bob")
		must(t, s.Block(t.Context(), "ann", time.Minute)) // never shorter, nor shorter than it was
		time.Sleep(119 * time.Minute)
		wantError(t, newBrowser(t, s).login("ann"), pazzo.ErrBlocked)
		time.Sleep(2 * time.Minute)
		must(t, newBrowser(t, s).login("ann"))

		must(t, s.Block(t.Context(), "ann", 3*time.Hour))
		time.Sleep(3*time.Hour - time.Second)
		err := newBrowser(t, s).login("ann")
		wantError(t, err, pazzo.ErrBlocked)
		equal(t, "status", pazzo.StatusCode(err), 403)
		must(t, s.Unblock(t.Context(), "ann"))
		must(t, newBrowser(t, s).login("ann"))
	})
}

// TestHalfDoneBlockIsFinished has Block set its flag and get no further; whoever
// looks at the user's list next ends the sessions.
func TestHalfDoneBlockIsFinished(t *testing.T) {
	for _, c := range []struct {
		name string
		call func(ctx context.Context, s *site) error
	}{
		{"Sessions", func(ctx context.Context, s *site) error {
			infos, err := s.Sessions(ctx, "ann")
			if len(infos) > 0 {
				err = errors.New("a blocked user's session is listed")
			}
			return err
		}},
		{"login", func(_ context.Context, s *site) error {
			if err := newBrowser(nil, s).login("ann"); !errors.Is(err, pazzo.ErrBlocked) {
				return errors.New("the login was not refused")
			}
			return nil
		}},
		{"RevokeAll", func(ctx context.Context, s *site) error { _, err := s.RevokeAll(ctx, "ann"); return err }},
		{"Unblock", func(ctx context.Context, s *site) error { return s.Unblock(ctx, "ann") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			list := logins(t, s, "ann", 12)
			must(t, index(t, s, "ann", record.IndexStep{Kind: record.Block, Duration: 86_400_000}))
			must(t, c.call(t.Context(), s))
			for _, b := range list {
				isEnded(t, b)
			}
		})
	}
}

// TestTouchHealsTheList has a user's index be lost.
func TestTouchHealsTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(o *pazzo.Options) { o.MaxPerUser = 2 })
		list := logins(t, s, "ann", 2)
		lose(t, s, "ann")
		time.Sleep(6 * time.Minute)
		list[0].tally()         // a read, with its touch
		_, err := list[1].add() // a write, with its touch
		must(t, err)
		listed(t, s, "ann", handles(list)...)
		again := logins(t, s, "ann", 1)[0]
		infos, err := s.Sessions(t.Context(), "ann")
		must(t, err)
		equal(t, "sessions after a login over the cap", len(infos), 2)
		isAlive(t, again, "ann")
	})
}

// TestTouchEndsWhatShouldNotBe has a session survive its eviction or its user's
// block, as after a lost index.
func TestTouchEndsWhatShouldNotBe(t *testing.T) {
	for _, blocked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			b := logins(t, s, "ann", 1)[0]
			lose(t, s, "ann")
			if blocked {
				must(t, s.Block(t.Context(), "ann", 0))
			} else { // it is listed again, and then doomed
				lifetime := int64(86_400_000)
				must(t, index(t, s, "ann", record.IndexStep{Kind: record.Refresh, Handle: b.handle(), Lifetime: lifetime}))
				must(t, index(t, s, "ann", record.IndexStep{Kind: record.Enlist, Handle: record.NewHandle(), Max: 1, Evict: true, Verified: true, Lifetime: lifetime}))
			}
			time.Sleep(6 * time.Minute)
			b.tally() // the touch
			isEnded(t, b)
		})
	}
}

// evicting is a store that may lose what it holds.
type evicting struct{ record.Store }

func (e evicting) Traits(context.Context) (record.Traits, error) {
	return record.Traits{Name: "forgetful", MayEvict: true}, nil
}

func TestErrMayEvict(t *testing.T) {
	memory := memstore.New(nil)
	t.Cleanup(func() { memory.Close() })
	store := &counted{Store: evicting{memory}}
	plain := newSiteOn(t, store)
	b := logins(t, plain, "ann", 1)[0] // without a cap, logins are possible
	_, err := plain.RevokeAll(t.Context(), "ann")
	wantError(t, err, pazzo.ErrMayEvict)
	contains(t, err.Error(), "forgetful", "BestEffortUsers")
	wantError(t, plain.Block(t.Context(), "ann", 0), pazzo.ErrMayEvict)
	wantError(t, newBrowser(t, newSiteOn(t, store, onePerUser)).login("ann"), pazzo.ErrMayEvict)
	isAlive(t, b, "ann")
	listed(t, plain, "ann", b.handle())

	best := newSiteOn(t, store, onePerUser, func(o *pazzo.Options) { o.BestEffortUsers = true })
	must(t, newBrowser(t, best).login("ann"))
	isEnded(t, b)
	n, err := best.RevokeAll(t.Context(), "ann")
	must(t, err)
	equal(t, "revoked", n, 1)
	must(t, best.Block(t.Context(), "ann", 0))
	wantError(t, newBrowser(t, best).login("ann"), pazzo.ErrBlocked)
}

// unreadable is a store in which one record is in a layout of the future.
type unreadable struct {
	record.Store
	handle atomic.Value // of record.Handle
}

func (u *unreadable) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	if u.handle.Load() == h {
		return record.Reply{}, record.ErrLayout
	}
	return u.Store.Apply(ctx, h, b)
}

// TestUnreadableSessionSpoilsNoList has one of a user's sessions be of an unknown
// layout: the others are listed, logins go on, and revocations say what is left.
func TestUnreadableSessionSpoilsNoList(t *testing.T) {
	memory := memstore.New(nil)
	t.Cleanup(func() { memory.Close() })
	store := &unreadable{Store: memory}
	s := newSiteOn(t, &counted{Store: store}, func(o *pazzo.Options) { o.MaxPerUser = 2 })
	list := logins(t, s, "ann", 2)
	store.handle.Store(list[0].handle())
	infos, err := s.Sessions(t.Context(), "ann")
	wantError(t, err, pazzo.ErrLayout)
	equal(t, "sessions listed", len(infos), 1)
	again := newBrowser(t, s)
	must(t, again.login("ann"))
	isAlive(t, list[1], "ann")
	n, err := s.RevokeAll(t.Context(), "ann")
	wantError(t, err, pazzo.ErrLayout)
	equal(t, "revoked", n, 2)
	isEnded(t, list[1])
	isEnded(t, again)
}

// TestSimultaneousLogins has a user log in a thousand times at once.
func TestSimultaneousLogins(t *testing.T) {
	const n, most = 1000, 3
	s := newSite(t, func(o *pazzo.Options) { o.MaxPerUser = most })
	all := make([]*browser, n)
	together(n, func(i int) {
		all[i] = newBrowser(t, s)
		if err := all[i].login("ann"); err != nil && !errors.Is(err, pazzo.ErrGone) {
			t.Errorf("login: %v", err)
		}
	})
	infos, err := s.Sessions(t.Context(), "ann")
	must(t, err)
	equal(t, "listed sessions", len(infos), most)
	var alive []*browser
	for _, b := range all {
		if b.cookie != "" && b.user() == "ann" {
			alive = append(alive, b)
		}
	}
	equal(t, "live sessions", len(alive), most)
	listed(t, s, "ann", handles(alive)...)
}
