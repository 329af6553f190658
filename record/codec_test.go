package record

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// golden are encodings that must never change: layout 1.
var golden = map[string]struct {
	record *Record
	hex    string
}{
	"full": {&Record{
		State: Live,
		Meta: Meta{Generation: 0x01020304, Floor: 3, Secret: Secret{0xaa, 15: 0xbb}, Created: 0x010203040506, Deadline: 2, Idle: 3,
			Touched: 4, FloorTime: 5, Renewed: 6, BrowserClose: true, CustomExpiry: true, Unpresented: true, HasPrevious: true, HasUser: true},
		Previous: Previous{Secret: Secret{0xcc, 15: 0xdd}, Presented: 7, Grace: 8},
		Revision: 300,
		User:     "ann",
		Auth:     9,
		Device:   "phone",
		Fields:   []Field{{"a", "1"}, {"é", `"x"`}},
	}, "01" + "1f" + "01020304" + "00000003" + "aa0000000000000000000000000000bb" +
		"010203040506" + "000000000002" + "000000000003" + "000000000004" + "000000000005" + "000000000006" +
		"ac02" +
		"cc0000000000000000000000000000dd" + "000000000007" + "000000000008" +
		"03616e6e" + "000000000009" +
		"0570686f6e65" +
		"02" + "0161" + "0131" + "02c3a9" + "03227822"},
	"bare": {&Record{State: Live, Meta: Meta{Generation: 1, Floor: 1, Created: 1, Deadline: 1, Idle: 1, Touched: 1, FloorTime: 1, Renewed: 1}, Revision: 1},
		"01" + "00" + "00000001" + "00000001" + strings.Repeat("00", 16) + strings.Repeat("000000000001", 6) + "01" + "00" + "00"},
	"tombstone": {&Record{State: Dead, Tombstone: Tombstone{Evicted, 0x0a, 0x0b}}, "01" + "20" + "03" + "00000000000a" + "00000000000b"},
	"absent":    {&Record{}, ""},
}

