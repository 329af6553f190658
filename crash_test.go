package pazzo_test

import (
	"context"
	"encoding/base64"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
)

// fault is what happens at one call of the store.
type fault int

const (
	refused fault = iota // not executed, and the caller is told so
	unknown              // executed, and the caller is not told
	stopped              // not executed, and the process stops
	stops                // executed, and then the process stops
	lastFault
)

func (f fault) String() string {
	return [...]string{"refused", "unknown", "stopped before", "stopped after"}[f]
}

// errStopped is what a process that has stopped would not even see.
var errStopped = errors.New("the process has stopped")

// faulty is a store that fails at one call, and remembers all that it was given.
type faulty struct {
	record.Store
	fault fault
	at    int // counted from 1; 0: never

	mu        sync.Mutex
	calls     int
	dead      bool
	handles   map[record.Handle]bool
	destroyed map[record.Handle]bool
}

// arm has the store fail at a call, counted from now.
func (f *faulty) arm(kind fault, at int) { f.fault, f.at, f.calls, f.dead = kind, at, 0, false }

// enter returns what is to happen to a call.
func (f *faulty) enter() (before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errStopped, nil
	}
	if f.calls++; f.calls != f.at {
		return nil, nil
	}
	switch f.fault {
	case refused:
		return pazzo.ErrUnavailable, nil
	case unknown:
		return nil, pazzo.ErrOutcomeUnknown
	case stopped:
		f.dead = true
		return errStopped, nil
	}
	f.dead = true
	return nil, errStopped
}

func (f *faulty) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	before, after := f.enter()
	if before != nil {
		return record.Reply{}, before
	}
	reply, err := f.Store.Apply(ctx, h, b)
	f.mu.Lock()
	f.handles[h] = true
	if len(b.Ops) == 1 && b.Ops[0].Kind == record.OpDestroy && err == nil && reply.Status == record.OK {
		f.destroyed[h] = true
	}
	f.mu.Unlock()
	if after != nil {
		return record.Reply{}, after
	}
	return reply, err
}

func (f *faulty) ApplyIndex(ctx context.Context, user string, s *record.IndexStep) (record.IndexReply, error) {
	before, after := f.enter()
	if before != nil {
		return record.IndexReply{}, before
	}
	reply, err := f.Store.ApplyIndex(ctx, user, s)
	if after != nil {
		return record.IndexReply{}, after
	}
	return reply, err
}

// world is a site whose store fails, and what is known of it.
type world struct {
	*site
	store   *faulty
	cap     int
	visitor string // a token that was never anybody's
}

func newWorld(t testing.TB, change ...func(o *pazzo.Options)) *world {
	memory := memstore.New(nil)
	t.Cleanup(func() { memory.Close() })
	w := &world{
		store: &faulty{Store: memory, handles: make(map[record.Handle]bool), destroyed: make(map[record.Handle]bool)},
		cap:   3,
	}
	change = append([]func(o *pazzo.Options){func(o *pazzo.Options) { o.MaxPerUser = w.cap }}, change...)
	w.site = newSiteOn(t, &counted{Store: w.store}, change...)
	return w
}

// visit returns a browser with a session of nobody's.
func (w *world) visit(t testing.TB) *browser {
	b := newBrowser(t, w.site)
	_, err := b.add()
	must(t, err)
	w.visitor = b.cookie
	return b
}

// live returns the user of every live record that the store has ever seen.
func (w *world) live(t testing.TB) map[record.Handle]string {
	t.Helper()
	users := make(map[record.Handle]string)
	for h := range w.store.handles {
		reply, err := w.store.Store.Apply(context.Background(), h, &record.Batch{Ops: []record.Op{record.GetIdentity()}})
		must(t, err)
		if reply.Status == record.OK {
			users[h] = reply.Identity.User
		}
	}
	return users
}

// check fails the test unless everything holds that must hold at any time, or, if
// settled, once somebody has looked at the users' lists.
func (w *world) check(t testing.TB, settled bool) {
	t.Helper()
	live := w.live(t)
	for h := range live {
		if w.store.destroyed[h] {
			t.Errorf("session %v came back to life", h)
		}
	}
	if w.visitor != "" {
		if user := (&browser{t: t, site: w.site, cookie: w.visitor}).user(); user != "" {
			t.Errorf("the token of a visitor opens the session of %s", user)
		}
	}
	for _, user := range []string{"ann", "bob"} {
		index, err := w.store.Store.ApplyIndex(context.Background(), user, &record.IndexStep{Kind: record.List})
		must(t, err)
		state := make(map[record.Handle]record.EntryState)
		for _, e := range index.Entries {
			state[e.Handle] = e.State
		}
		n := 0
		for h, owner := range live {
			if owner != user {
				continue
			}
			n++
			if s, found := state[h]; !found {
				t.Errorf("session %v of %s is alive and not listed", h, user)
			} else if settled && s == record.Doomed {
				t.Errorf("session %v of %s is alive and doomed", h, user)
			}
		}
		if settled && n > w.cap {
			t.Errorf("%s has %d sessions, the cap is %d", user, n, w.cap)
		}
		if settled && index.BlockedUntil != 0 && n > 0 {
			t.Errorf("%s is blocked and has %d sessions", user, n)
		}
	}
}

