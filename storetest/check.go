package storetest

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// check is one rule being checked on one store.
type check struct {
	t     tester
	rule  rule
	ctx   context.Context
	store record.Store
	fresh func() record.Store
	grain time.Duration
	pace  time.Duration // factor of unit
}

func (c *check) errorf(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("%s\n\trule %s: %s", fmt.Sprintf(format, args...), c.rule.name, c.rule.says)
}

func (c *check) fatalf(format string, args ...any) {
	c.t.Helper()
	c.errorf(format, args...)
	c.t.FailNow()
}

// unit is a time long enough to tell before from after.
func (c *check) unit() time.Duration { return c.pace * max(150*time.Millisecond, 2*c.grain) }

// timed makes a check that counts in units of time try again with longer ones:
// on a busy machine a session may end before the check comes to use it.
func timed(f func(c *check)) func(c *check) {
	return func(c *check) {
		for c.pace = 1; c.pace < 9; c.pace *= 3 {
			attempt, quiet := *c, new(recorder)
			attempt.t = quiet
			quiet.run(func() { f(&attempt) })
			if len(quiet.failures) == 0 {
				return
			}
		}
		f(c)
	}
}

// recorder is a tester that keeps the failures.
type recorder struct {
	mu       sync.Mutex
	failures []string
}

