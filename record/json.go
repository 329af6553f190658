package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrJSON is returned when a text is not JSON that every language reads alike:
// one value, in UTF-8, without lone surrogates.
var ErrJSON = errors.New("record: invalid JSON")

// CheckJSON returns text without insignificant white space, or ErrJSON.
func CheckJSON(text []byte) (string, error) {
	if !utf8.Valid(text) {
		return "", fmt.Errorf("%w: not UTF-8", ErrJSON)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return "", fmt.Errorf("%w: %w", ErrJSON, err)
	}
	checked := compact.String()
	if err := checkSurrogates(checked); err != nil {
		return "", err
	}
	return checked, nil
}

// checkSurrogates refuses an escape of half a surrogate pair (RFC 8259, section
// 8.2): Python reads it, others replace it or fail.
func checkSurrogates(text string) error {
	for i := 0; ; {
		escape := strings.IndexByte(text[i:], '\\')
		if escape < 0 {
			return nil
		}
		i += escape
		if text[i+1] != 'u' {
			i += 2
			continue
		}
		unit := text[i+2 : i+6]
		i += 6
		switch {
		case isSurrogate(unit, "89ab"):
			if len(text) < i+6 || text[i] != '\\' || text[i+1] != 'u' || !isSurrogate(text[i+2:i+6], "cdef") {
				return fmt.Errorf(`%w: lone surrogate \u%s`, ErrJSON, unit)
			}
			i += 6
		case isSurrogate(unit, "cdef"):
			return fmt.Errorf(`%w: lone surrogate \u%s`, ErrJSON, unit)
		}
	}
}

// isSurrogate reports whether four hexadecimal digits are d, then one of half.
func isSurrogate(unit, half string) bool {
	const lower = 0x20 // leaves digits as they are
	return unit[0]|lower == 'd' && strings.IndexByte(half, unit[1]|lower) >= 0
}

// ParseInt reads an integer as Add takes it: 0|-?[1-9][0-9]*, of at most 18
// digits here; the range is checked apart.
func ParseInt(text string) (n int64, ok bool) {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || digits[0] == '0' && text != "0" {
		return 0, false
	}
	for i := range len(digits) {
		d := digits[i] - '0'
		if d > 9 {
			return 0, false
		}
		if i < 18 { // more are out of range, and would overflow
			n = 10*n + int64(d)
		}
	}
	if len(digits) > 18 {
		return MaxInt + 1, true
	}
	if len(digits) < len(text) {
		n = -n
	}
	return n, true
}

func inRange(n int64) bool { return -MaxInt <= n && n <= MaxInt }

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