// deed is something done to a world, in which the store may fail.
type deed struct {
	name  string
	setUp func(t testing.TB, w *world) *browser
	do    func(ctx context.Context, s *pazzo.Session, w *world) error
	// heals says that the index was lost before: the next touch makes up for one
	// that failed.
	heals bool
}

func nothing(t testing.TB, w *world) *browser { return newBrowser(t, w.site) }
func visitor(t testing.TB, w *world) *browser { return w.visit(t) }

// loggedIn returns a browser whose session is a user's, beside n others of that
// user.
func loggedIn(user string, n int) func(t testing.TB, w *world) *browser {
	return func(t testing.TB, w *world) *browser {
		logins(t, w.site, user, n)
		b := w.visit(t)
		must(t, b.login(user))
		return b
	}
}

// asleep is setUp, and then time passes.
func asleep(d time.Duration, setUp func(t testing.TB, w *world) *browser) func(t testing.TB, w *world) *browser {
	return func(t testing.TB, w *world) *browser {
		b := setUp(t, w)
		time.Sleep(d)
		return b
	}
}

func authenticate(user string) func(context.Context, *pazzo.Session, *world) error {
	return func(ctx context.Context, s *pazzo.Session, _ *world) error { return s.Authenticate(ctx, user) }
}

func readTally(ctx context.Context, _ *pazzo.Session, _ *world) error {
	_, err := tally.Get(ctx)
	return err
}

var deeds = []deed{
	{name: "login of nobody", setUp: nothing, do: authenticate("ann")},
	{name: "login in a session", setUp: visitor, do: authenticate("ann")},
	{name: "login again", setUp: loggedIn("ann", 1), do: authenticate("ann")},
	{name: "login over another user", setUp: loggedIn("bob", 1), do: authenticate("ann")},
	{name: "login over the cap", setUp: func(t testing.TB, w *world) *browser {
		logins(t, w.site, "ann", 3)
		return w.visit(t)
	}, do: authenticate("ann")},
	{name: "login with dead entries at the cap", setUp: func(t testing.TB, w *world) *browser {
		for _, b := range logins(t, w.site, "ann", 3)[:2] {
			destroyRecord(t, w.site, b.handle())
		}
		return w.visit(t)
	}, do: authenticate("ann")},
	{name: "login of a remembered session", setUp: func(t testing.TB, w *world) *browser {
		b := w.visit(t)
		b.fetch(func(ctx context.Context, s *pazzo.Session) {
			must(t, s.SetExpiry(ctx, pazzo.Expiry{Timeouts: pazzo.Timeouts{Absolute: 100 * time.Hour}}))
		})
		return b
	}, do: authenticate("ann")},
	{name: "renewal", setUp: loggedIn("ann", 1), do: func(ctx context.Context, s *pazzo.Session, _ *world) error { return s.Renew(ctx) }},
	{name: "logout", setUp: loggedIn("ann", 1), do: func(ctx context.Context, s *pazzo.Session, _ *world) error { return s.Destroy(ctx) }},
	{name: "revocation of one", setUp: loggedIn("ann", 1), do: func(ctx context.Context, s *pazzo.Session, w *world) error {
		h, _, err := s.Handle(ctx)
		if err == nil {
			_, err = w.Revoke(ctx, h)
		}
		return err
	}},
	{name: "revocation of all", setUp: loggedIn("ann", 2), do: func(ctx context.Context, _ *pazzo.Session, w *world) error {
		_, err := w.RevokeAll(ctx, "ann")
		return err
	}},
	{name: "block", setUp: loggedIn("ann", 2), do: func(ctx context.Context, _ *pazzo.Session, w *world) error { return w.Block(ctx, "ann", 0) }},
	{name: "rotation", setUp: asleep(time.Minute, loggedIn("ann", 0)), do: readTally},
	{name: "touch", setUp: asleep(6*time.Minute, loggedIn("ann", 0)), do: readTally},
	{name: "touch after a lost index", heals: true, setUp: asleep(6*time.Minute, func(t testing.TB, w *world) *browser {
		b := loggedIn("ann", 0)(t, w)
		lose(t, w.site, "ann")
		return b
	}), do: readTally},
	{name: "expiry", setUp: loggedIn("ann", 0), do: func(ctx context.Context, s *pazzo.Session, _ *world) error {
		return s.SetExpiry(ctx, pazzo.Expiry{Timeouts: pazzo.Timeouts{Absolute: 100 * time.Hour}})
	}},
}