// run calls f, which FailNow ends.
func (r *recorder) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (*recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (*recorder) FailNow() { runtime.Goexit() }

// slack is what the rounding of clocks to milliseconds and the way to a server
// may add.
const slack = 10 * time.Millisecond

// long is an expiry that no check lives to see.
var long = record.Expiry{Idle: 3_600_000, Absolute: 86_400_000}

// minute is how long tombstones are kept here.
const minute = 60_000

// ms returns d in milliseconds.
func ms(d time.Duration) int64 { return d.Milliseconds() }

// apply applies b to a session, straight.
func (c *check) apply(h record.Handle, b *record.Batch) (record.Reply, error) {
	if err := b.Check(); err != nil {
		return record.Reply{}, fmt.Errorf("the suite made an invalid batch: %w", err)
	}
	return c.store.Apply(c.ctx, h, b)
}

// concurrently calls f n times at once. An error of one is fatal.
func (c *check) concurrently(n int, f func(i int) error) {
	c.t.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	group.Wait()
	for i, err := range errs {
		if err != nil {
			c.fatalf("goroutine %d of %d: %v", i, n, err)
		}
	}
}

// session is one session, and the model that says what it should answer.
type session struct {
	c      *check
	h      record.Handle
	model  record.Record
	access record.Access // of do
	secret record.Secret // of generation 1

	// The creation took effect between the two.
	before, after time.Time
}

// none returns a session that does not exist.
func (c *check) none() *session {
	return &session{c: c, h: record.NewHandle(), secret: record.NewSecret()}
}

// create makes a session by ops.
func (c *check) create(ops ...record.Op) *session {
	c.t.Helper()
	return c.createFor(long, ops...)
}

func (c *check) createFor(e record.Expiry, ops ...record.Op) *session {
	c.t.Helper()
	s := c.none()
	s.before = time.Now()
	s.do(slices.Concat([]record.Op{record.Create(s.secret, e)}, ops)...)
	s.after = time.Now()
	return s
}

// do applies ops, which must be accepted.
func (s *session) do(ops ...record.Op) record.Reply {
	s.c.t.Helper()
	return s.expect(record.OK, &record.Batch{Access: s.access, Ops: ops})
}

// expect applies b, compares the reply with that of [record.Record.Apply], and
// requires a status.
func (s *session) expect(status record.Status, b *record.Batch) record.Reply {
	s.c.t.Helper()
	reply := s.apply(b)
	if reply.Status != status {
		s.c.fatalf("%s answered %q, want %q", describe(b), reply.Status, status)
	}
	return reply
}

// apply applies b and compares the reply with that of the model at the time that
// the store says it was.
func (s *session) apply(b *record.Batch) record.Reply {
	s.c.t.Helper()
	reply, err := s.c.apply(s.h, b)
	if err != nil {
		s.c.fatalf("%s: %v", describe(b), err)
	}
	want, _ := s.model.Apply(b, reply.Now)
	if difference := compare(reply, want, b.ReadOnly()); difference != "" {
		s.c.fatalf("%s: %s", describe(b), difference)
	}
	return reply
}

// compare says in what got differs from what Record.Apply answers. A server that
// answers a read by itself need not know the revision.
func compare(got, want record.Reply, readOnly bool) string {
	if readOnly && got.Revision == 0 {
		want.Revision, want.Size = 0, 0
	}
	for _, member := range []struct {
		name      string
		got, want any
		same      bool
	}{
		{"status", got.Status, want.Status, got.Status == want.Status},
		{"at", got.At, want.At, got.At == want.At},
		{"reason", got.Reason, want.Reason, got.Reason == want.Reason},
		{"revision", got.Revision, want.Revision, got.Revision == want.Revision},
		{"size", got.Size, want.Size, got.Size == want.Size},
		{"secret in meta", got.Meta.Secret, want.Meta.Secret, got.Meta.Secret == want.Meta.Secret},
		{"meta", got.Meta, want.Meta, got.Meta == want.Meta},
		{"values", got.Values, want.Values, slices.Equal(got.Values, want.Values)},
		{"fields", got.Fields, want.Fields, slices.Equal(got.Fields, want.Fields)},
		{"identity", got.Identity, want.Identity, got.Identity == want.Identity},
	} {
		if !member.same {
			return fmt.Sprintf("answered the %s %.400s, while record.Record.Apply answers %.400s",
				member.name, fmt.Sprintf("%+v", member.got), fmt.Sprintf("%+v", member.want))
		}
	}
	return ""
}

var opNames = [...]string{"Get", "GetAll", "Set", "SetIfAbsent", "Delete", "Pop", "Add", "Append", "Drain", "Clear",
	"GetIdentity", "Touch", "Rotate", "Renew", "Authenticate", "SetExpiry", "Describe", "Create", "Destroy"}

// describe names the first operations of a batch.
func describe(b *record.Batch) string {
	text := [...]string{"", "with an opening token ", "in a held session "}[b.Access.Mode]
	for i, op := range b.Ops {
		if i == 4 {
			return text + fmt.Sprintf(" and %d more", len(b.Ops)-i)
		}
		if i > 0 {
			text += ", "
		}
		text += opNames[op.Kind]
		if op.Name != "" {
			text += fmt.Sprintf(" %.40q", op.Name)
		}
	}
	if len(b.Ops) == 0 {
		text += "a batch without operations"
	}
	return text
}

// revision reads the revision, which a plain read need not answer.
func (s *session) revision() uint64 {
	s.c.t.Helper()
	reply := s.expect(record.OK, &record.Batch{
		Conditions: []record.Condition{{Kind: record.FieldAbsent, Name: "no such field"}},
		Ops:        []record.Op{record.Get("no such field")},
	})
	return reply.Revision
}

// has requires a field's text.
func (s *session) has(name, text string) {
	s.c.t.Helper()
	reply := s.do(record.Get(name))
	if want := (record.Value{Text: text, Found: true}); reply.Values[0] != want {
		s.c.fatalf("field %.40q is %.200q (found: %t), want %.200q", name, reply.Values[0].Text, reply.Values[0].Found, text)
	}
}

// lacks requires that there is no such field.
func (s *session) lacks(name string) {
	s.c.t.Helper()
	if reply := s.do(record.Get(name)); reply.Values[0] != (record.Value{}) {
		s.c.fatalf("field %.40q is %.200q, want none", name, reply.Values[0].Text)
	}
}

// answers requires what the first operation of reply answered.
func (c *check) answers(reply record.Reply, text string, found bool) {
	c.t.Helper()
	if want := (record.Value{Text: text, Found: found}); reply.Values[0] != want {
		c.fatalf("answered %.200q, found: %t; want %.200q, %t", reply.Values[0].Text, reply.Values[0].Found, text, found)
	}
}

// holds requires the fields that a session has, given sorted as name, text, ….
func (s *session) holds(pairs ...string) {
	s.c.t.Helper()
	var want []record.Field
	for i := 0; i < len(pairs); i += 2 {
		want = append(want, record.Field{Name: pairs[i], Text: pairs[i+1]})
	}
	if got := s.do(record.GetAll()).Fields; !slices.Equal(got, want) {
		s.c.fatalf("the session holds %.300q, want %.300q", got, want)
	}
}

// token returns the access by a token of generation 1.
func (s *session) token() record.Access {
	return record.Access{Mode: record.Open, Generation: 1, Secret: s.secret}
}

// opens requires what an access answers.
func (s *session) opens(a record.Access, status record.Status) record.Reply {
	s.c.t.Helper()
	return s.expect(status, &record.Batch{Access: a, Ops: []record.Op{record.Get("f")}})
}

// status reads a session and returns the status, without the model.
func (s *session) status(a record.Access) record.Status {
	s.c.t.Helper()
	reply, err := s.c.apply(s.h, &record.Batch{Access: a, Ops: []record.Op{record.Get("f")}})
	if err != nil {
		s.c.fatalf("Get: %v", err)
	}
	return reply.Status
}

// stays requires that an access answers status until d after from, the time
// before the call that counts.
func (s *session) stays(a record.Access, status record.Status, from time.Time, d time.Duration) {
	s.c.t.Helper()
	for end := from.Add(d - s.c.grain - slack); ; time.Sleep(d / 16) {
		got := s.status(a)
		if time.Now().After(end) {
			return
		}
		if got != status {
			s.c.fatalf("answered %q after %v, too early: want %q for %v", got, time.Since(from), status, d)
		}
	}
}

// turns requires that an access answers status once d has passed since by, the
// time after the call that counts.
func (s *session) turns(a record.Access, status record.Status, by time.Time, d time.Duration) {
	s.c.t.Helper()
	time.Sleep(time.Until(by.Add(d + s.c.grain + slack)))
	if got := s.status(a); got != status {
		s.c.fatalf("answered %q %v after the call; want %q from %v on", got, time.Since(by), status, d)
	}
}

// same requires two values to be equal.
func same[T any](c *check, what string, got, want T) {
	c.t.Helper()
	if !reflect.DeepEqual(got, want) {
		c.fatalf("%s: %.300v, want %.300v", what, got, want)
	}
}
