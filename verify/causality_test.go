package verify

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// TestRevisionCookie has a browser write in one process and read in another, whose server is
// slow to tell the near cache, its own or an agent's. Without the cookie, the browser does not
// see its own write.
func TestRevisionCookie(t *testing.T) {
	server := redistest.Start(t)
	process := func(t *testing.T, p *redistest.Proxy) record.Store {
		store, err := redisstore.Open(t.Context(), p.URL(), &redisstore.Options{Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		return cachedStore(t, store)
	}
	agent := func(t *testing.T, p *redistest.Proxy) record.Store {
		return openAgent(t, startAgent(t, "-store", p.URL()+"?nearcache=1"))
	}
	for name, open := range map[string]func(*testing.T, *redistest.Proxy) record.Store{"process": process, "agent": agent} {
		for _, on := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, with the cookie: %t", name, on), func(t *testing.T) {
				t.Parallel() // they wait most of the time
				revisionCookie(t, server, open, on)
			})
		}
	}
}

func revisionCookie(t *testing.T, server *redistest.Server, open func(*testing.T, *redistest.Proxy) record.Store, on bool) {
	proxy := redistest.StartProxy(t, server.Addr())
	writer := countingApp(t, openRedis(t, server, patience), on)
	reader := countingApp(t, open(t, proxy), on)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	defer client.CloseIdleConnections()

	stale := 0
	const rounds = 5
	for want := 1; want <= 2*rounds; want += 2 {
		proxy.Delay(0, 0)
		visit(t, client, "POST", writer)
		for n := 0; n < 10; n++ { // until there is a copy of now
			if visit(t, client, "GET", reader) != want {
				n = 0
			}
			time.Sleep(50 * time.Millisecond)
		}
		proxy.Delay(0, 300*time.Millisecond)
		visit(t, client, "POST", writer)
		switch got := visit(t, client, "GET", reader); got {
		case want:
			stale++
		case want + 1:
		default:
			t.Fatalf("read %d after %d", got, want+1)
		}
	}
	t.Logf("%d of %d reads were stale", stale, rounds)
	if on && stale > 0 || !on && stale == 0 {
		t.Errorf("%d of %d reads were stale", stale, rounds)
	}
}

// countingApp starts a server that counts in the session on POST and tells on GET, and returns
// its URL.
func countingApp(t *testing.T, store record.Store, revisionCookie bool) string {
	t.Helper()
	m, err := pazzo.New(store, &pazzo.Options{
		SecretKeys: []string{"a key of 32 bytes or more, for tests"}, RevisionCookie: revisionCookie})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		do := counted.Get
		if r.Method == "POST" {
			do = func(ctx context.Context) (int64, error) { return counted.Add(ctx, 1) }
		}
		n, err := do(r.Context())
		if err != nil {
			http.Error(w, err.Error(), pazzo.StatusCode(err))
			return
		}
		fmt.Fprint(w, n)
	})))
	t.Cleanup(server.Close)
	return server.URL
}

// visit sends a request and returns the number that it is answered by.
func visit(t *testing.T, client *http.Client, method, url string) (n int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(body), &n); err != nil {
		t.Fatalf("%s %s: %s %q", method, url, response.Status, body)
	}
	return n
}
