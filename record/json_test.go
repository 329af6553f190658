package record

import (
	"encoding/json"
	"errors"
	"strconv"
	"testing"
)

func TestCheckJSON(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`1`, `1`},
		{` { "a" : [ 1 , 2.0 , "x y" ] } ` + "\n", `{"a":[1,2.0,"x y"]}`},
		{`"é\u00e9\n\\"`, `"é\u00e9\n\\"`},
		{`"\ud83d\ude00\uD83D\uDE00"`, `"\ud83d\ude00\uD83D\uDE00"`},
		{`"\\ud83d"`, `"\\ud83d"`},
		{`"\ud7ff\ue000"`, `"\ud7ff\ue000"`},
		{"\"\u2028<&>\"", "\"\u2028<&>\""},
		{`null`, `null`},
		{`-0`, `-0`},
		{`1e999`, `1e999`},
	} {
		if got, err := CheckJSON([]byte(test.text)); err != nil || got != test.want {
			t.Errorf("%s is %s, %v", test.text, got, err)
		}
	}
	for _, text := range []string{
		``, ` `, `NaN`, `Infinity`, `-Infinity`, `nul`, `{`, `[1,]`, `{"a":1,}`, `'a'`, `01`, `+1`, `.5`, `1 2`, `{a:1}`, `// 1`, "\ufeff1", "\x00",
		"\"\xff\"", "\"\xed\xa0\x80\"", "\"\n\"", `"\x"`,
		`"\ud83d"`, `"\ude00"`, `"\ud83d\ud83d"`, `"\ude00\ud83d"`, `"\ud83dx"`, `"\ud83d\n\ude00"`, `"\ud83d\\ude00"`, `{"\uDC00":1}`, `"\uDBFF"`, `"\ud83d\u0041"`,
	} {
		if got, err := CheckJSON([]byte(text)); !errors.Is(err, ErrJSON) {
			t.Errorf("%s is %s, %v", text, got, err)
		}
	}
}

func TestParseInt(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "7": 7, "-7": -7, "9007199254740991": MaxInt, "-9007199254740991": -MaxInt,
		"9007199254740992": MaxInt + 1, "999999999999999999": 999999999999999999, "1000000000000000000": MaxInt + 1, "-1000000000000000000000": MaxInt + 1} {
		if n, ok := ParseInt(text); !ok || n != want {
			t.Errorf("%s is %d, %t", text, n, ok)
		}
	}
	for _, text := range []string{"", "-", "-0", "00", "01", "-01", "+1", "1.0", "1e2", " 1", "1 ", "0x1", "1_000", "--1", "\"1\"", "٣"} {
		if n, ok := ParseInt(text); ok {
			t.Errorf("%q is %d", text, n)
		}
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,"\ud83d\ude00"]}`, `"\ud83d"`, ` 1`, `NaN`, "\"\xff\"", `"\\ud800"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := CheckJSON(text)
		if err != nil {
			if !errors.Is(err, ErrJSON) {
				t.Fatal(err)
			}
			return
		}
		if !json.Valid(text) || !json.Valid([]byte(got)) {
			t.Fatalf("%q passed as %q", text, got)
		}
		if again, err := CheckJSON([]byte(got)); err != nil || again != got {
			t.Fatalf("%q became %q, %v", got, again, err)
		}
		// Every string in it reads back as it is written: no lone surrogate, which
		// encoding/json would replace.
		if s, ok := decoded(got); ok {
			rewritten, _ := json.Marshal(s)
			if twice, _ := decoded(string(rewritten)); twice != s {
				t.Fatalf("%q reads back as %q", got, twice)
			}
		}
		if n, ok := ParseInt(got); ok && inRange(n) && strconv.FormatInt(n, 10) != got {
			t.Fatalf("%q is %d", got, n)
		}
	})
}

func decoded(text string) (s string, ok bool) {
	return s, json.Unmarshal([]byte(text), &s) == nil && text[0] == '"'
}
