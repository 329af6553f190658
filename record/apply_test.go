package record

import (
	"slices"
	"testing"
)

// Each operation on one field: f, or nothing, before and after.
func TestOperations(t *testing.T) {
	const none = ""
	for _, test := range []struct {
		name    string
		before  string
		op      Op
		status  Status
		after   string
		value   string
		found   bool
		revised bool
	}{
		{"get", `1`, Get("f"), OK, `1`, `1`, true, false},
		{"get nothing", none, Get("f"), OK, none, "", false, false},
		{"set", `1`, Set("f", `"x"`), OK, `"x"`, "", false, true},
		{"set anew", none, Set("f", `[]`), OK, `[]`, "", false, true},
		{"set the same", `1`, Set("f", `1`), OK, `1`, "", false, true},
		{"set if absent", none, SetIfAbsent("f", `1`), OK, `1`, "", false, true},
		{"set if absent, present", `2`, SetIfAbsent("f", `1`), OK, `2`, `2`, true, false},
		{"delete", `1`, Delete("f"), OK, none, "", true, true},
		{"delete nothing", none, Delete("f"), OK, none, "", false, false},
		{"pop", `1`, Pop("f"), OK, none, `1`, true, true},
		{"pop nothing", none, Pop("f"), OK, none, "", false, false},
		{"add", `41`, Add("f", 1), OK, `42`, `42`, true, true},
		{"add to nothing", none, Add("f", -3), OK, `-3`, `-3`, false, true},
		{"add to zero", `0`, Add("f", 0), OK, `0`, `0`, true, true},
		{"add to the largest", `9007199254740990`, Add("f", 1), OK, `9007199254740991`, `9007199254740991`, true, true},
		{"add past the largest", `9007199254740991`, Add("f", 1), OutOfRange, `9007199254740991`, "", false, false},
		{"add to the smallest", `-9007199254740990`, Add("f", -1), OK, `-9007199254740991`, `-9007199254740991`, true, true},
		{"add past the smallest", `-9007199254740991`, Add("f", -1), OutOfRange, `-9007199254740991`, "", false, false},
		{"add the largest", none, Add("f", MaxInt), OK, `9007199254740991`, `9007199254740991`, false, true},
		{"add too much", `-1`, Add("f", MaxInt+1), OutOfRange, `-1`, "", false, false},
		{"add far too much", `9007199254740991`, Add("f", 1<<63-1), OutOfRange, `9007199254740991`, "", false, false},
		{"add to what is out of range", `9007199254740992`, Add("f", -1), OutOfRange, `9007199254740992`, "", false, false},
		{"add to 19 digits", `9999999999999999999`, Add("f", -1), OutOfRange, `9999999999999999999`, "", false, false},
		{"add to text", `"1"`, Add("f", 1), NotInteger, `"1"`, "", false, false},
		{"add to a fraction", `1.0`, Add("f", 1), NotInteger, `1.0`, "", false, false},
		{"add to an exponent", `1e2`, Add("f", 1), NotInteger, `1e2`, "", false, false},
		{"add to -0", `-0`, Add("f", 1), NotInteger, `-0`, "", false, false},
		{"add to null", `null`, Add("f", 1), NotInteger, `null`, "", false, false},
		{"append", `[1]`, Append("f", `{"a":2}`), OK, `[1,{"a":2}]`, "", false, true},
		{"append to nothing", none, Append("f", `1`), OK, `[1]`, "", false, true},
		{"append to the empty", `[]`, Append("f", `[]`), OK, `[[]]`, "", false, true},
		{"append to the nested empty", `[[]]`, Append("f", `1`), OK, `[[],1]`, "", false, true},
		{"append to text", `"[]"`, Append("f", `1`), NotList, `"[]"`, "", false, false},
		{"append to an object", `{}`, Append("f", `1`), NotList, `{}`, "", false, false},
		{"drain", `[1,2]`, Drain("f"), OK, none, `[1,2]`, true, true},
		{"drain nothing", none, Drain("f"), OK, none, "", false, false},
		{"drain text", `"x"`, Drain("f"), NotList, `"x"`, "", false, false},
		{"clear", `1`, Clear(), OK, none, "", false, true},
		{"clear nothing", none, Clear(), OK, none, "", false, false},
		{"describe", none, Describe("phone"), OK, none, "", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := made(t)
			if test.before != none {
				want(t, apply(t, r, batch(Set("f", test.before)), start), OK)
			}
			revision := r.Revision
			reply := apply(t, r, held(1, test.op), start+1)
			want(t, reply, test.status)
			after, _ := r.Get("f")
			if after != test.after {
				t.Errorf("the field is %q, want %q", after, test.after)
			}
			if reply.Status == OK && reply.Values[0] != (Value{test.value, test.found}) {
				t.Errorf("answered %+v", reply.Values[0])
			}
			if (r.Revision != revision) != test.revised {
				t.Errorf("revision %d follows %d", r.Revision, revision)
			}
		})
	}
}

