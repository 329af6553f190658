package pazzo_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

// An exploration runs a few actors, such as requests, in every order of their
// store calls: all orders with few switches first, and so many of the others as
// there is time for.
const (
	maxSchedules = 600
	maxSwitches  = 4 // away from an actor that could have gone on
)

// actorKey is that of the actor in a context.
type actorKey struct{}

// stage is a store on which actors wait for their turn before each call.
type stage struct {
	record.Store
	waiting []chan struct{} // of each actor, while it waits
	steps   []step
	crash   func(actor int) bool
	stalls  func(last step) bool // after such a step two minutes pass
}

// step is one call of the store.
type step struct {
	actor int
	call  string
}

func (s *stage) wait(ctx context.Context, call string) error {
	actor, ok := ctx.Value(actorKey{}).(int)
	if !ok { // the set-up and the checks do not wait
		return nil
	}
	turn := make(chan struct{})
	s.waiting[actor] = turn
	<-turn
	s.steps = append(s.steps, step{actor, call})
	if s.crash != nil && s.crash(actor) {
		return errStopped
	}
	return nil
}

func (s *stage) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	if err := s.wait(ctx, fmt.Sprintf("record %v", kindsOf(b))); err != nil {
		return record.Reply{}, err
	}
	return s.Store.Apply(ctx, h, b)
}

func kindsOf(b *record.Batch) (kinds []record.OpKind) {
	for _, op := range b.Ops {
		kinds = append(kinds, op.Kind)
	}
	return kinds
}

func (s *stage) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	if err := s.wait(ctx, fmt.Sprintf("index of %s %d", user, step.Kind)); err != nil {
		return record.IndexReply{}, err
	}
	return s.Store.ApplyIndex(ctx, user, step)
}

// first returns the place of an actor's first call of a kind, or -1.
func (s *stage) first(actor int, call string) int {
	return slices.IndexFunc(s.steps, func(p step) bool { return p.actor == actor && strings.HasPrefix(p.call, call) })
}

// play runs the actors in the order that choose decides: it is given how many
// there are to choose from, and whether any but the first is a switch away from
// one that could go on.
func (s *stage) play(actors []func(ctx context.Context), choose func(n int, switches bool) int) {
	s.waiting = make([]chan struct{}, len(actors))
	running := 0
	for i, act := range actors {
		running++
		go func() {
			defer func() { running-- }() // one goroutine runs at a time
			act(context.WithValue(context.Background(), actorKey{}, i))
		}()
		synctest.Wait()
	}
	current := 0
	for running > 0 {
		var ready []int
		for i := range s.waiting {
			if i := (current + i) % len(s.waiting); s.waiting[i] != nil {
				ready = append(ready, i)
			}
		}
		if len(ready) == 0 {
			panic("the actors wait for one another")
		}
		current = ready[choose(len(ready), ready[0] == current)]
		turn := s.waiting[current]
		s.waiting[current] = nil
		close(turn)
		synctest.Wait()
		if s.stalls != nil && s.stalls(s.steps[len(s.steps)-1]) {
			s.stalls = nil
			time.Sleep(2 * time.Minute)
		}
	}
}

// explore calls run with one schedule after the other. run passes on choose, and
// reports whether the test has failed.
func explore(run func(choose func(n int, switches bool) int) (failed bool)) (schedules int) {
	type choice struct {
		taken, options int
		switches       bool
	}
	queue := [][]int{nil}
	for len(queue) > 0 && schedules < maxSchedules {
		prefix := queue[0]
		queue = queue[1:]
		var made []choice
		failed := run(func(n int, switches bool) int {
			taken := 0
			if len(made) < len(prefix) {
				taken = min(prefix[len(made)], n-1) // handles are random, and so is who is evicted
			}
			made = append(made, choice{taken, n, switches})
			return taken
		})
		if schedules++; failed {
			return schedules
		}
		switched := 0
		taken := make([]int, 0, len(made))
		for i, c := range made {
			if i >= len(prefix) && (!c.switches || switched < maxSwitches) {
				for other := 1; other < c.options; other++ {
					queue = append(queue, append(slices.Clone(taken), other))
				}
			}
			if taken = append(taken, c.taken); c.switches && c.taken > 0 {
				switched++
			}
		}
	}
	return schedules
}

