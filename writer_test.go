package pazzo_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

// The parts of writers that the next test puts together.
type (
	plainWriter struct{ http.ResponseWriter }
	withFlush   struct{ *httptest.ResponseRecorder }
	withHijack  struct{}
	withPush    struct{}
)

func (withHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("hijacked")
}
func (withPush) Push(string, *http.PushOptions) error { return errors.New("pushed") }

func TestFlusherAndHijackerAreThereWhenTheWriterBeneathHasThem(t *testing.T) {
	recorder := httptest.NewRecorder()
	base, flush := plainWriter{recorder}, withFlush{recorder}
	for _, beneath := range []http.ResponseWriter{
		base,
		flush,
		struct {
			plainWriter
			withHijack
		}{plainWriter: base},
		struct {
			plainWriter
			withPush
		}{plainWriter: base},
		struct {
			withFlush
			withHijack
		}{withFlush: flush},
		struct {
			withFlush
			withPush
		}{withFlush: flush},
		struct {
			plainWriter
			withHijack
			withPush
		}{plainWriter: base},
		struct {
			withFlush
			withHijack
			withPush
		}{withFlush: flush},
	} {
		newSite(t).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, want := beneath.(http.Flusher)
			f, got := w.(http.Flusher)
			equal(t, fmt.Sprintf("Flusher over %T", beneath), got, want)
			if got {
				f.Flush()
			}
			_, want = beneath.(http.Hijacker)
			h, got := w.(http.Hijacker)
			equal(t, fmt.Sprintf("Hijacker over %T", beneath), got, want)
			if got {
				_, _, err := h.Hijack()
				equal(t, "Hijack", err.Error(), "hijacked")
			}
			p, pushes := beneath.(http.Pusher)
			err := w.(http.Pusher).Push("/a", nil)
			if pushes {
				equal(t, "Push", err.Error(), p.Push("/a", nil).Error())
			} else {
				wantError(t, err, http.ErrNotSupported)
			}
			n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("copied"))
			must(t, err)
			equal(t, "bytes copied", n, 6)
		})).ServeHTTP(beneath, httptest.NewRequest("GET", "/", nil))
	}
}

// What another middleware's writer has beneath it counts too, as it does for
// http.ResponseController.
func TestFlusherAndHijackerAreFoundBeneathAnothersWriter(t *testing.T) {
	s := newSite(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			must(t, made.Set(r.Context(), true))
			fmt.Fprint(w, "first")
			w.(http.Flusher).Flush()
			_, err := events.Add(r.Context(), 1)
			must(t, err)
			conn, _, err := w.(http.Hijacker).Hijack()
			must(t, err)
			conn.Close()
		})).ServeHTTP(statusOnly{w}, r)
	}))
	defer server.Close()
	response := get(t, server, "")
	oneCookie(t, response)
	text, _ := io.ReadAll(response.Body) // up to where the handler cuts it
	equal(t, "what was flushed", string(text), "first")
}

// A writer that can flush, but has only the method that http.ResponseController
// prefers.
type flushError struct {
	plainWriter
	flushed *bool
}

func (w flushError) FlushError() error { *w.flushed = true; return nil }

func TestFlushErrorBeneathStartsTheResponse(t *testing.T) {
	recorder, flushed := httptest.NewRecorder(), false
	newSite(t).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		must(t, http.NewResponseController(w).Flush())
		equal(t, "flushed", flushed, true)
		wantError(t, made.Set(r.Context(), true), pazzo.ErrResponseStarted)
	})).ServeHTTP(flushError{plainWriter{recorder}, &flushed}, httptest.NewRequest("GET", "/", nil))
}

// The store is asked whether an offered cookie is still current. Other goroutines
// of the request need not wait for that.
func TestWhileTheStoreIsAskedAboutTheCookieTheRequestGoesOn(t *testing.T) {
	old := newSite(t)
	token := old.login(t)
	s := newSiteOn(t, old.store, withKeys(otherKey, appKey)) // so the token is issued again
	response := s.serve(func(w http.ResponseWriter, r *http.Request) {
		_, _, err := made.Get(r.Context())
		must(t, err)
		var asked atomic.Bool
		s.store.before = func(*record.Batch) error {
			if !asked.CompareAndSwap(false, true) {
				return nil
			}
			read := make(chan error, 1)
			go func() {
				_, _, err := made.Get(r.Context())
				pazzo.FromContext(r.Context()).Token()
				read <- err
			}()
			select {
			case err := <-read:
				return err
			case <-time.After(10 * time.Second):
				return errors.New("the read waits")
			}
		}
		io.WriteString(w, "a")
		equal(t, "the store was asked", asked.Load(), true)
	}, cookies(cookieName+"="+token))
	oneCookie(t, response)
}