func TestReadsOfTheWholeRecord(t *testing.T) {
	r := made(t, Set("b", "2"), Set("a", "1"), Describe("phone"))
	want(t, apply(t, r, batch(Authenticate("ann", key(2), 0)), start+1), OK)
	reply := apply(t, r, batch(GetAll(), GetIdentity(), Delete("a")), start+2)
	want(t, reply, OK)
	if fields := []Field{{"a", "1"}, {"b", "2"}}; !slices.Equal(reply.Fields, fields) {
		t.Errorf("fields %q, want those before the batch", reply.Fields)
	}
	if identity := (Identity{"ann", start + 1, "phone"}); reply.Identity != identity {
		t.Errorf("identity %+v", reply.Identity)
	}
	reply.Fields[0].Text = "mine" // the caller's to keep
	if text, _ := r.Get("b"); text != "2" {
		t.Error("the reply shares the record's fields")
	}
}

func TestBatchOrder(t *testing.T) {
	r := made(t, Set("a", "1"), Set("b", "2"), Set("list", "[1]"))
	reply := apply(t, r, batch(Get("a"), Add("b", 1), Append("list", "2"), Clear(), SetIfAbsent("c", "3"), Pop("d")), start)
	want(t, reply, OK)
	if reply.Values[0].Text != "1" || reply.Values[1] != (Value{"1", false}) || reply.Values[5].Found {
		t.Errorf("answered %+v: reads see the record before, writes after Clear", reply.Values)
	}
	if fields := []Field{{"b", "1"}, {"c", "3"}, {"list", "[2]"}}; !slices.Equal(r.Fields, fields) {
		t.Errorf("fields %q", r.Fields)
	}
	if r.Revision != 2 {
		t.Errorf("revision %d after two batches", r.Revision)
	}
}

// A batch of which anything is refused leaves every byte as it was; that is in
// apply. Here: the index of the culprit, and that all before it is undone.
func TestAtomicity(t *testing.T) {
	many := []Op{Set("new", "1"), Delete("a"), Add("n", 1), Append("l", "1"), Describe("d"), Renew(key(9)), SetExpiry(expiry), Touch()}
	for _, test := range []struct {
		culprit Op
		status  Status
	}{
		{Add("text", 1), NotInteger},
		{Add("big", MaxInt), OutOfRange},
		{Append("text", "1"), NotList},
		{Drain("text"), NotList},
		{Set("long", string(make([]byte, 100))), TooLarge},
	} {
		for position := range len(many) + 1 {
			r := made(t, Set("a", "1"), Set("text", `"x"`), Set("big", "1"))
			before := text(r)
			ops := slices.Insert(slices.Clone(many), position, test.culprit)
			reply := apply(t, r, held(1, ops...).within(Limits{Size: 100}), start+hour/12)
			want(t, reply, test.status)
			if reply.At != position {
				t.Errorf("%s at %d, reported at %d", test.status, position, reply.At)
			}
			if text(r) != before {
				t.Errorf("%s at %d left %q of %q", test.status, position, text(r), before)
			}
			if reply.Meta != r.Meta || reply.Revision != r.Revision {
				t.Error("the reply to a refused operation shows the record")
			}
		}
	}
}

