package pazzo_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
)

// telling is a memory store that tells of changes, as one over a network does: contact
// can be lost, and what it has to say be held back.
type telling struct {
	*counted
	record.Notifier
	listens atomic.Int64 // how many do now
	mute    atomic.Bool  // nobody is told of changes
	caches  bool         // but for others than near caches
	l       record.Listener
}

func (s *telling) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	return s.counted.Apply(ctx, h, b)
}

func (s *telling) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	return s.counted.ApplyIndex(ctx, user, step)
}

func (s *telling) Traits(ctx context.Context) (record.Traits, error) { return s.counted.Traits(ctx) }
func (s *telling) Close() error                                      { return s.counted.Close() }

func (s *telling) Notify(l record.Listener) (stop func()) {
	s.l = l
	s.listens.Add(1)
	heard := l
	if _, cache := l.(record.Keeper); cache || !s.caches {
		heard = muffled{l, &s.mute}
	}
	end := s.Notifier.Notify(heard)
	return func() { s.listens.Add(-1); end() }
}

type muffled struct {
	record.Listener
	mute *atomic.Bool
}

func (l muffled) Changed(h record.Handle) {
	if !l.mute.Load() {
		l.Listener.Changed(h)
	}
}

// newTellingSite makes a site over a store that tells of changes.
func newTellingSite(t testing.TB, change ...func(o *pazzo.Options)) (*site, *telling) {
	t.Helper()
	memory := memstore.New(nil)
	t.Cleanup(func() { memory.Close() })
	store := &telling{counted: &counted{Store: memory}, Notifier: memory}
	log := &output{}
	o := &pazzo.Options{SecretKeys: []string{appKey}, Logger: slog.New(slog.NewTextHandler(log, nil))}
	for _, f := range change {
		f(o)
	}
	m, err := pazzo.New(store, o)
	must(t, err)
	return &site{Manager: m, store: store.counted, log: log}, store
}

// news is what a watcher is told.
type news struct {
	pazzo.Change
	err error
	at  time.Time
}

// watched is a session that is watched.
type watched struct {
	t    testing.TB
	news chan news // closed at the end of the iteration
}

// watch watches the session that ctx carries, until the test ends.
func watch(t testing.TB, ctx context.Context) *watched {
	t.Helper()
	session := pazzo.FromContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	w := &watched{t, make(chan news, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(w.news)
		for c, err := range session.Watch(ctx) {
			w.news <- news{c, err, time.Now()}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// next returns what is told next.
func (w *watched) next() news {
	w.t.Helper()
	select {
	case n, ok := <-w.news:
		if !ok {
			w.t.Fatal("the iteration has ended")
		}
		return n
	case <-time.After(24 * time.Hour):
		w.t.Fatal("nothing is told")
	}
	return news{}
}

// change returns the next change.
func (w *watched) change() pazzo.Change {
	w.t.Helper()
	n := w.next()
	must(w.t, n.err)
	return n.Change
}

// ends fails the test unless the next change is the last and has the reason.
func (w *watched) ends(why pazzo.EndReason) news {
	w.t.Helper()
	n := w.next()
	must(w.t, n.err)
	equal(w.t, "the end", n.Ended, why)
	equal(w.t, "what is told of an ended session", len(n.Fields)+int(n.Revision)+int(n.Generation), 0)
	w.over()
	return n
}

func (w *watched) over() {
	w.t.Helper()
	select {
	case n, ok := <-w.news:
		if ok {
			w.t.Errorf("told after the end: %+v", n)
		}
	case <-time.After(24 * time.Hour):
		w.t.Fatal("the iteration does not end")
	}
}

// silent fails the test if something was told.
func (w *watched) silent() {
	w.t.Helper()
	synctest.Wait()
	if len(w.news) > 0 {
		w.t.Errorf("told: %+v", <-w.news)
	}
}

// text returns a field of a change.
func text(c pazzo.Change, name string) string { return string(c.Fields[name]) }

func TestWatchTellsTheStateAndThenEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTellingSite(t)
		mine := s.context(t, "")
		tallied, err := tally.Add(mine, 1)
		must(t, err)
		token := pazzo.FromContext(mine).Token()
		w := watch(t, s.context(t, token))
		before := w.change()
		equal(t, "the tally", text(before, "tally"), fmt.Sprint(tallied))
		info, _, err := pazzo.FromContext(mine).Info(mine)
		must(t, err)
		equal(t, "Info", before.Info, info)
		equal(t, "TTL", before.TTL, pazzo.AAL2.Idle)

		start := time.Now()
		elsewhere := s.context(t, token)
		for i := range int64(3) {
			_, err := tally.Add(elsewhere, 1)
			must(t, err)
			n := w.next()
			must(t, n.err)
			equal(t, "the tally", text(n.Change, "tally"), fmt.Sprint(i+2))
			equal(t, "the revision", n.Revision, before.Revision+uint64(i)+1)
			equal(t, "the delay", n.at.Sub(start), 0)
		}
		must(t, pazzo.FromContext(elsewhere).SetExpiry(elsewhere, pazzo.Expiry{Timeouts: pazzo.Timeouts{Idle: time.Minute}}))
		equal(t, "TTL", w.change().TTL, time.Minute)
		must(t, pazzo.FromContext(elsewhere).Destroy(elsewhere))
		equal(t, "the handle", w.ends(pazzo.EndLogout).Handle, info.Handle)
	})
}

// What ends a session, or takes it from its token, is told, to who watches and to who begins.
func TestWatchTellsTheEnd(t *testing.T) {
	ctx := context.Background()
	login := func(t *testing.T, s *site, token, user string) {
		c := s.context(t, token)
		must(t, pazzo.FromContext(c).Authenticate(c, user))
	}
	for why, end := range map[pazzo.EndReason]func(t *testing.T, s *site, token string){
		pazzo.EndRevoked: func(t *testing.T, s *site, _ string) {
			_, err := s.RevokeAll(ctx, "ann")
			must(t, err)
		},
		pazzo.EndReplaced:   func(t *testing.T, s *site, token string) { login(t, s, token, "bob") },
		pazzo.EndEvicted:    func(t *testing.T, s *site, _ string) { login(t, s, "", "ann") },
		pazzo.EndSuperseded: func(t *testing.T, s *site, token string) { login(t, s, token, "ann") },
		pazzo.EndLogout: func(t *testing.T, s *site, token string) {
			c := s.context(t, token)
			must(t, pazzo.FromContext(c).Destroy(c))
		},
	} {
		t.Run(string(why), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := newTellingSite(t, func(o *pazzo.Options) { o.MaxPerUser = 1 })
				first := s.context(t, "")
				must(t, pazzo.FromContext(first).Authenticate(first, "ann"))
				token := pazzo.FromContext(first).Token()
				w := watch(t, s.context(t, token))
				equal(t, "the user", w.change().User, "ann")
				end(t, s, token)
				w.ends(why)
				watch(t, s.context(t, token)).ends(why)
				synctest.Wait()
				equal(t, "listeners", store.listens.Load(), 0)
			})
		})
	}
}

func TestWatchWithoutASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTellingSite(t)
		ctx := s.context(t, "")
		watch(t, ctx).ends(pazzo.EndAbsent)
		equal(t, "a session", pazzo.FromContext(ctx).Token(), "")
		for c, err := range (*pazzo.Session)(nil).Watch(ctx) {
			wantError(t, err, pazzo.ErrNoSession)
			equal(t, "end", c.Ended, "")
		}
		must(t, pazzo.Atomically(ctx, func(ctx context.Context) error {
			for _, err := range pazzo.FromContext(ctx).Watch(ctx) {
				wantError(t, err, pazzo.ErrInTransaction)
			}
			return nil
		}))
	})
}

// Watching is no activity, however long it lasts and however often it begins anew; what is
// activity puts the end off, and is told.
func TestWatchDoesNotProlong(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) *site{
		"told of changes": func(t *testing.T) *site { s, _ := newTellingSite(t); return s },
		"not told":        func(t *testing.T) *site { return newSite(t) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := make(t)
				start := time.Now()
				token := s.login(t)
				w := watch(t, s.context(t, token))
				equal(t, "TTL", w.change().TTL, time.Hour)
				time.Sleep(30 * time.Minute)
				again := watch(t, s.context(t, token))
				equal(t, "TTL", again.change().TTL, 30*time.Minute)
				w.silent()

				_, _, err := pazzo.Key[bool]("made").Get(s.context(t, token))
				must(t, err)
				touched := w.next()
				if delay := touched.at.Sub(start) - 30*time.Minute; delay > 2*time.Second || touched.TTL != time.Hour-delay {
					t.Errorf("activity is told after %s: %s are left", delay, touched.TTL)
				}
				again.change()
				w.silent()
				lasted := w.ends(pazzo.EndExpired).at.Sub(start)
				if late := lasted - 90*time.Minute; late < 0 || late > time.Second {
					t.Errorf("it lasted %s", lasted)
				}
				again.ends(pazzo.EndExpired)
			})
		})
	}
}

// A stream that is renewed by another request goes on, and does not renew by itself.
func TestWatchOverRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTellingSite(t, func(o *pazzo.Options) { o.RotateEvery = time.Minute })
		token := s.login(t)
		time.Sleep(2 * time.Minute)
		w := watch(t, s.context(t, token))
		equal(t, "the generation", w.change().Generation, 1)
		_, err := tally.Get(s.context(t, token)) // which is activity as well
		must(t, err)
		equal(t, "the generation", w.change().Generation, 2)
		w.silent()
	})
}

