package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// TestServerStopsUnderLoad has Redis end, or freeze, while requests come in, and
// come back.
func TestServerStopsUnderLoad(t *testing.T) {
	for _, fault := range []struct {
		name        string
		stop, start func(*redistest.Server) error
	}{
		{"killed", (*redistest.Server).Kill, func(s *redistest.Server) error { return s.Restart(context.Background()) }},
		{"frozen", (*redistest.Server).Pause, (*redistest.Server).Resume},
	} {
		t.Run(fault.name, func(t *testing.T) {
			// What it has acknowledged survives a kill, for the kernel has it.
			server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "no")
			l := newLoad(t, newApp(t, openRedis(t, server, redisstore.DefaultTimeout), quiet))
			l.run(t, func() {
				for range scale(3, 20) {
					l.outage(t, func() error { return fault.stop(server) }, func() error { return fault.start(server) })
				}
			})
		})
	}
}

// The load on a server that stops.
const (
	loaders = 16
	// hanging is how long a request may take whose store has redisstore's default
	// timeout: other tests may keep the machine busy.
	hanging = 5 * redisstore.DefaultTimeout
	// recovery is how long after the server's return service may resume: five
	// times what we promise.
	recovery = 5 * time.Second
)

// stage is what may be expected of a request that begins and ends in it.
type stage int64 // rises by one each time; its remainder by 3 is one of these

const (
	serving stage = iota // every request succeeds
	down                 // none does
	between              // some do
)

// load is a page that keeps sending requests, and what they found.
type load struct {
	browser      *browser
	stage        atomic.Int64
	acknowledged atomic.Int64 // increments
	unknown      atomic.Int64 // increments that may have been executed
	failed       atomic.Int64 // requests of any kind
	longest      atomic.Int64 // ns that one took
}

func newLoad(t *testing.T, a *app) *load {
	l := &load{browser: a.newBrowser(t)}
	l.browser.mustGet(t, "/set?k=fixed&v=%22kept%22")
	return l
}

// run keeps the load up while meanwhile runs, and then counts.
func (l *load) run(t *testing.T, meanwhile func()) {
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		together(loaders, func(i int) {
			for n := i; !over.Load() && !t.Failed(); n++ {
				l.request(t, n)
			}
		})
	}()
	defer func() { over.Store(true); <-done }()
	meanwhile()
	over.Store(true)
	<-done
	count, err := strconv.ParseInt(l.browser.mustGet(t, "/get?k=n"), 10, 64)
	if least, most := l.acknowledged.Load(), l.acknowledged.Load()+l.unknown.Load(); err != nil || count < least || count > most {
		t.Errorf("the counter is %d, want %d to %d: %v", count, least, most, err)
	}
	t.Logf("%d increments acknowledged, %d unknown, %d requests failed; the longest request took %v", l.acknowledged.Load(),
		l.unknown.Load(), l.failed.Load(), time.Duration(l.longest.Load()).Round(time.Millisecond))
}

// request sends one request and judges the answer.
func (l *load) request(t *testing.T, n int) {
	before, floor, start := l.stage.Load(), l.acknowledged.Load(), time.Now()
	visitor := &browser{app: l.browser.app}
	var path string
	var got answer
	switch n % 3 {
	case 0:
		path = "/get?k=fixed"
		got = l.browser.get(path)
	case 1:
		path = "/inc?k=n"
		got = l.browser.get(path)
	case 2: // a visitor's first
		path = "/inc?k=made"
		got = visitor.get(path)
	}
	took := time.Since(start)
	for longest := l.longest.Load(); int64(took) > longest && !l.longest.CompareAndSwap(longest, int64(took)); longest = l.longest.Load() {
	}
	if took > hanging {
		t.Errorf("%s took %v", path, took)
	}
	if expected := stage(before % 3); before == l.stage.Load() && expected != between && (got.code == http.StatusOK) != (expected == serving) {
		t.Errorf("%s: %+v while the server was there: %v", path, got, expected == serving)
	}
	switch {
	case got.err != nil || got.code != http.StatusOK && got.code != http.StatusServiceUnavailable:
		t.Errorf("%s: %+v", path, got)
	case got.code != http.StatusOK:
		l.failed.Add(1)
		if n%3 == 1 && strings.Contains(got.body, pazzo.ErrOutcomeUnknown.Error()) {
			l.unknown.Add(1)
		}
		if visitor.jar != "" {
			t.Errorf("%s failed, and set a cookie", path)
		}
	case n%3 == 0 && got.body != `"kept"`:
		t.Errorf("%s: a session without its field: %+v", path, got)
	case n%3 == 1:
		l.acknowledged.Add(1)
		if value, err := strconv.ParseInt(got.body, 10, 64); err != nil || value <= floor {
			t.Errorf("%s: %+v after %d were acknowledged", path, got, floor)
		}
	case n%3 == 2 && visitor.jar == "":
		t.Errorf("%s set no cookie", path)
	}
}

