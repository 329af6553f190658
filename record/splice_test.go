package record

import "testing"

// TestSplice shows which batches are spliced; apply compares what comes of it with
// what Apply does, here and in all other tests.
func TestSplice(t *testing.T) {
	r := made(t, Set("a", "1"), Set("b", `"two"`), Set("c", "[3]"), Describe("device"))
	want(t, apply(t, r, held(1, Authenticate("ann", key(2), hour)), start), OK)
	within := func(size int, op Op) *Batch { return held(2, op).within(Limits{Size: size}) }
	size := r.Size()
	for _, test := range []struct {
		name  string
		batch *Batch
		ok    bool
	}{
		{"get", held(2, Get("b")), true},
		{"get by token", open(2, key(2), Get("b")), true},
		{"get by the server", batch(Get("b")), true},
		{"get nothing", held(2, Get("d")), true},
		{"set", held(2, Set("b", `"three"`)), true},
		{"set by token", open(2, key(2), Set("b", `"three"`)), true},
		{"add", held(2, Add("a", 41)), true},
		{"add to the largest", held(2, Add("a", MaxInt-1)), true},
		{"set as large", within(1, Set("b", `"owt"`)), true},
		{"set up to the limit", within(size+1, Set("b", `"four"`)), true},

		{"set past the limit", within(size, Set("b", `"four"`)), false},
		{"set a new field", held(2, Set("d", "1")), false},
		{"add to nothing", held(2, Add("d", 1)), false},
		{"add to no integer", held(2, Add("b", 1)), false},
		{"add out of range", held(2, Add("a", MaxInt)), false},
		{"another operation", held(2, Pop("a")), false},
		{"two operations", held(2, Get("a"), Get("b")), false},
		{"none", held(2), false},
		{"under a condition", held(2, Set("a", "2")).under(Condition{Kind: FieldAbsent, Name: "d"}), false},
		{"superseded", held(1, Get("a")), false},
		{"a wrong token", open(2, key(3), Get("a")), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, ok := Splice(nil, text(r), test.batch, start, new(Reply)); ok != test.ok {
				t.Errorf("spliced: %v", ok)
			}
			var copied Record
			if err := copied.Decode(text(r)); err != nil {
				t.Fatal(err)
			}
			apply(t, &copied, test.batch, start)
		})
	}
	if _, ok := Splice(nil, text(r), held(2, Get("a")), r.Expires(), new(Reply)); ok {
		t.Error("an expired record was read")
	}
	for n := range len(text(r)) {
		if _, ok := Splice(nil, text(r)[:n], held(2, Get("a")), start, new(Reply)); ok {
			t.Errorf("the first %d bytes of a record were read", n)
		}
	}
}
