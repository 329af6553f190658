package protocol_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
)

type batchFile struct {
	Cases   []batchCase   `json:"cases"`
	Refused []refusedCase `json:"refused"`
}

// batchCase is a batch applied to a record at a time, and what follows. A record
// that is null is absent.
type batchCase struct {
	Name   string      `json:"name"`
	Now    int64       `json:"now"`
	Before *jsonRecord `json:"before"`
	Batch  jsonBatch   `json:"batch"`
	Reply  jsonReply   `json:"reply"`
	After  *jsonRecord `json:"after"`
}

// refusedCase is a batch that must not reach a store.
type refusedCase struct {
	Name  string    `json:"name"`
	Batch jsonBatch `json:"batch"`
	Error string    `json:"error"` // "name", "too large" or "batch"
}

var expiry = record.Expiry{Idle: hour, Absolute: 24 * hour}

func open(generation uint32, secret [16]byte, ops ...record.Op) *record.Batch {
	return &record.Batch{Access: record.Access{Mode: record.Open, Generation: generation, Secret: secret}, Ops: ops}
}

func held(generation uint32, ops ...record.Op) *record.Batch {
	return &record.Batch{Access: record.Access{Mode: record.Held, Generation: generation}, Ops: ops}
}

func within(l record.Limits, ops ...record.Op) *record.Batch {
	return &record.Batch{Limits: l, Ops: ops}
}

func under(b *record.Batch, conditions ...record.Condition) *record.Batch {
	b.Conditions = conditions
	return b
}

// is and absent are conditions.
func is(name, text string) record.Condition {
	return record.Condition{Kind: record.FieldIs, Name: name, Text: text}
}

func absent(name string) record.Condition {
	return record.Condition{Kind: record.FieldAbsent, Name: name}
}

func revision(n uint64) record.Condition {
	return record.Condition{Kind: record.RevisionIs, Revision: n}
}

func userIs(user string) record.Condition {
	return record.Condition{Kind: record.UserIsOrNone, Text: user}
}

// The secrets of the first generations.
var one, two, three = counting(0x10), counting(0x20), counting(0x30)

