package memcachedstore

import (
	"fmt"
	"testing"
)

// placed is where libmemcached 1.0.16, by pylibmc with ketama_weighted, puts the keys
// pazzo:key0 to pazzo:key119 on 127.0.0.1:11211, 127.0.0.1:23101 and 127.0.0.1:23102.
const placed = "010222210122112110000120021101021220111112020122012112000110" +
	"210201010111111022221111212212210202201010100122102210211101"

func TestKeysAreWhereLibmemcachedPutsThem(t *testing.T) {
	r := newRing([]address{{"127.0.0.1", "11211"}, {"127.0.0.1", "23101"}, {"127.0.0.1", "23102"}})
	for i, want := range placed {
		if got := r.server(fmt.Sprint("pazzo:key", i)); got != int(want-'0') {
			t.Errorf("key %d is on server %d, want %c", i, got, want)
		}
	}
}

// A server more takes its share from all, and moves nothing among the others.
func TestAServerMoreMovesItsShare(t *testing.T) {
	servers := []address{{"a", "1"}, {"b", "1"}, {"c", "1"}, {"d", "1"}}
	before, after := newRing(servers[:3]), newRing(servers)
	const keys = 20_000
	moved := 0
	for i := range keys {
		key := fmt.Sprint("key", i)
		if a, b := before.server(key), after.server(key); a != b {
			moved++
			if b != 3 {
				t.Fatalf("key %d moved from server %d to %d", i, a, b)
			}
		}
	}
	if moved < keys/6 || moved > keys/3 {
		t.Errorf("%d of %d keys moved, a quarter should", moved, keys)
	}
}
