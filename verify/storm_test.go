package verify

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// app is a web app with sessions, served over real HTTP.
type app struct {
	*pazzo.Manager
	addr  string
	redis *redistest.Server // nil over memory

	mu   sync.Mutex
	idle []*line
}

// line is a connection to the app. It does less for a request than http.Client,
// so that a storm is the server's.
type line struct {
	net.Conn
	in *bufio.Reader
}

// dial returns an idle connection, or a new one.
func (a *app) dial() (*line, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.idle); n > 0 {
		l := a.idle[n-1]
		a.idle = a.idle[:n-1]
		return l, nil
	}
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		return nil, err
	}
	return &line{c, bufio.NewReader(c)}, nil
}

// hangUp gives a connection back, for the next request if it is still good.
func (a *app) hangUp(l *line, good bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if good {
		a.idle = append(a.idle, l)
	} else {
		l.Close()
	}
}

// scale returns a figure of the everyday tests, or that of the nightly ones.
func scale(everyday, full int) int {
	if nightly {
		return full
	}
	return everyday
}

// onEach runs a test over memory and over Redis.
func onEach(t *testing.T, test func(t *testing.T, a *app), change ...func(*pazzo.Options)) {
	t.Run("memory", func(t *testing.T) { test(t, onMemory(t, change...)) })
	t.Run("redis", func(t *testing.T) { test(t, onRedis(t, change...)) })
}

func onMemory(t *testing.T, change ...func(*pazzo.Options)) *app {
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	return newApp(t, store, change...)
}

// patience is a store timeout that a busy machine does not reach.
const patience = 20 * time.Second

func onRedis(t *testing.T, change ...func(*pazzo.Options)) *app {
	server := redistest.Start(t)
	a := newApp(t, openRedis(t, server, patience), change...)
	a.redis = server
	return a
}

func openRedis(t *testing.T, server *redistest.Server, timeout time.Duration) record.Store {
	store, err := redisstore.Open(t.Context(), server.URL(), &redisstore.Options{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func newApp(t *testing.T, store record.Store, change ...func(*pazzo.Options)) *app {
	options := &pazzo.Options{SecretKeys: []string{"a key of 32 bytes or more, for tests"}}
	for _, f := range change {
		f(options)
	}
	m, err := pazzo.New(store, options)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{Manager: m}
	server := httptest.NewServer(m.Handler(a.routes()))
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		for _, l := range a.idle {
			l.Close()
		}
	})
	a.addr = server.Listener.Addr().String()
	return a
}

// routes are small handlers of the app, each of which is given a field's name (k)
// and prints what it answers.
func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	route := func(path string, f func(ctx context.Context, s *pazzo.Session, k, v string) (any, error)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			answer, err := f(r.Context(), pazzo.FromContext(r.Context()), r.FormValue("k"), r.FormValue("v"))
			if err != nil {
				http.Error(w, err.Error(), pazzo.StatusCode(err))
				return
			}
			fmt.Fprint(w, answer)
		})
	}
	type session = *pazzo.Session
	route("/inc", func(ctx context.Context, _ session, k, _ string) (any, error) { return pazzo.Counter(k).Add(ctx, 1) })
	route("/get", func(ctx context.Context, s session, k, _ string) (any, error) {
		text, _, err := s.Get(ctx, k)
		return string(text), err
	})
	route("/set", func(ctx context.Context, s session, k, v string) (any, error) {
		return v, s.Set(ctx, k, json.RawMessage(v))
	})
	route("/fill", func(ctx context.Context, s session, k, v string) (any, error) { // v bytes
		var n int
		fmt.Sscan(v, &n)
		return v, s.Set(ctx, k, strings.Repeat("x", n))
	})
	route("/pop", func(ctx context.Context, s session, k, _ string) (any, error) {
		text, _, err := s.Pop(ctx, k)
		return string(text), err
	})
	route("/append", func(ctx context.Context, s session, k, v string) (any, error) { return v, s.Append(ctx, k, v) })
	route("/drain", func(ctx context.Context, _ session, k, _ string) (any, error) {
		list, err := pazzo.Flash[string](k).Drain(ctx)
		return strings.Join(list, " "), err
	})
	route("/login", func(ctx context.Context, s session, k, _ string) (any, error) { return k, s.Authenticate(ctx, k) })
	route("/logout", func(ctx context.Context, s session, _, _ string) (any, error) { return "", s.Destroy(ctx) })
	route("/me", func(ctx context.Context, s session, _, _ string) (any, error) { return s.User(ctx) })
	route("/handle", func(ctx context.Context, s session, _, _ string) (any, error) {
		h, found, err := s.Handle(ctx)
		if !found {
			return "", err
		}
		return h, err
	})
	return mux
}