// afterwards is what a healthy process does next, which finishes what was left.
var afterwards = []struct {
	name string
	do   func(t testing.TB, w *world)
}{
	{"login", func(t testing.TB, w *world) {
		for _, user := range []string{"ann", "bob"} {
			if err := newBrowser(t, w.site).login(user); err != nil && !errors.Is(err, pazzo.ErrBlocked) {
				t.Errorf("a healthy login: %v", err)
			}
		}
	}},
	{"listing", func(t testing.TB, w *world) {
		for _, user := range []string{"ann", "bob"} {
			infos, err := w.Sessions(t.Context(), user)
			must(t, err)
			if len(infos) > w.cap {
				t.Errorf("%d sessions are listed, the cap is %d", len(infos), w.cap)
			}
		}
	}},
	{"revocation", func(t testing.TB, w *world) {
		for _, user := range []string{"ann", "bob"} {
			_, err := w.RevokeAll(t.Context(), user)
			must(t, err)
		}
		for h, user := range w.live(t) {
			if user != "" {
				t.Errorf("session %v of %s outlived the revocation of all", h, user)
			}
		}
	}},
}

// TestFaultAtEveryStep has the store fail, in each way, at each call of each deed.
func TestFaultAtEveryStep(t *testing.T) {
	for _, d := range deeds {
		for kind := range lastFault {
			t.Run(d.name+"/"+kind.String(), func(t *testing.T) {
				steps := 0
				for hit := true; hit; steps++ {
					for _, then := range afterwards {
						synctest.Test(t, func(t *testing.T) { hit = d.fails(t, kind, steps+1, then.do) })
						if t.Failed() {
							t.Fatalf("that was with a fault at call %d, and then %s", steps+1, then.name)
						}
					}
				}
				if steps < 2 {
					t.Errorf("the deed makes %d calls", steps-1)
				}
			})
		}
	}
}

// fails does the deed with a fault at a call, and reports whether it made as many.
func (d *deed) fails(t *testing.T, kind fault, at int, then func(testing.TB, *world)) (hit bool) {
	w := newWorld(t, func(o *pazzo.Options) { o.RotateEvery = time.Minute })
	b := d.setUp(t, w)
	before := b.other()
	was := before.infoBehind(w).Meta
	w.store.arm(kind, at)
	var err error
	response := b.send(fetch, func(ctx context.Context, s *pazzo.Session) { err = d.do(ctx, s, w) })
	hit = w.store.calls >= at
	if !w.store.dead { // else there is no response
		b.receive(response)
	}
	w.store.arm(refused, 0)
	if !hit {
		must(t, err)
	}
	if d.heals {
		time.Sleep(6 * time.Minute)
		b.tally()
	}
	w.check(t, false)
	w.checkTokens(t, b, before, was, err)
	then(t, w)
	w.check(t, true)
	time.Sleep(2 * time.Minute) // logins that were cut short no longer count
	for _, user := range []string{"ann", "bob"} {
		_, err := w.Sessions(t.Context(), user)
		must(t, err)
	}
	w.check(t, true)
	return hit
}

// infoBehind reads the session that the browser's token names, whatever the token
// is worth.
func (b *browser) infoBehind(w *world) (reply record.Reply) {
	if b.cookie == "" {
		return reply
	}
	reply, err := w.store.Store.Apply(context.Background(), handleOf(b.cookie), &record.Batch{Ops: []record.Op{record.GetIdentity()}})
	must(b.t, err)
	return reply
}

// handleOf returns the handle that a token names.
func handleOf(token string) (h record.Handle) {
	raw, _ := base64.RawURLEncoding.DecodeString(token)
	copy(h[:], raw)
	return h
}

// checkTokens fails the test if the deed has left its browser worse off than a
// fault explains, or a token good that should not be.
func (w *world) checkTokens(t *testing.T, b, before *browser, was record.Meta, err error) {
	t.Helper()
	now := before.infoBehind(w)
	if now.Meta.Floor > was.Floor || was.Floor > 0 && now.Status != record.OK {
		before.t = t
		if user := before.user(); user != "" {
			t.Errorf("the token of before opens the session of %s", user)
		}
	}
	if err == nil && !w.store.dead && b.cookie != "" && b.cookie != before.cookie {
		if _, found := b.info(); !found {
			t.Errorf("the deed was done, and its cookie opens nothing")
		}
	}
}
