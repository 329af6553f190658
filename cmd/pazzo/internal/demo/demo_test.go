package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/memstore"
)

// browser is what the page does, without a page.
type browser struct {
	t       *testing.T
	client  *http.Client
	home    string // the page
	origins []string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	s, err := Listen("127.0.0.1:0", store, strings.Repeat("k", 43))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	b := &browser{t: t, client: &http.Client{Jar: jar, Transport: transport}, home: s.URL()}
	for _, l := range s.more {
		b.origins = append(b.origins, "http://"+l.Addr().String())
	}
	return b
}

// request sends what a page's fetch sends.
func (b *browser) request(method, address string) *http.Response {
	r, err := http.NewRequestWithContext(b.t.Context(), method, address, nil)
	if err != nil {
		b.t.Error(err)
		return &http.Response{Body: http.NoBody}
	}
	r.Header.Set("Origin", b.home)
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Site", "same-site")
	answer, err := b.client.Do(r)
	if err != nil {
		b.t.Error(err)
		return &http.Response{Body: http.NoBody}
	}
	return answer
}

// call reads the answer into a T.
func call[T any](b *browser, method, address string) (status int, answer T) {
	b.t.Helper()
	response := b.request(method, address)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Error(err)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		b.t.Errorf("%s %s: %d %q: %v", method, address, response.StatusCode, text, err)
	}
	return response.StatusCode, answer
}

func router(i int) string { return []string{"/mux", "/chi"}[i%2] }

func TestStorm(t *testing.T) {
	b := newBrowser(t)
	const total, atOnce = 480, 120
	_, run := call[begun](b, "POST", b.home+"/mux/storm?atOnce=120")
	numbers := make(chan int, total)
	for i := range total {
		numbers <- i
	}
	close(numbers)
	var workers sync.WaitGroup
	for w := range atOnce {
		workers.Go(func() {
			for i := range numbers {
				address := fmt.Sprintf("%s%s/storm/%s?run=%s&i=%d", b.origins[w%len(b.origins)], router(i), items[i%len(items)], run.Run, i)
				if status, _ := call[acknowledged](b, "POST", address); status != http.StatusOK {
					t.Errorf("request %d: %d", i, status)
				}
			}
		})
	}
	workers.Wait()
	_, result := call[struct {
		Peak           int
		Pazzo, Classic cart
	}](b, "GET", b.home+"/chi/storm/"+run.Run)
	if result.Peak != atOnce {
		t.Errorf("%d in flight at most, want %d", result.Peak, atOnce)
	}
	var classic int64
	for _, item := range items {
		if kept := result.Pazzo[item]; kept != total/int64(len(items)) {
			t.Errorf("Pazzo kept %d %s of %d", kept, item, total/len(items))
		}
		classic += result.Classic[item]
	}
	if classic >= total*3/4 {
		t.Errorf("the classic session kept %d of %d: it does not race", classic, total)
	}
}

// race plays the page's part in a race and returns how the writes ended, and what
// the session is afterwards.
func (b *browser) race(side, kind string) (byStatus map[int]int, after state) {
	b.t.Helper()
	user := map[string]string{"logout": "?user=ann", "login": ""}[kind]
	call[state](b, "POST", b.home+"/mux/"+side+"/fresh"+user)
	_, run := call[begun](b, "POST", b.home+"/mux/race")
	byStatus = make(map[int]int)
	var mu sync.Mutex
	var writers sync.WaitGroup
	for i := range raceWriters {
		writers.Go(func() {
			address := fmt.Sprintf("%s%s/%s/add/%s?run=%s&i=%d", b.origins[i/perOrigin], router(i), side, items[0], run.Run, i)
			status, _ := call[written](b, "POST", address)
			mu.Lock()
			defer mu.Unlock()
			byStatus[status]++
		})
	}
	if status, _ := call[happening](b, "POST", b.home+"/mux/"+side+"/"+kind+"?user=ann&run="+run.Run); status != http.StatusOK {
		b.t.Errorf("%s: %d", kind, status)
	}
	writers.Wait()
	_, after = call[state](b, "GET", b.home+"/chi/"+side+"/state")
	return byStatus, after
}

