package pazzo_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

// The fields of the tests on the life cycle.
const (
	tally pazzo.Counter     = "tally"
	memo  pazzo.Key[string] = "memo"
)

// silent leaves a request without Sec-Fetch headers.
func silent(*http.Request) {}

// kinds of requests, as the Fetch metadata tells them.
var kinds = []struct {
	name string
	edit func(*http.Request)
}{{"navigation", navigate}, {"fetch", fetch}, {"no Sec-Fetch", silent}}

// untouched fails the test if a response sets or deletes our cookie, or if the
// session that the browser sees is not empty.
func (b *browser) findsNothing() {
	b.t.Helper()
	r := b.send(fetch, func(ctx context.Context, s *pazzo.Session) {
		n, err := tally.Get(ctx)
		must(b.t, err)
		all, err := s.All(ctx)
		must(b.t, err)
		for name := range all {
			b.t.Errorf("found the field %q", name)
		}
		info, found, err := s.Info(ctx)
		must(b.t, err)
		if n != 0 || found || info.User != "" {
			b.t.Errorf("found tally %d, session %v %+v", n, found, info)
		}
	})
	noCookie(b.t, r)
}

func TestTokenOfNothing(t *testing.T) {
	there, here := newSite(t), newSite(t) // the same key, other stores
	foreign := newBrowser(t, there)
	if _, err := foreign.add(); err != nil {
		t.Fatal(err)
	}
	handle := foreign.handle()
	create := func(secret record.Secret) {
		_, err := here.store.Store.Apply(t.Context(), handle, &record.Batch{Ops: []record.Op{
			record.Create(secret, record.Expiry{Idle: 60_000, Absolute: 60_000}), record.Set("tally", "7")}})
		must(t, err)
	}
	for _, c := range []struct {
		name   string
		cookie string
		setUp  func()
	}{
		{"absent", "", func() {}},
		{"forged", strings.Repeat("A", 64), func() {}},
		{"unknown", foreign.cookie, func() {}},
		{"wrong secret", foreign.cookie, func() { create(record.NewSecret()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.setUp()
			b := &browser{t: t, site: here, cookie: c.cookie}
			b.findsNothing()
			for _, kind := range kinds {
				b := b.other()
				b.t = t
				r := b.send(kind.edit, func(ctx context.Context, s *pazzo.Session) {
					n, err := tally.Add(ctx, 1)
					must(t, err)
					equal(t, kind.name+": tally", n, 1)
					equal(t, kind.name+": IsNew", s.IsNew(), true)
				})
				if oneCookie(t, r).Value == c.cookie {
					t.Error("an unknown token was adopted")
				}
				b.receive(r)
				if b.handle() == handle {
					t.Error("an unknown handle was adopted")
				}
			}
		})
	}
}

// TestGenerationAboveTheRecords plays a failover that lost a renewal.
func TestGenerationAboveTheRecords(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	b.navigate(func(ctx context.Context, _ *pazzo.Session) { must(t, memo.Set(ctx, "kept")) })
	older := b.other()
	handle := b.handle()
	var saved record.Reply
	saved, err := s.store.Store.Apply(t.Context(), handle, &record.Batch{Ops: []record.Op{record.GetAll()}})
	must(t, err)
	b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Renew(ctx)) })

	lost := newSite(t)
	_, err = lost.store.Store.Apply(t.Context(), handle, &record.Batch{Ops: []record.Op{
		record.Create(saved.Meta.Secret, record.Expiry{Idle: 60_000, Absolute: 60_000}), record.Set("memo", `"kept"`)}})
	must(t, err)
	(&browser{t: t, site: lost, cookie: b.cookie}).findsNothing()
	(&browser{t: t, site: lost, cookie: older.cookie}).fetch(func(ctx context.Context, _ *pazzo.Session) {
		got, _, err := memo.Get(ctx)
		must(t, err)
		equal(t, "memo", got, "kept")
	})
}

// supersede returns a browser whose token another of its requests has superseded,
// and one with the new token.
func supersede(t *testing.T, s *site) (old, now *browser) {
	t.Helper()
	now = newBrowser(t, s)
	_, err := now.add()
	must(t, err)
	old = now.other()
	now.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Renew(ctx)) })
	if now.cookie == old.cookie {
		t.Fatal("Renew did not change the token")
	}
	return old, now
}

