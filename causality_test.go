package pazzo_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
)

// revisionCookie is the revision cookie's name by default.
const revisionCookie = cookieName + "-revision"

// processes are two on one store. near has a near cache, which is not told of changes.
type processes struct {
	t         testing.TB
	far, near *site
	loads     *loads
	jar       map[string]string
}

// loads counts how often a near cache reads from its store.
type loads struct {
	*telling
	n int
}

func (s *loads) Record(ctx context.Context, h record.Handle) (record.Record, int64, error) {
	s.n++
	return s.Notifier.Record(ctx, h)
}

func (s *loads) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	if b.ReadOnly() {
		s.n++
	}
	return s.telling.Apply(ctx, h, b)
}

func newProcesses(t testing.TB, change ...func(o *pazzo.Options)) *processes {
	t.Helper()
	memory := memstore.New(nil)
	store := &loads{telling: &telling{counted: &counted{Store: memory}, Notifier: memory}}
	store.mute.Store(true)
	cache, err := nearcache.New(store, nil)
	must(t, err)
	t.Cleanup(func() { cache.Close() })
	p := &processes{t: t, loads: store, jar: make(map[string]string)}
	site := func(s record.Store) *site {
		o := &pazzo.Options{SecretKeys: []string{appKey}, RevisionCookie: true}
		for _, f := range change {
			f(o)
		}
		m, err := pazzo.New(s, o)
		must(t, err)
		return &site{Manager: m}
	}
	p.far, p.near = site(memory), site(cache)
	return p
}

// send has a process serve a request of the browser, which takes the response's cookies.
func (p *processes) send(s *site, f func(w http.ResponseWriter, ctx context.Context)) *http.Response {
	p.t.Helper()
	var lines []string
	for name, value := range p.jar {
		lines = append(lines, name+"="+value)
	}
	r := s.serve(func(w http.ResponseWriter, r *http.Request) { f(w, r.Context()) }, cookies(strings.Join(lines, "; ")))
	for _, c := range r.Cookies() {
		p.jar[c.Name] = c.Value
	}
	return r
}

// add writes in a process.
func (p *processes) add(s *site) *http.Response {
	return p.send(s, func(_ http.ResponseWriter, ctx context.Context) {
		_, err := tally.Add(ctx, 1)
		must(p.t, err)
	})
}

// tally reads three times in one request to the process with the near cache, and returns what
// it read first and how often that read from the store.
func (p *processes) tally() (n int64, loads int) {
	p.t.Helper()
	before := p.loads.n
	p.send(p.near, func(_ http.ResponseWriter, ctx context.Context) {
		for i := range 3 {
			got, err := tally.Get(ctx)
			must(p.t, err)
			if i == 0 {
				n = got
			} else if got < n {
				p.t.Errorf("the same request reads %d after %d", got, n)
			}
		}
	})
	return n, p.loads.n - before
}

// A browser that has written in one process reads that in another, whose near cache does
// not know of it yet; at the price of one read of the store, and once.
func TestRevisionCookieCarriesOwnWritesToOtherProcesses(t *testing.T) {
	for name, mode := range map[string]pazzo.ReadMode{"live": pazzo.Live, "snapshot": pazzo.Snapshot} {
		t.Run(name, func(t *testing.T) {
			for _, on := range []bool{false, true} {
				p := newProcesses(t, func(o *pazzo.Options) { o.RevisionCookie, o.Reads = on, mode })
				p.add(p.far)
				if n, _ := p.tally(); n != 1 {
					t.Fatalf("reads %d", n)
				}
				if n, loads := p.tally(); n != 1 || loads != 0 {
					t.Fatalf("reads %d with %d loads: the near cache does not work", n, loads)
				}
				p.add(p.far)
				p.add(p.far)
				n, loads := p.tally()
				switch {
				case on && (n != 3 || loads != 1):
					t.Errorf("with the cookie: reads %d, with %d loads", n, loads)
				case !on && (n != 1 || loads != 0):
					t.Errorf("without the cookie: reads %d, with %d loads", n, loads)
				}
				if _, loads := p.tally(); loads != 0 {
					t.Errorf("%d loads for a copy that is new enough", loads)
				}
				if _, there := p.jar[revisionCookie]; there != on {
					t.Errorf("with the option %t there is a cookie: %t", on, there)
				}
			}
		})
	}
}

