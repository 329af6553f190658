package pazzo_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
)

// The rotation of these tests.
const (
	every = time.Hour
	grace = 15 * time.Second
)

// rotating is a site that rotates, and counts how often.
type rotating struct {
	*site
	rotations atomic.Int64
}

func newRotating(t testing.TB) *rotating {
	r := &rotating{}
	r.site = newSite(t, func(o *pazzo.Options) {
		o.Timeouts = pazzo.AAL1
		o.RotateEvery, o.RotateGrace = every, grace
		o.Observer = &pazzo.Observer{LifeCycle: func(_ context.Context, e pazzo.LifeCycle) {
			if e.Event == pazzo.Rotated {
				r.rotations.Add(1)
			}
		}}
	})
	return r
}

// due returns a browser whose token is due for rotation.
func (r *rotating) due(t testing.TB) *browser {
	t.Helper()
	b := newBrowser(t, r.site)
	_, err := b.add()
	must(t, err)
	time.Sleep(every)
	return b
}

// rotates has b's next request rotate the token.
func (r *rotating) rotates(t testing.TB, b *browser) {
	t.Helper()
	before := b.cookie
	if b.tally(); b.cookie == before {
		t.Fatal("the token was not rotated")
	}
}

// isServed fails the test unless b's token opens the session for a request that
// reads and writes; want is the token that b has after that.
func isServed(t testing.TB, b *browser, want string) {
	t.Helper()
	b.fetch(func(ctx context.Context, _ *pazzo.Session) {
		before, err := tally.Get(ctx)
		must(t, err)
		n, err := tally.Add(ctx, 1)
		must(t, err)
		if before == 0 || n != before+1 {
			t.Errorf("tally went from %d to %d", before, n)
		}
	})
	equal(t, "token", b.cookie, want)
}

func TestRotationWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		b := newBrowser(t, r.site)
		_, err := b.add()
		must(t, err)
		first, _ := b.info()
		time.Sleep(every - time.Second)
		noCookie(t, b.fetch(func(ctx context.Context, _ *pazzo.Session) { must(t, memo.Set(ctx, "x")) }))
		time.Sleep(time.Second)
		response := b.fetch(func(ctx context.Context, _ *pazzo.Session) { must(t, memo.Set(ctx, "y")) })
		oneCookie(t, response)
		second, _ := b.info()
		equal(t, "handle", second.Handle, first.Handle)
		equal(t, "generation", second.Generation, first.Generation+1)
		equal(t, "rotations", r.rotations.Load(), 1)
		noCookie(t, b.fetch(func(ctx context.Context, _ *pazzo.Session) { must(t, memo.Set(ctx, "z")) }))
		equal(t, "tally", b.tally(), 1)
		time.Sleep(every)
		r.rotates(t, b)
		equal(t, "rotations", r.rotations.Load(), 2)
	})
}

// TestRotationHasOneWinner has concurrent requests all find the rotation due.
func TestRotationHasOneWinner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 32
		r := newRotating(t)
		b := r.due(t)
		var mu sync.Mutex
		tokens := make(map[string]int)
		together(n, func(int) {
			other := b.other()
			response := other.fetch(func(ctx context.Context, _ *pazzo.Session) {
				_, err := tally.Add(ctx, 1)
				must(t, err)
			})
			mu.Lock()
			defer mu.Unlock()
			tokens[oneCookie(t, response).Value]++
		})
		equal(t, "different new tokens", len(tokens), 1)
		equal(t, "rotations", r.rotations.Load(), 1)
		for token := range tokens {
			b.cookie = token
		}
		equal(t, "tally", b.tally(), 1+n)
	})
}

// TestGraceOfRotation has the older token good until the newer one was seen and
// the grace has passed; whoever presents it gets the current one.
func TestGraceOfRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		b := r.due(t)
		older := b.other()
		r.rotates(t, b)
		for range 3 { // nobody has presented the new one
			time.Sleep(10 * time.Hour)
			isServed(t, older.other(), b.cookie)
		}
		equal(t, "rotations meanwhile", r.rotations.Load(), 1)
		now := b.other()
		isServed(t, now, b.cookie) // presents it
		time.Sleep(grace - time.Millisecond)
		isServed(t, older.other(), b.cookie)
		time.Sleep(time.Millisecond)
		older.findsNothing()
		_, err := older.add()
		wantError(t, err, pazzo.ErrSuperseded)
		r.rotates(t, now) // it has been due for long
		equal(t, "rotations", r.rotations.Load(), 2)
	})
}