// cookie is the name of the app's.
const cookie = "__Host-session"

// browser sends what a page's fetch sends, with the cookie that its jar has at
// that time, and lets each response change the jar as it arrives.
type browser struct {
	app *app
	mu  sync.Mutex
	jar string // the token, or none
}

// answer is what came back.
type answer struct {
	code int
	body string
	err  error // of the transport
}

func (b *browser) get(path string) answer {
	b.mu.Lock()
	token := b.jar
	b.mu.Unlock()
	return b.getAs(path, token)
}

// getAs sends a token that the jar may have no longer.
func (b *browser) getAs(path, token string) (got answer) {
	l, err := b.app.dial()
	if err != nil {
		return answer{err: err}
	}
	defer func() { b.app.hangUp(l, got.err == nil) }()
	l.SetDeadline(time.Now().Add(time.Minute))
	head := "GET " + path + " HTTP/1.1\r\nHost: app.example\r\n" +
		"Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Dest: empty\r\n"
	if token != "" {
		head += "Cookie: " + cookie + "=" + token + "\r\n"
	}
	if _, err := io.WriteString(l, head+"\r\n"); err != nil {
		return answer{err: err}
	}
	response, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return answer{err: err}
	}
	b.receive(response)
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, strings.TrimSpace(string(body)), err}
}

func (b *browser) receive(r *http.Response) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range r.Cookies() {
		switch {
		case c.Name != cookie:
		case c.MaxAge < 0:
			b.jar = ""
		default:
			b.jar = c.Value
		}
	}
}

// mustGet is get that has to work.
func (b *browser) mustGet(t *testing.T, path string) string {
	t.Helper()
	a := b.get(path)
	if a.err != nil || a.code != http.StatusOK {
		t.Fatalf("%s: %+v", path, a)
	}
	return a.body
}

// newBrowser returns a browser with a session.
func (a *app) newBrowser(t *testing.T) *browser {
	t.Helper()
	b := &browser{app: a}
	b.mustGet(t, "/inc?k=made")
	return b
}

// together runs f in n goroutines and waits for them.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// keys returns all keys in Redis with their remaining time in ms, and fails the
// test if one has none.
func (a *app) keys(t *testing.T) map[string]int64 {
	t.Helper()
	all := make(map[string]int64)
	for cursor := ""; cursor != "0"; {
		if cursor == "" {
			cursor = "0"
		}
		reply, err := a.redis.Do(context.Background(), "SCAN", cursor, "COUNT", "1000")
		if err != nil {
			t.Fatal(err)
		}
		page := reply.([]any)
		for _, key := range page[1].([]any) {
			left, err := a.redis.Do(context.Background(), "PTTL", key.(string))
			if err != nil {
				t.Fatal(err)
			}
			if left.(int64) == -1 {
				t.Fatalf("the key %q has no TTL", key)
			}
			all[key.(string)] = left.(int64)
		}
		cursor = page[0].(string)
	}
	return all
}

// live returns how many of the keys are sessions that are not tombstones.
func (a *app) live(t *testing.T) (n int) {
	t.Helper()
	for key := range a.keys(t) {
		if !strings.Contains(key, "{") {
			continue // an index
		}
		meta, err := a.redis.Do(context.Background(), "HGET", key, "\x00m")
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := meta.(string); ok && !record.IsTombstone(text) {
			n++
		}
	}
	return n
}

// TestStormOfIncrements has 64 goroutines of one browser add 1 to counters.
func TestStormOfIncrements(t *testing.T) {
	onEach(t, func(t *testing.T, a *app) {
		for _, fields := range []int{1, 8} {
			t.Run(fmt.Sprintf("%d fields", fields), func(t *testing.T) {
				a.keepsIncrements(t, fields, scale(50_000, 1_000_000))
			})
		}
	})
}