// writes are all calls that change a session.
var writes = []struct {
	name string
	call func(ctx context.Context, s *pazzo.Session) error
}{
	{"Add", func(ctx context.Context, _ *pazzo.Session) error { _, err := tally.Add(ctx, 1); return err }},
	{"Set", func(ctx context.Context, _ *pazzo.Session) error { return memo.Set(ctx, "x") }},
	{"Delete", func(ctx context.Context, _ *pazzo.Session) error { return tally.Delete(ctx) }},
	{"Pop", func(ctx context.Context, _ *pazzo.Session) error { _, _, err := tally.Pop(ctx); return err }},
	{"Clear", func(ctx context.Context, s *pazzo.Session) error { return s.Clear(ctx) }},
	{"Update", func(ctx context.Context, _ *pazzo.Session) error {
		_, err := memo.Update(ctx, func(string) (string, error) { return "y", nil })
		return err
	}},
	{"Atomically", func(ctx context.Context, _ *pazzo.Session) error {
		return pazzo.Atomically(ctx, func(ctx context.Context) error { return memo.Set(ctx, "z") })
	}},
	{"SetDevice", func(ctx context.Context, s *pazzo.Session) error { return s.SetDevice(ctx, pazzo.Device{IP: "::1"}) }},
	{"SetExpiry", func(ctx context.Context, s *pazzo.Session) error { return s.SetExpiry(ctx, pazzo.Expiry{}) }},
	{"Renew", func(ctx context.Context, s *pazzo.Session) error { return s.Renew(ctx) }},
	{"Destroy", func(ctx context.Context, s *pazzo.Session) error { return s.Destroy(ctx) }},
}

func TestSupersededTokenDoesNothing(t *testing.T) {
	s := newSite(t)
	old, now := supersede(t, s)
	before, _ := now.info()
	old.findsNothing()
	for _, kind := range kinds {
		for _, write := range writes {
			r := old.send(kind.edit, func(ctx context.Context, s *pazzo.Session) {
				err := write.call(ctx, s)
				if err == nil || pazzo.StatusCode(err) != http.StatusConflict {
					t.Errorf("%s by a %s: %v, want %v and 409", write.name, kind.name, err, pazzo.ErrSuperseded)
				}
				wantError(t, err, pazzo.ErrSuperseded)
			})
			noCookie(t, r)
		}
	}
	after, _ := now.info()
	equal(t, "revision", after.Revision, before.Revision)
	equal(t, "tally", now.tally(), 1)
}

// TestSupersededInFlight has the privilege change happen between two calls of a
// request.
func TestSupersededInFlight(t *testing.T) {
	s := newSite(t)
	now := newBrowser(t, s)
	_, err := now.add()
	must(t, err)
	slow := now.other()
	r := slow.send(fetch, func(ctx context.Context, session *pazzo.Session) {
		_, err := tally.Add(ctx, 1)
		must(t, err)
		must(t, now.login("ann"))
		_, err = tally.Add(ctx, 1)
		wantError(t, err, pazzo.ErrSuperseded)
		n, err := tally.Get(ctx)
		must(t, err)
		equal(t, "what the superseded request reads", n, 0)
		wantError(t, session.Destroy(ctx), pazzo.ErrSuperseded)
		user, err := session.User(ctx)
		must(t, err)
		equal(t, "what the superseded request knows of the login", user, "")
	})
	noCookie(t, r)
	equal(t, "tally", now.tally(), 2)
	equal(t, "user", now.user(), "ann")
}

func TestSupersededNavigationAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		old, now := supersede(t, s)
		try := func(kind func(*http.Request)) error {
			b := old.other()
			var err error
			r := b.send(kind, func(ctx context.Context, _ *pazzo.Session) { _, err = tally.Add(ctx, 1) })
			b.receive(r)
			if err != nil {
				noCookie(t, r)
			} else if b.handle() == now.handle() {
				t.Error("a superseded token opened the session")
			}
			return err
		}
		time.Sleep(59 * time.Second)
		for _, kind := range kinds {
			wantError(t, try(kind.edit), pazzo.ErrSuperseded)
		}
		time.Sleep(2 * time.Second)
		wantError(t, try(fetch), pazzo.ErrSuperseded)
		wantError(t, try(silent), pazzo.ErrSuperseded)
		wantError(t, try(navigate), nil)
		equal(t, "tally of the session itself", now.tally(), 1)
	})
}