// Who renews his session, and watches it, goes on watching; whose it no longer is does not.
func TestWatchOverAnOwnRenewal(t *testing.T) {
	s, store := newTellingSite(t)
	store.after = func(b *record.Batch) { // what is told overtakes the answer
		if !b.ReadOnly() {
			time.Sleep(20 * time.Millisecond)
		}
	}
	ctx := s.context(t, s.login(t))
	session := pazzo.FromContext(ctx)
	w := watch(t, ctx)
	equal(t, "the generation", w.change().Generation, 1)
	must(t, session.Renew(ctx))
	equal(t, "the generation", w.change().Generation, 2)
	must(t, session.Authenticate(ctx, "ann"))
	equal(t, "the user", w.change().User, "ann")
	must(t, session.Destroy(ctx))
	must(t, pazzo.Key[bool]("made").Set(ctx, true)) // another session
	w.ends(pazzo.EndLogout)
	equal(t, "the end of the new one", watch(t, ctx).change().Ended, "")
}

// While the store tells of changes nothing is read but those.
func TestWatchReadsNothingButChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newTellingSite(t)
		token, other := s.login(t), s.context(t, s.login(t))
		w := watch(t, s.context(t, token))
		w.change()
		_, err := tally.Add(other, 1)
		must(t, err)
		s.store.costs(t, 0, func() {
			time.Sleep(59 * time.Minute)
			synctest.Wait()
		})
		w.silent()
		equal(t, "listeners", store.listens.Load(), 1)
		another := watch(t, other)
		another.change()
		equal(t, "listeners", store.listens.Load(), 1)
	})
}

// A store that tells of nothing is asked every 2 seconds, and so is one that has fallen
// silent; what it has not told of is noticed by then, and at once when contact is back.
func TestWatchAsksWhileItIsNotTold(t *testing.T) {
	const look = 2 * time.Second
	notices := func(t *testing.T, s *site, w *watched, ctx context.Context, want int64, within time.Duration) {
		t.Helper()
		start := time.Now()
		_, err := tally.Add(ctx, 1)
		must(t, err)
		n := w.next()
		must(t, n.err)
		equal(t, "the tally", text(n.Change, "tally"), fmt.Sprint(want))
		if took := n.at.Sub(start); took > within {
			t.Errorf("noticed after %s", took)
		}
	}
	t.Run("never told", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			token := s.login(t)
			w := watch(t, s.context(t, token))
			w.change()
			s.store.costs(t, 30, func() { time.Sleep(time.Minute + time.Second) })
			notices(t, s, w, s.context(t, token), 1, look)
		})
	})
	t.Run("lost, and back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, store := newTellingSite(t)
			token := s.login(t)
			ctx := s.context(t, token)
			w := watch(t, s.context(t, token))
			w.change()
			store.mute.Store(true)
			_, err := tally.Add(ctx, 1)
			must(t, err)
			w.silent()
			start := time.Now()
			store.l.Lost()
			n := w.next()
			equal(t, "what was missed", text(n.Change, "tally"), "1")
			equal(t, "the delay", n.at.Sub(start), 0)
			notices(t, s, w, ctx, 2, look)
			time.Sleep(look / 2)
			_, err = tally.Add(ctx, 1)
			must(t, err)
			w.silent()
			start = time.Now()
			store.l.Current(time.Now())
			equal(t, "the delay when contact is back", w.next().at.Sub(start), 0)
			// There is nothing to vouch for changes any more than 2 seconds after that.
			notices(t, s, w, ctx, 4, look)
			s.store.costs(t, 10, func() { time.Sleep(10*look + time.Second) })
			store.l.Current(time.Now())
			store.mute.Store(false)
			notices(t, s, w, ctx, 5, 0)
		})
	})
}

// An error of the store is told, and what follows it as well.
func TestWatchOverAnErrorOfTheStore(t *testing.T) {
	for name, opened := range map[string]bool{"not opened": false, "open": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := newTellingSite(t)
				token := s.login(t)
				ctx := s.context(t, token)
				if opened {
					_, err := tally.Get(ctx)
					must(t, err)
				}
				var down atomic.Bool
				down.Store(true)
				s.store.before = func(*record.Batch) error {
					if down.Load() {
						return record.ErrUnavailable
					}
					return nil
				}
				w := watch(t, ctx)
				for range 3 {
					wantError(t, w.next().err, pazzo.ErrUnavailable)
				}
				down.Store(false)
				before := w.change()
				down.Store(true)
				time.Sleep(time.Minute)
				w.silent() // nothing was to be read
				store.l.Lost()
				wantError(t, w.next().err, pazzo.ErrUnavailable)
				down.Store(false)
				equal(t, "the revision after the trouble", w.change().Revision, before.Revision)
				store.l.Current(time.Now().Add(time.Hour))
				w.silent()
				_, err := tally.Add(s.context(t, token), 1)
				must(t, err)
				if after := w.change(); after.Revision != before.Revision+1 {
					t.Errorf("revision %d after %d", after.Revision, before.Revision)
				}
			})
		})
	}
}