func TestConditions(t *testing.T) {
	user := func(name string) Condition { return Condition{Kind: UserIsOrNone, Text: name} }
	is := func(name, text string) Condition { return Condition{Kind: FieldIs, Name: name, Text: text} }
	absent := func(name string) Condition { return Condition{Kind: FieldAbsent, Name: name} }
	revision := func(n uint64) Condition { return Condition{Kind: RevisionIs, Revision: n} }
	for _, test := range []struct {
		name       string
		conditions []Condition
		conflict   int
	}{
		{"field is", []Condition{is("a", "1")}, -1},
		{"field is another", []Condition{is("a", "1.0")}, 0},
		{"field is absent", []Condition{is("b", "1")}, 0},
		{"empty is not absent", []Condition{is("b", "")}, 0},
		{"absent", []Condition{absent("b")}, -1},
		{"present", []Condition{absent("a")}, 0},
		{"revision", []Condition{revision(2)}, -1},
		{"older revision", []Condition{revision(1)}, 0},
		{"newer revision", []Condition{revision(3)}, 0},
		{"user", []Condition{user("ann")}, -1},
		{"other user", []Condition{user("bob")}, 0},
		{"all", []Condition{is("a", "1"), absent("b"), revision(2), user("ann")}, -1},
		{"the first that does not hold", []Condition{is("a", "1"), absent("a"), revision(9)}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := made(t, Set("a", "1"))
			want(t, apply(t, r, batch(Authenticate("ann", key(2), 0)), start), OK)
			reply := apply(t, r, held(2, Set("done", "1")).under(test.conditions...), start)
			_, done := r.Get("done")
			if conflict := test.conflict >= 0; conflict != (reply.Status == Conflict) || conflict == done {
				t.Fatalf("status %q, done %t", reply.Status, done)
			}
			if reply.Status == Conflict && (reply.At != test.conflict || reply.Meta != r.Meta) {
				t.Errorf("conflict at %d, want %d; meta %+v", reply.At, test.conflict, reply.Meta)
			}
		})
	}
	r := made(t)
	want(t, apply(t, r, batch(Get("a")).under(user("ann")), start), OK) // of nobody
	want(t, apply(t, new(Record), batch(Destroy(Revoked, minute)).under(user("ann")), start), OK)
}

func TestCreate(t *testing.T) {
	r := new(Record)
	want(t, apply(t, r, batch(Get("a")), start), Absent)
	want(t, apply(t, r, held(1, Set("a", "1")), start), Absent)
	// A batch that is refused makes nothing.
	refused := apply(t, r, batch(Create(key(1), expiry), Set("a", `""`), Drain("b"), Add("c", MaxInt+1)), start)
	want(t, refused, OutOfRange)
	if r.State != None || refused.At != 3 || refused.Meta != (Meta{}) || refused.Revision != 0 {
		t.Fatalf("refused: %+v", refused)
	}
	reply := apply(t, r, batch(Create(key(1), Expiry{Idle: 9 * hour, Absolute: hour, BrowserClose: true}), Add("n", 5)), start)
	want(t, reply, OK)
	if reply.Values[1].Text != "5" {
		t.Errorf("answered %+v", reply.Values)
	}
	if meta := (Meta{Generation: 1, Floor: 1, Secret: key(1), Created: start, Deadline: start + hour, Idle: hour,
		Touched: start, FloorTime: start, Renewed: start, BrowserClose: true}); r.Meta != meta || r.Revision != 1 {
		t.Errorf("revision %d, meta %+v", r.Revision, r.Meta)
	}
	exists := apply(t, r, batch(Create(key(2), expiry)), start+1)
	want(t, exists, Exists)
	if exists.Meta != (Meta{}) {
		t.Error("Exists shows the meta")
	}
	want(t, apply(t, r, batch(Destroy(Logout, minute)), start+2), OK)
	ended := apply(t, r, batch(Create(key(2), expiry)), start+3)
	want(t, ended, Ended)
	if ended.Reason != Logout {
		t.Errorf("reason %s", ended.Reason)
	}
	want(t, apply(t, r, batch(Create(key(2), expiry)), start+2+minute), OK) // the tombstone has gone
}

