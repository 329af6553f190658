package resp

import (
	"strconv"
	"strings"
)

// Writer collects replies. The zero Writer speaks RESP2; it is not for concurrent
// use.
type Writer struct {
	// RESP3 says that the client asked for it.
	RESP3 bool
	buf   []byte
}

// Bytes returns what was collected. It is good until the next reply.
func (w *Writer) Bytes() []byte { return w.buf }

// Len returns how many bytes were collected.
func (w *Writer) Len() int { return len(w.buf) }

// Reset forgets what was collected and goes on in buf, which may be nil. It returns
// the buffer used so far.
func (w *Writer) Reset(buf []byte) []byte {
	old := w.buf
	w.buf = buf[:0]
	return old
}

// Append adds replies that are encoded already.
func (w *Writer) Append(encoded []byte) { w.buf = append(w.buf, encoded...) }

// Simple writes a short text without line ends, such as OK.
func (w *Writer) Simple(text string) { w.line('+', text) }

var noLineEnds = strings.NewReplacer("\r", " ", "\n", " ")

// Error writes an error. Its first word, in capitals, is its kind: ERR if there is
// no better one.
func (w *Writer) Error(text string) { w.line('-', noLineEnds.Replace(text)) }

func (w *Writer) line(kind byte, text string) {
	w.buf = append(append(append(w.buf, kind), text...), '\r', '\n')
}

func (w *Writer) head(kind byte, n int) {
	w.buf = strconv.AppendInt(append(w.buf, kind), int64(n), 10)
	w.buf = append(w.buf, '\r', '\n')
}

// Int writes an integer.
func (w *Writer) Int(n int64) {
	w.buf = strconv.AppendInt(append(w.buf, ':'), n, 10)
	w.buf = append(w.buf, '\r', '\n')
}

// Bulk writes a binary text.
func (w *Writer) Bulk(text []byte) {
	w.head('$', len(text))
	w.buf = append(append(w.buf, text...), '\r', '\n')
}

// Text is Bulk for a string.
func (w *Writer) Text(text string) {
	w.head('$', len(text))
	w.buf = append(append(w.buf, text...), '\r', '\n')
}

// Verbatim writes a text for people, which RESP3 marks as such.
func (w *Writer) Verbatim(text string) {
	if !w.RESP3 {
		w.Text(text)
		return
	}
	w.head('=', len(text)+4)
	w.buf = append(append(append(w.buf, "txt:"...), text...), '\r', '\n')
}

// Null writes that there is no such text.
func (w *Writer) Null() {
	if w.RESP3 {
		w.buf = append(w.buf, "_\r\n"...)
	} else {
		w.buf = append(w.buf, "$-1\r\n"...)
	}
}

// Array begins an array of n elements, which follow.
func (w *Writer) Array(n int) { w.head('*', n) }

// Map begins a map of n entries; a key and a value follow for each. To RESP2 that is
// an array.
func (w *Writer) Map(n int) {
	if w.RESP3 {
		w.head('%', n)
	} else {
		w.head('*', 2*n)
	}
}

// Push begins a push of n elements, which only RESP3 has.
func (w *Writer) Push(n int) { w.head('>', n) }

// Set begins a set of n elements. To RESP2 that is an array.
func (w *Writer) Set(n int) {
	if w.RESP3 {
		w.head('~', n)
	} else {
		w.head('*', n)
	}
}