// endings are the ways in which a session ends.
var endings = []struct {
	reason string
	end    func(t *testing.T, b *browser)
}{
	{"logout", func(t *testing.T, b *browser) {
		b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
	}},
	{"revoked", func(t *testing.T, b *browser) {
		found, err := b.site.Revoke(t.Context(), b.handle())
		must(t, err)
		equal(t, "found", found, true)
	}},
	{"evicted", func(t *testing.T, b *browser) { must(t, newBrowser(t, b.site).login("ann")) }},
	{"replaced", func(t *testing.T, b *browser) { must(t, b.login("bob")) }},
}

func onePerUser(o *pazzo.Options) { o.MaxPerUser = 1 }

func TestEndedToken(t *testing.T) {
	for _, ending := range endings {
		for _, kind := range kinds {
			t.Run(ending.reason+"/"+kind.name, func(t *testing.T) {
				s := newSite(t, onePerUser)
				b := newBrowser(t, s)
				_, err := b.add()
				must(t, err)
				must(t, b.login("ann"))
				ended := b.other()
				handle := b.handle()
				ending.end(t, b)
				ended.findsNothing()

				mayBegin := ending.reason != "replaced" && kind.name != "fetch"
				for _, write := range writes {
					b := ended.other()
					r := b.send(kind.edit, func(ctx context.Context, s *pazzo.Session) {
						err := write.call(ctx, s)
						if mayBegin {
							must(t, err)
						} else {
							wantError(t, err, pazzo.ErrGone)
							equal(t, "status", pazzo.StatusCode(err), http.StatusConflict)
						}
					})
					if !mayBegin {
						noCookie(t, r)
						continue
					}
					if b.receive(r); b.cookie != ended.cookie && b.handle() == handle {
						t.Errorf("%s brought the session back", write.name)
					}
				}

				again := ended.other()
				r := again.send(kind.edit, func(ctx context.Context, s *pazzo.Session) {
					must(t, s.Authenticate(ctx, "cat"))
				})
				oneCookie(t, r)
				again.receive(r)
				equal(t, "user after a login", again.user(), "cat")
				if again.handle() == handle {
					t.Error("the login brought the session back")
				}
			})
		}
	}
}

func TestDestroyInFlight(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	_, err := b.add()
	must(t, err)
	slow := b.other()
	r := slow.send(fetch, func(ctx context.Context, session *pazzo.Session) {
		_, err := tally.Add(ctx, 1)
		must(t, err)
		r := b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
		equal(t, "the logout's Max-Age", oneCookie(t, r).MaxAge, -1)
		for _, write := range writes {
			wantError(t, write.call(ctx, session), pazzo.ErrGone)
		}
		n, err := tally.Get(ctx)
		must(t, err)
		equal(t, "what it reads", n, 0)
	})
	noCookie(t, r)
}

func TestDestroyThenCreateInOneRequest(t *testing.T) {
	for _, kind := range kinds {
		s := newSite(t, func(o *pazzo.Options) { o.CreateOnNavigation = true })
		b := newBrowser(t, s)
		b.navigate(func(ctx context.Context, _ *pazzo.Session) { must(t, memo.Set(ctx, "old")) })
		before := b.handle()
		r := b.send(kind.edit, func(ctx context.Context, session *pazzo.Session) {
			must(t, session.Destroy(ctx))
			equal(t, "IsNew", session.IsNew(), false)
			must(t, session.Destroy(ctx)) // there is none any more
			n, err := tally.Add(ctx, 1)
			must(t, err)
			equal(t, "tally", n, 1)
			equal(t, "IsNew", session.IsNew(), true)
		})
		b.receive(r)
		if c := oneCookie(t, r); c.MaxAge < 0 {
			t.Errorf("by a %s: the cookie of the new session was deleted", kind.name)
		}
		if b.handle() == before {
			t.Errorf("by a %s: the handle was used again", kind.name)
		}
		b.fetch(func(ctx context.Context, _ *pazzo.Session) {
			_, found, err := memo.Get(ctx)
			must(t, err)
			equal(t, "found the old session's field", found, false)
		})
	}
}

