package adaptertest

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Run runs the suite.
func Run(t *testing.T, serve Serve) {
	t.Run("the first write makes a session", serve.firstWrite)
	t.Run("several cookies of one name", serve.severalCookies)
	t.Run("login and logout", serve.loginAndLogout)
	t.Run("tokens of old are answered 409", serve.oldTokens)
	t.Run("cookie before the first streamed byte", serve.stream)
	t.Run("server-sent events", serve.serverSentEvents)
	t.Run("WebSocket", serve.socket)
	t.Run("a panic keeps the cookie", serve.panics)
	t.Run("an error keeps the cookie", serve.fails)
	t.Run("1000 requests at once", serve.thousandOverMemory)
	t.Run("Redis", serve.overRedis)
}

func (serve Serve) firstWrite(t *testing.T) {
	s := serve.overMemory(t)
	response := s.send("/get?k=n")
	if body := read(t, response); body != "0" || cookieOf(t, response) != "" || response.Header.Get("Vary") != "Cookie" {
		t.Errorf("a visitor's read is answered %q with %v", body, response.Header)
	}
	cookie := s.want("/inc?k=n", "1", "")
	if cookie == "" {
		t.Fatal("the first write sets no cookie")
	}
	if again := s.want("/inc?k=n", "2", cookie); again != "" {
		t.Error("the second write sets a cookie")
	}
	if status := s.send("/inc?k=", cookie).StatusCode; status != http.StatusBadRequest {
		t.Errorf("a field without a name: %d", status)
	}
}

func (serve Serve) severalCookies(t *testing.T) {
	s := serve.overMemory(t)
	cookie := s.want("/inc?k=n", "1", "")
	for _, headers := range [][]string{
		{cookieName + "=" + strings.Repeat("x", 64) + "; " + cookie},
		{"other=1; " + cookieName + "=\"\"", cookie},
		{cookie, cookieName + "=forged"},
	} {
		if got := read(t, s.send("/get?k=n", headers...)); got != "1" {
			t.Errorf("with %q the field is %q", headers, got)
		}
	}
}

func (serve Serve) loginAndLogout(t *testing.T) {
	s := serve.overMemory(t)
	first := s.want("/inc?k=n", "1", "")
	second := s.want("/login?user=ann", "ann", first)
	if second == "" || second == first {
		t.Fatalf("the login sets the cookie %q", second)
	}
	s.want("/get?k=n", "1", second)
	response := s.send("/logout", second)
	if got := response.Header.Get("Set-Cookie"); !strings.Contains(got, "Max-Age=0") {
		t.Errorf("the logout sets %q", got)
	}
	s.want("/get?k=n", "0", second)
}

func (serve Serve) oldTokens(t *testing.T) {
	s := serve.overMemory(t)
	superseded := s.want("/inc?k=n", "1", "")
	ended := s.want("/login?user=ann", "ann", superseded)
	check := func(cookie string) {
		t.Helper()
		for _, path := range []string{"/inc?k=n", "/logout"} {
			response := s.send(path, cookie)
			if set := response.Header.Get("Set-Cookie"); response.StatusCode != http.StatusConflict || set != "" {
				t.Errorf("%s: %d, with cookie %q", path, response.StatusCode, set)
			}
		}
		s.want("/get?k=n", "0", cookie)
	}
	check(superseded)
	s.want("/get?k=n", "1", ended)
	s.want("/logout", "", ended)
	check(ended)
}

func (serve Serve) stream(t *testing.T) {
	s := serve.overMemory(t)
	response := s.send("/stream")
	cookie := cookieOf(t, response)
	if cookie == "" {
		t.Fatal("a stream's headers have no cookie")
	}
	lines := bufio.NewReader(response.Body)
	if line, err := lines.ReadString('\n'); line != "begun\n" {
		t.Fatalf("the first line is %q, %v", line, err)
	}
	s.want("/inc?k=more", "1", cookie)
	const last = "more: 1, too late to renew: true\n"
	if line, err := lines.ReadString('\n'); line != last {
		t.Errorf("the last line is %q, %v; want %q", line, err, last)
	}
}

func (serve Serve) serverSentEvents(t *testing.T) {
	s := serve.overMemory(t)
	response := s.send("/events")
	cookie := cookieOf(t, response)
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		t.Errorf("the content type is %q", kind)
	}
	var got []string
	for line := range strings.Lines(read(t, response)) {
		if data, found := strings.CutPrefix(line, "data:"); found {
			got = append(got, strings.TrimSpace(data))
		}
	}
	if fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("the events are %q", got)
	}
	s.want("/get?k=events", "3", cookie)
}

func (serve Serve) socket(t *testing.T) {
	s := serve.overMemory(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cookie := s.want("/inc?k=n", "1", "")
	for _, with := range []string{cookie, ""} {
		header := http.Header{"Sec-Fetch-Mode": {"websocket"}} // as browsers do
		if with != "" {
			header.Set("Cookie", with)
		}
		conn, response, err := websocket.Dial(ctx, s.url+"/socket", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header})
		if err != nil {
			t.Fatal(err)
		}
		set := cookieOf(t, response)
		if (set == "") != (with != "") {
			t.Errorf("the handshake with cookie %q sets %q", with, set)
		}
		talk(ctx, t, conn, "m", "1")
		talk(ctx, t, conn, "m", "2")
		s.want("/get?k=m", "2", with+set)
		s.want("/logout", "", with+set)
		talk(ctx, t, conn, "m", "pazzo: the session has ended")
		if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err)
		}
	}
}

func talk(ctx context.Context, t *testing.T, conn *websocket.Conn, say, want string) {
	t.Helper()
	if err := conn.Write(ctx, websocket.MessageText, []byte(say)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := conn.Read(ctx); err != nil || string(got) != want {
		t.Fatalf("%q is answered %q, %v; want %q", say, got, err, want)
	}
}

func (serve Serve) panics(t *testing.T) { serve.keepsCookie(t, "/panic") }
func (serve Serve) fails(t *testing.T)  { serve.keepsCookie(t, "/error") }

// keepsCookie: a session that was made, or logged in, is not lost with the answer.
func (serve Serve) keepsCookie(t *testing.T, path string) {
	s := serve.overMemory(t)
	response := s.send(path)
	cookie := cookieOf(t, response)
	if response.StatusCode != http.StatusInternalServerError || cookie == "" {
		t.Fatalf("%d with cookie %q", response.StatusCode, cookie)
	}
	s.want("/get?k=visits", "1", cookie)
}

func (serve Serve) thousandOverMemory(t *testing.T) { serve.overMemory(t).thousand() }

// thousand sends 1,000 requests on one session at once.
func (s *site) thousand() {
	cookie := s.want("/inc?k=n", "1", "")
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			response, err := s.try("/inc?k=n", cookie)
			if err != nil {
				s.t.Error(err)
				return
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				s.t.Errorf("a request at the same time as others is answered %d", response.StatusCode)
			}
		})
	}
	all.Wait()
	s.want("/get?k=n", "1001", cookie)
}

// since fails the test if something that began then took too long.
func since(t *testing.T, begun time.Time, what string) {
	t.Helper()
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("%s took %v", what, took)
	}
}
