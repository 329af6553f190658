package storetest

import (
	"fmt"
	"strings"

	"github.com/pazzo-sessions/pazzo/record"
)

// Rules on what each operation on fields answers and leaves.
var fieldRules = []rule{
	{"GetAnswersTheText", "Get answers the field's text, and Found tells whether there is such a field", checkGet},
	{"SetReplacesTheText", "Set gives a field the text, whether or not it existed", checkSet},
	{"SetIfAbsentKeepsWhatIsThere", "SetIfAbsent sets a field that does not exist, and answers the one that was there", checkSetIfAbsent},
	{"DeleteTellsWhetherItWasThere", "Delete removes a field and tells whether it was there", checkDelete},
	{"PopAnswersAndRemoves", "Pop removes a field and answers its text", checkPop},
	{"AddAnswersTheSum", "Add adds to an integer field, 0 when absent, and answers the sum", checkAdd},
	{"AddTakesIntegersOnly", "Add refuses a field that is not 0|-?[1-9][0-9]*, and changes nothing", checkAddInteger},
	{"AddStaysInRange", "Add refuses an operand or a result beyond ±(2^53−1), and changes nothing", checkAddRange},
	{"AppendAddsTheLastElement", "Append adds an element to the array, empty when absent, by splicing text", checkAppend},
	{"DrainTakesArraysOnly", "Drain removes an array and answers it; anything else is left (NotList)", checkDrain},
	{"ClearRemovesTheFieldsOnly", "Clear removes all fields; user, device and life cycle stay", checkClear},
	{"ClearGoesFirst", "Clear takes effect before the other writes of its batch, and reads see the record before it", checkClearFirst},
	{"GetAllIsSorted", "GetAll answers all fields, sorted by the bytes of their names", checkGetAll},
	{"ReadsSeeTheRecordBefore", "reads see the record as it was before the writes of their batch", checkReadsFirst},
	{"EmptyBatchAnswersMeta", "a batch without operations judges the access and answers the meta data", checkEmpty},
}

func checkGet(c *check) {
	s := c.create(record.Set("f", `"v"`))
	c.answers(s.do(record.Get("f")), `"v"`, true)
	c.answers(s.do(record.Get("other")), "", false)
	reply := s.do(record.Get("f"), record.Get("other"), record.GetIdentity())
	same(c, "values", reply.Values, []record.Value{{Text: `"v"`, Found: true}, {}, {}})
}

func checkSet(c *check) {
	s := c.create()
	s.do(record.Set("f", "1"))
	s.has("f", "1")
	s.do(record.Set("f", `"another, longer"`))
	s.has("f", `"another, longer"`)
	s.do(record.Set("f", "2"), record.Set("g", "3"))
	s.holds("f", "2", "g", "3")
}

func checkSetIfAbsent(c *check) {
	s := c.create()
	c.answers(s.do(record.SetIfAbsent("f", "1")), "", false)
	c.answers(s.do(record.SetIfAbsent("f", "2")), "1", true)
	s.has("f", "1")
}

func checkDelete(c *check) {
	s := c.create(record.Set("f", "1"), record.Set("g", "2"))
	if !s.do(record.Delete("f")).Values[0].Found {
		c.errorf("Delete of a field answered that it was not there")
	}
	if s.do(record.Delete("f")).Values[0].Found {
		c.errorf("Delete of no field answered that it was there")
	}
	s.holds("g", "2")
}

func checkPop(c *check) {
	s := c.create(record.Set("f", `{"a":1}`))
	c.answers(s.do(record.Pop("f")), `{"a":1}`, true)
	c.answers(s.do(record.Pop("f")), "", false)
	s.holds()
	s.do(record.Set("f", "1"))
	s.has("f", "1")
}

func checkAdd(c *check) {
	s := c.create()
	c.answers(s.do(record.Add("n", 5)), "5", false)
	c.answers(s.do(record.Add("n", -7)), "-2", true)
	c.answers(s.do(record.Add("n", 2)), "0", true)
	c.answers(s.do(record.Add("n", 0)), "0", true)
	s.has("n", "0")
	c.answers(s.do(record.Add("zero", 0)), "0", false)
	s.has("zero", "0")
}

func checkAddInteger(c *check) {
	for _, text := range []string{"null", "true", `"1"`, "1.0", "1e3", "-0", "[1]", "{}", `""`, "0.5", "-1.5", "1E2"} {
		s := c.create(record.Set("n", text))
		if reply := s.expect(record.NotInteger, &record.Batch{Ops: []record.Op{record.Add("n", 1)}}); reply.At != 0 {
			c.errorf("Add to %s: at %d, want 0", text, reply.At)
		}
		s.holds("n", text)
	}
}

