package compat

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pazzo-sessions/pazzo"
)

// Names of typed values, as in protocol/README.md. The last two are Go's own: the
// others leave them as they are.
const (
	tagBytes    = "$bytes"
	tagDatetime = "$datetime"
	tagGo       = "$go"  // [name of a basic type, its JSON text]
	tagGob      = "$gob" // base64 of what package gob makes of an any
)

// Encode returns the JSON text that Decode makes the same value of, of the same
// type:
//
//	nil, bool, string             JSON's own
//	int                           a number without fraction and exponent
//	float64                       a number with a fraction or an exponent
//	[]any, map[string]any         JSON's own, of such values
//	[]byte, time.Time             {"$bytes":…}, {"$datetime":…}, as Python has them
//	other integers, float32       {"$go":["int64",5]}
//	anything else                 {"$gob":…}, which other languages cannot read
//
// A type in the last line has to be registered by gob.Register, and comes back as
// package gob has it: a pointer as what it points to, nothing of unexported fields.
// A nil slice or map of the line in the middle comes back empty. pazzo.ErrEncode is
// returned when a value has no such form.
func Encode(value any) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := write(&b, value, 0); err != nil {
		return nil, fmt.Errorf("%w of type %T: %w", pazzo.ErrEncode, value, err)
	}
	return b.Bytes(), nil
}

// maxDepth bounds nested values, so that a map which contains itself is an error.
const maxDepth = 1000

func write(b *bytes.Buffer, value any, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch v := value.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int:
		b.WriteString(strconv.Itoa(v))
	case string:
		if !utf8.ValidString(v) {
			return writeGob(b, value)
		}
		writeString(b, v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return writeGob(b, value)
		}
		writeFloat(b, v)
	case []byte:
		return writeTag(b, tagBytes, base64.StdEncoding.EncodeToString(v))
	case time.Time:
		if text, ok := formatTime(v); ok {
			return writeTag(b, tagDatetime, text)
		}
		return writeGob(b, value)
	case int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		fmt.Fprintf(b, `{"$go":["%T",%d]}`, v, v)
	case float32:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return writeGob(b, value)
		}
		fmt.Fprintf(b, `{"$go":["float32",%s]}`, strconv.FormatFloat(float64(v), 'g', -1, 32))
	case []any:
		return writeList(b, v, depth)
	case map[string]any:
		return writeMap(b, v, depth)
	default:
		return writeGob(b, value)
	}
	return nil
}

func writeString(b *bytes.Buffer, s string) {
	text, _ := json.Marshal(s) // fails for no string
	b.Write(text)
}

// writeFloat marks a whole number as a float64 by its fraction.
func writeFloat(b *bytes.Buffer, f float64) {
	text := strconv.FormatFloat(f, 'g', -1, 64)
	b.WriteString(text)
	if !strings.ContainsAny(text, ".e") {
		b.WriteString(".0")
	}
}

func writeTag(b *bytes.Buffer, tag, text string) error {
	fmt.Fprintf(b, `{"%s":`, tag)
	writeString(b, text)
	b.WriteByte('}')
	return nil
}

func writeGob(b *bytes.Buffer, value any) error {
	var binary bytes.Buffer
	if err := gob.NewEncoder(&binary).Encode(&value); err != nil {
		return err
	}
	return writeTag(b, tagGob, base64.StdEncoding.EncodeToString(binary.Bytes()))
}