func TestExploreIsExhaustive(t *testing.T) {
	seen := make(map[string]bool)
	n := explore(func(choose func(int, bool) int) bool {
		left, current, order := []int{2, 2}, 0, ""
		for left[0]+left[1] > 0 {
			ready := []int{}
			for i := range left {
				if i := (current + i) % 2; left[i] > 0 {
					ready = append(ready, i)
				}
			}
			current = ready[choose(len(ready), ready[0] == current)]
			left[current]--
			order += fmt.Sprint(current)
		}
		if seen[order] {
			t.Errorf("%s came twice", order)
		}
		seen[order] = true
		return false
	})
	if n != 6 { // two of four places
		t.Errorf("%d schedules of two actors with two calls each, want 6: %v", n, seen)
	}
}

// duel is some actors in one world.
type duel struct {
	*world
	t      *testing.T
	stage  *stage
	actors []func(ctx context.Context)
	errs   []error // of the actors
}

// request adds an actor that sends a page's request with b's cookie.
func (d *duel) request(b *browser, f func(ctx context.Context, s *pazzo.Session) error) *browser {
	b = b.other()
	at := d.add(nil)
	d.actors[at] = func(ctx context.Context) {
		response := b.send(func(r *http.Request) {
			fetch(r)
			*r = *r.WithContext(ctx)
		}, func(ctx context.Context, s *pazzo.Session) { d.errs[at] = f(ctx, s) })
		if !errors.Is(d.errs[at], errStopped) {
			b.receive(response)
		}
	}
	return b
}

// admin adds an actor that is no request.
func (d *duel) admin(f func(ctx context.Context) error) {
	at := d.add(nil)
	d.actors[at] = func(ctx context.Context) { d.errs[at] = f(ctx) }
}

func (d *duel) add(f func(ctx context.Context)) (at int) {
	d.actors, d.errs = append(d.actors, f), append(d.errs, nil)
	return len(d.actors) - 1
}

// allowed fails the test if an actor's error is none of these.
func (d *duel) allowed(actor int, errs ...error) {
	d.t.Helper()
	if err := d.errs[actor]; err != nil && !slices.ContainsFunc(errs, func(e error) bool { return errors.Is(err, e) }) {
		d.t.Errorf("actor %d: %v", actor, err)
	}
}

// liveOf counts the user's live sessions.
func (d *duel) liveOf(user string) (n int) {
	d.t.Helper()
	for _, owner := range d.live(d.t) {
		if owner == user {
			n++
		}
	}
	return n
}

// loggedInIf checks that a browser's login, if it was done, is there, unless
// something ended it.
func (d *duel) loggedInIf(actor int, b *browser, user string) {
	d.t.Helper()
	if d.errs[actor] == nil {
		isAlive(d.t, b, user)
	}
}

func login(user string) func(context.Context, *pazzo.Session) error {
	return func(ctx context.Context, s *pazzo.Session) error { return s.Authenticate(ctx, user) }
}

func logout(ctx context.Context, s *pazzo.Session) error  { return s.Destroy(ctx) }
func renew(ctx context.Context, s *pazzo.Session) error   { return s.Renew(ctx) }
func addOne(ctx context.Context, _ *pazzo.Session) error  { _, err := tally.Add(ctx, 1); return err }
func readOne(ctx context.Context, _ *pazzo.Session) error { _, err := tally.Get(ctx); return err }

// steps of the index, as stage names them.
var (
	annEnlists = fmt.Sprintf("index of ann %d", record.Enlist)
	annLists   = fmt.Sprintf("index of ann %d", record.List)
)

