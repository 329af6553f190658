package protocol_test

import (
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

var someHandle = record.Handle(counting(0x80))

// Whatever a client makes of a batch, the agent reads, and makes the same of it.
func TestBatchesAreReadAsTheyWereSent(t *testing.T) {
	var b record.Batch // one for all: nothing of the last must stay
	for _, c := range makeBatches(t).Cases {
		want := c.Batch.read()
		args := protocol.AppendBatch(nil, someHandle, want)
		h, err := protocol.ParseBatch(args, &b)
		if err != nil || h != someHandle {
			t.Errorf("%s: handle %s, %v", c.Name, h, err)
			continue
		}
		if again := protocol.AppendBatch(nil, h, &b); !slices.Equal(again, args) {
			t.Errorf("%s: read as\n%q, sent\n%q", c.Name, again, args)
		}
		want.Limits = want.Limits.OrDefault()
		b.Limits.Name = want.Limits.Name // is not sent
		for i := range want.Ops {
			if e := &want.Ops[i].Expiry; e.Absolute > 0 && e.Idle > 0 {
				e.Idle = min(e.Idle, e.Absolute) // the smaller of the two is sent
			}
		}
		alike(t, c.Name, newBatch(&b), newBatch(want))
	}
}

// What the agent answers is what the client understands.
func TestRepliesAreReadAsTheyWereSent(t *testing.T) {
	for _, c := range makeBatches(t).Cases {
		b := c.Batch.read()
		want, _ := c.Before.read().Apply(b, c.Now)
		got, err := protocol.ParseReply(string(protocol.AppendReply(nil, someHandle, b, &want)), someHandle, b)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		alike(t, c.Name, newReply(&got, b), newReply(&want, b))
	}
}

func TestStepsAndTheirRepliesAreReadAsTheyWereSent(t *testing.T) {
	tag := protocol.TagOf("ann")
	for _, c := range makeIndexes(t).Cases {
		want := c.Step.read()
		args := protocol.StepArgs(tag, want)
		var step record.IndexStep
		if got, err := protocol.ParseStep(args, &step); err != nil || got != tag {
			t.Errorf("%s: tag %x, %v", c.Name, got, err)
		}
		if again := protocol.StepArgs(tag, &step); !slices.Equal(again, args) {
			t.Errorf("%s: read as\n%q, sent\n%q", c.Name, again, args)
		}
		reply, _ := c.Before.read().Apply(want, c.Now)
		got, err := protocol.ParseIndexReply(string(protocol.AppendIndexReply(nil, tag, &reply)), tag)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		alike(t, c.Name, newIndexReply(&got), newIndexReply(&reply))
	}
}

func TestUnreadableDataIsAnswered(t *testing.T) {
	b := admin(record.Get("n"))
	for layout, want := range map[byte]error{9: record.ErrLayout, record.Layout: record.ErrCorrupt} {
		answer := string(protocol.AppendUnreadable(nil, someHandle, layout, start))
		if _, err := protocol.ParseReply(answer, someHandle, b); !errors.Is(err, want) || len(answer) != 38 {
			t.Errorf("layout %d: %d bytes, %v", layout, len(answer), err)
		} else if unknown := (record.LayoutError{}); errors.As(err, &unknown) && unknown.Met != layout {
			t.Errorf("layout %d was taken for %d", layout, unknown.Met)
		}
	}
	tag := protocol.TagOf("ann")
	answer := string(protocol.AppendUnreadableIndex(nil, tag, start))
	if _, err := protocol.ParseIndexReply(answer, tag); !errors.Is(err, record.ErrCorrupt) {
		t.Errorf("index: %v", err)
	}
}

// altered returns the arguments of a batch after a change.
func altered(b *record.Batch, change func(args []string) []string) []string {
	return change(protocol.AppendBatch(nil, someHandle, b))
}

// poke replaces bytes of the head.
func poke(at int, with string) func([]string) []string {
	return func(args []string) []string {
		args[0] = args[0][:at] + with + args[0][at+len(with):]
		return args
	}
}

func operand(with string) func([]string) []string {
	return func(args []string) []string { return append(args[:len(args)-1], with) }
}

func TestMalformedBatchesAreRefused(t *testing.T) {
	set, create, add := admin(record.Set("n", "1")), admin(record.Create(one, expiry)), admin(record.Add("n", 1))
	six := strings.Repeat("\x00", 6)
	for name, c := range map[string]struct {
		args []string
		want error
	}{
		"no arguments":           {nil, protocol.ErrArgs},
		"an empty head":          {[]string{""}, protocol.ErrArgs},
		"another layout":         {[]string{"\x02"}, protocol.ErrBatchLayout},
		"a short head":           {altered(set, func(a []string) []string { a[0] = a[0][:62]; return a }), protocol.ErrArgs},
		"a kind too many":        {altered(set, func(a []string) []string { a[0] += "\x00"; return a }), protocol.ErrArgs},
		"four thousand million":  {altered(set, poke(51, "\xff\xff\xff\xff")), protocol.ErrArgs},
		"as many operations":     {altered(set, poke(59, "\xff\xff\xff\xff")), protocol.ErrArgs},
		"mode 3":                 {altered(set, poke(17, "\x03")), protocol.ErrArgs},
		"clear, without one":     {altered(set, poke(18, "\x01")), protocol.ErrArgs},
		"a limit of nothing":     {altered(set, poke(39, "\x00\x00\x00\x00")), protocol.ErrArgs},
		"operation 19":           {altered(set, poke(63, "\x13")), protocol.ErrArgs},
		"condition 4":            {altered(under(admin(), is("n", "1")), poke(63, "\x04")), protocol.ErrArgs},
		"an argument too many":   {altered(set, func(a []string) []string { return append(a, "x") }), protocol.ErrArgs},
		"an argument too few":    {altered(set, func(a []string) []string { return a[:len(a)-1] }), protocol.ErrArgs},
		"a name too many":        {altered(admin(record.Clear()), func(a []string) []string { return poke(51, "\x00\x00\x00\x01")(append(a, "n")) }), protocol.ErrArgs},
		"no decimal":             {altered(add, operand("1.0")), protocol.ErrArgs},
		"an empty decimal":       {altered(add, operand("")), protocol.ErrArgs},
		"a sign alone":           {altered(add, operand("-")), protocol.ErrArgs},
		"a leading zero":         {altered(add, operand("01")), protocol.ErrArgs},
		"minus zero":             {altered(add, operand("-0")), protocol.ErrArgs},
		"create, cut short":      {altered(create, operand("short")), protocol.ErrArgs},
		"create, browser close2": {altered(create, operand(string(one[:])+six+six+"\x02")), protocol.ErrArgs},
		"idle beyond absolute":   {altered(create, operand(string(one[:])+"\x00\x00\x00\x00\x00\x02"+"\x00\x00\x00\x00\x00\x01\x00")), protocol.ErrArgs},
		"authenticate, short":    {altered(admin(record.Authenticate("a", two, 0)), operand("short")), protocol.ErrArgs},
		"a revision of 5 bytes":  {altered(under(admin(), revision(1)), operand("12345")), protocol.ErrArgs},
	} {
		var b record.Batch
		if _, err := protocol.ParseBatch(c.args, &b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestMalformedStepsAreRefused(t *testing.T) {
	head := protocol.StepArgs(protocol.TagOf("ann"), &record.IndexStep{Kind: record.List})[0]
	unlist := head[:17] + "\x03" + head[18:]
	for name, c := range map[string]struct {
		args []string
		want error
	}{
		"no arguments":         {nil, protocol.ErrArgs},
		"another layout":       {[]string{"\x02" + head[1:]}, protocol.ErrStepLayout},
		"a long head":          {[]string{head + "x"}, protocol.ErrArgs},
		"evict 2":              {[]string{head[:38] + "\x02" + head[39:]}, protocol.ErrArgs},
		"verified 2":           {[]string{head[:39] + "\x02" + head[40:]}, protocol.ErrArgs},
		"handles for a list":   {[]string{head, string(someHandle[:])}, protocol.ErrArgs},
		"a handle cut short":   {[]string{unlist, string(someHandle[:15])}, protocol.ErrArgs},
		"a handle with a tail": {[]string{unlist, string(someHandle[:]) + "x"}, protocol.ErrArgs},
	} {
		var step record.IndexStep
		if _, err := protocol.ParseStep(c.args, &step); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// A decimal that no 64 bits hold is out of range, whatever it is.
func TestHugeDecimalsAreOutOfRange(t *testing.T) {
	for text, want := range map[string]int64{
		"9223372036854775807":           1<<63 - 1,
		"9223372036854775808":           1<<63 - 1,
		"99999999999999999999999999999": 1<<63 - 1,
		"-9223372036854775808":          -1 << 63,
		"-9223372036854775809":          -1 << 63,
		"-9223372036854775807":          -1<<63 + 1,
		"0":                             0,
	} {
		var b record.Batch
		args := altered(admin(record.Add("n", 1)), operand(text))
		if _, err := protocol.ParseBatch(args, &b); err != nil || b.Ops[0].Int != want {
			t.Errorf("%s: %d, %v", text, b.Ops[0].Int, err)
		}
	}
}

func TestKeysAreReadAsTheyWereMade(t *testing.T) {
	key := protocol.SessionKey("p:", someHandle)
	if h, ok := protocol.ParseSessionKey("p:", key); !ok || h != someHandle {
		t.Errorf("%s: %s, %t", key, h, ok)
	}
	user := protocol.IndexKey("p:", "ann")
	if sum, ok := protocol.ParseIndexKey("p:", user); !ok || string(sum[:16]) != tagText("ann") {
		t.Errorf("%s: %x, %t", user, sum, ok)
	}
	for _, bad := range []string{"", "p:", "q" + key[1:], key + "}", key[:len(key)-1], strings.ToUpper(key), "P:" + key[2:],
		strings.Replace(key, "8", "8g", 1), strings.Replace(key, "{8", "{g", 1), "p:none", user} {
		if _, ok := protocol.ParseSessionKey("p:", bad); ok {
			t.Errorf("%q was taken for a session's key", bad)
		}
	}
	for _, bad := range []string{"", "p:u:", user[:len(user)-1], user + "0", "p:v:" + user[4:], "p:u:" + strings.ToUpper(user[4:]), key} {
		if _, ok := protocol.ParseIndexKey("p:", bad); ok {
			t.Errorf("%q was taken for an index's key", bad)
		}
	}
}

func tagText(user string) string {
	tag := protocol.TagOf(user)
	return string(tag[:])
}

// packArgs and unpackArgs are for the fuzzer, which makes one text.
func packArgs(args []string) (packed []byte) {
	for _, a := range args {
		packed = append(binary.AppendUvarint(packed, uint64(len(a))), a...)
	}
	return packed
}

func unpackArgs(packed []byte) (args []string) {
	for len(packed) > 0 {
		n, size := binary.Uvarint(packed)
		if size <= 0 || n > uint64(len(packed)-size) {
			return append(args, string(packed))
		}
		args = append(args, string(packed[size:size+int(n)]))
		packed = packed[size+int(n):]
	}
	return args
}

// FuzzParseBatch holds ParseBatch to accept nothing that it does not understand in
// full: what it read makes the arguments again.
func FuzzParseBatch(f *testing.F) {
	for _, c := range load[batchFile](f, "batch.json").Cases {
		f.Add(packArgs(protocol.AppendBatch(nil, someHandle, c.Batch.read())))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		args := unpackArgs(packed)
		var b record.Batch
		h, err := protocol.ParseBatch(args, &b)
		if err != nil || slices.ContainsFunc(b.Ops, func(op record.Op) bool { return op.Int == 1<<63-1 || op.Int == -1<<63 }) {
			return
		}
		if again := protocol.AppendBatch(nil, h, &b); !slices.Equal(again, args) {
			t.Errorf("read as\n%q, sent\n%q", again, args)
		}
	})
}

func FuzzParseStep(f *testing.F) {
	for _, c := range load[indexFile](f, "index.json").Cases {
		f.Add(packArgs(protocol.StepArgs(protocol.TagOf("ann"), c.Step.read())))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		args := unpackArgs(packed)
		var step record.IndexStep
		tag, err := protocol.ParseStep(args, &step)
		if err != nil {
			return
		}
		if again := protocol.StepArgs(tag, &step); !slices.Equal(again, args) {
			t.Errorf("read as\n%q, sent\n%q", again, args)
		}
	})
}

// FuzzParseReply holds ParseReply to the same, over any batch.
func FuzzParseReply(f *testing.F) {
	for _, c := range load[batchFile](f, "batch.json").Cases {
		b := c.Batch.read()
		reply, _ := c.Before.read().Apply(b, c.Now)
		f.Add(packArgs(protocol.AppendBatch(nil, someHandle, b)), string(protocol.AppendReply(nil, someHandle, b, &reply)))
	}
	f.Fuzz(func(t *testing.T, packed []byte, answer string) {
		var b record.Batch
		h, err := protocol.ParseBatch(unpackArgs(packed), &b)
		if err != nil {
			return
		}
		reply, err := protocol.ParseReply(answer, h, &b)
		if err != nil {
			return
		}
		again, err := protocol.ParseReply(string(protocol.AppendReply(nil, h, &b, &reply)), h, &b)
		if err != nil || !reflect.DeepEqual(again, reply) {
			t.Errorf("read as\n%+v, %v, sent\n%+v", again, err, reply)
		}
	})
}