func writeList(b *bytes.Buffer, list []any, depth int) error {
	b.WriteByte('[')
	for i, v := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := write(b, v, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

// writeMap writes the members in order, so that equal maps have equal texts.
func writeMap(b *bytes.Buffer, m map[string]any, depth int) error {
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if !utf8.ValidString(name) {
			return errors.New("a map has a key that is not UTF-8")
		}
		if i > 0 {
			b.WriteByte(',')
		}
		if len(m) == 1 && looksTagged(name) {
			writeString(b, "$"+name)
		} else {
			writeString(b, name)
		}
		b.WriteByte(':')
		if err := write(b, m[name], depth+1); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// looksTagged reports whether name, without any $ in front, is one of our tags.
// Those of other languages' types are written as they are read.
func looksTagged(name string) bool {
	bare := "$" + strings.TrimLeft(name, "$")
	return strings.HasPrefix(name, "$") && slices.Contains([]string{tagBytes, tagDatetime, tagGo, tagGob}, bare)
}

// formatTime returns t in ISO 8601, if that says all that package gob would.
func formatTime(t time.Time) (string, bool) {
	text := t.Format(time.RFC3339Nano)
	back, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || !back.Equal(t) {
		return "", false
	}
	_, offset := t.Zone()
	_, again := back.Zone()
	return text, offset == again
}

// Decode returns the value of a JSON text from Encode, or of one from another app:
// a whole number is an int, or a json.Number if it does not fit, another number a
// float64, and the typed values of other languages are the maps that they are. A
// value of a type that is not registered with package gob here is an error.
func Decode(text json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return read(plain)
}

func read(plain any) (value any, err error) {
	switch v := plain.(type) {
	case json.Number:
		return readNumber(v)
	case []any:
		for i := range v {
			if v[i], err = read(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		return readMap(v)
	}
	return plain, nil
}

func readNumber(n json.Number) (any, error) {
	if strings.ContainsAny(string(n), ".eE") {
		return n.Float64()
	}
	if i, err := strconv.Atoi(string(n)); err == nil {
		return i, nil
	}
	return n, nil
}

func readMap(m map[string]any) (any, error) {
	if len(m) == 1 {
		for name, v := range m {
			if looksTagged(name) {
				return readTag(name, v)
			}
		}
	}
	for name, v := range m {
		value, err := read(v)
		if err != nil {
			return nil, err
		}
		m[name] = value
	}
	return m, nil
}

func readTag(tag string, v any) (any, error) {
	if strings.HasPrefix(tag, "$$") {
		value, err := read(v)
		return map[string]any{tag[1:]: value}, err
	}
	if tag == tagGo {
		return readGo(v)
	}
	text, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("%s holds no text", tag)
	}
	if tag == tagDatetime {
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return t, nil
		}
		return map[string]any{tag: text}, nil // as Python writes one without offset
	}
	binary, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%s holds no base64", tag)
	}
	if tag == tagBytes {
		return binary, nil
	}
	var value any
	err = gob.NewDecoder(bytes.NewReader(binary)).Decode(&value)
	return value, err
}

func readGo(v any) (any, error) {
	pair, _ := v.([]any)
	if len(pair) != 2 {
		return nil, fmt.Errorf("%s holds no pair", tagGo)
	}
	kind, _ := pair[0].(string)
	number, _ := pair[1].(json.Number)
	switch kind {
	case "int8":
		return integer[int8](number, 8)
	case "int16":
		return integer[int16](number, 16)
	case "int32":
		return integer[int32](number, 32)
	case "int64":
		return integer[int64](number, 64)
	case "uint":
		return natural[uint](number, strconv.IntSize)
	case "uint8":
		return natural[uint8](number, 8)
	case "uint16":
		return natural[uint16](number, 16)
	case "uint32":
		return natural[uint32](number, 32)
	case "uint64":
		return natural[uint64](number, 64)
	case "float32":
		f, err := strconv.ParseFloat(string(number), 32)
		return float32(f), err
	}
	return nil, fmt.Errorf("%s holds no basic type", tagGo)
}

func integer[T int8 | int16 | int32 | int64](n json.Number, bits int) (any, error) {
	i, err := strconv.ParseInt(string(n), 10, bits)
	return T(i), err
}

func natural[T uint | uint8 | uint16 | uint32 | uint64](n json.Number, bits int) (any, error) {
	i, err := strconv.ParseUint(string(n), 10, bits)
	return T(i), err
}