// TestReplayDoesNotExtendTheGrace presents the older token again and again.
func TestReplayDoesNotExtendTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		b := r.due(t)
		older := b.other()
		r.rotates(t, b)
		isServed(t, b, b.cookie)
		for range 14 {
			time.Sleep(time.Second)
			isServed(t, older.other(), b.cookie)
			isServed(t, b, b.cookie)
		}
		time.Sleep(time.Second)
		older.findsNothing()
	})
}

// TestThreeTabs has tabs with tokens of one, two and no generations ago.
func TestThreeTabs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		one := r.due(t)
		two, three := one.other(), one.other()
		r.rotates(t, one)
		isServed(t, two, one.cookie) // adopts it; it and the next present it
		isServed(t, one, one.cookie)
		time.Sleep(every)
		sleeper := one.other()
		r.rotates(t, one) // the second rotation: three's token is two generations old
		isServed(t, two, one.cookie)
		_, err := three.add()
		wantError(t, err, pazzo.ErrSuperseded)
		noCookie(t, three.send(fetch, func(ctx context.Context, _ *pazzo.Session) { _, _ = tally.Add(ctx, 1) }))
		isServed(t, sleeper, one.cookie)
	})
}

// TestLostResponses has every response with a new token get lost for days.
func TestLostResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		b := r.due(t)
		for range 20 {
			response := b.send(fetch, func(ctx context.Context, _ *pazzo.Session) {
				_, err := tally.Add(ctx, 1)
				must(t, err)
			})
			oneCookie(t, response) // not received
			time.Sleep(2 * every)
		}
		equal(t, "rotations", r.rotations.Load(), 1)
		b.add() // this one arrives
		isServed(t, b, b.cookie)
	})
}

// TestRotationNotAfterTheResponseHasStarted opens the session too late for a
// cookie.
func TestRotationNotAfterTheResponseHasStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		b := r.due(t)
		response := r.serve(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "x")
			_, err := tally.Add(r.Context(), 1)
			must(t, err)
		}, fetch, cookies(cookieName+"="+b.cookie))
		noCookie(t, response)
		equal(t, "rotations", r.rotations.Load(), 0)
		r.rotates(t, b)
	})
}

// TestHeldSessionSurvivesRotations keeps a session open for hours, as a WebSocket
// does: rotations do not end that, a privilege change does.
func TestHeldSessionSurvivesRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		b := newBrowser(t, r.site)
		_, err := b.add()
		must(t, err)
		stream := b.other()
		response := stream.send(fetch, func(ctx context.Context, _ *pazzo.Session) {
			n, err := tally.Add(ctx, 1)
			must(t, err)
			for range 5 {
				time.Sleep(every)
				r.rotates(t, b)
				b.tally()
				last := n
				n, err = tally.Add(ctx, 1)
				must(t, err)
				equal(t, "tally", n, last+1)
			}
			b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Renew(ctx)) })
			_, err = tally.Add(ctx, 1)
			wantError(t, err, pazzo.ErrSuperseded)
			n, err = tally.Get(ctx)
			must(t, err)
			equal(t, "tally that it reads", n, 0)
		})
		noCookie(t, response)
		equal(t, "rotations", r.rotations.Load(), 5)
	})
}

// TestPrivilegeChangeEndsTheGrace has a login follow a rotation at once.
func TestPrivilegeChangeEndsTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		b := r.due(t)
		older := b.other()
		r.rotates(t, b)
		rotated := b.other()
		must(t, older.other().login("ann")) // in the grace, by the older token
		for _, b := range []*browser{older, rotated} {
			b.findsNothing()
			_, err := b.add()
			wantError(t, err, pazzo.ErrSuperseded)
		}
	})
}

// TestLateRotationHarmsNoLogin has a request rotate the token and then take its
// time, while the user logs in: the late response must not undo the login.
func TestLateRotationHarmsNoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, change := range []struct {
			name string
			call func(ctx context.Context, s *pazzo.Session) error
			user string
		}{
			{"login", func(ctx context.Context, s *pazzo.Session) error { return s.Authenticate(ctx, "ann") }, "ann"},
			{"renewal", func(ctx context.Context, s *pazzo.Session) error { return s.Renew(ctx) }, ""},
		} {
			r := newRotating(t)
			b := r.due(t)
			late := b.send(fetch, func(ctx context.Context, _ *pazzo.Session) {
				_, err := tally.Add(ctx, 1)
				must(t, err)
				b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, change.call(ctx, s)) })
			})
			noCookie(t, late)
			b.receive(late)
			equal(t, "user after a "+change.name, b.user(), change.user)
			equal(t, "tally after a "+change.name, b.tally(), 2)
		}
	})
}
