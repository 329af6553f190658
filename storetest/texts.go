package storetest

import (
	"fmt"
	"strings"

	"github.com/pazzo-sessions/pazzo/record"
)

// Rules on names, texts and limits.
var textRules = []rule{
	{"TextsAreKeptByteForByte", "a store never parses or re-encodes a field's text", checkTexts},
	{"NamesAreBytes", "field names are compared bytewise, whatever valid UTF-8 they are", checkNames},
	{"LargeValuesAreKept", "values up to the limit of 256 KiB are kept whole", checkLarge},
	{"ManyFieldsAreKept", "a record keeps 1,024 fields, written in one batch or in many", checkMany},
	{"LimitsRefuseAndChangeNothing", "a write that takes the record past a limit is refused (TooLarge) and changes nothing", checkLimits},
	{"ShrinkingIsAlwaysAllowed", "a write that does not make the record larger is allowed over any limit", checkShrinking},
}

func checkTexts(c *check) {
	texts := []string{
		"null", "true", "false", "0", "-0", "1", "-1", "1.0", "1.50", "1e400", "1E+2", "-1.5e-9",
		"9007199254740993", "123456789012345678901234567890",
		`""`, `"\u003c"`, `"<"`, `"\u00e9"`, `"é"`, "\"e\u0301\"", `"\ud83d\ude00"`, `"😀"`, `"\u0000"`, `"\/"`, `"/"`,
		"\"\u2028\u2029\u007f\"", `"\\\"\b\f\n\r\t"`, `"%s %d"`, `"OK"`, `"-ERR no"`,
		"[]", "[[]]", "[null,1,\"a\"]", "{}", `{"b":1,"a":2}`, `{"a":1,"a":2}`, `{"":{"":[]}}`,
	}
	s := c.create()
	var ops []record.Op
	for i, text := range texts {
		ops = append(ops, record.Set(fmt.Sprint("f", i), text))
	}
	s.do(ops...)
	for i, text := range texts {
		name := fmt.Sprint("f", i)
		s.has(name, text)
		s.do(record.Set("one", text))
		s.has("one", text)
		s.do(record.Append("list", text))
		s.expect(record.OK, &record.Batch{
			Conditions: []record.Condition{{Kind: record.FieldIs, Name: name, Text: text}},
			Ops:        []record.Op{record.Get(name)},
		})
	}
	s.has("list", "["+strings.Join(texts, ",")+"]")
	for i, text := range texts {
		c.answers(s.do(record.Pop(fmt.Sprint("f", i))), text, true)
	}
}

// oddNames are names that a careless store mixes up, or takes for its own.
func oddNames() []string {
	return []string{
		"a", "A", " ", "  ", "a ", " a", "\t", "a\r\nb", "a\x00b", "a\x00", "\x01", "\x01\x02\x03", "\x7f",
		"ä", "a\u0308", "ß", "ss", "İ", "i", "日本語", "\U0001F600", "\u202e", "\ufeff", "\U0010ffff",
		"{a}", "}", "a:b", ":", "*", "%s", "%", "$1", "'", "\"", "`", "\\", "--", "nil", "null", "0", "-1", "00",
		"__proto__", "constructor", "meta", "m", "r", "rev", "revision", "previous", "user",
		strings.Repeat("n", record.MaxName), strings.Repeat("é", record.MaxName/2),
	}
}

func checkNames(c *check) {
	s := c.create()
	var ops []record.Op
	names := oddNames()
	for i, name := range names {
		ops = append(ops, record.Set(name, fmt.Sprint(i)))
	}
	s.do(ops...)
	for i, name := range names {
		s.has(name, fmt.Sprint(i))
	}
	if n := len(s.do(record.GetAll()).Fields); n != len(names) {
		c.fatalf("%d names were written, %d fields are there", len(names), n)
	}
	for i, name := range names {
		c.answers(s.do(record.Add(name, 1000)), fmt.Sprint(i+1000), true)
		c.answers(s.do(record.Pop(name)), fmt.Sprint(i+1000), true)
	}
	s.holds()
}

// bulk returns a JSON string of n bytes.
func bulk(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }

func checkLarge(c *check) {
	largest := record.DefaultLimits.Value
	s := c.create(record.Set("a", bulk(largest)))
	s.do(record.Set("b", "["+bulk(largest-2)+"]"))
	s.has("a", bulk(largest))
	if n := len(s.do(record.GetAll()).Fields[1].Text); n != largest {
		c.errorf("of %d bytes %d were kept", largest, n)
	}
	s.expect(record.OK, &record.Batch{
		Conditions: []record.Condition{{Kind: record.FieldIs, Name: "a", Text: bulk(largest)}},
		Ops:        []record.Op{record.Set("a", bulk(largest-1))},
	})
	s.has("a", bulk(largest-1))
	if n := len(s.do(record.Drain("b")).Values[0].Text); n != largest {
		c.errorf("of %d bytes Drain answered %d", largest, n)
	}
}

func checkMany(c *check) {
	const most = 1024
	sets := func(from, to int) (ops []record.Op) {
		for i := from; i < to; i++ {
			ops = append(ops, record.Set(fmt.Sprintf("f%04d", i), fmt.Sprint(i)))
		}
		return ops
	}
	atOnce, bySteps := c.create(sets(0, most)...), c.create()
	for i := 0; i < most; i += 64 {
		bySteps.do(sets(i, i+64)...)
	}
	for _, s := range []*session{atOnce, bySteps} {
		fields := s.do(record.GetAll()).Fields
		if len(fields) != most || fields[most-1] != (record.Field{Name: "f1023", Text: "1023"}) {
			c.fatalf("%d fields are there, want %d", len(fields), most)
		}
		s.expect(record.TooLarge, &record.Batch{Ops: []record.Op{record.Set("one more", "1")}})
		var gets []record.Op
		for i := range most {
			gets = append(gets, record.Get(fmt.Sprintf("f%04d", i)))
		}
		if reply := s.do(gets...); reply.Values[most-1].Text != "1023" {
			c.errorf("the last of %d Gets answered %q", most, reply.Values[most-1].Text)
		}
		s.do(record.Clear())
		s.holds()
	}
}

func checkLimits(c *check) {
	limited := func(l record.Limits, ops ...record.Op) *record.Batch { return &record.Batch{Ops: ops, Limits: l} }
	s := c.create(record.Set("a", "1"), record.Set("l", `["0123456789"]`))

	three := record.Limits{Fields: 3}
	s.expect(record.OK, limited(three, record.Set("b", "1")))
	for _, op := range []record.Op{record.Set("c", "1"), record.SetIfAbsent("c", "1"), record.Add("c", 1), record.Append("c", "1")} {
		reply := s.expect(record.TooLarge, limited(three, record.Set("a", "2"), op))
		same(c, "the operation refused", reply.At, 1)
	}
	s.expect(record.OK, limited(three, record.Delete("b"), record.Set("c", "1")))
	s.expect(record.OK, limited(three, record.Clear(), record.Set("a", "1"), record.Set("l", `["0123456789"]`)))

	size := 2 + 15 // of what is there
	s.expect(record.TooLarge, limited(record.Limits{Size: size}, record.Set("a", "10")))
	s.expect(record.OK, limited(record.Limits{Size: size + 1}, record.Set("a", "10")))
	s.expect(record.TooLarge, limited(record.Limits{Size: size + 1}, record.Add("a", 90)))
	s.expect(record.TooLarge, limited(record.Limits{Value: 15}, record.Append("l", "1")))
	s.expect(record.OK, limited(record.Limits{Value: 16}, record.Append("l", "1")))
	s.holds("a", "10", "l", `["0123456789",1]`)

	full := c.create(record.Set("a", bulk(256<<10)), record.Set("b", bulk(256<<10)), record.Set("c", bulk(256<<10)))
	full.expect(record.TooLarge, limited(record.Limits{}, record.Set("d", bulk(256<<10))))
	full.lacks("d")

	none := c.none()
	none.expect(record.TooLarge, limited(record.Limits{Fields: 1}, record.Create(none.secret, long),
		record.Set("a", "1"), record.Set("b", "1")))
	none.expect(record.Absent, limited(record.Limits{}, record.Get("a")))
}

func checkShrinking(c *check) {
	s := c.create(record.Set("a", "1"), record.Set("b", `"0123456789"`), record.Set("c", "1"))
	tight := record.Limits{Fields: 1, Size: 1}
	for _, op := range []record.Op{record.Set("b", `"9876543210"`), record.Set("b", `"0"`), record.Add("c", 1),
		record.Delete("c"), record.Pop("a"), record.Clear()} {
		s.expect(record.OK, &record.Batch{Ops: []record.Op{op}, Limits: tight})
	}
	s.holds()
}