func TestDestroyWithoutSession(t *testing.T) {
	for _, onNavigation := range []bool{false, true} {
		s := newSite(t, func(o *pazzo.Options) { o.CreateOnNavigation = onNavigation })
		r := newBrowser(t, s).fetch(func(ctx context.Context, session *pazzo.Session) {
			must(t, session.Destroy(ctx))
			must(t, session.Renew(ctx))
			must(t, memo.Delete(ctx))
			must(t, session.Clear(ctx))
		})
		noCookie(t, r)
		equal(t, "calls of the store", s.store.calls.Load(), 0)
	}
}

func TestTombstoneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(o *pazzo.Options) { o.KeepTombstones = 2 * time.Minute })
		b := newBrowser(t, s)
		_, err := b.add()
		must(t, err)
		ended := b.other()
		b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
		time.Sleep(2*time.Minute - time.Second)
		_, err = ended.add()
		wantError(t, err, pazzo.ErrGone)
		time.Sleep(2 * time.Second)
		n, err := ended.add() // unknown by now: a visitor like any other
		must(t, err)
		equal(t, "tally", n, 1)
	})
}

// TestNoFallBackToAnotherCookie has a request come with the tokens of two live
// sessions; when the first ends, the request does not go on in the other.
func TestNoFallBackToAnotherCookie(t *testing.T) {
	s := newSite(t)
	first, second := newBrowser(t, s), newBrowser(t, s)
	must(t, first.login("ann"))
	must(t, second.login("bob"))
	both := func(r *http.Request) {
		fetch(r)
		cookies(cookieName + "=" + first.cookie + "; " + cookieName + "=" + second.cookie)(r)
	}
	r := s.serve(func(_ http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		must(t, memo.Set(ctx, "ann's"))
		_, err := s.Revoke(ctx, first.handle())
		must(t, err)
		user, err := pazzo.FromContext(ctx).User(ctx)
		must(t, err)
		equal(t, "user after the end", user, "")
		wantError(t, memo.Set(ctx, "ann's"), pazzo.ErrGone)
	}, both)
	noCookie(t, r)
	second.fetch(func(ctx context.Context, _ *pazzo.Session) {
		got, _, err := memo.Get(ctx)
		must(t, err)
		equal(t, "memo of the other session", got, "")
	})
}

func TestRenew(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	_, err := b.add()
	must(t, err)
	before, _ := b.info()
	r := b.fetch(func(ctx context.Context, s *pazzo.Session) {
		must(t, s.Renew(ctx))
		n, err := tally.Add(ctx, 1) // the request goes on with the new token
		must(t, err)
		equal(t, "tally", n, 2)
	})
	equal(t, "Cache-Control", r.Header.Get("Cache-Control"), "no-store")
	after, _ := b.info()
	equal(t, "handle", after.Handle, before.Handle)
	equal(t, "generation", after.Generation, before.Generation+1)
	equal(t, "deadline", after.Deadline, before.Deadline)

	// Twice in one request, and opened by Renew itself.
	b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Renew(ctx)); must(t, s.Renew(ctx)) })
	equal(t, "tally", b.tally(), 2)
	last, _ := b.info()
	equal(t, "generation", last.Generation, before.Generation+3)

	r = newBrowser(t, s).fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Renew(ctx)) })
	noCookie(t, r)
}

func TestResponseStarted(t *testing.T) {
	s := newSite(t)
	with := newBrowser(t, s)
	_, err := with.add()
	must(t, err)
	before, _ := with.info()
	starts := []struct {
		name  string
		start func(w http.ResponseWriter)
	}{
		{"Write", func(w http.ResponseWriter) { fmt.Fprint(w, "x") }},
		{"WriteHeader", func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) }},
		{"Flush", func(w http.ResponseWriter) { w.(http.Flusher).Flush() }},
	}
	for _, start := range starts {
		r := s.serve(func(w http.ResponseWriter, r *http.Request) {
			ctx, session := r.Context(), pazzo.FromContext(r.Context())
			start.start(w)
			s.store.costs(t, 0, func() {
				wantError(t, session.Renew(ctx), pazzo.ErrResponseStarted)
				wantError(t, session.Authenticate(ctx, "ann"), pazzo.ErrResponseStarted)
			})
			must(t, memo.Set(ctx, start.name)) // an existing session needs no cookie
		}, fetch, cookies(cookieName+"="+with.cookie))
		noCookie(t, r)
		r = s.serve(func(w http.ResponseWriter, r *http.Request) {
			start.start(w)
			s.store.costs(t, 0, func() {
				_, err := tally.Add(r.Context(), 1)
				wantError(t, err, pazzo.ErrResponseStarted)
			})
		}, navigate)
		noCookie(t, r)
	}
	after, _ := with.info()
	equal(t, "generation", after.Generation, before.Generation)
	equal(t, "user", after.User, "")
	records, _ := s.store.Store.(interface{ Stats() (int, int64) }).Stats()
	equal(t, "records", records, 1)

	// A logout needs no cookie either.
	r := s.serve(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "bye")
		must(t, pazzo.FromContext(r.Context()).Destroy(r.Context()))
	}, fetch, cookies(cookieName+"="+with.cookie))
	noCookie(t, r)
	_, err = with.add()
	wantError(t, err, pazzo.ErrGone)
}

