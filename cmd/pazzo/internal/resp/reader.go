package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrProtocol is wrapped when a client does not speak RESP or passes a limit. The
// text after it is Redis' own. Nothing more can be read.
var ErrProtocol = errors.New("Protocol error") //lint:ignore ST1005 Redis' own text

// Limits bound a command.
type Limits struct {
	Frame int // bytes, lengths and line ends included; at most 1 GiB
	Args  int // arguments
}

const (
	// smallBuffer is what an idle connection holds, in bytes: the usual command fits.
	smallBuffer = 1 << 10
	// pooledBuffer is the next size, in bytes, lent while input keeps coming.
	pooledBuffer = 16 << 10
	// maxLine bounds the line of a length, in bytes, and maxInline a command that is
	// one line, as Redis has it.
	maxLine, maxInline = 64, 64 << 10
)

var buffers = sync.Pool{New: func() any { return new([pooledBuffer]byte) }}

// Reader reads commands. It is not for concurrent use.
//
//	for {
//		command, err := r.Next() // as long as there are whole ones
//		if command == nil && err == nil {
//			err = r.Fill()       // waits for more
//		}
//	}
type Reader struct {
	src      io.Reader
	limits   Limits
	buf      []byte
	from, to int // what is not used yet: buf[from:to]

	// How far the command at from has been read.
	begun   bool
	at      int // bytes of it
	missing int // arguments not read yet
	bulk    int // the length of the next of them, or -1 if that is not read yet
	command Command

	pooled *[pooledBuffer]byte
	small  [smallBuffer]byte
}

// NewReader returns a Reader of what src gives.
func NewReader(src io.Reader, limits Limits) *Reader {
	r := &Reader{src: src, limits: limits}
	r.buf = r.small[:]
	return r
}

// SetLimits changes the limits for what is not read yet.
func (r *Reader) SetLimits(limits Limits) { r.limits = limits }

// Partial reports whether part of a command has arrived, and not its end.
func (r *Reader) Partial() bool { return r.from < r.to }

// Next returns the next command that has arrived in full, or nil if more input is
// needed: see Fill. The error is ErrProtocol.
func (r *Reader) Next() (*Command, error) {
	for {
		if !r.begun {
			if more, err := r.begin(); more || err != nil {
				return nil, err
			}
		}
		if r.missing < 0 {
			more, err := r.inline()
			if more || err != nil {
				return nil, err
			}
		} else if more, err := r.arguments(); more || err != nil {
			return nil, err
		}
		r.command.frame = r.buf[r.from : r.from+r.at]
		r.from += r.at
		r.begun = false
		if len(r.command.spans) > 0 {
			return &r.command, nil
		}
	}
}

// begin reads the number of arguments. more says that it has not arrived yet.
func (r *Reader) begin() (more bool, err error) {
	r.command.spans, r.at, r.bulk = r.command.spans[:0], 0, -1
	if cap(r.command.spans) > 1024 {
		r.command.spans = nil
	}
	if r.from == r.to {
		return true, nil
	}
	if r.buf[r.from] != '*' {
		r.begun, r.missing = true, -1
		return false, nil
	}
	line, err := r.line("too big mbulk count string")
	if line == nil {
		return true, err
	}
	n, ok := number(line[1:])
	if !ok || n > r.limits.Args {
		return false, fmt.Errorf("%w: invalid multibulk length", ErrProtocol)
	}
	r.begun, r.missing = true, max(n, 0)
	return false, nil
}

// arguments reads those that have arrived.
func (r *Reader) arguments() (more bool, err error) {
	for r.missing > 0 {
		if r.bulk < 0 {
			line, err := r.line("too big bulk count string")
			if line == nil {
				return true, err
			}
			if line[0] != '$' {
				return false, fmt.Errorf("%w: expected '$', got '%c'", ErrProtocol, printable(line[0]))
			}
			n, ok := number(line[1:])
			if !ok || n < 0 || n > r.limits.Frame-r.at-2 {
				return false, fmt.Errorf("%w: invalid bulk length", ErrProtocol)
			}
			r.bulk = n
		}
		end := r.at + r.bulk
		if r.to-r.from < end+2 {
			return true, nil
		}
		if rest := r.buf[r.from+end:]; rest[0] != '\r' || rest[1] != '\n' {
			return false, fmt.Errorf("%w: a bulk string is longer than its length", ErrProtocol)
		}
		r.command.spans = append(r.command.spans, span{uint32(r.at), uint32(end)})
		r.at, r.bulk = end+2, -1
		r.missing--
	}
	return false, nil
}

// line reads a line with a length, without its end, and returns nil if it has not
// arrived in full.
func (r *Reader) line(tooLong string) ([]byte, error) {
	rest := r.buf[r.from+r.at : r.to]
	end := bytes.IndexByte(rest[:min(len(rest), maxLine)], '\n')
	switch {
	case end < 0 && len(rest) >= maxLine:
		return nil, fmt.Errorf("%w: %s", ErrProtocol, tooLong)
	case end < 0:
		return nil, nil
	case end < 2 || rest[end-1] != '\r':
		return nil, fmt.Errorf("%w: a length without its line", ErrProtocol)
	}
	r.at += end + 1
	return rest[:end-1], nil
}

// number reads a decimal of at most ten digits.
func number(text []byte) (n int, ok bool) {
	digits := bytes.TrimPrefix(text, []byte{'-'})
	if len(digits) == 0 || len(digits) > 10 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	if len(digits) < len(text) {
		n = -n
	}
	return n, true
}

func printable(c byte) byte {
	if c < ' ' || c > '~' {
		return '?'
	}
	return c
}

// Fill waits for more input. It returns io.EOF at its end, io.ErrUnexpectedEOF in
// the midst of a command, and errors of the source.
func (r *Reader) Fill() error {
	if r.from == r.to {
		r.release()
	} else if r.to == len(r.buf) {
		r.makeRoom()
	}
	n, err := r.src.Read(r.buf[r.to:])
	r.to += n
	switch {
	case n > 0:
		return nil // an error comes again
	case err == io.EOF && r.Partial():
		return io.ErrUnexpectedEOF
	}
	return err
}

// release goes back to the small buffer.
func (r *Reader) release() {
	r.from, r.to, r.command.frame = 0, 0, nil
	r.buf = r.small[:]
	if r.pooled != nil {
		buffers.Put(r.pooled)
		r.pooled = nil
	}
}

// makeRoom moves what is not used yet to the front, or to a larger buffer if it
// fills most of this one.
func (r *Reader) makeRoom() {
	rest := r.buf[r.from:r.to]
	if r.from >= len(r.buf)/2 {
		r.to = copy(r.buf, rest)
		r.from = 0
		return
	}
	var larger []byte
	pooled := r.pooled
	if len(r.buf) < pooledBuffer {
		r.pooled = buffers.Get().(*[pooledBuffer]byte)
		larger = r.pooled[:]
	} else {
		larger, r.pooled = make([]byte, 2*len(r.buf)), nil
	}
	r.to = copy(larger, rest)
	r.from, r.buf = 0, larger
	if pooled != nil {
		buffers.Put(pooled)
	}
}

// Close gives the buffers back. The Reader is not to be used after it.
func (r *Reader) Close() { r.release() }
