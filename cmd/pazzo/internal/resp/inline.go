package resp

import (
	"bytes"
	"fmt"
)

// inline reads a command that is one line of words, as people type it: words in
// double quotes take escapes (\n, \x00), words in single ones only \'.
func (r *Reader) inline() (more bool, err error) {
	rest := r.buf[r.from:r.to]
	end := bytes.IndexByte(rest, '\n')
	limit := min(maxInline, r.limits.Frame)
	if end >= limit || end < 0 && len(rest) >= limit {
		return false, fmt.Errorf("%w: too big inline request", ErrProtocol)
	}
	if end < 0 {
		return true, nil
	}
	r.at = end + 1
	line := rest[:end]
	if end > 0 && line[end-1] == '\r' {
		line = line[:end-1]
	}
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return false, nil
		}
		if len(r.command.spans) == r.limits.Args {
			return false, fmt.Errorf("%w: too big inline request", ErrProtocol)
		}
		from := i
		to, next := word(line, i)
		if next < 0 {
			return false, fmt.Errorf("%w: unbalanced quotes in request", ErrProtocol)
		}
		r.command.spans = append(r.command.spans, span{uint32(from), uint32(to)})
		i = next
	}
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// word reads the word at the index from, in place: it ends at to, and the line goes
// on at next, which is -1 if a quote is not closed or a word follows it at once.
func word(line []byte, from int) (to, next int) {
	to = from
	quote := byte(0)
	for i := from; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == 0 && isSpace(c):
			return to, i
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
			continue
		case quote != 0 && c == quote:
			if i+1 < len(line) && !isSpace(line[i+1]) {
				return 0, -1
			}
			return to, i + 1
		case quote != 0 && c == '\\' && i+1 < len(line):
			var used int
			c, used = escape(line[i+1:], quote)
			i += used
		}
		line[to] = c
		to++
	}
	if quote != 0 {
		return 0, -1
	}
	return to, len(line)
}

// escape reads what follows a backslash, and how many bytes of it.
func escape(rest []byte, quote byte) (c byte, used int) {
	if quote == '\'' {
		if rest[0] == '\'' {
			return '\'', 1
		}
		return '\\', 0
	}
	if rest[0] == 'x' && len(rest) > 2 {
		high, ok1 := hexDigit(rest[1])
		low, ok2 := hexDigit(rest[2])
		if ok1 && ok2 {
			return high<<4 | low, 3
		}
	}
	switch rest[0] {
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'b':
		return '\b', 1
	case 'a':
		return '\a', 1
	}
	return rest[0], 1
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}
