package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

var wide = Limits{Frame: 1 << 20, Args: 1 << 10}

// pieces gives a text in pieces of a size.
type pieces struct {
	text string
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(p.size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

// readAll reads all commands of a text that comes in pieces, and what ends it.
func readAll(text string, size int, limits Limits) (commands [][]string, err error) {
	r := NewReader(&pieces{text, size}, limits)
	defer r.Close()
	for {
		command, err := r.Next()
		if err != nil {
			return commands, err
		}
		if command != nil {
			commands = append(commands, command.Strings(nil, 0))
			continue
		}
		if err := r.Fill(); err != nil {
			return commands, err
		}
	}
}

// frame is a command as clients send it.
func frame(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

func TestCommands(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	many := slices.Repeat([]string{"a"}, 1000)
	for name, c := range map[string]struct {
		text string
		want [][]string
	}{
		"one":                {frame("PING"), [][]string{{"PING"}}},
		"several":            {frame("GET", "a") + frame("") + frame("B", "\r\n", "\x00"), [][]string{{"GET", "a"}, {""}, {"B", "\r\n", "\x00"}}},
		"nothing":            {"\r\n\n*0\r\n*-1\r\n" + frame("PING"), [][]string{{"PING"}}},
		"long":               {frame("SET", long) + frame("PING"), [][]string{{"SET", long}, {"PING"}}},
		"many":               {frame(many...), [][]string{many}},
		"a line":             {"PING\r\nget  a\n", [][]string{{"PING"}, {"get", "a"}}},
		"a line with quotes": {`set "a b" '\x' "\x00m\n\"" 'it\'s' ""` + "\r\n", [][]string{{"set", "a b", `\x`, "\x00m\n\"", "it's", ""}}},
		"lines and frames":   {"a\r\n" + frame("b") + "c\r\n", [][]string{{"a"}, {"b"}, {"c"}}},
	} {
		for _, size := range []int{1, 2, 7, 1000, 1 << 20} {
			got, err := readAll(c.text, size, wide)
			if err != io.EOF || !slices.EqualFunc(got, c.want, slices.Equal[[]string]) {
				t.Errorf("%s, in pieces of %d: %.200q, %v", name, size, got, err)
			}
		}
	}
}

func TestWhatIsNoCommand(t *testing.T) {
	small := Limits{Frame: 100, Args: 3}
	for text, want := range map[string]string{
		"*x\r\n":                            "invalid multibulk length",
		"*\r\n":                             "invalid multibulk length",
		"*4\r\n":                            "invalid multibulk length",
		"*99999999999\r\n":                  "invalid multibulk length",
		"*1\n":                              "a length without its line",
		"*1\r\n+OK\r\n":                     "expected '$', got '+'",
		"*1\r\n\x00\x00\r\n":                "expected '$', got '?'",
		"*1\r\n*1\r\n":                      "expected '$', got '*'",
		"*1\r\n$-1\r\n":                     "invalid bulk length",
		"*1\r\n$2147483647\r\n":             "invalid bulk length",
		"*1\r\n$101\r\n":                    "invalid bulk length",
		"*1\r\n$ 1\r\n":                     "invalid bulk length",
		"*1\r\n$1\r\nxx\r\n":                "a bulk string is longer than its length",
		"*" + strings.Repeat("0", 100):      "too big mbulk count string",
		"*1\r\n$" + strings.Repeat("0", 99): "too big bulk count string",
		strings.Repeat("x", 101):            "too big inline request",
		"a b c d\r\n":                       "too big inline request",
		"a \"b\r\n":                         "unbalanced quotes in request",
		"a 'b\r\n":                          "unbalanced quotes in request",
		"a \"b\"c\r\n":                      "unbalanced quotes in request",
	} {
		for _, size := range []int{1, 1000} {
			got, err := readAll(text, size, small)
			if !errors.Is(err, ErrProtocol) || err.Error() != "Protocol error: "+want || got != nil {
				t.Errorf("%.40q, in pieces of %d: %q, %v; want %s", text, size, got, err, want)
			}
		}
	}
	for _, text := range []string{"*", "*2\r\n$1\r\na\r\n", "*1\r\n$10\r\nhalf", "PIN"} {
		if got, err := readAll(text, 1000, small); err != io.ErrUnexpectedEOF || got != nil {
			t.Errorf("%q, cut short: %q, %v", text, got, err)
		}
	}
}

// A length that is claimed takes no memory, and what was needed for a long command
// is given back.
func TestMemoryComesWithTheBytes(t *testing.T) {
	limits := Limits{Frame: 1 << 30, Args: 1 << 20}
	r := NewReader(&pieces{"*1048576\r\n$1000000000\r\nx", 1 << 20}, limits)
	for range 2 {
		if command, err := r.Next(); command != nil || err != nil {
			t.Fatal(command, err)
		}
		if err := r.Fill(); err != nil && err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
	}
	if len(r.buf) > smallBuffer || cap(r.command.spans) > 1024 {
		t.Errorf("%d bytes, %d arguments of memory for a claim", len(r.buf), cap(r.command.spans))
	}

	r = NewReader(&pieces{frame("SET", strings.Repeat("x", 1<<20)), 1 << 20}, limits)
	for {
		command, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if command != nil {
			break
		}
		if err := r.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Fill(); err != io.EOF || len(r.buf) != smallBuffer {
		t.Errorf("%v; it keeps %d bytes", err, len(r.buf))
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	input := []byte(strings.Repeat(frame("EVALSHA", strings.Repeat("a", 40), "1", "key", strings.Repeat("b", 100)), 10))
	var src bytes.Reader
	r := NewReader(&src, wide)
	allocs := testing.AllocsPerRun(100, func() {
		src.Reset(input)
		for n := 0; n < 10; {
			command, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if command != nil {
				n++
			} else if err := r.Fill(); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs > 0 {
		t.Errorf("%.1f allocations for 10 commands", allocs)
	}
}

// However input is cut into pieces, it is the same commands and the same end.
func FuzzReader(f *testing.F) {
	f.Add(frame("HELLO", "3")+frame("EVALSHA", "x", "1", "k", "\x00"), 3)
	f.Add("set \"a\\x00b\" 'c'\r\n*1\r\n$-1\r\n", 1)
	f.Add("*2\r\n$4\r\nPING\r\n$", 2)
	f.Fuzz(func(t *testing.T, text string, size int) {
		limits := Limits{Frame: 5000, Args: 20}
		whole, err1 := readAll(text, 1<<20, limits)
		cut, err2 := readAll(text, 1+abs(size)%1000, limits)
		if err1.Error() != err2.Error() || !slices.EqualFunc(whole, cut, slices.Equal[[]string]) {
			t.Errorf("whole: %q, %v\nin pieces: %q, %v", whole, err1, cut, err2)
		}
		var again strings.Builder
		for _, args := range whole {
			again.WriteString(frame(args...))
		}
		if got, err := readAll(again.String(), 100, Limits{Frame: 6000, Args: 20}); err != io.EOF || !slices.EqualFunc(got, whole, slices.Equal[[]string]) {
			t.Errorf("%q, written again: %q, %v", whole, got, err)
		}
	})
}

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}