func checkAddRange(c *check) {
	const most = record.MaxInt
	add := func(n int64) *record.Batch { return &record.Batch{Ops: []record.Op{record.Add("n", n)}} }
	for _, test := range []struct {
		text string
		add  int64
		sum  string // empty if refused
	}{
		{"", most, "9007199254740991"},
		{"", -most, "-9007199254740991"},
		{"", most + 1, ""},
		{"", -most - 1, ""},
		{"9007199254740990", 1, "9007199254740991"},
		{"9007199254740991", 0, "9007199254740991"},
		{"9007199254740991", 1, ""},
		{"9007199254740991", -most, "0"},
		{"-9007199254740991", -1, ""},
		{"-9007199254740991", most, "0"},
		{"9007199254740992", -1, ""},
		{"-9007199254740992", 1, ""},
		{"999999999999999999", -1, ""},
		{"9223372036854775807", 1, ""},
		{"-9223372036854775808", -1, ""},
		{"123456789012345678901234567890", 1, ""},
		{"1", 1<<63 - 1, ""},
		{"-1", -1 << 63, ""},
	} {
		s := c.create()
		if test.text != "" {
			s.do(record.Set("n", test.text))
		}
		if test.sum != "" {
			c.answers(s.do(record.Add("n", test.add)), test.sum, test.text != "")
			s.has("n", test.sum)
			continue
		}
		s.expect(record.OutOfRange, add(test.add))
		if test.text == "" {
			s.holds()
		} else {
			s.holds("n", test.text)
		}
	}
}

func checkAppend(c *check) {
	s := c.create(record.Set("empty", "[]"), record.Set("no", `{"a":[]}`))
	s.do(record.Append("l", "1"))
	s.do(record.Append("l", `"two, ]"`))
	s.do(record.Append("l", `[3]`), record.Append("empty", "null"))
	s.has("l", `[1,"two, ]",[3]]`)
	s.has("empty", "[null]")
	s.expect(record.NotList, &record.Batch{Ops: []record.Op{record.Append("no", "1")}})
	s.has("no", `{"a":[]}`)
}

func checkDrain(c *check) {
	s := c.create(record.Set("l", "[1,2]"), record.Set("empty", "[]"), record.Set("no", `"[]"`))
	c.answers(s.do(record.Drain("l")), "[1,2]", true)
	c.answers(s.do(record.Drain("l")), "", false)
	c.answers(s.do(record.Drain("empty")), "[]", true)
	s.expect(record.NotList, &record.Batch{Ops: []record.Op{record.Drain("no")}})
	s.holds("no", `"[]"`)
}

func checkClear(c *check) {
	s := c.create(record.Set("f", "1"), record.Set("g", "2"), record.Describe("phone"))
	s.do(record.Authenticate("ann", record.NewSecret(), 0))
	before := s.do(record.GetIdentity())
	s.do(record.Clear())
	s.holds()
	after := s.do(record.GetIdentity())
	same(c, "identity", after.Identity, before.Identity)
	same(c, "meta", after.Meta, before.Meta)
	revision := s.revision()
	s.do(record.Clear())
	same(c, "revision after Clear of no fields", s.revision(), revision)
}

func checkClearFirst(c *check) {
	s := c.create(record.Set("a", "1"), record.Set("b", "2"), record.Set("c", "3"), record.Set("d", "4"))
	reply := s.do(record.Set("a", "10"), record.Add("b", 20), record.Pop("c"), record.Get("d"),
		record.Append("l", "1"), record.Clear())
	same(c, "values", reply.Values, []record.Value{{}, {Text: "20"}, {}, {Text: "4", Found: true}, {}, {}})
	s.holds("a", "10", "b", "20", "l", "[1]")
}

func checkGetAll(c *check) {
	s := c.create()
	s.holds()
	names := []string{"b", "a", "Z", "ä", "aa", "\x01", "a\x00", "10", "9", "é", "日本", "\U0001F600", "~"}
	var ops []record.Op
	for i, name := range names {
		ops = append(ops, record.Set(name, fmt.Sprint(i)))
	}
	s.do(ops...)
	fields := s.do(record.GetAll()).Fields
	if len(fields) != len(names) {
		c.fatalf("GetAll answered %d fields, want %d", len(fields), len(names))
	}
	for i := 1; i < len(fields); i++ {
		if strings.Compare(fields[i-1].Name, fields[i].Name) >= 0 {
			c.errorf("GetAll answered %q before %q", fields[i-1].Name, fields[i].Name)
		}
	}
}

func checkReadsFirst(c *check) {
	s := c.create(record.Set("a", "1"), record.Set("l", "[]"), record.Describe("old"))
	reply := s.do(record.Set("a", "2"), record.Set("b", "3"), record.Drain("l"), record.GetAll(),
		record.GetIdentity(), record.Describe("new"))
	same(c, "fields", reply.Fields, []record.Field{{Name: "a", Text: "1"}, {Name: "l", Text: "[]"}})
	same(c, "device", reply.Identity.Device, "old")
	s.holds("a", "2", "b", "3")
}

func checkEmpty(c *check) {
	s := c.create(record.Set("f", "1"))
	reply := s.do()
	same(c, "generation", reply.Meta.Generation, 1)
	same(c, "values", len(reply.Values), 0)
	c.none().expect(record.Absent, &record.Batch{})
}