func TestExpiry(t *testing.T) {
	r := made(t, Set("a", "1"))
	last := int64(start + 10*minute - 1)
	want(t, apply(t, r, held(1, Get("a")), last), OK)
	if r.Expires() != last+1 {
		t.Errorf("a read moved the end to %d", r.Expires())
	}
	var copied Record
	if err := copied.Decode(text(r)); err != nil {
		t.Fatal(err)
	}
	want(t, apply(t, &copied, held(1, Get("a")), last+1), Absent)
	if copied.State != None || copied.Expires() != 0 {
		t.Error("the expired record is there")
	}
	// Touch: at most once per tenth.
	touch := apply(t, r, held(1, Touch()), start+minute-1)
	if touch.Values[0].Found || r.Meta.Touched != start {
		t.Error("touched before a tenth of the idle timeout had passed")
	}
	touch = apply(t, r, held(1, Touch()), start+minute)
	if !touch.Values[0].Found || r.Meta.Touched != start+minute || r.Expires() != start+11*minute {
		t.Errorf("touched %t, at %d", touch.Values[0].Found, r.Meta.Touched)
	}
	if apply(t, r, held(1, Touch()), start-hour).Values[0].Found {
		t.Error("touched by a clock that went back")
	}
	// The absolute end.
	for now := int64(start); now < start+2*hour; now += 5 * minute {
		want(t, apply(t, r, held(1, Touch()), now), OK)
	}
	want(t, apply(t, r, held(1, Get("a")), start+2*hour-1), OK)
	want(t, apply(t, r, held(1, Get("a")), start+2*hour), Absent)
}

func TestSetExpiry(t *testing.T) {
	r := made(t)
	want(t, apply(t, r, held(1, SetExpiry(Expiry{Idle: 5 * hour, Absolute: 3 * hour, BrowserClose: true})), start+minute), OK)
	if m := r.Meta; m.Idle != 3*hour || m.Deadline != start+minute+3*hour || !m.BrowserClose || !m.CustomExpiry || m.Touched != start+minute {
		t.Errorf("longer: %+v", m)
	}
	// Authenticate leaves what was chosen.
	want(t, apply(t, r, held(1, Authenticate("ann", key(2), 9*hour)), start+2*minute), OK)
	if m := r.Meta; m.Deadline != start+minute+3*hour || m.Touched != start+2*minute {
		t.Errorf("authenticated: %+v", m)
	}
	want(t, apply(t, r, held(2, SetExpiry(Expiry{Idle: minute, Absolute: 2 * minute})), start+3*minute), OK)
	if m := r.Meta; r.Expires() != start+4*minute || m.BrowserClose {
		t.Errorf("shorter: %+v", m)
	}
}

func TestDestroy(t *testing.T) {
	r := made(t, Set("a", "1"))
	want(t, apply(t, r, batch(Authenticate("ann", key(2), 0)), start), OK)
	want(t, apply(t, r, open(2, key(9), Destroy(Logout, minute)), start), Absent)
	want(t, apply(t, r, open(1, key(1), Destroy(Logout, minute)), start), Superseded)
	conflict := batch(Destroy(Revoked, minute)).under(Condition{Kind: UserIsOrNone, Text: "bob"})
	want(t, apply(t, r, conflict, start), Conflict)
	reply := apply(t, r, open(2, key(2), Destroy(Evicted, minute)), start+1)
	want(t, reply, OK)
	if reply.Values[0] != (Value{"ann", true}) || reply.Meta != (Meta{}) || reply.Revision != 0 {
		t.Errorf("answered %+v", reply)
	}
	if r.State != Dead || r.Tombstone != (Tombstone{Evicted, start + 1, start + 1 + minute}) || r.Expires() != start+1+minute {
		t.Errorf("left %+v", r.Tombstone)
	}
	for _, b := range []*Batch{batch(Get("a")), held(2, Set("a", "1")), open(7, key(3), Get("a")), batch(Destroy(Logout, hour)), open(2, key(2), Destroy(Logout, hour))} {
		ended := apply(t, r, b, start+minute)
		want(t, ended, Ended)
		if ended.Reason != Evicted || ended.Meta != (Meta{}) {
			t.Errorf("answered %+v", ended)
		}
	}
	want(t, apply(t, r, batch(Get("a")), start+1+minute), Absent)
	// Without a record only the server leaves a tombstone.
	want(t, apply(t, r, held(1, Destroy(Logout, minute)), start+hour), Absent)
	reply = apply(t, r, batch(Destroy(Revoked, minute)), start+hour)
	want(t, reply, OK)
	if reply.Values[0].Found || r.State != Dead {
		t.Errorf("answered %+v, state %d", reply.Values, r.State)
	}
}