// Nobody who writes waits for one who watches and does not listen, and he is told the last.
func TestWatchBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newTellingSite(t)
		token := s.login(t)
		ctx, cancel := context.WithCancel(s.context(t, token))
		defer cancel()
		tells, done := make(chan struct{}), make(chan struct{})
		var last string
		var told int
		go func() {
			defer close(done)
			for c, err := range pazzo.FromContext(ctx).Watch(ctx) {
				must(t, err)
				last = text(c, "tally")
				told++
				<-tells
			}
		}()
		synctest.Wait()
		for range 100 {
			_, err := tally.Add(s.context(t, token), 1)
			must(t, err)
		}
		close(tells)
		synctest.Wait()
		equal(t, "the tally", last, "100")
		equal(t, "told", told, 2)
		cancel()
		<-done
		equal(t, "listeners", store.listens.Load(), 0)
	})
}

// Whatever a near cache knows, what is told of is read from the store behind it.
func TestWatchBehindANearCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := memstore.New(nil)
		behind := &telling{counted: &counted{Store: memory}, Notifier: memory, caches: true}
		behind.mute.Store(true)
		cache, err := nearcache.New(behind, nil)
		must(t, err)
		defer cache.Close()
		var sites []*site
		for _, store := range []record.Store{cache, memory} {
			m, err := pazzo.New(store, &pazzo.Options{SecretKeys: []string{appKey}})
			must(t, err)
			sites = append(sites, &site{Manager: m})
		}
		token := sites[0].login(t)
		ctx, elsewhere := sites[0].context(t, token), sites[1].context(t, token)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		_, err = tally.Get(ctx)
		must(t, err)
		w := watch(t, ctx)
		w.change()
		for i := range 10 {
			start := time.Now()
			_, err := tally.Add(elsewhere, 1)
			must(t, err)
			n := w.next()
			equal(t, "the tally", text(n.Change, "tally"), fmt.Sprint(i+1))
			equal(t, "the delay", n.at.Sub(start), 0)
		}
		cancel()
		w.over()
	})
}

// Many who come, look and go leave nothing behind.
func TestWatchersComeAndGo(t *testing.T) {
	s, store := newTellingSite(t)
	token := s.login(t)
	together(50, func(int) {
		for range 20 {
			ctx := s.context(t, token)
			for c, err := range pazzo.FromContext(ctx).Watch(ctx) {
				if err != nil || c.Revision == 0 {
					t.Error(c.Revision, err)
				}
				break
			}
		}
	})
	equal(t, "listeners", store.listens.Load(), 0)
	ctx, cancel := context.WithCancel(s.context(t, token))
	cancel()
	for c, err := range pazzo.FromContext(ctx).Watch(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of its context: %+v, %v", c, err)
		}
	}
}

// A page that follows its session live, by server-sent events.
func ExampleSession_Watch() {
	sessions, closing := openApp()
	defer closing()
	events := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for change, err := range pazzo.FromContext(r.Context()).Watch(r.Context()) {
			switch {
			case err != nil:
				fmt.Fprint(w, "event: trouble\ndata:\n\n") // and it goes on
			case change.Ended != "":
				fmt.Fprintf(w, "event: ended\ndata: %s\n\n", change.Ended) // and it ends
			default:
				data, _ := json.Marshal(change.Fields)
				fmt.Fprintf(w, "event: session\nid: %d\ndata: %s\n\n", change.Revision, data)
			}
			if http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	}

	// A visitor, who then logs out in another tab.
	visitor, err := sessions.Acquire("")
	if err != nil {
		log.Fatal(err)
	}
	ctx := pazzo.NewContext(context.Background(), visitor)
	if _, err := pazzo.Counter("apples").Add(ctx, 3); err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(sessions.Handler(http.HandlerFunc(events)))
	defer server.Close()
	request, _ := http.NewRequest("GET", server.URL, nil)
	request.AddCookie(&http.Cookie{Name: "__Host-session", Value: visitor.Token()})
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		fmt.Println(lines.Text())
		if strings.Contains(lines.Text(), "apples") {
			if err := visitor.Destroy(ctx); err != nil {
				log.Fatal(err)
			}
		}
	}

	// Output:
	// event: session
	// id: 1
	// data: {"apples":3}
	//
	// event: ended
	// data: logout
}
