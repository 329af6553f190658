package protocol_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
)

type textFile struct {
	Valid    []validText   `json:"valid"`
	Invalid  []invalidText `json:"invalid"`
	Integers []integerText `json:"integers"`
	Names    []nameCase    `json:"names"`
}

// validText is a JSON text and the form in which it is sent and kept.
type validText struct {
	Text string `json:"text"`
	Kept string `json:"kept"`
}

// invalidText is refused before anything is sent. It is hexadecimal, for it may not
// be UTF-8.
type invalidText struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
}

// integerText says how Add takes the text of a field: "integer", "out of range" or
// "not an integer".
type integerText struct {
	Text string `json:"text"`
	Is   string `json:"is"`
}

// nameCase says whether a field may have a name, which is hexadecimal.
type nameCase struct {
	Hex   string `json:"hex"`
	Error string `json:"error,omitempty"` // "name" or "too large"
}

func makeTexts(t *testing.T) textFile {
	var file textFile
	for _, text := range []string{
		"null", "true", "0", "-0", "1.0", "1.50", "1E+2", "1e400", "9007199254740993", "123456789012345678901234567890",
		`""`, `"<é>"`, `"\u003c\u00e9"`, `"\ud83d\ude00"`, `"😀"`, `"\uD83D\uDE00"`, `"\\ud800"`, `"\\\\ud800"`, `"\u0000"`, `"\/"`, "\"\u2028\"",
		"[]", " [ 1 ,\t2 ,\r\n\"a b\" ] ", `{ "b" : 1 , "a" : [ ] }`, `{"a":1,"a":2}`, `{"":{"":[]}}`,
	} {
		kept, err := record.CheckJSON([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		file.Valid = append(file.Valid, validText{text, kept})
	}
	for _, c := range [][2]string{
		{"nothing", ""}, {"white space", " \n"}, {"NaN", "NaN"}, {"Infinity", "Infinity"}, {"-Infinity", "-Infinity"}, {"two values", "1 2"},
		{"cut short", `{"a":`}, {"a comma too many", "[1,]"}, {"single quotes", "'a'"}, {"leading zero", "01"}, {"plus", "+1"}, {"no digit", "1."},
		{"control character", "\"\n\""}, {"comment", "1 // one"}, {"byte order mark", "\ufeff1"}, {"no-break space", "\u00a01"},
		{"lone first surrogate", `"\ud800"`}, {"lone second surrogate", `"\udc00"`}, {"surrogates the wrong way round", `"\ude00\ud83d"`},
		{"two first surrogates", `"\ud83d\ud83d\ude00"`}, {"surrogate, then a letter", `"\uD83Dx"`}, {"surrogate in a name", `{"\ud800":1}`},
		{"not UTF-8", "\"\xff\""}, {"a surrogate as UTF-8", "\"\xed\xa0\x80\""},
	} {
		file.Invalid = append(file.Invalid, invalidText{c[0], hexOf(c[1])})
	}
	for _, text := range []string{
		"0", "1", "-1", "10", "9007199254740991", "-9007199254740991", "9007199254740992", "-9007199254740992", "999999999999999999",
		"9223372036854775807", "9223372036854775808", "-123456789012345678901234567890",
		"-0", "00", "01", "-01", "1.0", "1e2", "1E2", `"1"`, "null", "true", "[1]", "{}", `""`, "-",
	} {
		is := "not an integer"
		if n, ok := record.ParseInt(text); ok && n >= -record.MaxInt && n <= record.MaxInt && strconv.FormatInt(n, 10) == text {
			is = "integer"
		} else if ok {
			is = "out of range"
		}
		file.Integers = append(file.Integers, integerText{text, is})
	}
	for _, n := range []string{"a", "é", "😀", " ", "\n", "a\x00", "{}", "\u2028", strings.Repeat("n", 256), strings.Repeat("é", 128), "", "\x00", "\x00m", strings.Repeat("n", 257), strings.Repeat("é", 128) + "n", "\xff", "a\xed\xa0\x80"} {
		c := nameCase{Hex: hexOf(n)}
		switch err := record.CheckName(n, record.Limits{}); {
		case errors.Is(err, record.ErrName):
			c.Error = "name"
		case errors.Is(err, record.ErrTooLarge):
			c.Error = "too large"
		}
		file.Names = append(file.Names, c)
	}
	return file
}

func TestTextVectors(t *testing.T) { golden(t, "text.json", makeTexts(t)) }

func TestLibraryPassesTheTextVectors(t *testing.T) {
	file := load[textFile](t, "text.json")
	for _, v := range file.Valid {
		kept, err := record.CheckJSON([]byte(v.Text))
		if err != nil || kept != v.Kept {
			t.Errorf("%s is kept as %s, error %v, want %s", v.Text, kept, err, v.Kept)
		}
	}
	for _, v := range file.Invalid {
		if _, err := record.CheckJSON([]byte(unhex(v.Hex))); !errors.Is(err, record.ErrJSON) {
			t.Errorf("%s: error is %v, want %v", v.Name, err, record.ErrJSON)
		}
	}
	for _, v := range file.Integers {
		r := record.Scratch([]record.Field{{Name: "n", Text: v.Text}})
		reply, _ := r.Apply(admin(record.Add("n", 0)), 0)
		want := map[string]record.Status{"integer": record.OK, "out of range": record.OutOfRange, "not an integer": record.NotInteger}[v.Is]
		if reply.Status != want {
			t.Errorf("adding to %s is %s, want %s", v.Text, reply.Status, want)
		}
	}
	for _, v := range file.Names {
		err := record.CheckName(unhex(v.Hex), record.Limits{})
		if want := map[string]error{"": nil, "name": record.ErrName, "too large": record.ErrTooLarge}[v.Error]; !errors.Is(err, want) {
			t.Errorf("name %s: error is %v, want %v", v.Hex, err, want)
		}
	}
}
