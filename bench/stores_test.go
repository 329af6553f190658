package main

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestStoresTable(t *testing.T) {
	row := &storeRow{name: "memory", promise: "p", reads: 1234567, writes: 1000, readLone: 1.4, addLone: 2.6, space: 400, on: "memory"}
	text := "before\n" + storesBegin + "old\n" + storesEnd + "after\n"
	got, err := storesTable(text, []*storeRow{row}, "about")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"before\n" + storesBegin, storesEnd + "after\n", "about", "| memory | 1,234,567 | 1,000 | 1 µs | 3 µs | 400, memory | p |\n"} {
		if !strings.Contains(got, part) {
			t.Errorf("%q is missing in:\n%s", part, got)
		}
	}
	if strings.Contains(got, "old") {
		t.Error("the old table is there still")
	}
	if again, err := storesTable(got, []*storeRow{row}, "about"); err != nil || again != got {
		t.Errorf("written twice, it is another:\n%s\n%v", again, err)
	}
	for _, bad := range []string{"", storesBegin, storesEnd + storesBegin} {
		if _, err := storesTable(bad, nil, ""); !errors.Is(err, errNoMarkers) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// The file that the table is written into has a place for it.
func TestStoresTableHasAPlace(t *testing.T) {
	text, err := os.ReadFile("../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storesTable(string(text), nil, ""); err != nil {
		t.Error(err)
	}
}
