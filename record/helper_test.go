package record

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
)

const (
	start  = 1_700_000_000_000
	minute = 60_000
	hour   = 60 * minute
	grace  = 15_000
)

var expiry = Expiry{Idle: 10 * minute, Absolute: 2 * hour}

// key is a secret that is told apart by one byte.
func key(n byte) Secret { return Secret{n} }

// batch, open and held are batches by the server, with a token, and of a request
// under way.
func batch(ops ...Op) *Batch { return &Batch{Ops: ops} }

func open(generation uint32, secret Secret, ops ...Op) *Batch {
	return &Batch{Access: Access{Mode: Open, Generation: generation, Secret: secret}, Ops: ops}
}

func held(generation uint32, ops ...Op) *Batch {
	return &Batch{Access: Access{Mode: Held, Generation: generation}, Ops: ops}
}

func (b *Batch) under(conditions ...Condition) *Batch {
	b.Conditions = conditions
	return b
}

func (b *Batch) within(l Limits) *Batch {
	b.Limits = l
	return b
}

// made is a live record with key(1), made at start.
func made(t testing.TB, ops ...Op) *Record {
	t.Helper()
	r := new(Record)
	want(t, apply(t, r, batch(append([]Op{Create(key(1), expiry)}, ops...)...), start), OK)
	return r
}

func want(t testing.TB, reply Reply, status Status) {
	t.Helper()
	if reply.Status != status {
		t.Fatalf("status is %q, want %q", reply.Status, status)
	}
}

func text(r *Record) string { return string(r.Append(nil)) }

// checkSplice holds Splice to what Apply has done.
func checkSplice(t testing.TB, r *Record, spliced Reply, encoded string, reply Reply, changed bool) {
	t.Helper()
	if !reflect.DeepEqual(spliced, reply) {
		t.Fatalf("Splice answers %+v, Apply %+v", spliced, reply)
	}
	after := "before"
	if changed {
		after += text(r)
	}
	if encoded != after {
		t.Fatalf("Splice gives %q, Apply and Append %q", encoded, after)
	}
}

// apply applies a batch that must pass Check, and holds Apply to what it promises
// of every batch.
func apply(t testing.TB, r *Record, b *Batch, now int64) Reply {
	t.Helper()
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	var before Record
	if r.State != None && now < r.Expires() {
		if err := before.Decode(text(r)); err != nil {
			t.Fatal(err)
		}
	}
	var spliced Reply
	encoded, ok := Splice([]byte("before"), text(r), b, now, &spliced)
	if !ok && !reflect.DeepEqual(spliced, Reply{}) {
		t.Errorf("what was not spliced left %+v in the reply", spliced)
	}
	reply, changed := r.Apply(b, now)
	if ok {
		checkSplice(t, r, spliced, string(encoded), reply, changed)
	}
	checkChange(t, &before, r, b, reply, changed, now)
	checkRecord(t, r)
	checkLimits(t, &before, r, b)
	if reply.Now != now {
		t.Fatalf("reply says %d, not %d", reply.Now, now)
	}
	if reply.Status == OK && len(reply.Values) != len(b.Ops) || reply.Status != OK && reply.Values != nil {
		t.Fatalf("%d values for %d operations, status %q", len(reply.Values), len(b.Ops), reply.Status)
	}
	if reply.Status == OK && r.State == Live && (reply.Meta != r.Meta || reply.Revision != r.Revision) {
		t.Fatalf("reply has meta %+v revision %d, the record %+v, %d", reply.Meta, reply.Revision, r.Meta, r.Revision)
	}
	return reply
}

func checkChange(t testing.TB, before, after *Record, b *Batch, reply Reply, changed bool, now int64) {
	t.Helper()
	same := text(before) == text(after)
	if !changed && !same {
		t.Fatalf("changed, and not said so:\n%q\n%q", text(before), text(after))
	}
	if changed && same && before.Meta.Idle >= 10 {
		t.Fatalf("not changed, but said so: %q", text(before))
	}
	if same || before.State != Live || after.State != Live {
		if reply.Status != OK && !same {
			t.Fatalf("refused (%s) and changed", reply.Status)
		}
		return
	}
	// What may change without the revision: a touch and a first presentation.
	quiet := *before
	if reply.Status == OK {
		quiet.Meta.Touched = after.Meta.Touched
	}
	if before.Meta.Unpresented && b.Access.Mode == Open {
		quiet.Meta.Unpresented = after.Meta.Unpresented
		quiet.Previous.Presented = after.Previous.Presented
	}
	switch after.Revision - before.Revision {
	case 0:
		if text(&quiet) != text(after) {
			t.Fatalf("changed without a revision, status %q:\n%q\n%q", reply.Status, text(before), text(after))
		}
	case 1:
		if reply.Status != OK {
			t.Fatalf("refused (%s), and revision %d follows %d", reply.Status, after.Revision, before.Revision)
		}
	default:
		t.Fatalf("revision %d follows %d", after.Revision, before.Revision)
	}
}

// checkRecord holds for every record at any time.
func checkRecord(t testing.TB, r *Record) {
	t.Helper()
	var again Record
	encoded := r.Append(nil)
	if err := again.Decode(string(encoded)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Append(nil), encoded) {
		t.Fatalf("decoded and encoded again, %q is %q", encoded, again.Append(nil))
	}
	size := 0
	for i, f := range r.Fields {
		size += len(f.Name) + len(f.Text)
		if i > 0 && r.Fields[i-1].Name >= f.Name {
			t.Fatalf("fields out of order: %q", r.Fields)
		}
	}
	if r.Size() != size || again.Size() != size {
		t.Fatalf("size is %d, and %d decoded; it should be %d", r.Size(), again.Size(), size)
	}
	if (r.State == None) != (len(encoded) == 0) || r.State == Live && (r.Revision == 0 || r.Meta.Floor > r.Meta.Generation) {
		t.Fatalf("state %d, revision %d, floor %d, generation %d", r.State, r.Revision, r.Meta.Floor, r.Meta.Generation)
	}
}

// checkLimits: what grew is within the limits.
func checkLimits(t testing.TB, before, after *Record, b *Batch) {
	t.Helper()
	limits := b.Limits.OrDefault()
	if after.Size() > before.Size() && after.Size() > limits.Size {
		t.Fatalf("size grew from %d to %d, the limit is %d", before.Size(), after.Size(), limits.Size)
	}
	if len(after.Fields) > len(before.Fields) && len(after.Fields) > limits.Fields {
		t.Fatalf("%d fields, the limit is %d", len(after.Fields), limits.Fields)
	}
	for _, f := range after.Fields {
		if len(f.Text) > limits.Value && !slices.Contains(before.Fields, f) {
			t.Fatalf("%d bytes in a field, the limit is %d", len(f.Text), limits.Value)
		}
	}
}