// keepsIncrements adds 1 to so many fields in turn, n times in all.
func (a *app) keepsIncrements(t *testing.T, fields, n int) {
	start, b := time.Now(), a.newBrowser(t)
	var next atomic.Int64
	together(64, func(int) {
		for i := next.Add(1); i <= int64(n) && !t.Failed(); i = next.Add(1) {
			if got := b.get(fmt.Sprintf("/inc?k=f%d", i%int64(fields))); got.err != nil || got.code != http.StatusOK {
				t.Errorf("increment: %+v", got)
			}
		}
	})
	sum := 0
	for i := range fields {
		var count int
		fmt.Sscan(b.mustGet(t, fmt.Sprintf("/get?k=f%d", i)), &count)
		sum += count
	}
	if sum != n {
		t.Errorf("%d of %d increments were kept", sum, n)
	}
	t.Logf("%d increments, all kept: %.0f requests/s", n, float64(n)/time.Since(start).Seconds())
}

// TestStormOfWritersAgainstLogout destroys sessions under 50 writers each.
func TestStormOfWritersAgainstLogout(t *testing.T) {
	const writers = 50
	a := onRedis(t)
	rounds, start := scale(2_000, 100_000), time.Now()
	kept, late := 0, 0
	for round := range rounds {
		b := a.newBrowser(t)
		token := b.jar
		var codes [writers + 1]int
		logout := rand.IntN(writers) // how many go ahead of it
		together(writers+1, func(i int) {
			path := fmt.Sprintf("/inc?k=f%d", i%8)
			if i == logout {
				path = "/logout"
			}
			got := b.getAs(path, token)
			if got.err != nil {
				t.Errorf("%s: %v", path, got.err)
			}
			codes[i] = got.code
		})
		for i, code := range codes {
			switch {
			case code == http.StatusOK:
				kept++
			case code == http.StatusConflict && i != logout:
				late++
			default:
				t.Fatalf("round %d: request %d got %d", round, i, code)
			}
		}
		if b.jar != "" {
			t.Fatalf("round %d: the jar has a cookie after the logout", round)
		}
		for _, path := range []string{"/get?k=f1", "/get?k=made", "/me", "/handle"} {
			if got := b.getAs(path, token); got.code != http.StatusOK || got.body != "" {
				t.Fatalf("round %d: %s found %+v in a session that has ended", round, path, got)
			}
		}
		if got := b.getAs("/inc?k=f1", token); got.code != http.StatusConflict {
			t.Fatalf("round %d: a write after the end got %+v", round, got)
		}
		if round%(rounds/20) == 0 {
			a.keys(t)
		}
	}
	if n := a.live(t); n != 0 {
		t.Errorf("%d sessions came back to life", n)
	}
	for key, left := range a.keys(t) {
		if left > time.Minute.Milliseconds() {
			t.Errorf("the tombstone %q is to stay for %d ms", key, left)
		}
	}
	if kept <= rounds || late == 0 {
		t.Errorf("%d requests came before a logout and %d after: they did not meet", kept, late)
	}
	t.Logf("%d rounds, %d requests before the logout and %d after: %v", rounds, kept, late, time.Since(start).Round(time.Second))
}