func makeBatches(t *testing.T) batchFile {
	create := record.Create(one, expiry)
	fields := []record.Op{create, record.Set("n", "41"), record.Set("text", `"a"`), record.Set("list", "[1]"), record.Set("empty", "[]"), record.Set("é", `{"a":null}`)}
	plain := func() *record.Record { return played(t, admin(fields...)) }
	none := func() *record.Record { return new(record.Record) }
	user := func() *record.Record {
		return played(t, admin(fields...), admin(record.Authenticate("ann", two, 24*hour)), admin(record.Describe("phone")))
	}
	rotated := func() *record.Record { return played(t, admin(fields...), admin(record.Rotate(1, two, 15_000))) }
	presented := func() *record.Record {
		return played(t, admin(fields...), admin(record.Rotate(1, two, 15_000)), open(2, two))
	}
	dead := func() *record.Record { return played(t, admin(create), admin(record.Destroy(record.Logout, minute))) }
	number := func(text string) func() *record.Record {
		return func() *record.Record { return played(t, admin(create, record.Set("n", text))) }
	}
	custom := func() *record.Record {
		return played(t, admin(fields...), admin(record.SetExpiry(record.Expiry{Idle: hour, Absolute: 2 * hour, BrowserClose: true})))
	}
	const later = start + 5*minute // before a touch is due, but for the shortest
	const most = record.MaxInt
	small := record.Limits{Name: 4, Value: 10, Fields: 6, Size: 60}

	var file batchFile
	add := func(name string, now int64, r *record.Record, b *record.Batch) {
		if err := b.Check(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := batchCase{Name: name, Now: now, Before: newRecord(r), Batch: newBatch(b)}
		reply, _ := r.Apply(b, now)
		c.Reply, c.After = newReply(&reply, b), newRecord(r)
		file.Cases = append(file.Cases, c)
	}

	add("get", later, plain(), admin(record.Get("n"), record.Get("é"), record.Get("missing")))
	add("get all", later, plain(), admin(record.GetAll()))
	add("get all of an empty session", later, played(t, admin(create)), admin(record.GetAll()))
	add("get identity", later, user(), admin(record.GetIdentity()))
	add("get identity, nobody logged in", later, plain(), admin(record.GetIdentity()))
	add("nothing", later, plain(), admin())
	add("reads see what was before the batch's writes", later, plain(), admin(record.GetAll(), record.Get("text"), record.Set("n", "2"), record.Delete("list"), record.Set("new", "true")))
	add("reads see what was before clear", later, plain(), admin(record.Clear(), record.Get("n"), record.GetAll()))

	add("set", later, plain(), admin(record.Set("n", "42"), record.Set("new", `"é"`)))
	add("set to the same text", later, plain(), admin(record.Set("n", "41")))
	add("set if absent, absent", later, plain(), admin(record.SetIfAbsent("new", "1")))
	add("set if absent, present", later, plain(), admin(record.SetIfAbsent("n", "1")))
	add("delete", later, plain(), admin(record.Delete("n")))
	add("delete what is not there", later, plain(), admin(record.Delete("missing")))
	add("pop", later, plain(), admin(record.Pop("text")))
	add("pop what is not there", later, plain(), admin(record.Pop("missing")))
	add("clear", later, user(), admin(record.Clear()))
	add("clear an empty session", later, played(t, admin(create)), admin(record.Clear()))
	add("clear goes first, wherever it stands", later, plain(), admin(record.Set("n", "1"), record.Add("text", 5), record.Append("list", "2"), record.Clear(), record.SetIfAbsent("é", "3"), record.Pop("empty")))

	add("add", later, plain(), admin(record.Add("n", 1)))
	add("add to what is not there", later, plain(), admin(record.Add("new", -3)))
	add("add nothing", later, plain(), admin(record.Add("n", 0)))
	add("add up to zero", later, plain(), admin(record.Add("n", -41)))
	add("add below zero", later, plain(), admin(record.Add("n", -50)))
	add("add up to the greatest", later, number("9007199254740990")(), admin(record.Add("n", 1)))
	add("add beyond the greatest", later, number("9007199254740991")(), admin(record.Add("n", 1)))
	add("add down to the smallest", later, number("-9007199254740990")(), admin(record.Add("n", -1)))
	add("add below the smallest", later, number("-9007199254740991")(), admin(record.Add("n", -1)))
	add("add from one end to the other", later, number("-9007199254740991")(), admin(record.Add("n", most)))
	add("add too great a number", later, plain(), admin(record.Add("n", most+1)))
	add("add too small a number", later, plain(), admin(record.Add("n", -most-1)))
	add("add the smallest of 64 bits", later, plain(), admin(record.Add("n", -1<<63)))
	add("add to a number out of range", later, number("9007199254740992")(), admin(record.Add("n", -1)))
	add("add to a number of 30 digits", later, number("-123456789012345678901234567890")(), admin(record.Add("n", 1)))
	for _, text := range []string{"1.0", "1e2", "-0", `"5"`, "true", "null", "[]", "{}", `""`} {
		add("add to "+text, later, number(text)(), admin(record.Add("n", 1)))
	}
	add("add fails: nothing else is written, and at says which", later, plain(), admin(record.Set("new", "1"), record.Delete("list"), record.Add("text", 1), record.Add("n", 1)))

	add("append", later, plain(), admin(record.Append("list", `{"a":[]}`)))
	add("append to what is not there", later, plain(), admin(record.Append("new", "null")))
	add("append to an empty list", later, plain(), admin(record.Append("empty", `"]"`)))
	add("append to a text", later, plain(), admin(record.Append("text", "1")))
	add("append to an object", later, plain(), admin(record.Append("é", "1")))
	add("drain", later, plain(), admin(record.Drain("list"), record.Drain("empty"), record.Drain("missing")))
	add("drain a number", later, plain(), admin(record.Drain("n")))

	add("field is what it was", later, plain(), under(admin(record.Set("n", "1")), is("n", "41"), is("é", `{"a":null}`)))
	add("field is another", later, plain(), under(admin(record.Set("n", "1")), is("text", `"a"`), is("n", "41.0")))
	add("field is absent, wanted", later, plain(), under(admin(record.Set("n", "1")), is("missing", "1")))
	add("texts are compared byte for byte", later, number(`"\u00e9"`)(), under(admin(record.Set("n", "1")), is("n", `"é"`)))
	add("field absent", later, plain(), under(admin(record.Set("new", "1")), absent("new")))
	add("field absent, but it is there", later, plain(), under(admin(record.Set("n", "1")), absent("n")))
	add("revision", later, plain(), under(admin(record.Set("n", "1")), revision(1)))
	add("another revision", later, plain(), under(admin(record.Set("n", "1")), revision(2)))
	add("conditions alone", later, plain(), under(admin(), revision(1), is("n", "41"), absent("new")))
	add("conditions come before the operations", later, plain(), under(admin(record.Add("text", 1)), revision(2)))
	add("user is", later, user(), under(admin(record.Set("n", "1")), userIs("ann")))
	add("user is another", later, user(), under(admin(record.Destroy(record.Revoked, minute)), userIs("ben")))
	add("user is none", later, plain(), under(admin(record.Destroy(record.Revoked, minute)), userIs("ben")))
	add("user is, and no record", later, none(), under(admin(record.Destroy(record.Revoked, minute)), userIs("ben")))

	add("value at its limit", later, plain(), within(small, record.Set("n", `"12345678"`)))
	add("list beyond the limit of a value", later, plain(), within(small, record.Append("list", "1234567")))
	add("list at the limit of a value", later, plain(), within(small, record.Append("list", "123456")))
	add("one field too many", later, plain(), within(small, record.Set("a", "1"), record.Set("b", "1")))
	add("as many fields as allowed", later, plain(), within(small, record.Delete("n"), record.Set("a", "1"), record.Set("b", "1")))
	add("record beyond its limit", later, plain(), within(record.Limits{Size: 48}, record.Set("n", `"12345678"`)))
	add("record at its limit", later, plain(), within(record.Limits{Size: 46}, record.Set("n", `"12345678"`)))
	add("add to a record at its limit", later, plain(), within(record.Limits{Size: 36}, record.Add("n", 1)))
	add("add that makes a record too large", later, plain(), within(record.Limits{Size: 36}, record.Add("n", 59)))
	add("over the limits already: smaller is allowed", later, plain(), within(record.Limits{Size: 10, Fields: 2}, record.Set("n", "1"), record.Set("text", `"b"`), record.Delete("list")))
	add("over the limits already: larger is not", later, plain(), within(record.Limits{Size: 10}, record.Set("n", "100")))
	add("limits count after clear", later, plain(), within(record.Limits{Fields: 1}, record.Clear(), record.Set("new", "1")))

	add("open with the current token", later, plain(), open(1, one, record.Get("n")))
	add("open with a wrong secret", later, plain(), open(1, two, record.Set("n", "1")))
	add("open with a generation to come", later, plain(), open(2, one, record.Set("n", "1")))
	add("open with generation 0", later, plain(), open(0, one, record.Set("n", "1")))
	add("open without a record", later, none(), open(1, one, record.Set("n", "1")))
	add("open a destroyed session", start+minute+1, dead(), open(1, one, record.Get("n")))
	add("open after the tombstone has gone", start+2*minute, dead(), open(1, one, record.Get("n")))
	add("open with a token from before a renewal", later, user(), open(1, one, record.Get("n")))
	add("held", later, plain(), held(1, record.Set("n", "1")))
	add("held from before a renewal", later, user(), held(1, record.Set("n", "1")))
	add("held, of a generation to come", later, plain(), held(2, record.Set("n", "1")))
	add("held from before a rotation", later, rotated(), held(1, record.Set("n", "1")))
	add("held, destroyed", start+minute+1, dead(), held(1, record.Set("n", "1")))
	add("held, no record", later, none(), held(1, record.Set("n", "1")))
	add("admin, no record", later, none(), admin(record.Set("n", "1")))
	add("admin, destroyed", start+minute+1, dead(), admin(record.Set("n", "1")))
	add("admin, any generation", later, user(), admin(record.Set("n", "1")))

	add("the last moment of the idle timeout", start+hour-1, plain(), admin(record.Get("n")))
	add("the end of the idle timeout", start+hour, plain(), admin(record.Get("text"), record.Set("n", "1")))
	add("touch before it is due", start+6*minute-1, user(), admin(record.Touch()))
	add("touch when it is due", start+7*minute, user(), admin(record.Touch()))
	add("touch, nobody logged in", start+6*minute, plain(), admin(record.Touch(), record.Get("n")))
	add("no read touches", start+30*minute, plain(), open(1, one, record.Get("n"), record.GetIdentity()))
	add("touch does not move the absolute end", start+23*hour, played(t, admin(record.Create(one, record.Expiry{Idle: 24 * hour, Absolute: 24 * hour}))), admin(record.Touch()))
	add("the end of the absolute timeout", start+24*hour, played(t, admin(record.Create(one, record.Expiry{Idle: 24 * hour, Absolute: 24 * hour}))), admin(record.Touch()))

	add("rotate", later, plain(), held(1, record.Rotate(1, two, 15_000), record.Touch()))
	add("rotate from another generation", later, plain(), held(1, record.Rotate(2, two, 15_000)))
	add("rotate twice: the new one has not been presented", later, rotated(), held(1, record.Rotate(2, three, 15_000)))
	add("rotate again within the grace", start+2*minute+14_999, presented(), held(2, record.Rotate(2, three, 15_000)))
	add("rotate again after the grace", start+2*minute+15_000, presented(), held(2, record.Rotate(2, three, 15_000)))
	add("first presentation of the new token by a read", later, rotated(), open(2, two, record.Get("n")))
	add("first presentation in a batch that is refused", later, rotated(), under(open(2, two, record.Get("n")), revision(77)))
	add("previous token, the new one not yet presented", start+hour-1, rotated(), open(1, one, record.Get("n")))
	add("previous token within the grace", start+2*minute+14_999, presented(), open(1, one, record.Set("n", "1")))
	add("previous token after the grace", start+2*minute+15_000, presented(), open(1, one, record.Set("n", "1")))
	add("previous generation with a wrong secret", later, rotated(), open(1, three, record.Get("n")))
	add("held of the previous generation after the grace", later, presented(), held(1, record.Set("n", "1")))
	add("a generation before the previous one", start+5*minute, played(t, admin(create), admin(record.Rotate(1, two, 1000)), open(2, two), admin(), admin(record.Rotate(2, three, 1000))), open(1, one, record.Get("n")))

	add("renew", later, plain(), held(1, record.Renew(two)))
	add("renew drops the previous token", later, rotated(), held(1, record.Renew(three)))
	add("renew with a superseded token", later, user(), held(1, record.Renew(three)))
	add("authenticate", later, plain(), held(1, record.Authenticate("ann", two, 24*hour)))
	add("authenticate the same user again", later, user(), held(2, record.Authenticate("ann", three, 24*hour)))
	add("authenticate another user", later, user(), held(2, record.Set("n", "1"), record.Authenticate("ben", three, 24*hour)))
	add("authenticate, the absolute end stays", later, plain(), held(1, record.Authenticate("ann", two, 0)))
	add("authenticate, the session has its own timeouts", later, custom(), held(1, record.Authenticate("ann", two, 24*hour)))
	add("create and authenticate", later, none(), admin(create, record.Authenticate("ann", two, 24*hour)))
	add("set expiry", later, plain(), held(1, record.SetExpiry(record.Expiry{Idle: 10 * minute, Absolute: 20 * minute, BrowserClose: true}), record.GetIdentity()))
	add("set expiry, idle longer than absolute", later, custom(), held(1, record.SetExpiry(record.Expiry{Idle: 30 * minute, Absolute: 20 * minute})))
	add("describe", later, plain(), held(1, record.Describe(`{"ip":"::1"}`)))
	add("describe as nothing", later, user(), held(2, record.Describe("")))

	add("create", later, none(), admin(create))
	add("create with fields", later, none(), admin(create, record.Set("a", "1"), record.Add("n", 1), record.Append("l", "1"), record.Get("b")))
	add("create over an expired one", start+hour, plain(), admin(create, record.Set("a", "1")))
	add("create over a live one", later, plain(), admin(create))
	add("create over a tombstone", start+minute+1, dead(), admin(create))
	add("create after the tombstone", start+2*minute, dead(), admin(create))
	add("create fails with its operations", later, none(), within(record.Limits{Fields: 1}, create, record.Set("a", "1"), record.Set("b", "1")))
	add("create until the browser closes, idle longer than absolute", later, none(), admin(record.Create(one, record.Expiry{Idle: 2 * hour, Absolute: hour, BrowserClose: true})))
	add("destroy", later, user(), held(2, record.Destroy(record.Logout, minute)))
	add("destroy, nobody logged in", later, plain(), open(1, one, record.Destroy(record.Replaced, hour)))
	add("destroy what is not there, by the server", later, none(), admin(record.Destroy(record.Revoked, minute)))
	add("destroy what is not there, with a token", later, none(), open(1, one, record.Destroy(record.Logout, minute)))
	add("destroy what has expired, by the server", start+hour, plain(), admin(record.Destroy(record.Evicted, minute)))
	add("destroy twice", start+minute+1, dead(), admin(record.Destroy(record.Revoked, hour)))
	add("destroy with a superseded token", later, user(), open(1, one, record.Destroy(record.Logout, minute)))
	add("destroy with a wrong secret", later, plain(), open(1, two, record.Destroy(record.Logout, minute)))

	refuse := func(name, err string, b *record.Batch) {
		file.Refused = append(file.Refused, refusedCase{name, newBatch(b), err})
	}
	refuse("an empty name", "name", admin(record.Get("")))
	refuse("a name with NUL in front", "name", admin(record.Set("\x00m", "1")))
	refuse("a name of 257 bytes", "too large", admin(record.Get(strings.Repeat("é", 128)+"n")))
	refuse("a name over its limit", "too large", within(small, record.Get("12345")))
	refuse("a name in a condition", "name", under(admin(record.Get("a")), absent("")))
	refuse("a value over its limit", "too large", within(small, record.Set("n", `"123456789"`)))
	refuse("one field twice", "batch", admin(record.Get("n"), record.Set("n", "1")))
	refuse("two renewals", "batch", admin(record.Renew(two), record.Authenticate("ann", three, 0)))
	refuse("destroy and another", "batch", admin(record.Destroy(record.Logout, minute), record.Get("n")))
	refuse("create in second place", "batch", admin(record.Get("n"), create))
	refuse("create with a token", "batch", open(1, one, create))
	refuse("create under a condition", "batch", under(admin(create), absent("n")))
	refuse("an empty user", "batch", admin(record.Authenticate("", two, 0)))
	refuse("a user of 1025 bytes", "too large", admin(record.Authenticate(strings.Repeat("u", 1025), two, 0)))
	refuse("a device of 1025 bytes", "too large", admin(record.Describe(strings.Repeat("d", 1025))))
	refuse("no idle timeout", "batch", admin(record.SetExpiry(record.Expiry{Absolute: hour})))
	refuse("a timeout over 10 years", "batch", admin(record.SetExpiry(record.Expiry{Idle: hour, Absolute: record.MaxTimeout + 1})))
	refuse("a tombstone for no time", "batch", admin(record.Destroy(record.Logout, 0)))
	return file
}

func TestBatchVectors(t *testing.T) { golden(t, "batch.json", makeBatches(t)) }

func TestLibraryPassesTheBatchVectors(t *testing.T) {
	file := load[batchFile](t, "batch.json")
	seen := map[string]bool{}
	for _, c := range file.Cases {
		b, r := c.Batch.read(), c.Before.read()
		if err := b.Check(); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		reply, _ := r.Apply(b, c.Now)
		if reply.Now != c.Now {
			t.Errorf("%s: now is %d, want %d", c.Name, reply.Now, c.Now)
		}
		alike(t, c.Name+": reply", newReply(&reply, b), c.Reply)
		alike(t, c.Name+": record", newRecord(r), c.After)
		if seen["case "+c.Name] {
			t.Errorf("two cases are named %q", c.Name)
		}
		seen["case "+c.Name] = true
		seen["mode "+c.Batch.Access.Mode+" "+c.Reply.Status] = true
		seen["status "+c.Reply.Status] = true
		for _, o := range c.Batch.Operations {
			seen["operation "+o.Kind+" "+c.Reply.Status] = true
		}
		for _, o := range c.Batch.Conditions {
			seen["condition "+o.Kind+" "+c.Reply.Status] = true
		}
	}
	for _, kind := range kinds {
		if !seen["operation "+kind+" ok"] {
			t.Errorf("no case where %s is done", kind)
		}
	}
	for _, kind := range conditions {
		if !seen["condition "+kind+" ok"] || !seen["condition "+kind+" conflict"] {
			t.Errorf("no case where %s holds, or none where it does not", kind)
		}
	}
	for status := record.OK; status <= record.TooLarge; status++ {
		if !seen["status "+status.String()] {
			t.Errorf("no case with status %q", status)
		}
	}
	for _, mode := range modes[1:] {
		for _, status := range []record.Status{record.OK, record.Absent, record.Ended, record.Superseded} {
			if !seen["mode "+mode+" "+status.String()] {
				t.Errorf("no case where access by %s is %s", mode, status)
			}
		}
	}
	for _, c := range file.Refused {
		err := c.Batch.read().Check()
		want := map[string]error{"name": record.ErrName, "too large": record.ErrTooLarge, "batch": record.ErrBatch}[c.Error]
		if want == nil || !errors.Is(err, want) {
			t.Errorf("%s: error is %v, want %v", c.Name, err, want)
		}
	}
}
