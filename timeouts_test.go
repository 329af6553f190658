package pazzo_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

func TestSetExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(o *pazzo.Options) { o.Cookie.Persistent = true })
		b := newBrowser(t, s)
		month := 30 * 24 * time.Hour
		r := b.navigate(func(ctx context.Context, s *pazzo.Session) {
			must(t, s.SetExpiry(ctx, pazzo.Expiry{Timeouts: pazzo.Timeouts{Idle: month / 2, Absolute: month}}))
		})
		equal(t, "Max-Age", oneCookie(t, r).MaxAge, int(month/time.Second))
		info, _ := b.info()
		equal(t, "idle", info.Idle, month/2)
		equal(t, "absolute", info.Deadline.Sub(info.Created), month)

		time.Sleep(2 * time.Hour)
		must(t, b.login("ann")) // keeps what was chosen, and the absolute end with it
		info, _ = b.info()
		equal(t, "idle after the login", info.Idle, month/2)
		equal(t, "absolute after the login", info.Deadline.Sub(info.Created), month)

		r = b.fetch(func(ctx context.Context, s *pazzo.Session) {
			must(t, s.SetExpiry(ctx, pazzo.Expiry{UntilBrowserClose: true}))
		})
		equal(t, "Max-Age until the browser closes", oneCookie(t, r).MaxAge, 0)
		info, _ = b.info()
		equal(t, "idle by default", info.Idle, pazzo.AAL2.Idle)
		equal(t, "time left by default", time.Until(info.Deadline), pazzo.AAL2.Absolute)
		r = b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Authenticate(ctx, "ann")) })
		equal(t, "Max-Age after another login", oneCookie(t, r).MaxAge, 0)

		b.fetch(func(ctx context.Context, s *pazzo.Session) {
			must(t, s.SetExpiry(ctx, pazzo.Expiry{Timeouts: pazzo.Timeouts{Absolute: time.Minute}}))
		})
		info, _ = b.info()
		equal(t, "idle is at most absolute", info.Idle, time.Minute)
		time.Sleep(61 * time.Second)
		b.findsNothing()
	})
}

func TestSetExpiryRefusesNonsense(t *testing.T) {
	s := newSite(t)
	for _, e := range []pazzo.Timeouts{
		{Idle: time.Millisecond},
		{Absolute: time.Millisecond},
		{Idle: -time.Hour},
		{Absolute: 11 * 366 * 24 * time.Hour},
		{Idle: 2 * time.Hour, Absolute: time.Hour},
	} {
		ctx := s.context(t, "")
		wantError(t, pazzo.FromContext(ctx).SetExpiry(ctx, pazzo.Expiry{Timeouts: e}), pazzo.ErrOptions)
	}
	equal(t, "calls of the store", s.store.calls.Load(), 0)
}

func TestTouchIsThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b := newBrowser(t, s)
		_, err := b.add()
		must(t, err)
		read := func(calls int64) {
			t.Helper()
			s.store.costs(t, calls, func() { b.tally() })
		}
		touched := func() time.Duration {
			t.Helper()
			reply, err := s.store.Store.Apply(t.Context(), lookHandle(t, b), &record.Batch{Ops: []record.Op{record.GetIdentity()}})
			must(t, err)
			return time.Since(time.UnixMilli(reply.Meta.Touched))
		}
		time.Sleep(6*time.Minute - time.Second) // a tenth of the idle time is 6 min
		read(1)
		equal(t, "time since the touch", touched(), 6*time.Minute-time.Second)
		time.Sleep(time.Second)
		read(2) // the read, and the touch
		equal(t, "time since the touch", touched(), 0)
		for range 10 {
			read(1)
		}
		time.Sleep(6 * time.Minute)
		s.store.costs(t, 2, func() { // the write, and the touch
			_, err := b.add()
			must(t, err)
		})
		equal(t, "time since the touch", touched(), 0)
	})
}

// lookHandle returns the handle without a touch by the store's count.
func lookHandle(t *testing.T, b *browser) pazzo.Handle {
	t.Helper()
	var handle pazzo.Handle
	before := b.site.store.calls.Load()
	b.site.serve(func(_ http.ResponseWriter, r *http.Request) {
		h, _, err := pazzo.FromContext(r.Context()).Handle(r.Context())
		must(t, err)
		handle = h
	}, fetch, cookies(cookieName+"="+b.cookie))
	b.site.store.calls.Store(before)
	return handle
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b := newBrowser(t, s)
		_, err := b.add()
		must(t, err)
		for range 4 { // activity keeps it alive
			time.Sleep(50 * time.Minute)
			equal(t, "tally", b.tally(), 1)
		}
		time.Sleep(time.Hour)
		b.findsNothing()
		n, err := b.add()
		must(t, err)
		equal(t, "tally of the new session", n, 1)
	})
}

func TestAbsoluteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(o *pazzo.Options) { o.Timeouts = pazzo.Timeouts{Idle: time.Hour, Absolute: 4 * time.Hour} })
		b := newBrowser(t, s)
		_, err := b.add()
		must(t, err)
		hours := func() { // in activity all the time
			for range 4 {
				time.Sleep(59 * time.Minute)
				equal(t, "tally", b.tally(), 1)
			}
		}
		hours()
		must(t, b.login("ann")) // begins the absolute time anew
		hours()
		time.Sleep(3 * time.Minute)
		equal(t, "tally", b.tally(), 1)
		time.Sleep(2 * time.Minute)
		b.findsNothing()
	})
}
