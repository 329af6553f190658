package pazzo_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
)

func TestEventsOfAStreamArriveAsTheyAreSentAndItsWritesTakeEffectAtOnce(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	next := make(chan struct{})
	defer close(next)
	server := s.start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for range next {
			n, err := events.Add(r.Context(), 1)
			fmt.Fprintf(w, "data: %d %v\n\n", n, err)
			w.(http.Flusher).Flush()
		}
	})
	response := get(t, server, token)
	lines := bufio.NewScanner(response.Body)
	elsewhere := s.context(t, token)
	for i := range 3 {
		next <- struct{}{}
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d <nil>", i+1) || !lines.Scan() {
			t.Fatalf("event %d is %q", i+1, lines.Text())
		}
		n, err := events.Get(elsewhere)
		must(t, err)
		equal(t, "events seen by another request meanwhile", n, int64(i+1))
	}
}

// noneMade fails the test if a session was made.
func (s *site) noneMade(t testing.TB) {
	t.Helper()
	if strings.Contains(s.log.String(), "session created") {
		t.Errorf("a session was made:\n%s", s.log)
	}
}

func TestMakingASessionInAStreamIsRefusedAndStoresNothing(t *testing.T) {
	for name, begin := range map[string]func(w http.ResponseWriter){
		"written":     func(w http.ResponseWriter) { io.WriteString(w, "a") },
		"bytes":       func(w http.ResponseWriter) { w.Write(nil) },
		"status":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) },
		"flushed":     func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"controller":  func(w http.ResponseWriter) { http.NewResponseController(w).Flush() },
		"copied":      func(w http.ResponseWriter) { io.Copy(w, strings.NewReader("a")) },
		"read from":   func(w http.ResponseWriter) { w.(io.ReaderFrom).ReadFrom(strings.NewReader("a")) },
		"no content":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		"after hints": func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(200) },
	} {
		s := newSite(t)
		var calls atomic.Int64
		done := make(chan struct{})
		server := s.start(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			begin(w)
			calls.Store(s.store.during(func() {
				ctx, session := r.Context(), pazzo.FromContext(r.Context())
				_, err := events.Add(ctx, 1)
				for _, err := range []error{err, session.Renew(ctx), session.Authenticate(ctx, "ann"), session.SetExpiry(ctx, pazzo.Expiry{}),
					pazzo.Atomically(ctx, func(ctx context.Context) error { return made.Set(ctx, true) })} {
					if !errors.Is(err, pazzo.ErrResponseStarted) {
						t.Errorf("%s: error is %v, want %v", name, err, pazzo.ErrResponseStarted)
					}
				}
			}))
		})
		noCookie(t, get(t, server, ""))
		<-done
		equal(t, name+": calls of the store", calls.Load(), 0)
		s.noneMade(t)
	}
}

// A session that exists can be written and ended in mid-stream, but not renewed.
func TestInAStreamRenewIsRefusedAndDestroyWorks(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	server := s.start(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		session := pazzo.FromContext(r.Context())
		fmt.Fprint(w, errors.Is(session.Renew(r.Context()), pazzo.ErrResponseStarted),
			errors.Is(session.Authenticate(r.Context(), "ann"), pazzo.ErrResponseStarted))
		fmt.Fprint(w, session.Destroy(r.Context()))
		_, err := events.Add(r.Context(), 1)
		fmt.Fprint(w, errors.Is(err, pazzo.ErrResponseStarted))
	})
	response := get(t, server, token)
	equal(t, "answers", body(t, response), "true true<nil>true")
	noCookie(t, response)
	_, err := events.Add(s.context(t, token), 1)
	must(t, err) // a token of a logout may begin anew outside a page's fetch
}

func TestASessionMadeBeforeTheStreamHasItsCookieInTheHeaders(t *testing.T) {
	s := newSite(t)
	server := s.start(t, func(w http.ResponseWriter, r *http.Request) {
		must(t, made.Set(r.Context(), true))
		w.(http.Flusher).Flush()
		fmt.Fprint(w, made.Set(r.Context(), false))
	})
	response := get(t, server, "")
	oneCookie(t, response)
	equal(t, "second write", body(t, response), "<nil>")
}

// upgrade answers a WebSocket's handshake, as libraries do.
func upgrade(w http.ResponseWriter, hijack func() (net.Conn, *bufio.ReadWriter, error)) (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := hijack()
	if err != nil {
		return nil, nil, err
	}
	rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
	for _, line := range w.Header()["Set-Cookie"] {
		rw.WriteString("Set-Cookie: " + line + "\r\n")
	}
	rw.WriteString("\r\n")
	return conn, rw, rw.Flush()
}