func TestAccess(t *testing.T) {
	r := made(t)
	for _, test := range []struct {
		name string
		b    *Batch
		want Status
	}{
		{"current", open(1, key(1)), OK},
		{"wrong secret", open(1, key(2)), Absent},
		{"no secret", open(1, Secret{}), Absent},
		{"generation above", open(2, key(1)), Absent},
		{"generation zero", open(0, key(1)), Superseded},
		{"held", held(1), OK},
		{"held above", held(2), Absent},
		{"held below the floor", held(0), Superseded},
		{"server", batch(), OK},
	} {
		reply := apply(t, r, test.b, start)
		if reply.Status != test.want {
			t.Errorf("%s: %q, want %q", test.name, reply.Status, test.want)
		}
		if reply.Status == Superseded && (reply.Meta.Secret != Secret{} || reply.Meta.Generation != 1) {
			t.Errorf("%s: meta %+v", test.name, reply.Meta)
		}
		if reply.Status == Absent && reply.Meta != (Meta{}) {
			t.Errorf("%s: meta %+v", test.name, reply.Meta)
		}
	}
}

func TestRotation(t *testing.T) {
	r := made(t)
	rotate := func(from uint32, secret Secret, now int64) bool {
		reply := apply(t, r, held(from, Rotate(from, secret, grace)), now)
		want(t, reply, OK)
		return reply.Values[0].Found
	}
	if !rotate(1, key(2), start) {
		t.Fatal("not rotated")
	}
	if m := r.Meta; m.Generation != 2 || m.Floor != 1 || m.Secret != key(2) || !m.Unpresented || !m.HasPrevious || m.Renewed != start {
		t.Errorf("meta %+v", m)
	}
	if rotate(1, key(3), start+1) || rotate(2, key(3), start+1) {
		t.Error("rotated twice at once, or while the previous one is good")
	}
	// Until the new one is presented the previous one is good, however long.
	want(t, apply(t, r, open(1, key(1), Get("a")), start+5*minute), OK)
	want(t, apply(t, r, open(1, key(2), Get("a")), start+5*minute), Absent)
	want(t, apply(t, r, open(2, key(1), Get("a")), start+5*minute), Absent)
	if !r.Meta.Unpresented {
		t.Fatal("the current one counts as presented")
	}
	// The new one is presented, even if the batch is then refused.
	presented := int64(start + 6*minute)
	conflict := open(2, key(2), Set("a", "1")).under(Condition{Kind: FieldIs, Name: "a", Text: "0"})
	want(t, apply(t, r, conflict, presented), Conflict)
	if r.Meta.Unpresented || r.Previous.Presented != presented {
		t.Fatalf("not noted: %+v", r.Previous)
	}
	want(t, apply(t, r, open(2, key(2), Get("a")), presented+1), OK)
	want(t, apply(t, r, open(1, key(1), Get("a")), presented+grace-1), OK)
	if r.Previous.Presented != presented {
		t.Error("a later presentation prolonged the grace")
	}
	if rotate(2, key(3), presented+grace-1) {
		t.Error("rotated in the grace")
	}
	want(t, apply(t, r, open(1, key(1), Get("a")), presented+grace), Superseded)
	want(t, apply(t, r, open(1, key(9), Get("a")), presented+grace), Absent)
	want(t, apply(t, r, held(1, Get("a")), presented+grace), OK) // opened before, goes on
	if !rotate(2, key(3), presented+grace) {
		t.Error("not rotated after the grace")
	}
	want(t, apply(t, r, open(1, key(1), Get("a")), presented+grace), Superseded)
	want(t, apply(t, r, open(2, key(2), Get("a")), presented+grace), OK)
	// A privilege change ends them all at once.
	want(t, apply(t, r, held(3, Renew(key(4))), presented+grace+1), OK)
	if m := r.Meta; m.Generation != 4 || m.Floor != 4 || m.HasPrevious || m.Unpresented || m.FloorTime != presented+grace+1 || r.Previous != (Previous{}) {
		t.Errorf("renewed: %+v", m)
	}
	for generation := uint32(1); generation < 4; generation++ {
		want(t, apply(t, r, open(generation, key(byte(generation)), Get("a")), presented+grace+1), Superseded)
		want(t, apply(t, r, held(generation, Set("a", "1")), presented+grace+1), Superseded)
	}
	want(t, apply(t, r, open(4, key(4), Get("a")), presented+grace+1), OK)
}