func TestGolden(t *testing.T) {
	for name, test := range golden {
		if got := hex.EncodeToString(test.record.Append(nil)); got != test.hex {
			t.Errorf("%s is\n%s, want\n%s", name, got, test.hex)
		}
		encoded, _ := hex.DecodeString(test.hex)
		var r Record
		if err := r.Decode(string(encoded)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		r.size = 0
		if !reflect.DeepEqual(&r, test.record) {
			t.Errorf("%s decodes to %+v", name, r)
		}
	}
}

// Nothing but what Append writes decodes.
func TestDecodeRefuses(t *testing.T) {
	for name, test := range golden {
		encoded, _ := hex.DecodeString(test.hex)
		var r Record
		for cut := 1; cut < len(encoded); cut++ {
			if err := r.Decode(string(encoded[:cut])); !errors.Is(err, ErrCorrupt) || r.State != None || len(r.Fields) > 0 {
				t.Errorf("%s cut at %d: %v, state %d", name, cut, err, r.State)
			}
		}
		if len(encoded) == 0 {
			continue
		}
		if err := r.Decode(string(encoded) + "\x00"); !errors.Is(err, ErrCorrupt) || r.State != None {
			t.Errorf("%s with a byte more: %v", name, err)
		}
		encoded[0] = Layout + 1
		if err := r.Decode(string(encoded)); !errors.Is(err, ErrLayout) || r.State != None {
			t.Errorf("%s of another layout: %v", name, err)
		}
		encoded[0], encoded[1] = Layout, encoded[1]|0x40
		if err := r.Decode(string(encoded)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s with an unknown flag: %v", name, err)
		}
	}
	encode := func(r *Record) string { r.State = Live; return text(r) }
	bare := encode(&Record{Revision: 1})
	huge := strings.Repeat("\xff", 9) + "\x01"
	for name, s := range map[string]string{
		"fields out of order": encode(&Record{Revision: 1, Fields: []Field{{"b", "1"}, {"a", "1"}}}),
		"a field twice":       encode(&Record{Revision: 1, Fields: []Field{{"a", "1"}, {"a", "2"}}}),
		"a long number":       bare[:MetaSize] + "\x81\x00" + bare[MetaSize+1:],
		"too large a number":  bare[:MetaSize] + strings.Repeat("\xff", 9) + "\x02" + bare[MetaSize+1:],
		"an endless number":   bare[:MetaSize] + strings.Repeat("\xff", 20),
		"a huge device":       bare[:MetaSize+1] + huge + "\x00",
		"a huge count":        bare[:len(bare)-1] + huge,
		"a count too many":    bare[:len(bare)-1] + "\x02\x01a\x00",
		"a reason unknown":    "\x01\x20\x04" + strings.Repeat("\x00", 12),
		"two kinds at once":   "\x01\x21\x00" + strings.Repeat("\x00", 12),
	} {
		var r Record
		if err := r.Decode(s); !errors.Is(err, ErrCorrupt) || r.State != None {
			t.Errorf("%s: %v", name, err)
		}
	}
	var m Meta
	if err := m.Unpack(""); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if err := m.Unpack("\x01" + strings.Repeat("\x00", MetaSize)); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	var p Previous
	if err := p.Unpack("short"); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	var tomb Tombstone
	if err := tomb.Unpack("\x02"); !errors.Is(err, ErrLayout) {
		t.Error(err)
	}
}

// A count in a corrupt record must not allocate what it claims.
func TestDecodeAllocatesLittle(t *testing.T) {
	bare := text(&Record{State: Live, Revision: 1})
	claims := bare[:len(bare)-1] + "\xff\xff\x7f" + strings.Repeat("\xff", 5<<20)
	index := "\x01" + strings.Repeat("\x01", 6) + "\xff\xff\xff\x7f" + strings.Repeat("\x00", 29)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var r Record
	var x Index
	if r.Decode(claims) == nil || x.Decode(index) == nil {
		t.Fatal("decoded")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<10 {
		t.Errorf("%d bytes allocated", got)
	}
}

func randomText(rng *rand.Rand, longest int) string {
	b := make([]byte, rng.IntN(longest+1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

func randomRecord(rng *rand.Rand) *Record {
	ms := func() int64 { return rng.Int64N(1 << 48) }
	yes := func() bool { return rng.IntN(2) == 0 }
	secret := func() (s Secret) { copy(s[:], randomText(rng, 16)); return s }
	if rng.IntN(8) == 0 {
		return &Record{State: Dead, Tombstone: Tombstone{Reason(rng.IntN(4)), ms(), ms()}}
	}
	r := &Record{State: Live, Revision: rng.Uint64() >> rng.IntN(64), Device: randomText(rng, 200)}
	r.Meta = Meta{rng.Uint32(), rng.Uint32(), secret(), ms(), ms(), ms(), ms(), ms(), ms(), yes(), yes(), yes(), yes(), yes()}
	if r.Meta.HasPrevious {
		r.Previous = Previous{secret(), ms(), ms()}
	}
	if r.Meta.HasUser {
		r.User, r.Auth = randomText(rng, 300), ms()
	}
	for range rng.IntN(20) {
		r.set(randomText(rng, 20), randomText(rng, 300))
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var again Record
	for range 10_000 {
		r := randomRecord(rng)
		if err := again.Decode(text(r)); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		if len(again.Fields) == 0 {
			again.Fields = nil
		}
		again.changes = nil
		if !reflect.DeepEqual(&again, r) {
			t.Fatalf("%+v became %+v", r, &again)
		}
	}
}

// Many fields are found by halving, few by looking through them.
func TestFind(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	r, model := new(Record), map[string]string{}
	for range 20_000 {
		name := randomText(rng, 1)
		switch rng.IntN(5) {
		case 0, 1:
			r.set(name, name+"!")
			model[name] = name + "!"
		case 2, 3:
			r.remove(name)
			delete(model, name)
		}
		if got, found := r.Get(name); got != model[name] || found != (got != "") || len(r.Fields) != len(model) {
			t.Fatalf("%q is %q, %t, of %d", name, got, found, len(r.Fields))
		}
	}
}

func TestResetKeepsNoStrings(t *testing.T) {
	r := made(t, Set("a", "1"), Set("b", "2"))
	apply(t, r, batch(Delete("a"), Set("c", "3")), start)
	fields, changes := r.Fields[:cap(r.Fields)], r.changes[:cap(r.changes)]
	r.Reset()
	for _, f := range fields {
		if f != (Field{}) {
			t.Errorf("kept %+v", f)
		}
	}
	for _, c := range changes {
		if c != (change{}) {
			t.Errorf("kept %+v", c)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	s := text(made(b, Set("cart", "[17,23]"), Set("theme", `"dark"`), Set("visits", "41")))
	var r Record
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Decode(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	r := made(b, Set("cart", "[17,23]"), Set("theme", `"dark"`), Set("visits", "41"))
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = r.Append(buf[:0])
	}
}

func BenchmarkApply(b *testing.B) {
	for name, batch := range map[string]*Batch{"get": open(1, key(1), Get("theme")), "add": open(1, key(1), Add("visits", 1))} {
		b.Run(name, func(b *testing.B) {
			r := made(b, Set("cart", "[17,23]"), Set("theme", `"dark"`), Set("visits", "41"))
			b.ReportAllocs()
			for b.Loop() {
				if reply, _ := r.Apply(batch, start); reply.Status != OK {
					b.Fatal(reply.Status)
				}
			}
		})
	}
}
