package pazzo

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// writer starts the session's part of the response just before its headers go
// out. It adds nothing else, and the types below show exactly the optional
// interfaces that the server's own writer has, for code that asserts them rather
// than use http.ResponseController.
type writer struct {
	http.ResponseWriter
	session *Session
}

// wrap returns w with the session's headers, and with the optional interfaces of
// net/http's writers: Flusher, Hijacker and ReaderFrom for HTTP/1, Flusher and
// Pusher for HTTP/2. http.ResponseController finds any others by Unwrap.
func wrap(w http.ResponseWriter, s *Session) http.ResponseWriter {
	base := writer{w, s}
	flusher, flushes := w.(http.Flusher)
	if !flushes {
		return base
	}
	flushing := flushWriter{base, flusher}
	hijacker, hijacks := w.(http.Hijacker)
	if pusher, pushes := w.(http.Pusher); pushes && !hijacks {
		return pushWriter{flushing, pusher}
	}
	reader, reads := w.(io.ReaderFrom)
	switch {
	case hijacks && reads:
		return http1Writer{hijackWriter{flushing, hijacker}, reader}
	case hijacks:
		return hijackWriter{flushing, hijacker}
	}
	return flushing
}

// Unwrap lets http.ResponseController reach the server's writer.
func (w writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w writer) WriteHeader(code int) {
	// 1xx is not the response yet, except for 101, which ends it.
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.session.start(w.Header())
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w writer) Write(p []byte) (int, error) {
	w.session.start(w.Header())
	return w.ResponseWriter.Write(p)
}

func (w writer) WriteString(s string) (int, error) {
	w.session.start(w.Header())
	return io.WriteString(w.ResponseWriter, s)
}

// FlushError is what http.ResponseController prefers to Flush.
func (w writer) FlushError() error {
	w.session.start(w.Header())
	return http.NewResponseController(w.ResponseWriter).Flush()
}

type flushWriter struct {
	writer
	flusher http.Flusher
}

func (w flushWriter) Flush() {
	w.session.start(w.Header())
	w.flusher.Flush()
}

type pushWriter struct {
	flushWriter
	pusher http.Pusher
}

func (w pushWriter) Push(target string, opts *http.PushOptions) error {
	return w.pusher.Push(target, opts)
}

type hijackWriter struct {
	flushWriter
	hijacker http.Hijacker
}

// Hijack ends net/http's part in the response, and with it ours: whoever hijacks
// writes the headers.
func (w hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.session.start(w.Header())
	return w.hijacker.Hijack()
}

type http1Writer struct {
	hijackWriter
	reader io.ReaderFrom
}

// ReadFrom keeps sendfile(2) for files.
func (w http1Writer) ReadFrom(r io.Reader) (int64, error) {
	w.session.start(w.Header())
	return w.reader.ReadFrom(r)
}