func TestCookieWithAnyStatus(t *testing.T) {
	s := newSite(t)
	for _, code := range []int{200, 204, 302, 404, 500, 503} {
		r := s.serve(func(w http.ResponseWriter, r *http.Request) {
			must(t, pazzo.FromContext(r.Context()).Authenticate(r.Context(), "ann"))
			w.WriteHeader(code)
		}, navigate)
		equal(t, "status", r.StatusCode, code)
		b := newBrowser(t, s)
		b.receive(r)
		equal(t, "user", b.user(), "ann")
	}
	w := httptest.NewRecorder()
	func() {
		defer func() { _ = recover() }()
		s.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			must(t, pazzo.FromContext(r.Context()).Authenticate(r.Context(), "ann"))
			panic("a bug of the app")
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	}()
	oneCookie(t, w.Result())
}

func TestAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(o *pazzo.Options) {
			o.RotateEvery = time.Hour
			o.Timeouts = pazzo.AAL1
			o.CreateOnNavigation = true
		})
		_, err := s.Acquire("nonsense")
		wantError(t, err, pazzo.ErrToken)

		ctx := s.context(t, "")
		session := pazzo.FromContext(ctx)
		_, err = tally.Get(ctx)
		must(t, err)
		equal(t, "token of no session", session.Token(), "")
		_, err = tally.Add(ctx, 1)
		must(t, err)
		first := session.Token()

		var before int64 = s.store.calls.Load()
		ctx = s.context(t, first)
		equal(t, "token of an unused session", pazzo.FromContext(ctx).Token(), first)
		equal(t, "calls of the store", s.store.calls.Load(), before)

		time.Sleep(time.Hour)
		n, err := tally.Add(ctx, 1) // due for rotation
		must(t, err)
		equal(t, "tally", n, 2)
		rotated := pazzo.FromContext(ctx).Token()
		if rotated == first {
			t.Error("the token was not rotated")
		}
		must(t, pazzo.FromContext(ctx).Authenticate(ctx, "ann"))
		authenticated := pazzo.FromContext(ctx).Token()

		ctx = s.context(t, rotated)
		_, err = tally.Add(ctx, 1)
		wantError(t, err, pazzo.ErrSuperseded)
		ctx = s.context(t, authenticated)
		must(t, pazzo.FromContext(ctx).Destroy(ctx))
		equal(t, "token of an ended session", pazzo.FromContext(ctx).Token(), "")
	})
}

func TestCreateOnNavigation(t *testing.T) {
	s := newSite(t, func(o *pazzo.Options) { o.CreateOnNavigation = true })
	b := newBrowser(t, s)
	for range 5 {
		r := b.fetch(func(ctx context.Context, _ *pazzo.Session) {
			_, err := tally.Add(ctx, 1)
			wantError(t, err, pazzo.ErrNotNavigation)
			equal(t, "status", pazzo.StatusCode(err), http.StatusForbidden)
		})
		noCookie(t, r)
	}
	b.navigate(func(ctx context.Context, _ *pazzo.Session) {
		_, err := tally.Add(ctx, 1)
		must(t, err)
	})
	n, err := b.add() // the session is there now
	must(t, err)
	equal(t, "tally", n, 2)
	newBrowser(t, s).site.serve(func(_ http.ResponseWriter, r *http.Request) {
		must(t, memo.Set(r.Context(), "a client that is no browser"))
	}, silent)
	if err := newBrowser(t, s).login("ann"); err != nil {
		t.Errorf("login by a page's fetch: %v", err)
	}
}