// dial opens a raw connection with a handshake and returns its reader after the
// response's headers, and these.
func dial(t testing.TB, server *httptest.Server, token string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	cookie := ""
	if token != "" {
		cookie = "Cookie: " + cookieName + "=" + token + "\r\n"
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s\r\n", cookie)
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	must(t, err)
	equal(t, "status", response.StatusCode, http.StatusSwitchingProtocols)
	return conn, r, response
}

// echo answers each line that comes over a connection with the count of lines.
func echo(ctx context.Context, rw *bufio.ReadWriter) {
	for {
		if _, err := rw.ReadString('\n'); err != nil {
			return
		}
		n, err := events.Add(ctx, 1)
		fmt.Fprintf(rw, "%d %v\n", n, err)
		rw.Flush()
	}
}

func TestWebSocketUpgrades(t *testing.T) {
	recorded := func(w http.ResponseWriter) http.ResponseWriter { return statusOnly{w} }
	for name, test := range map[string]struct {
		outside func(http.ResponseWriter) http.ResponseWriter
		upgrade func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error)
	}{
		"hijack": {nil, func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
			return upgrade(w, w.(http.Hijacker).Hijack)
		}},
		"controller": {nil, func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
			return upgrade(w, http.NewResponseController(w).Hijack)
		}},
		"controller through another's writer": {recorded, func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
			return upgrade(w, http.NewResponseController(w).Hijack)
		}},
		"WriteHeader": {nil, func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(http.StatusSwitchingProtocols)
			return http.NewResponseController(w).Hijack()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			token := s.login(t)
			h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, rw, err := test.upgrade(w)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				echo(r.Context(), rw)
			}))
			if test.outside != nil {
				inner := h
				h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(test.outside(w), r) })
			}
			server := httptest.NewServer(h)
			defer server.Close()

			conn, r, _ := dial(t, server, token)
			for i := range 3 {
				fmt.Fprintln(conn, "hello")
				line, err := r.ReadString('\n')
				must(t, err)
				equal(t, "answer", line, fmt.Sprintf("%d <nil>\n", i+1))
			}
			ctx := s.context(t, token)
			must(t, pazzo.FromContext(ctx).Destroy(ctx))
			fmt.Fprintln(conn, "hello")
			line, _ := r.ReadString('\n')
			equal(t, "answer after a logout elsewhere", line, "0 pazzo: the response has started\n")
			conn.Close()

			// A visitor without a session cannot begin one on the open socket.
			conn, r, response := dial(t, server, "")
			noCookie(t, response)
			fmt.Fprintln(conn, "hello")
			line, _ = r.ReadString('\n')
			equal(t, "answer without a session", line, "0 pazzo: the response has started\n")
			conn.Close()
		})
	}
}

// statusOnly is a writer of another middleware that knows no more than Unwrap.
type statusOnly struct{ http.ResponseWriter }

func (w statusOnly) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestCookieOfAnUpgradeGoesOutWithItsResponse(t *testing.T) {
	s := newSite(t)
	server := s.start(t, func(w http.ResponseWriter, r *http.Request) {
		must(t, made.Set(r.Context(), true))
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		must(t, err)
		conn.Close()
	})
	_, _, response := dial(t, server, "")
	oneCookie(t, response)
}

// A hijacking that fails has not started the response.
func TestFailedHijackLeavesTheResponseOpen(t *testing.T) {
	recorder := httptest.NewRecorder()
	for name, beneath := range map[string]http.ResponseWriter{
		"no hijacker": plainWriter{recorder},
		"one that fails": struct {
			plainWriter
			withHijack
		}{plainWriter: plainWriter{recorder}},
	} {
		newSite(t).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
				t.Errorf("%s: no error", name)
			}
			if err := made.Set(r.Context(), true); err != nil {
				t.Errorf("%s: the response has started: %v", name, err)
			}
		})).ServeHTTP(beneath, httptest.NewRequest("GET", "/", nil))
	}
}

func TestResponseControllerReachesTheServer(t *testing.T) {
	s := newSite(t)
	server := s.start(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		must(t, c.EnableFullDuplex())
		must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		must(t, c.SetWriteDeadline(time.Now().Add(time.Minute)))
		must(t, made.Set(r.Context(), true))
		io.WriteString(w, "a")
		must(t, c.Flush())
		must(t, c.SetWriteDeadline(time.Unix(1, 0)))
		_, err := w.Write(bytes.Repeat([]byte("b"), 1<<20))
		if err == nil {
			err = c.Flush()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error of a write past its deadline is %v", err)
		}
	})
	response := get(t, server, "")
	oneCookie(t, response)
	if text, err := io.ReadAll(response.Body); string(text) != "a" || err == nil {
		t.Errorf("body is %q, error %v", text, err)
	}
}

func TestEarlyHintsAreWithoutCookieAndTheResponseHasIt(t *testing.T) {
	s := newSite(t)
	var hints []textproto.MIMEHeader
	server := s.start(t, func(w http.ResponseWriter, r *http.Request) {
		must(t, made.Set(r.Context(), true))
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		must(t, pazzo.FromContext(r.Context()).Renew(r.Context()))
		w.WriteHeader(http.StatusOK)
	})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			hints = append(hints, header)
			return nil
		},
	})
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
	must(t, err)
	response, err := server.Client().Do(r)
	must(t, err)
	response.Body.Close()
	equal(t, "hints", len(hints), 2)
	for _, h := range hints {
		if h.Get("Link") == "" || h.Get("Set-Cookie") != "" || h.Get("Vary") != "" {
			t.Errorf("hints are %v", h)
		}
	}
	oneCookie(t, response)
}

// readFrom counts what reaches the server's ReaderFrom beneath the middleware.
type readFrom struct {
	http.ResponseWriter
	calls *atomic.Int64
}

func (w readFrom) Flush() { w.ResponseWriter.(http.Flusher).Flush() }
func (w readFrom) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.ResponseWriter.(http.Hijacker).Hijack()
}
func (w readFrom) ReadFrom(r io.Reader) (int64, error) {
	w.calls.Add(1)
	return w.ResponseWriter.(io.ReaderFrom).ReadFrom(r)
}