func TestNoGrace(t *testing.T) {
	r := made(t)
	want(t, apply(t, r, held(1, Rotate(1, key(2), 0)), start), OK)
	want(t, apply(t, r, open(1, key(1)), start+1), OK)
	want(t, apply(t, r, open(2, key(2)), start+2), OK)
	want(t, apply(t, r, open(1, key(1)), start+2), Superseded)
}

func TestJudge(t *testing.T) {
	m := &Meta{Generation: 3, Floor: 2, Secret: key(3)}
	for _, test := range []struct {
		access      Access
		unpresented bool
		status      Status
		decided     bool
	}{
		{Access{}, true, OK, true},
		{Access{Open, 3, key(3)}, false, OK, true},
		{Access{Open, 3, key(3)}, true, OK, false},
		{Access{Open, 3, key(2)}, true, Absent, true},
		{Access{Open, 2, key(2)}, false, OK, false},
		{Access{Open, 4, key(3)}, false, Absent, true},
		{Access{Held, 2, Secret{}}, true, OK, true},
		{Access{Held, 1, Secret{}}, false, Superseded, true},
		{Access{Held, 4, Secret{}}, false, Absent, true},
	} {
		m.Unpresented = test.unpresented
		if status, decided := test.access.Judge(m); decided != test.decided || decided && status != test.status {
			t.Errorf("%+v: %q, decided %t", test.access, status, decided)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	r := made(t, Set("cart", "[1]"))
	reply := apply(t, r, held(1, Authenticate("ann", key(2), 3*hour)), start+minute)
	want(t, reply, OK)
	if m := r.Meta; m.Generation != 2 || m.Floor != 2 || m.Secret != key(2) || !m.HasUser || m.Deadline != start+minute+3*hour || m.Touched != start+minute {
		t.Errorf("meta %+v", m)
	}
	if cart, _ := r.Get("cart"); cart != "[1]" || r.User != "ann" || r.Auth != start+minute {
		t.Errorf("user %q at %d, cart %s", r.User, r.Auth, cart)
	}
	want(t, apply(t, r, held(1, Set("a", "1")), start+minute), Superseded)
	// The same user again: fields stay, the time of authentication moves.
	want(t, apply(t, r, held(2, Authenticate("ann", key(3), 0)), start+2*minute), OK)
	if m := r.Meta; r.Auth != start+2*minute || m.Generation != 3 || m.Deadline != start+minute+3*hour {
		t.Errorf("again: %d, %+v", r.Auth, m)
	}
	other := apply(t, r, held(3, Set("a", "1"), Authenticate("bob", key(4), 0)), start+3*minute)
	want(t, other, OtherUser)
	if other.At != 1 {
		t.Errorf("refused at %d", other.At)
	}
	touch := apply(t, r, held(3, Touch()), start+4*minute)
	if touch.Values[0] != (Value{"ann", true}) {
		t.Errorf("touch answered %+v", touch.Values[0])
	}
}
