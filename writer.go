package pazzo

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// writer starts the session's part of the response just before its headers go
// out. It adds nothing else. The types below show exactly the optional interfaces
// that the writer beneath has, for code that asserts them rather than use
// http.ResponseController.
type writer struct {
	http.ResponseWriter
	session *Session
}

type (
	flusher  struct{ w writer }
	hijacker struct{ w writer }
	pusher   struct{ w writer }
	reader   struct{ w writer }
)

const (
	flushes = 1 << iota
	hijacks
	pushes
)

// wrap returns w with the session's headers, and with those of Flusher, Hijacker
// and Pusher that w has. io.ReaderFrom, without which copying takes longer and
// works as well, is there for HTTP/1. http.ResponseController finds any others by
// Unwrap.
func wrap(w http.ResponseWriter, s *Session) http.ResponseWriter {
	b := writer{w, s}
	f, h, p := flusher{b}, hijacker{b}, pusher{b}
	switch interfaces(w) {
	case flushes | hijacks: // HTTP/1
		if _, reads := w.(io.ReaderFrom); reads {
			return struct {
				writer
				flusher
				hijacker
				reader
			}{b, f, h, reader{b}}
		}
		return struct {
			writer
			flusher
			hijacker
		}{b, f, h}
	case flushes | pushes: // HTTP/2
		return struct {
			writer
			flusher
			pusher
		}{b, f, p}
	case flushes:
		return struct {
			writer
			flusher
		}{b, f}
	case hijacks:
		return struct {
			writer
			hijacker
		}{b, h}
	case pushes:
		return struct {
			writer
			pusher
		}{b, p}
	case hijacks | pushes:
		return struct {
			writer
			hijacker
			pusher
		}{b, h, p}
	case flushes | hijacks | pushes:
		return struct {
			writer
			flusher
			hijacker
			pusher
		}{b, f, h, p}
	}
	return b
}

func interfaces(w http.ResponseWriter) (set int) {
	if _, ok := w.(http.Flusher); ok {
		set |= flushes
	}
	if _, ok := w.(http.Hijacker); ok {
		set |= hijacks
	}
	if _, ok := w.(http.Pusher); ok {
		set |= pushes
	}
	return set
}

// start writes the session's headers.
func (w writer) start() { w.session.start(w.Header()) }

// Unwrap lets http.ResponseController reach the writer beneath.
func (w writer) Unwrap() http.ResponseWriter { return beneath{w.ResponseWriter, w} }

func (w writer) WriteHeader(code int) {
	// 1xx is not the response yet, except for 101, which ends it.
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.start()
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w writer) Write(p []byte) (int, error) {
	w.start()
	return w.ResponseWriter.Write(p)
}

func (w writer) WriteString(s string) (int, error) {
	w.start()
	return io.WriteString(w.ResponseWriter, s)
}

// FlushError is what http.ResponseController prefers to Flush.
func (w writer) FlushError() error {
	w.start()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (f flusher) Flush() {
	f.w.start()
	f.w.ResponseWriter.(http.Flusher).Flush()
}

func (p pusher) Push(target string, opts *http.PushOptions) error {
	return p.w.ResponseWriter.(http.Pusher).Push(target, opts)
}

// ReadFrom keeps sendfile(2) for files.
func (r reader) ReadFrom(source io.Reader) (int64, error) {
	r.w.start()
	return r.w.ResponseWriter.(io.ReaderFrom).ReadFrom(source)
}

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.w.hijack() }

// hijack ends net/http's part in the response, and with it ours: whoever hijacks
// writes the headers.
func (w writer) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.start()
	}
	return conn, rw, err
}

// beneath is what http.ResponseController finds under our writer. It hears of a
// hijacking there, of a connection that only a writer further down can give.
type beneath struct {
	http.ResponseWriter
	above writer
}

func (b beneath) Unwrap() http.ResponseWriter                  { return b.ResponseWriter }
func (b beneath) Hijack() (net.Conn, *bufio.ReadWriter, error) { return b.above.hijack() }