// duels are what can happen at the same time. prepare adds the actors and returns
// what must hold in the end.
var duels = []struct {
	name    string
	cap     int
	prepare func(d *duel) (check func())
}{
	{"login and block", 3, func(d *duel) func() {
		d.request(d.visit(d.t), login("ann"))
		d.admin(func(ctx context.Context) error { return d.Block(ctx, "ann", 0) })
		return func() {
			d.allowed(0, pazzo.ErrBlocked, pazzo.ErrGone)
			d.allowed(1)
			equal(d.t, "sessions of a blocked user", d.liveOf("ann"), 0)
		}
	}},
	{"first login and block", 3, func(d *duel) func() {
		d.request(newBrowser(d.t, d.site), login("ann"))
		d.admin(func(ctx context.Context) error { return d.Block(ctx, "ann", 0) })
		return func() {
			d.allowed(0, pazzo.ErrBlocked, pazzo.ErrGone)
			equal(d.t, "sessions of a blocked user", d.liveOf("ann"), 0)
		}
	}},
	{"login and revocation of all", 3, func(d *duel) func() {
		b := d.request(d.visit(d.t), login("ann"))
		d.admin(func(ctx context.Context) error { _, err := d.RevokeAll(ctx, "ann"); return err })
		return func() {
			d.allowed(0, pazzo.ErrGone)
			d.allowed(1)
			listing := d.stage.first(1, annLists)
			switch enlisting := d.stage.first(0, annEnlists); {
			case enlisting < listing:
				equal(d.t, "sessions that outlived their revocation", d.liveOf("ann"), 0)
			default:
				d.loggedInIf(0, b, "ann")
			}
		}
	}},
	{"first login and revocation of all", 3, func(d *duel) func() {
		d.request(newBrowser(d.t, d.site), login("ann"))
		d.admin(func(ctx context.Context) error { _, err := d.RevokeAll(ctx, "ann"); return err })
		return func() {
			d.allowed(0, pazzo.ErrGone)
			if d.stage.first(0, annEnlists) < d.stage.first(1, annLists) {
				equal(d.t, "sessions that outlived their revocation", d.liveOf("ann"), 0)
			}
		}
	}},
	{"double login and revocation of all", 3, func(d *duel) func() {
		b := d.visit(d.t)
		d.request(b, login("ann"))
		d.request(b, login("ann"))
		d.admin(func(ctx context.Context) error { _, err := d.RevokeAll(ctx, "ann"); return err })
		return func() {
			d.allowed(0, pazzo.ErrGone)
			d.allowed(1, pazzo.ErrGone)
			if listing := d.stage.first(2, annLists); d.stage.first(0, annEnlists) < listing && d.stage.first(1, annEnlists) < listing &&
				d.errs[0] == nil && d.errs[1] == nil && d.liveOf("ann") == 2 {
				d.t.Error("nothing was revoked")
			}
		}
	}},
	{"two logins of one user", 3, func(d *duel) func() {
		b := d.visit(d.t)
		first, second := d.request(b, login("ann")), d.request(b, login("ann"))
		return func() {
			d.allowed(0)
			d.allowed(1)
			d.loggedInIf(0, first, "ann")
			d.loggedInIf(1, second, "ann")
		}
	}},
	{"two logins of two users", 3, func(d *duel) func() {
		b := d.visit(d.t)
		first, second := d.request(b, login("ann")), d.request(b, login("bob"))
		return func() {
			d.allowed(0)
			d.allowed(1)
			d.loggedInIf(0, first, "ann")
			d.loggedInIf(1, second, "bob")
		}
	}},
	{"logins over another user", 3, func(d *duel) func() {
		b := d.visit(d.t)
		must(d.t, b.login("bob"))
		first, second := d.request(b, login("ann")), d.request(b, login("ann"))
		return func() {
			d.allowed(0)
			d.allowed(1)
			d.loggedInIf(0, first, "ann")
			d.loggedInIf(1, second, "ann")
			equal(d.t, "sessions of the user replaced", d.liveOf("bob"), 0)
		}
	}},
	{"login over another user and his own again", 3, func(d *duel) func() {
		b := d.visit(d.t)
		must(d.t, b.login("bob"))
		first, second := d.request(b, login("ann")), d.request(b, login("bob"))
		return func() {
			d.allowed(0)
			d.allowed(1)
			d.loggedInIf(0, first, "ann")
			d.loggedInIf(1, second, "bob")
		}
	}},
	{"login and logout", 3, func(d *duel) func() {
		b := d.visit(d.t)
		first := d.request(b, login("ann"))
		d.request(b, logout)
		return func() {
			d.allowed(0)
			d.allowed(1, pazzo.ErrSuperseded)
			d.loggedInIf(0, first, "ann")
		}
	}},
	{"login and write", 3, func(d *duel) func() {
		b := d.visit(d.t)
		first := d.request(b, login("ann"))
		d.request(b, addOne)
		return func() {
			d.allowed(0)
			d.allowed(1, pazzo.ErrSuperseded)
			d.loggedInIf(0, first, "ann")
			want := int64(2)
			if d.errs[1] != nil {
				want = 1
			}
			equal(d.t, "tally", first.tally(), want)
		}
	}},
	{"two renewals", 3, func(d *duel) func() {
		b := d.visit(d.t)
		first, second := d.request(b, renew), d.request(b, renew)
		return func() {
			d.allowed(0, pazzo.ErrSuperseded)
			d.allowed(1, pazzo.ErrSuperseded)
			if (d.errs[0] == nil) == (d.errs[1] == nil) {
				d.t.Errorf("renewals gave %v and %v", d.errs[0], d.errs[1])
			}
			for i, b := range []*browser{first, second} {
				if d.errs[i] == nil {
					equal(d.t, "tally", b.tally(), 1)
				}
			}
		}
	}},
	{"logout and writes", 3, func(d *duel) func() {
		b := d.visit(d.t)
		must(d.t, b.login("ann"))
		d.request(b, logout)
		for range 2 {
			d.request(b, func(ctx context.Context, s *pazzo.Session) error { return errors.Join(addOne(ctx, s), addOne(ctx, s)) })
		}
		return func() {
			d.allowed(0)
			d.allowed(1, pazzo.ErrGone)
			d.allowed(2, pazzo.ErrGone)
			isEnded(d.t, b)
			equal(d.t, "live sessions", len(d.live(d.t)), 0)
		}
	}},
	{"rotation and login", 3, func(d *duel) func() {
		b := d.visit(d.t)
		time.Sleep(time.Minute)
		d.visitor = "" // adopting a rotated token keeps it good
		b2 := b.other()
		first, second := d.request(b, login("ann")), d.request(b2, addOne)
		return func() {
			d.allowed(0)
			d.allowed(1, pazzo.ErrSuperseded)
			d.loggedInIf(0, first, "ann")
			if second.cookie != first.cookie && second.user() != "" {
				d.t.Error("a token of before the login opens the session")
			}
		}
	}},
	{"rotations", 3, func(d *duel) func() {
		b := d.visit(d.t)
		time.Sleep(time.Minute)
		first, second := d.request(b, addOne), d.request(b, readOne)
		return func() {
			d.allowed(0)
			d.allowed(1)
			equal(d.t, "tokens are the same", first.cookie, second.cookie)
			equal(d.t, "tally", first.tally(), 2)
			info, _ := first.info()
			equal(d.t, "generation", info.Generation, 2)
		}
	}},
	{"rotation and logout", 3, func(d *duel) func() {
		b := d.visit(d.t)
		time.Sleep(time.Minute)
		d.request(b, logout)
		d.request(b, addOne)
		return func() {
			d.allowed(0)
			d.allowed(1, pazzo.ErrGone)
			equal(d.t, "live sessions", len(d.live(d.t)), 0)
		}
	}},
	{"touch and logout", 3, func(d *duel) func() {
		b := d.visit(d.t)
		must(d.t, b.login("ann"))
		time.Sleep(6 * time.Minute)
		d.request(b, readOne)
		d.request(b, logout)
		return func() {
			d.allowed(0)
			d.allowed(1)
			equal(d.t, "live sessions", len(d.live(d.t)), 0)
		}
	}},
	{"touch and block", 3, func(d *duel) func() {
		b := d.visit(d.t)
		must(d.t, b.login("ann"))
		time.Sleep(6 * time.Minute)
		d.request(b, readOne)
		d.admin(func(ctx context.Context) error { return d.Block(ctx, "ann", 0) })
		return func() {
			d.allowed(0)
			d.allowed(1)
			equal(d.t, "sessions of a blocked user", d.liveOf("ann"), 0)
		}
	}},
	{"logins that evict", 1, func(d *duel) func() {
		logins(d.t, d.site, "ann", 1)
		a, b := d.visit(d.t), newBrowser(d.t, d.site)
		d.request(a, login("ann"))
		d.request(b, login("ann"))
		return func() {
			d.allowed(0, pazzo.ErrGone)
			d.allowed(1, pazzo.ErrGone)
			equal(d.t, "live sessions", d.liveOf("ann"), 1)
		}
	}},
	{"three logins that evict", 2, func(d *duel) func() {
		for range 3 {
			d.request(newBrowser(d.t, d.site), login("ann"))
		}
		return func() {
			for i := range 3 {
				d.allowed(i, pazzo.ErrGone)
			}
			equal(d.t, "live sessions", d.liveOf("ann"), 2)
		}
	}},
	{"login after one that was cut short, and listing", 3, func(d *duel) func() {
		b := d.visit(d.t)
		must(d.t, index(d.t, d.site, "ann", record.IndexStep{Kind: record.Enlist, Handle: b.handle(), Max: 3, Lifetime: 86_400_000}))
		time.Sleep(2 * time.Minute)
		first := d.request(b, login("ann"))
		d.admin(func(ctx context.Context) error { _, err := d.Sessions(ctx, "ann"); return err })
		return func() {
			d.allowed(0, pazzo.ErrGone)
			d.allowed(1)
			d.loggedInIf(0, first, "ann")
		}
	}},
	{"first login that stalls, and listing", 3, func(d *duel) func() {
		b := d.request(newBrowser(d.t, d.site), login("ann"))
		d.admin(func(ctx context.Context) error { _, err := d.Sessions(ctx, "ann"); return err })
		d.stage.stalls = func(last step) bool { return last.actor == 0 && last.call == annEnlists }
		return func() {
			d.allowed(0, pazzo.ErrGone)
			d.allowed(1)
			d.loggedInIf(0, b, "ann")
		}
	}},
	{"eviction and login again", 1, func(d *duel) func() {
		old := logins(d.t, d.site, "ann", 1)[0]
		again := d.request(old, login("ann"))
		d.request(newBrowser(d.t, d.site), login("ann"))
		return func() {
			d.allowed(0, pazzo.ErrGone)
			d.allowed(1, pazzo.ErrGone)
			equal(d.t, "live sessions", d.liveOf("ann"), 1)
			if d.errs[0] == nil && d.errs[1] != nil {
				isAlive(d.t, again, "ann")
			}
		}
	}},
	{"eviction and listing", 2, func(d *duel) func() {
		logins(d.t, d.site, "ann", 2)
		b := d.request(d.visit(d.t), login("ann"))
		d.admin(func(ctx context.Context) error { _, err := d.Sessions(ctx, "ann"); return err })
		return func() {
			d.allowed(0)
			d.allowed(1)
			d.loggedInIf(0, b, "ann")
			equal(d.t, "live sessions", d.liveOf("ann"), 2)
		}
	}},
	{"login over another user and revocation of his", 3, func(d *duel) func() {
		b := d.visit(d.t)
		must(d.t, b.login("bob"))
		first := d.request(b, login("ann"))
		d.admin(func(ctx context.Context) error { _, err := d.RevokeAll(ctx, "bob"); return err })
		return func() {
			d.allowed(0)
			d.allowed(1)
			d.loggedInIf(0, first, "ann")
			equal(d.t, "sessions of the user replaced", d.liveOf("bob"), 0)
		}
	}},
	{"block and unblock", 3, func(d *duel) func() {
		b := d.visit(d.t)
		must(d.t, b.login("ann"))
		d.admin(func(ctx context.Context) error { return d.Block(ctx, "ann", 0) })
		d.admin(func(ctx context.Context) error { return d.Unblock(ctx, "ann") })
		return func() {
			d.allowed(0)
			d.allowed(1)
			equal(d.t, "sessions of before the block", d.liveOf("ann"), 0)
		}
	}},
}