// outage stops the server for a while and waits for the service to resume.
func (l *load) outage(t *testing.T, stop, start func() error) {
	t.Helper()
	l.wait(t, &l.acknowledged, loaders)
	l.stage.Add(2) // between
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // for what was under way
	l.stage.Add(2)                    // down
	l.wait(t, &l.failed, 3*loaders)
	l.stage.Add(1) // between
	if err := start(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for l.browser.get("/get?k=fixed").code != http.StatusOK || l.browser.get("/inc?k=extra").code != http.StatusOK {
		if time.Since(back) > recovery {
			t.Fatalf("no service %v after the server's return", time.Since(back))
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("service resumed %v after the server's return", time.Since(back).Round(time.Millisecond))
	l.stage.Add(1) // serving
}

// wait waits until a figure has risen by n.
func (l *load) wait(t *testing.T, figure *atomic.Int64, n int64) {
	t.Helper()
	end := time.Now().Add(3 * hanging)
	for n += figure.Load(); figure.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) || t.Failed() {
			t.Fatal("the load does not go on")
		}
	}
}

// member is a session of a user, used without HTTP.
type member struct {
	ctx context.Context
	*pazzo.Session
	handle pazzo.Handle
	key    string // in Redis
}

// kept is the counter in every member's session.
const kept pazzo.Counter = "kept"

// logIn returns a new session of a user, with the counter kept at 1.
func (a *app) logIn(t *testing.T, user string) *member {
	t.Helper()
	s, err := a.Acquire("")
	if err != nil {
		t.Fatal(err)
	}
	ctx := pazzo.NewContext(t.Context(), s)
	_, addErr := kept.Add(ctx, 1)
	err = s.Authenticate(ctx, user)
	handle, _, handleErr := s.Handle(ctx)
	if err := errors.Join(addErr, err, handleErr); err != nil {
		t.Fatal(err)
	}
	return &member{ctx, s, handle, sessionKey(handle)}
}

// again returns the session as another request with its token finds it.
func (m *member) again(t *testing.T, a *app) *member {
	t.Helper()
	s, err := a.Acquire(m.Token())
	if err != nil {
		t.Fatal(err)
	}
	return &member{pazzo.NewContext(t.Context(), s), s, m.handle, m.key}
}

// isWell fails the test unless the session works, with kept at want.
func (m *member) isWell(t *testing.T, a *app, user string, want int64) {
	t.Helper()
	m = m.again(t, a)
	n, err := kept.Get(m.ctx)
	name, userErr := m.User(m.ctx)
	_, addErr := m.Add(m.ctx, "beside", 1)
	if err := errors.Join(err, userErr, addErr); err != nil || n != want || name != user {
		t.Errorf("%s's session has %d and the user %q, want %d: %v", user, n, name, want, err)
	}
}

// do asks Redis itself.
func (a *app) do(t *testing.T, args ...string) any {
	t.Helper()
	reply, err := a.redis.Do(context.Background(), args...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return reply
}

// TestOversizeIsRefused has values, names and records pass their limits: nothing
// is changed, whatever else is written goes on.
func TestOversizeIsRefused(t *testing.T) {
	limits := func(o *pazzo.Options) { o.Limits = record.Limits{Name: 64, Value: 1_000, Fields: 8, Size: 4_000} }
	onEach(t, func(t *testing.T, a *app) {
		b := a.newBrowser(t)
		b.mustGet(t, "/fill?k=f0&v=900")
		refused := func(path string) {
			t.Helper()
			if got := b.get(path); got.code != http.StatusRequestEntityTooLarge || !strings.Contains(got.body, pazzo.ErrTooLarge.Error()) {
				t.Errorf("%s: %+v", path, got)
			}
		}
		refused("/fill?k=f0&v=999") // with its quotes, a byte too many
		refused("/inc?k=" + strings.Repeat("n", 65))
		for i := range 3 {
			b.mustGet(t, fmt.Sprintf("/fill?k=f%d&v=998", i+1))
		}
		refused("/fill?k=f4&v=900") // the record's size
		for i := range 3 {
			b.mustGet(t, fmt.Sprintf("/inc?k=n%d", i))
		}
		refused("/inc?k=n3") // the number of fields
		for i, want := range []int{902, 1000, 1000, 1000, 0} {
			if got := len(b.mustGet(t, fmt.Sprintf("/get?k=f%d", i))); got != want {
				t.Errorf("f%d has %d bytes, want %d", i, got, want)
			}
		}
		if got := b.mustGet(t, "/inc?k=n0"); got != "2" {
			t.Errorf("a counter beside them is %s", got)
		}
	}, limits)
}

// TestInvalidJSONSpoilsItsFieldOnly plants what is not JSON in Redis.
func TestInvalidJSONSpoilsItsFieldOnly(t *testing.T) {
	const (
		bad   pazzo.Key[[]int]           = "bad"
		plain pazzo.Key[any]             = "bad"
		raw   pazzo.Key[json.RawMessage] = "bad"
		count pazzo.Counter              = "bad"
		list  pazzo.Flash[string]        = "bad"
		shown pazzo.Flash[string]        = "shown"
	)
	a := onRedis(t)
	for _, text := range []string{`{"x":`, "", "\xff\x00", "[1,2", "nul", "1 2", `"\ud800`, "[]]"} {
		m := a.logIn(t, "ann").again(t, a)
		if err := shown.Append(m.ctx, "kept"); err != nil {
			t.Fatal(err)
		}
		a.do(t, "HSET", m.key, string(bad), text)
		_, _, err := bad.Get(m.ctx)
		_, _, plainErr := plain.Get(m.ctx)
		_, updateErr := bad.Update(m.ctx, func(old []int) ([]int, error) { return append(old, 3), nil })
		_, countErr := count.Get(m.ctx)
		for _, err := range []error{err, plainErr, updateErr, countErr} {
			var broken *pazzo.DecodeError
			if !errors.As(err, &broken) || !errors.Is(err, pazzo.ErrDecode) || broken.Field != string(bad) || string(broken.Text) != text {
				t.Errorf("%q: %v, want a DecodeError", text, err)
			}
		}
		if _, err := count.Add(m.ctx, 1); !errors.Is(err, pazzo.ErrNotInteger) {
			t.Errorf("%q: Add: %v", text, err)
		}
		if !strings.HasPrefix(text, "[") { // that is how Append tells a list: it does not parse it
			if err := list.Append(m.ctx, "x"); !errors.Is(err, pazzo.ErrNotList) {
				t.Errorf("%q: Append: %v", text, err)
			}
		}
		all, err := m.All(m.ctx)
		found := map[string]string{}
		for name, text := range all {
			found[name] = string(text)
		}
		if err != nil || len(found) != 3 || found["kept"] != "1" || found["shown"] != `["kept"]` || found[string(bad)] != text {
			t.Errorf("%q: all fields are %q: %v", text, found, err)
		}
		if got, _, err := raw.Get(m.ctx); err != nil || string(got) != text {
			t.Errorf("%q: as it is: %q, %v", text, got, err)
		}
		m.isWell(t, a, "ann", 1)
		if err := bad.Set(m.ctx, []int{1}); err != nil {
			t.Errorf("%q: a new value: %v", text, err)
		}
		if got, found, err := bad.Pop(m.ctx); !found || err != nil || len(got) != 1 {
			t.Errorf("%q: popped %v %v: %v", text, got, found, err)
		}
	}
}

// TestUnreadableRecordSpoilsItselfOnly plants records in Redis that this version
// does not know, or that are none. They give named errors and stay as they are;
// sessions of the same user and of others go on.
func TestUnreadableRecordSpoilsItselfOnly(t *testing.T) {
	for _, plant := range []struct {
		name string
		want error
		do   func(t *testing.T, a *app, key string)
	}{
		{"layout of the future", pazzo.ErrLayout, func(t *testing.T, a *app, key string) {
			meta := a.do(t, "HGET", key, "\x00m").(string)
			a.do(t, "HSET", key, "\x00m", "\x02"+meta[1:]+"more")
		}},
		{"flags of the future", pazzo.ErrCorrupt, func(t *testing.T, a *app, key string) {
			meta := a.do(t, "HGET", key, "\x00m").(string)
			a.do(t, "HSET", key, "\x00m", meta[:1]+"\xff"+meta[2:])
		}},
		{"cut short", pazzo.ErrCorrupt, func(t *testing.T, a *app, key string) {
			meta := a.do(t, "HGET", key, "\x00m").(string)
			a.do(t, "HSET", key, "\x00m", meta[:61])
		}},
		{"no meta data", pazzo.ErrCorrupt, func(t *testing.T, a *app, key string) { a.do(t, "HDEL", key, "\x00m") }},
		{"not a hash", pazzo.ErrCorrupt, func(t *testing.T, a *app, key string) { a.do(t, "SET", key, "x", "EX", "600") }},
	} {
		t.Run(plant.name, func(t *testing.T) {
			a := onRedis(t, quiet)
			spoilt, same, other := a.logIn(t, "ann"), a.logIn(t, "ann"), a.logIn(t, "bob")
			plant.do(t, a, spoilt.key)
			dump, expires := a.do(t, "DUMP", spoilt.key), a.do(t, "PEXPIRETIME", spoilt.key)
			for name, call := range map[string]func(m *member) error{
				"Get":          func(m *member) error { _, err := kept.Get(m.ctx); return err },
				"All":          func(m *member) error { _, err := m.All(m.ctx); return err },
				"Info":         func(m *member) error { _, _, err := m.Info(m.ctx); return err },
				"Set":          func(m *member) error { return m.Set(m.ctx, "a", 1) },
				"Add":          func(m *member) error { _, err := kept.Add(m.ctx, 1); return err },
				"Clear":        func(m *member) error { return m.Clear(m.ctx) },
				"Renew":        func(m *member) error { return m.Renew(m.ctx) },
				"Authenticate": func(m *member) error { return m.Authenticate(m.ctx, "ann") },
				"Destroy":      func(m *member) error { return m.Destroy(m.ctx) },
				"Revoke":       func(m *member) error { _, err := a.Revoke(m.ctx, m.handle); return err },
			} {
				m := spoilt.again(t, a)
				if err := call(m); !errors.Is(err, plant.want) || pazzo.StatusCode(err) != http.StatusInternalServerError {
					t.Errorf("%s: %v, want %v", name, err, plant.want)
				}
			}
			b := &browser{app: a, jar: spoilt.Token()}
			if got := b.get("/inc?k=a"); got.code != http.StatusInternalServerError || b.jar != spoilt.Token() {
				t.Errorf("over HTTP: %+v", got)
			}
			if infos, err := a.Sessions(t.Context(), "ann"); !errors.Is(err, plant.want) || len(infos) != 1 || infos[0].Handle != same.handle {
				t.Errorf("listed: %v, %v", infos, err)
			}
			same.isWell(t, a, "ann", 1)
			a.logIn(t, "ann").isWell(t, a, "ann", 1)
			if n, err := a.RevokeAll(t.Context(), "ann", same.handle); !errors.Is(err, plant.want) || n != 1 {
				t.Errorf("RevokeAll ended %d: %v", n, err)
			}
			same.isWell(t, a, "ann", 1)
			other.isWell(t, a, "bob", 1)
			if a.do(t, "DUMP", spoilt.key) != dump || a.do(t, "PEXPIRETIME", spoilt.key) != expires {
				t.Error("the record was changed")
			}
		})
	}
}

// jumpClock lets the server's clock jump, as the session sees it: all its times
// are that much earlier. The key itself stays until its time by its present end.
func (a *app) jumpClock(t *testing.T, m *member, by time.Duration) (meta record.Meta) {
	t.Helper()
	if err := meta.Unpack(a.do(t, "HGET", m.key, "\x00m").(string)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []*int64{&meta.Created, &meta.Deadline, &meta.Touched, &meta.FloorTime, &meta.Renewed} {
		*at -= by.Milliseconds()
	}
	packed := meta.Pack()
	a.do(t, "HSET", m.key, "\x00m", string(packed[:]))
	return meta
}

// TestClockJumps has Redis' clock jump. (The memory store's is monotonic.)
func TestClockJumps(t *testing.T) {
	a := onRedis(t) // with 1 h without activity, 24 h in all
	witness := a.logIn(t, "witness")
	stored := func(m *member) (meta record.Meta, ttl time.Duration) {
		if err := meta.Unpack(a.do(t, "HGET", m.key, "\x00m").(string)); err != nil {
			t.Fatal(err)
		}
		return meta, time.Duration(a.do(t, "PTTL", m.key).(int64)) * time.Millisecond
	}

	t.Run("forward within the timeouts", func(t *testing.T) {
		m := a.logIn(t, "ann")
		a.jumpClock(t, m, 50*time.Minute)
		m.isWell(t, a, "ann", 1)
		meta, ttl := stored(m)
		if since := time.Since(time.UnixMilli(meta.Touched)); since > time.Minute || ttl > time.Hour || ttl < 59*time.Minute {
			t.Errorf("touched %v ago, to stay for %v", since, ttl)
		}
	})
	t.Run("forward beyond a timeout", func(t *testing.T) {
		for _, by := range []time.Duration{61 * time.Minute, 25 * time.Hour, 300 * 24 * time.Hour} {
			m := a.logIn(t, "ann")
			before := a.jumpClock(t, m, by)
			late := m.again(t, a)
			n, err := kept.Get(late.ctx)
			user, userErr := late.User(late.ctx)
			if err := errors.Join(err, userErr); err != nil || n != 0 || user != "" {
				t.Errorf("%v: found %d and the user %q: %v", by, n, user, err)
			}
			if n, err := kept.Add(late.ctx, 1); err != nil || n != 1 || late.Token() == m.Token() {
				t.Errorf("%v: a write found %d: %v", by, n, err)
			}
			if after, _ := stored(m); after != before {
				t.Errorf("%v: the expired record was written: %+v", by, after)
			}
		}
	})
	t.Run("back", func(t *testing.T) {
		for _, by := range []time.Duration{time.Minute, 30 * time.Hour, 300 * 24 * time.Hour} {
			m := a.logIn(t, "bob")
			before := a.jumpClock(t, m, -by)
			m.isWell(t, a, "bob", 1)
			m.isWell(t, a, "bob", 1)
			after, ttl := stored(m)
			if after.Deadline != before.Deadline || after.Touched > before.Touched || ttl <= 0 || ttl > time.Hour+by {
				t.Errorf("%v: touched and ends at %d, %d, before %d, %d; the key stays for %v", by,
					after.Touched, after.Deadline, before.Touched, before.Deadline, ttl)
			}
			again := m.again(t, a) // a login sets the times right
			if err := again.Authenticate(again.ctx, "bob"); err != nil {
				t.Error(err)
			}
			if _, ttl := stored(m); ttl <= 0 || ttl > time.Hour {
				t.Errorf("%v: after a login the key stays for %v", by, ttl)
			}
			m.again(t, a).findsNothing(t)
		}
	})
	witness.isWell(t, a, "witness", 1)
	a.keys(t) // each has a TTL
}

// findsNothing fails the test if the session's token opens it.
func (m *member) findsNothing(t *testing.T) {
	t.Helper()
	n, err := kept.Get(m.ctx)
	user, userErr := m.User(m.ctx)
	if err := errors.Join(err, userErr); err != nil || n != 0 || user != "" {
		t.Errorf("found %d and the user %q: %v", n, user, err)
	}
}
