package memcachedstore

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRequests(t *testing.T) {
	if got := string(appendGet(nil, "p:k", 7)); got != "mg p:k v c O7\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(appendSet(nil, "p:k", []byte("ab"), 60, 5, false, 8)); got != "ms p:k 2 c T60 C5 O8\r\nab\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(appendSet(nil, "p:k", nil, 60, 0, true, 9)); got != "ms p:k 0 c T60 ME O9\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

func TestAnswers(t *testing.T) {
	for text, want := range map[string]answer{
		"VA 2 c5 O7\r\nab\r\n":                  {code: "VA", cas: 5, data: "ab"},
		"VA 0 c18446744073709551615 O7\r\n\r\n": {code: "VA", cas: 1<<64 - 1},
		"VA 4 O7 c5\r\n\r\n\r\n\r\n":            {code: "VA", cas: 5, data: "\r\n\r\n"},
		"EN\r\n":                                {code: "EN"},
		"EN O7\r\n":                             {code: "EN"},
		"HD c6 O7\r\n":                          {code: "HD", cas: 6},
		"EX c0 O7\r\n":                          {code: "EX"},
		"NF c0 O7\r\n":                          {code: "NF"},
		"NS O7\r\n":                             {code: "NS"},
		"SERVER_ERROR out of memory storing object\r\n": {text: "SERVER_ERROR out of memory storing object"},
	} {
		for _, in := range []*bufio.Reader{bufio.NewReader(strings.NewReader(text)), bufio.NewReader(iotest.OneByteReader(strings.NewReader(text)))} {
			got, err := readAnswer(in, 7, 100)
			if err != nil || got != want {
				t.Errorf("%q: %+v, %v", text, got, err)
			}
		}
	}
}

func TestBadAnswers(t *testing.T) {
	for text, want := range map[string]error{
		"VA 2 c5 O8\r\nab\r\n":               errSwapped,
		"VA 2 c5\r\nab\r\n":                  errSwapped,
		"EN O8\r\n":                          errSwapped,
		"HD c6\r\n":                          errSwapped,
		"VA 101 c5 O7\r\n":                   errMalformed,
		"VA -1 c5 O7\r\n":                    errMalformed,
		"VA\r\n":                             errMalformed,
		"VA 2 c5 O7\r\nabcd":                 errMalformed,
		"HD cx O7\r\n":                       errMalformed,
		"CLIENT_ERROR bad data chunk\r\n":    errMalformed,
		"ERROR\r\n":                          errMalformed,
		"\r\n":                               errMalformed,
		"HD O7\n":                            errMalformed,
		"HD O7 " + strings.Repeat("x", 9000): nil, // any error
		"VA 9 c5 O7\r\nab":                   nil,
		"":                                   nil,
	} {
		got, err := readAnswer(bufio.NewReader(strings.NewReader(text)), 7, 100)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%.40q: %+v, %v; want %v", text, got, err, want)
		}
	}
}

// A length does not allocate what has not come.
func TestHugeLengthAllocatesNothing(t *testing.T) {
	in := func() *bufio.Reader { return bufio.NewReader(strings.NewReader("VA 1000000000 c5 O7\r\nab")) }
	if n := testing.AllocsPerRun(1, func() {
		if _, err := readAnswer(in(), 7, 1<<30); err == nil {
			t.Error("no error")
		}
	}); n > 20 {
		t.Errorf("%v allocations", n)
	}
	big := bytes.Repeat([]byte("x"), 300_000)
	got, err := readAnswer(bufio.NewReader(strings.NewReader("VA 300000 c5 O7\r\n"+string(big)+"\r\n")), 7, 1<<20)
	if err != nil || got.data != string(big) {
		t.Errorf("%d bytes, %v", len(got.data), err)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, text := range []string{"VA 2 c5 O7\r\nab\r\n", "EN\r\n", "HD c6 O7\r\n", "SERVER_ERROR x\r\n", "VA 99 c5 O7\r\nab"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := readAnswer(bufio.NewReader(strings.NewReader(text)), 7, 1000)
		if err == nil && len(a.data) > 1000 {
			t.Errorf("%d bytes of data", len(a.data))
		}
	})
}