func TestRevisionCookieIsLikeTheSessions(t *testing.T) {
	change := func(o *pazzo.Options) {
		o.Cookie = pazzo.Cookie{Domain: "app.example", Path: "/shop", SameSite: http.SameSiteStrictMode, Partitioned: true, Persistent: true}
	}
	p := newProcesses(t, change)
	r := p.add(p.far)
	if len(r.Cookies()) != 2 {
		t.Fatalf("cookies: %v", setCookies(r))
	}
	equal(t, "Cache-Control", r.Header.Get("Cache-Control"), "no-store")
	var session, revision http.Cookie
	for _, c := range r.Cookies() {
		if strings.HasSuffix(c.Name, "-revision") {
			revision = *c
		} else {
			session = *c
		}
	}
	var handle pazzo.Handle
	p.send(p.far, func(_ http.ResponseWriter, ctx context.Context) {
		var err error
		handle, _, err = pazzo.FromContext(ctx).Handle(ctx)
		must(t, err)
	})
	equal(t, "the value", revision.Value, handle.String()[:12]+".1")
	equal(t, "Max-Age", revision.MaxAge, int(time.Minute/time.Second))
	want := session
	want.Name += "-revision"
	want.Value, want.MaxAge = revision.Value, revision.MaxAge
	want.Raw, revision.Raw = "", ""
	equal(t, "the attributes", revision.String(), want.String())
	equal(t, "the cookie of a later write", oneCookie(t, p.add(p.far)).Value, handle.String()[:12]+".2")
	noCookie(t, p.send(p.far, func(_ http.ResponseWriter, ctx context.Context) {
		_, err := tally.Get(ctx)
		must(t, err)
	}))
	logout := p.send(p.far, func(_ http.ResponseWriter, ctx context.Context) {
		_, err := tally.Add(ctx, 1)
		must(t, err)
		must(t, pazzo.FromContext(ctx).Destroy(ctx))
	})
	equal(t, "the cookie of a logout", oneCookie(t, logout).MaxAge, -1)
}

// Each kind of write tells the revision, and the last word in a response counts.
func TestRevisionCookieOfEachKindOfWrite(t *testing.T) {
	for name, write := range map[string]func(ctx context.Context, s *pazzo.Session) error{
		"set":    func(ctx context.Context, s *pazzo.Session) error { return s.Set(ctx, "a", 1) },
		"update": func(ctx context.Context, _ *pazzo.Session) error { return tally.Set(ctx, 5) },
		"transaction": func(ctx context.Context, s *pazzo.Session) error {
			return pazzo.Atomically(ctx, func(ctx context.Context) error { return s.Set(ctx, "a", 1) })
		},
		"renew":   func(ctx context.Context, s *pazzo.Session) error { return s.Renew(ctx) },
		"login":   func(ctx context.Context, s *pazzo.Session) error { return s.Authenticate(ctx, "ann") },
		"expiry":  func(ctx context.Context, s *pazzo.Session) error { return s.SetExpiry(ctx, pazzo.Expiry{}) },
		"device":  func(ctx context.Context, s *pazzo.Session) error { return s.SetDevice(ctx, pazzo.Device{IP: "::1"}) },
		"another": func(ctx context.Context, s *pazzo.Session) error { must(t, s.Destroy(ctx)); return s.Set(ctx, "a", 1) },
		"replace": func(ctx context.Context, s *pazzo.Session) error {
			must(t, s.Authenticate(ctx, "ann"))
			return s.Authenticate(ctx, "bob")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProcesses(t)
			p.add(p.far)
			var info pazzo.Info
			p.send(p.far, func(_ http.ResponseWriter, ctx context.Context) {
				s := pazzo.FromContext(ctx)
				_, err := tally.Add(ctx, 1)
				must(t, err)
				must(t, write(ctx, s))
				info, _, err = s.Info(ctx)
				must(t, err)
			})
			equal(t, "the cookie", p.jar[revisionCookie], fmt.Sprintf("%s.%d", info.Handle.String()[:12], info.Revision))
		})
	}
}

// A cookie that is none of ours costs one read of the store at most, and changes no answer.
func TestRevisionCookieForged(t *testing.T) {
	p := newProcesses(t)
	p.add(p.far)
	tag, _, _ := strings.Cut(p.jar[revisionCookie], ".")
	p.tally()
	for value, most := range map[string]int{
		tag + ".18446744073709551615": 1,
		tag + ".18446744073709551616": 0,
		tag + ".-1":                   0,
		tag + ".1e9":                  0,
		tag + ".":                     0,
		tag:                           0,
		"":                            0,
		"99":                          0,
		".":                           0,
		"000000000000.99":             0, // another session's
		strings.Repeat("9", 4000):     0,
		tag + ".9; " + revisionCookie + "=" + tag + ".x": 1,
	} {
		for range 3 {
			p.jar[revisionCookie] = value
			if n, loads := p.tally(); n != 1 || loads != most {
				t.Errorf("%.40s: reads %d, with %d loads instead of %d", value, n, loads, most)
			}
		}
	}
}

// What is written after the response has started is not told; what was before is.
func TestRevisionCookieAfterTheStart(t *testing.T) {
	p := newProcesses(t)
	p.add(p.far)
	p.send(p.far, func(w http.ResponseWriter, ctx context.Context) {
		_, err := tally.Add(ctx, 1)
		must(t, err)
		w.WriteHeader(http.StatusOK)
		_, err = tally.Add(ctx, 1)
		must(t, err)
	})
	if value := p.jar[revisionCookie]; !strings.HasSuffix(value, ".2") {
		t.Errorf("the cookie is %s", value)
	}
}
