package compat_test

import (
	"encoding/gob"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/compat"
)

type user struct {
	Name string
	Tags map[string]int
}

type unregistered struct{ N int }

func TestMain(m *testing.M) {
	gob.Register(user{})
	m.Run()
}

func TestEncode(t *testing.T) {
	at := time.Date(2026, 11, 24, 21, 0, 0, 5, time.FixedZone("", 3600))
	for _, c := range []struct {
		value any
		text  string // not looked at if empty
	}{
		{nil, `null`},
		{true, `true`},
		{"é\x00<", "\"é\\u0000\\u003c\""},
		{"\xff", ""},
		{0, `0`},
		{math.MaxInt64, `9223372036854775807`},
		{math.MinInt64, `-9223372036854775808`},
		{2.0, `2.0`},
		{math.Copysign(0, -1), `-0.0`},
		{1e300, `1e+300`},
		{math.Inf(1), ""},
		{[]byte{0, 1, 2}, `{"$bytes":"AAEC"}`},
		{at, `{"$datetime":"2026-11-24T21:00:00.000000005+01:00"}`},
		{time.Time{}, `{"$datetime":"0001-01-01T00:00:00Z"}`},
		{complex(1, 2), ""},
		{int8(-128), `{"$go":["int8",-128]}`},
		{int16(5), `{"$go":["int16",5]}`},
		{int32(5), `{"$go":["int32",5]}`},
		{int64(math.MaxInt64), `{"$go":["int64",9223372036854775807]}`},
		{uint(5), `{"$go":["uint",5]}`},
		{uint8(255), `{"$go":["uint8",255]}`},
		{uint16(5), `{"$go":["uint16",5]}`},
		{uint32(5), `{"$go":["uint32",5]}`},
		{uint64(math.MaxUint64), `{"$go":["uint64",18446744073709551615]}`},
		{float32(0.1), `{"$go":["float32",0.1]}`},
		{[]any{1, "a", 2.0, []any{}}, `[1,"a",2.0,[]]`},
		{map[string]any{"b": 1, "a": []any{nil}}, `{"a":[null],"b":1}`},
		{map[string]any{"$bytes": "no"}, `{"$$bytes":"no"}`},
		{map[string]any{"$$gob": 1}, `{"$$$gob":1}`},
		{map[string]any{"$decimal": "1.50"}, `{"$decimal":"1.50"}`},
		{map[string]any{"$bytes": 1, "x": 2}, `{"$bytes":1,"x":2}`},
		{user{"ada", map[string]int{"x": 1}}, ""},
		{[]string{"a", "b"}, ""},
		{[]any{user{Name: "ada"}}, ""},
	} {
		text, err := compat.Encode(c.value)
		if err != nil {
			t.Errorf("%#v: %v", c.value, err)
			continue
		}
		if c.text != "" && string(text) != c.text {
			t.Errorf("%#v: text %s, want %s", c.value, text, c.text)
		}
		back, err := compat.Decode(text)
		if err != nil || !reflect.DeepEqual(back, c.value) {
			t.Errorf("%s came back as %#v, %v; want %#v", text, back, err, c.value)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	loop := map[string]any{}
	loop["self"] = loop
	for _, value := range []any{unregistered{1}, func() {}, make(chan int), loop, map[string]any{"\xff": 1},
		time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if text, err := compat.Encode(value); !errors.Is(err, pazzo.ErrEncode) {
			t.Errorf("%T: %s, %v; want ErrEncode", value, text, err)
		}
	}
}

func TestDecodeOfOthers(t *testing.T) {
	for text, want := range map[string]any{
		`1.50`:                                1.5,
		`{"$date":"2026-11-24"}`:              map[string]any{"$date": "2026-11-24"},
		`{"$datetime":"2026-11-24T21:00:00"}`: map[string]any{"$datetime": "2026-11-24T21:00:00"},
	} {
		if got, err := compat.Decode([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v; want %#v", text, got, err, want)
		}
	}
	for _, text := range []string{
		``, `1 2`, `{"$go":1}`, `{"$go":["int8",300]}`, `{"$go":["func",1]}`, `{"$go":["int8",1.5]}`,
		`{"$bytes":1}`, `{"$bytes":"?"}`, `{"$gob":"AAAA"}`, `{"$gob":"?"}`,
	} {
		if got, err := compat.Decode([]byte(text)); err == nil {
			t.Errorf("%s: %#v, want an error", text, got)
		}
	}
}

func TestName(t *testing.T) {
	for _, c := range []struct {
		key  any
		name string
	}{
		{"cart", "cart"},
		{"", `$key:""`},
		{"$key:x", `$key:"$key:x"`},
		{5, `$key:5`},
		{int64(5), `$key:{"$go":["int64",5]}`},
		{true, `$key:true`},
		{1.5, `$key:1.5`},
	} {
		name, err := compat.Name(c.key)
		if err != nil || name != c.name {
			t.Errorf("%#v: name %q, %v; want %q", c.key, name, err, c.name)
		}
		if key := compat.Key(name); key != c.key {
			t.Errorf("%q: key %#v, want %#v", name, key, c.key)
		}
	}
	type private int
	for _, key := range []any{private(1), nil, user{}, "\xff", "\x00m", math.NaN()} {
		if name, err := compat.Name(key); !errors.Is(err, pazzo.ErrName) {
			t.Errorf("%#v: name %q, %v; want ErrName", key, name, err)
		}
	}
	for _, name := range []string{"$key:", "$key:[1]", "$key: 5", `$key:{"$gob":"AA=="}`} { // another app's
		if key := compat.Key(name); key != name {
			t.Errorf("%q: key %#v, want the name", name, key)
		}
	}
}
