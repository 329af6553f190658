package memcachedstore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The text protocol's meta commands; see doc/protocol.txt in memcached's source. A get is
// answered by
//
//	VA <size> c<cas> O<opaque>\r\n<data>\r\n     or     EN [O<opaque>]\r\n
//
// and a set by HD, NS (not stored), EX (other CAS value) or NF (not found) with c and O.

// answer is what the server says to a get or a set.
type answer struct {
	code string // two letters, or "" for an error
	cas  uint64
	data string
	text string // of an error
}

// maxLine bounds a line of an answer, in bytes.
const maxLine = 2048

// errSwapped is returned when an answer is not the one that was asked for. The link is
// not to be trusted any more.
var errSwapped = errors.New("the answer is another request's")

// errMalformed is returned when an answer is not what the protocol knows.
var errMalformed = errors.New("malformed answer")

func appendGet(dst []byte, key string, opaque uint64) []byte {
	dst = append(append(dst, "mg "...), key...)
	dst = append(dst, " v c O"...)
	return append(strconv.AppendUint(dst, opaque, 10), "\r\n"...)
}

// appendSet makes a set with a time to live of ttl: C with a CAS value, or ME where there
// must be nothing.
func appendSet(dst []byte, key string, data []byte, ttl int64, cas uint64, add bool, opaque uint64) []byte {
	dst = append(append(dst, "ms "...), key...)
	dst = strconv.AppendInt(append(dst, ' '), int64(len(data)), 10)
	dst = strconv.AppendInt(append(dst, " c T"...), ttl, 10)
	if add {
		dst = append(dst, " ME"...)
	} else {
		dst = strconv.AppendUint(append(dst, " C"...), cas, 10)
	}
	dst = strconv.AppendUint(append(dst, " O"...), opaque, 10)
	dst = append(append(dst, "\r\n"...), data...)
	return append(dst, "\r\n"...)
}

// readAnswer reads what is said to a get or a set. An error of the server's is an answer,
// if the connection is in step after it.
func readAnswer(in *bufio.Reader, opaque uint64, maxData int) (a answer, err error) {
	line, err := readLine(in)
	if err != nil {
		return a, err
	}
	words := bytes.Fields(line)
	if len(words) == 0 {
		return a, fmt.Errorf("%w: an empty line", errMalformed)
	}
	switch code := string(words[0]); code {
	case "VA", "EN", "HD", "NS", "EX", "NF":
		a.code = code
	case "SERVER_ERROR":
		a.text = string(line)
		return a, nil
	default: // CLIENT_ERROR and ERROR: it took the rest of our request for who knows what
		return a, fmt.Errorf("%w: %.40q", errMalformed, words[0])
	}
	size, flags := -1, words[1:]
	if a.code == "VA" {
		if len(flags) == 0 {
			return a, fmt.Errorf("%w: VA without a size", errMalformed)
		}
		if size, err = strconv.Atoi(string(flags[0])); err != nil || size < 0 || size > maxData {
			return a, fmt.Errorf("%w: a value of %.20q bytes", errMalformed, flags[0])
		}
		flags = flags[1:]
	}
	if err := a.flags(flags, opaque); err != nil {
		return a, err
	}
	if size >= 0 {
		a.data, err = readData(in, size)
	}
	return a, err
}

// flags reads the CAS value, and checks the opaque value.
func (a *answer) flags(words [][]byte, opaque uint64) (err error) {
	checked := a.code == "EN" && len(words) == 0 // some versions say no more of a miss
	for _, word := range words {
		switch word[0] {
		case 'c':
			if a.cas, err = strconv.ParseUint(string(word[1:]), 10, 64); err != nil {
				return fmt.Errorf("%w: a CAS value of %.20q", errMalformed, word)
			}
		case 'O':
			if string(word[1:]) != strconv.FormatUint(opaque, 10) {
				return errSwapped
			}
			checked = true
		}
	}
	if !checked {
		return errSwapped
	}
	return nil
}

// readData reads a value and the line's end behind it. It allocates no more than twice what
// has come.
func readData(in *bufio.Reader, size int) (string, error) {
	const step = 64 << 10
	data := make([]byte, 0, min(size+2, step))
	for len(data) < size+2 {
		have := len(data)
		data = append(data, make([]byte, min(size+2-have, max(have, step)))...)
		if _, err := io.ReadFull(in, data[have:]); err != nil {
			return "", err
		}
	}
	if data[size] != '\r' || data[size+1] != '\n' {
		return "", fmt.Errorf("%w: a value without an end", errMalformed)
	}
	return string(data[:size]), nil
}

// readLine reads a line without its end. It is valid until the next read.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(line) > maxLine || !bytes.HasSuffix(line, []byte("\r\n")) {
		return nil, fmt.Errorf("%w: a line of %d bytes", errMalformed, len(line))
	}
	return line[:len(line)-2], nil
}

// maxStats bounds the lines of statistics.
const maxStats = 10_000

// readStats reads STAT lines up to END.
func readStats(in *bufio.Reader) (map[string]string, error) {
	stats := map[string]string{}
	for range maxStats {
		line, err := readLine(in)
		if err != nil {
			return nil, err
		}
		if string(line) == "END" {
			return stats, nil
		}
		words := bytes.SplitN(line, []byte(" "), 3)
		if len(words) < 2 || string(words[0]) != "STAT" {
			return nil, fmt.Errorf("%w: %.40q among statistics", errMalformed, line)
		}
		if len(words) == 3 {
			stats[string(words[1])] = string(words[2])
		}
	}
	return nil, fmt.Errorf("%w: more than %d statistics", errMalformed, maxStats)
}

// number reads a statistic, 0 if it is none.
func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