func TestLogoutRace(t *testing.T) {
	b := newBrowser(t)
	byStatus, after := b.race("pazzo", "logout")
	if byStatus[409] == 0 || byStatus[200]+byStatus[409] != raceWriters {
		t.Errorf("Pazzo's writers got %v, want 200 before the logout and 409 after it", byStatus)
	}
	if after.Live || after.User != "" {
		t.Errorf("Pazzo's session after the logout: %+v", after)
	}
	byStatus, after = b.race("classic", "logout")
	if byStatus[200] != raceWriters || !after.Live || after.User != "ann" {
		t.Errorf("the classic session was not brought back: %v, %+v", byStatus, after)
	}
}

func TestLoginRace(t *testing.T) {
	b := newBrowser(t)
	byStatus, after := b.race("pazzo", "login")
	if byStatus[409] == 0 || byStatus[200]+byStatus[409] != raceWriters {
		t.Errorf("Pazzo's writers got %v, want 200 before the login and 409 after it", byStatus)
	}
	if after.User != "ann" || after.Cart[items[0]] != int64(byStatus[200]) {
		t.Errorf("after %d acknowledged writes and the login: %+v", byStatus[200], after)
	}
	byStatus, after = b.race("classic", "login")
	if byStatus[200] != raceWriters || after.User == "ann" || after.Cart[items[0]] >= raceWriters {
		t.Errorf("the classic session stood the login: %v, %+v", byStatus, after)
	}
}

// A stream tells of the session until it ends, and ends with it.
func TestEvents(t *testing.T) {
	b := newBrowser(t)
	b.request("GET", b.home+"/").Body.Close()
	stream := b.request("GET", b.home+"/events")
	defer stream.Body.Close()
	if got := stream.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("Content-Type %q", got)
	}
	lines := bufio.NewScanner(stream.Body)
	next := func() (event string, v view) {
		t.Helper()
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				event = name
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &v); err != nil {
					t.Fatal(err)
				}
				return event, v
			}
		}
		t.Fatalf("the stream ends: %v", lines.Err())
		return "", view{}
	}
	event, before := next()
	if event != "session" || before.Generation != 1 || len(before.Handle) != 32 || before.Created == 0 || string(before.Fields["visits"]) != "1" {
		t.Errorf("the first event: %s %+v", event, before)
	}
	call[written](b, "POST", b.home+"/chi/pazzo/add/figs")
	event, after := next()
	if event != "session" || string(after.Fields["figs"]) != "1" || after.Revision <= before.Revision {
		t.Errorf("after a write: %s %+v", event, after)
	}
	call[happening](b, "POST", b.home+"/mux/pazzo/logout")
	if event, _ := next(); event != "gone" {
		t.Errorf("after the logout: %s", event)
	}
	for lines.Scan() {
		if lines.Text() != "" {
			t.Errorf("the stream goes on: %q", lines.Text())
		}
	}
}

func TestGuard(t *testing.T) {
	b := newBrowser(t)
	home, err := url.Parse(b.home)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		base, host, origin string
		status             int
		allowed            string
	}{
		{b.home, "", "", 200, ""},
		{b.home, "", b.home, 200, b.home},
		{b.origins[0], "", b.home, 200, b.home},
		{b.home, "localhost:" + home.Port(), "http://localhost:" + home.Port(), 200, "http://localhost:" + home.Port()},
		{b.home, "", "http://localhost:" + home.Port(), 403, ""},
		{b.origins[0], "", b.origins[1], 403, ""},
		{b.home, "", "https://evil.example", 403, ""},
		{b.home, "", "null", 403, ""},
		{b.home, "evil.example:" + home.Port(), "", 421, ""},
		{b.origins[0], "evil.example", "http://evil.example:" + home.Port(), 421, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", c.base+"/mux/pazzo/state", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		answer, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != c.status || answer.Header.Get("Access-Control-Allow-Origin") != c.allowed {
			t.Errorf("%+v: %d, allowed %q", c, answer.StatusCode, answer.Header.Get("Access-Control-Allow-Origin"))
		}
		if credentials := answer.Header.Get("Access-Control-Allow-Credentials"); (credentials == "true") != (c.allowed != "") {
			t.Errorf("%+v: credentials %q", c, credentials)
		}
	}
}