// TestEverySchedule explores every duel.
func TestEverySchedule(t *testing.T) {
	for _, c := range duels {
		t.Run(c.name, func(t *testing.T) {
			n := explore(func(choose func(int, bool) int) bool { return playDuel(t, c.cap, c.prepare, choose, nil) })
			if t.Logf("%d schedules", n); n < 2 {
				t.Error("the actors do not meet")
			}
		})
	}
}

// playDuel plays one schedule of a duel. An actor for which crash is true stops
// for good.
func playDuel(t *testing.T, limit int, prepare func(*duel) func(), choose func(int, bool) int, crash func(actor int) bool) (failed bool) {
	synctest.Test(t, func(t *testing.T) {
		d := &duel{t: t}
		d.world = newWorld(t, func(o *pazzo.Options) { o.RotateEvery, o.MaxPerUser = time.Minute, limit })
		d.cap = limit
		d.stage = &stage{Store: d.world.store.Store}
		d.world.store.Store = d.stage
		check := prepare(d)
		d.stage.crash = crash
		d.stage.play(d.actors, choose)
		d.stage.crash = nil
		if d.check(t, false); crash == nil {
			check()
		}
		for _, then := range []string{"ann", "bob"} {
			_, err := d.Sessions(t.Context(), then)
			must(t, err)
		}
		d.check(t, true)
		if t.Failed() {
			for _, p := range d.stage.steps {
				t.Logf("actor %d: %s", p.actor, p.call)
			}
			t.Logf("errors: %v", d.errs)
		}
	})
	return t.Failed()
}

// TestEveryCrash has one of two actors stop at each of its calls, in the orders
// with few switches.
func TestEveryCrash(t *testing.T) {
	for _, c := range duels {
		t.Run(c.name, func(t *testing.T) {
			for victim := range 2 {
				for at := 1; at <= 8; at++ {
					hit := false
					schedules := 0
					explore(func(choose func(int, bool) int) bool {
						calls := 0
						failed := playDuel(t, c.cap, c.prepare, choose, func(actor int) bool {
							if actor == victim {
								calls++
							}
							hit = hit || calls >= at
							return actor == victim && calls >= at
						})
						schedules++
						return failed || schedules >= 30
					})
					if t.Failed() {
						t.Fatalf("that was with a crash of actor %d at call %d", victim, at)
					}
					if !hit {
						break
					}
				}
			}
		})
	}
}