// TestStormAgainstLogin has a user log in over another's session, and over a
// visitor's, while 50 requests with the old cookie are in flight, and go on: whatever
// the order in which the responses arrive, the jar has the login's cookie in the end.
func TestStormAgainstLogin(t *testing.T) {
	const (
		requests = 50
		each     = 3 // one after another: a login takes several round trips, and must be met
	)
	paths := []string{"/inc?k=a", "/get?k=a", "/me", "/set?k=b&v=1", "/pop?k=b", "/handle", "/append?k=c&v=x", "/drain?k=c"}
	onEach(t, func(t *testing.T, a *app) {
		rounds := scale(200, 5_000)
		conflicts := 0
		for round := range rounds {
			b := a.newBrowser(t)
			if round%2 == 0 {
				b.mustGet(t, "/login?k=ann")
			}
			old := b.jar
			login := rand.IntN(requests)
			var codes [requests + 1][each]int
			together(requests+1, func(i int) {
				if i == login {
					codes[i][0] = b.getAs("/login?k=bob", old).code
					return
				}
				for j := range each {
					codes[i][j] = b.getAs(paths[(i+j)%len(paths)], old).code
				}
			})
			for i := range codes {
				for j, code := range codes[i] {
					switch {
					case i == login && j > 0:
					case code == http.StatusConflict && i != login:
						conflicts++
					case code != http.StatusOK:
						t.Fatalf("round %d: request %d of client %d got %d", round, j, i, code)
					}
				}
			}
			if user := b.mustGet(t, "/me"); user != "bob" || b.jar == old {
				t.Fatalf("round %d: after the login the jar's user is %q", round, user)
			}
			if got := b.getAs("/me", old); got.body != "" {
				t.Fatalf("round %d: the token of before belongs to %q", round, got.body)
			}
		}
		if conflicts == 0 {
			t.Error("no request met the login")
		}
		t.Logf("%d rounds, %d requests came too late", rounds, conflicts)
	})
}

// TestStormHasOneWinner pops one value, and drains one list, from many requests.
func TestStormHasOneWinner(t *testing.T) {
	const takers = 24
	onEach(t, func(t *testing.T, a *app) {
		b := a.newBrowser(t)
		for round := range scale(50, 1_000) {
			value := fmt.Sprint(round)
			b.mustGet(t, "/set?k=prize&v="+value)
			var got [takers]string
			together(takers, func(i int) { got[i] = b.get("/pop?k=prize").body })
			winners := 0
			for _, text := range got {
				if text == value {
					winners++
				} else if text != "" {
					t.Fatalf("popped %q", text)
				}
			}
			if winners != 1 {
				t.Fatalf("round %d: %d requests popped the value", round, winners)
			}

			var drained [takers]string
			together(2*takers, func(i int) { // half of them add to the list meanwhile
				if i%2 == 0 {
					b.get(fmt.Sprintf("/append?k=list&v=%d-%d", round, i))
				} else {
					drained[i/2] = b.get("/drain?k=list").body
				}
			})
			all := strings.Fields(strings.Join(drained[:], " ") + " " + b.get("/drain?k=list").body)
			slices.Sort(all)
			if distinct := slices.Compact(slices.Clone(all)); len(all) != takers || len(distinct) != takers {
				t.Fatalf("round %d: of %d values %d were drained, %d of them different", round, takers, len(all), len(distinct))
			}
		}
	})
}

// TestPlainSetIsLastWriteWins documents what is not promised: a value that was
// computed from one read earlier overwrites what others wrote to that field, and
// nothing else. Update does not.
func TestPlainSetIsLastWriteWins(t *testing.T) {
	const n pazzo.Key[int] = "n"
	const other pazzo.Counter = "other"
	onEach(t, func(t *testing.T, a *app) {
		token := a.newBrowser(t).jar
		contexts := make([]context.Context, 2)
		for i := range contexts {
			s, err := a.Acquire(token)
			if err != nil {
				t.Fatal(err)
			}
			contexts[i] = pazzo.NewContext(t.Context(), s)
		}
		var errs []error
		var seen [2]int
		for i, ctx := range contexts { // both read
			value, _, err := n.Get(ctx)
			errs, seen[i] = append(errs, err), value
		}
		for i, ctx := range contexts { // then both assign
			_, err := other.Add(ctx, 1)
			errs = append(errs, err, n.Set(ctx, seen[i]+1))
		}
		value, _, err := n.Get(contexts[0])
		sum, err2 := other.Get(contexts[0])
		if err := errors.Join(append(errs, err, err2)...); err != nil {
			t.Fatal(err)
		}
		if value != 1 || sum != 2 {
			t.Errorf("the field is %d and the counter beside it %d, want 1, for plain Set loses an update, and 2", value, sum)
		}
		together(2*16, func(i int) {
			if _, err := n.Update(contexts[i%2], func(old int) (int, error) { return old + 1, nil }); err != nil {
				t.Error(err)
			}
		})
		if value, _, _ := n.Get(contexts[0]); value != 1+32 {
			t.Errorf("after 32 updates the field is %d, want 33", value)
		}
	})
}
