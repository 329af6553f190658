// Package protocol_test makes and checks the test vectors of this folder:
//
//	go test ./protocol            # the files are what this version of Go makes
//	go test ./protocol -update    # write them anew
package protocol_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
)

var update = flag.Bool("update", false, "write the vectors anew")

var reasons = []string{record.Logout.String(), record.Replaced.String(), record.Revoked.String(), record.Evicted.String()}

func sortFields(fields []record.Field) {
	slices.SortFunc(fields, func(a, b record.Field) int { return strings.Compare(a.Name, b.Name) })
}

// write renders a file of vectors: an object with one line for each vector.
func write(t *testing.T, file any) []byte {
	t.Helper()
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	put := func(v any) {
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		out.Truncate(out.Len() - 1) // without the line feed
	}
	v := reflect.ValueOf(file)
	for i := range v.NumField() {
		fmt.Fprintf(&out, "%s\n%q: ", []string{"{", ","}[min(i, 1)], v.Type().Field(i).Tag.Get("json"))
		if v.Field(i).Kind() != reflect.Slice {
			put(v.Field(i).Interface())
			continue
		}
		for j := range v.Field(i).Len() {
			out.WriteString([]string{"[\n", ",\n"}[min(j, 1)])
			put(v.Field(i).Index(j).Interface())
		}
		out.WriteString("\n]")
	}
	out.WriteString("\n}\n")
	return out.Bytes()
}

// golden fails the test unless the file holds these vectors, or writes them there.
func golden(t *testing.T, file string, vectors any) {
	t.Helper()
	made := write(t, vectors)
	if *update {
		if err := os.WriteFile(file, made, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(kept, made) {
		return
	}
	is, want := strings.Split(string(made), "\n"), strings.Split(string(kept), "\n")
	for i := range min(len(is), len(want)) {
		if is[i] != want[i] {
			t.Fatalf("%s, line %d, is\n%s\nand this version makes\n%s\nIf the protocol has changed, that takes a new layout number; see README.md.", file, i+1, want[i], is[i])
		}
	}
	t.Fatalf("%s has %d lines, this version makes %d", file, len(want), len(is))
}

// load reads a file of vectors as another language would, knowing all members.
func load[T any](t testing.TB, file string) (v T) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return v
}

// alike fails the test unless two values have the same JSON form.
func alike(t *testing.T, what string, got, want any) {
	t.Helper()
	a, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%s is\n%s\nwant\n%s", what, a, b)
	}
}