func TestPage(t *testing.T) {
	b := newBrowser(t)
	page := b.request("GET", b.home+"/")
	text, err := io.ReadAll(page.Body)
	page.Body.Close()
	if err != nil || !strings.Contains(string(text), "<title>Pazzo") {
		t.Fatalf("%v: %.100q", err, text)
	}
	policy := page.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, " "+b.origins[len(b.origins)-1]) {
		t.Errorf("Content-Security-Policy: %s", policy)
	}
	cookie := page.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-session=", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("Set-Cookie: %s: no %s", cookie, want)
		}
	}
	for _, banned := range []string{"<style", " style=", " onclick=", "https://"} {
		if strings.Contains(string(text), banned) {
			t.Errorf("the page has %q", banned)
		}
	}
	for _, missing := range []string{"/nothing", "/../demo.go", "/mux/nothing"} {
		answer := b.request("GET", b.home+missing)
		answer.Body.Close()
		if answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", missing, answer.Status)
		}
	}
}

func TestBadRequests(t *testing.T) {
	b := newBrowser(t)
	for path, want := range map[string]int{
		"/mux/storm?atOnce=0":              400,
		"/mux/storm?atOnce=241":            400,
		"/chi/storm?atOnce=x":              400,
		"/mux/storm/apples?run=unknown":    404,
		"/mux/storm/nails":                 404,
		"/chi/pazzo/add/nails":             404,
		"/chi/pazzo/logout?run=unknown":    404,
		"/mux/classic/add/figs?run=absent": 404,
	} {
		answer := b.request("POST", b.home+path)
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, answer.Status, want)
		}
	}
}

func TestRunsAreForgotten(t *testing.T) {
	var s runs
	first := s.add(1, 0, 0)
	for range keepRuns {
		s.add(1, 0, 0)
	}
	if _, ok := s.get(first); ok || len(s.byID) != keepRuns || len(s.order) != keepRuns {
		t.Errorf("%d runs are kept, want %d", len(s.byID), keepRuns)
	}
}

// The first requests start when all of them have arrived, the others at once.
func TestWave(t *testing.T) {
	r := newRun(2, 0, 0)
	entered := make(chan bool, 3)
	var all sync.WaitGroup
	arrive := func() {
		all.Go(func() {
			defer r.enter(t.Context())()
			entered <- true
		})
	}
	arrive()
	select {
	case <-entered:
		t.Fatal("the first request did not wait for the second")
	case <-time.After(20 * time.Millisecond):
	}
	arrive()
	<-entered
	<-entered
	arrive()
	<-entered
	all.Wait()
	if now, peak := r.flight(); now != 0 || peak < 2 {
		t.Errorf("%d in flight, %d at most; want 0 and 2 or more", now, peak)
	}
}

func TestClassicStoreIsBounded(t *testing.T) {
	var c classicStore
	for i := range keepClassic + 10 {
		c.put(fmt.Sprint(i), nil)
	}
	c.put("again", nil)
	c.forget("again")
	c.put("again", nil)
	if len(c.saved) != keepClassic-1 && len(c.saved) != keepClassic || len(c.order) != len(c.saved) {
		t.Errorf("%d sessions and %d ids are kept, want at most %d", len(c.saved), len(c.order), keepClassic)
	}
}
