package pazzo

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// writer starts the session's part of the response just before its headers go
// out, and does nothing else. http.ResponseController reaches the writer beneath
// by Unwrap.
//
// Code that asserts Flusher or Hijacker, rather than use http.ResponseController,
// finds them where that would: the types below have them. ReaderFrom and Pusher
// are always there, because they may do no more than Write and refuse.
type writer struct {
	http.ResponseWriter
	session *Session
}

type (
	flushWriter  struct{ writer }
	hijackWriter struct{ writer }
	bothWriter   struct{ flushWriter } // HTTP/1
)

// wrap returns w with the session's headers.
func wrap(w http.ResponseWriter, s *Session) http.ResponseWriter {
	b := writer{w, s}
	switch flushes, hijacks := abilities(w); {
	case flushes && hijacks:
		return bothWriter{flushWriter{b}}
	case flushes:
		return flushWriter{b}
	case hijacks:
		return hijackWriter{b}
	}
	return b
}

// abilities returns what http.ResponseController can do with w.
func abilities(w http.ResponseWriter) (flushes, hijacks bool) {
	for {
		switch w.(type) {
		case http.Flusher, interface{ FlushError() error }:
			flushes = true
		}
		if _, ok := w.(http.Hijacker); ok {
			hijacks = true
		}
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return flushes, hijacks
		}
		w = outer.Unwrap()
	}
}

// start writes the session's headers.
func (w writer) start() { w.session.StartResponse(w.Header()) }

// Unwrap is for http.ResponseController.
func (w writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

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

// ReadFrom keeps sendfile(2) for files.
func (w writer) ReadFrom(source io.Reader) (int64, error) {
	w.start()
	return io.Copy(w.ResponseWriter, source)
}

// Push returns http.ErrNotSupported where there is none, as http.Pusher says.
func (w writer) Push(target string, opts *http.PushOptions) error {
	if p, ok := w.ResponseWriter.(http.Pusher); ok {
		return p.Push(target, opts)
	}
	return http.ErrNotSupported
}

func (w flushWriter) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController prefers to Flush.
func (w flushWriter) FlushError() error {
	w.start()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }
func (w bothWriter) Hijack() (net.Conn, *bufio.ReadWriter, error)   { return w.hijack() }

// hijack ends net/http's part in the response, and with it ours: whoever hijacks
// writes the headers.
func (w writer) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.start()
	}
	return conn, rw, err
}
