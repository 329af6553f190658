package storetest

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/pazzo-sessions/pazzo/record"
)

// Rules on what happens at the same time.
var raceRules = []rule{
	{"AddIsExact", "no Add is lost, on one field or on several, and no two answer the same sum", checkAddExact},
	{"AppendLosesNothing", "every element appended is in the array once, those of one client in their order", checkAppendExact},
	{"WritesToDifferentFieldsAreKept", "writes to different fields never erase each other", checkFieldsKept},
	{"CompareAndSetIsExact", "of several batches under the same condition on a field one is applied", checkCompareAndSet},
	{"RevisionConditionIsExact", "of several batches under the same condition on the revision one is applied", checkRevisionRace},
	{"PopHasOneWinner", "of several Pops at the same time one finds the field", checkPopRace},
	{"DrainHasOneWinner", "every element appended is drained once", checkDrainRace},
	{"SetIfAbsentHasOneWinner", "of several SetIfAbsents at the same time one sets the field, and the others are answered its text", checkSetIfAbsentRace},
	{"RotateHasOneWinner", "of several Rotates from one generation one takes effect, and the others are answered the secret that won", checkRotateRace},
	{"CreateHasOneWinner", "of several Creates of one session one is applied (else Exists)", checkCreateRace},
	{"DestroyHasOneWinner", "of several Destroys of one session one finds it (else Ended)", checkDestroyRace},
	{"ReadsSeeWholeBatches", "a reader sees all of a batch or nothing of it", checkWholeBatches},
	{"ReadsSeeWhatReturned", "a read sees every write that returned before it, and never an older value than a read before it", checkFreshReads},
}

func checkAddExact(c *check) {
	const clients, each = 32, 24
	for _, fields := range []int{1, 8} {
		s := c.create()
		sums := make([]map[string]bool, clients)
		c.concurrently(clients, func(i int) error {
			sums[i] = map[string]bool{}
			for k := range each {
				name := fmt.Sprint("n", (i+k)%fields)
				reply, err := c.apply(s.h, &record.Batch{Ops: []record.Op{record.Add(name, 1)}})
				if err != nil {
					return err
				}
				if reply.Status != record.OK {
					return fmt.Errorf("an Add answered %q", reply.Status)
				}
				sums[i][name+"="+reply.Values[0].Text] = true
			}
			return nil
		})
		c.sums(s, fields, clients*each)
		seen := map[string]bool{}
		for i := range sums {
			for sum := range sums[i] {
				if seen[sum] {
					c.fatalf("two Adds answered %s", sum)
				}
				seen[sum] = true
			}
		}
	}
}

// sums requires the fields n0, n1, … to hold equal parts of total.
func (c *check) sums(s *session, fields, total int) {
	c.t.Helper()
	for i := range fields {
		reply := c.must(s.h, record.Get(fmt.Sprint("n", i)))
		if got, want := reply.Values[0].Text, fmt.Sprint(total/fields); got != want {
			c.fatalf("%d Adds of 1 to one of %d fields left %q, want %s", total/fields, fields, got, want)
		}
	}
}

// must applies ops without the model, which knows nothing of what was done
// concurrently.
func (c *check) must(h record.Handle, ops ...record.Op) record.Reply {
	c.t.Helper()
	b := &record.Batch{Ops: ops}
	reply, err := c.apply(h, b)
	if err != nil {
		c.fatalf("%s: %v", describe(b), err)
	}
	if reply.Status != record.OK {
		c.fatalf("%s answered %q", describe(b), reply.Status)
	}
	return reply
}

func checkAppendExact(c *check) {
	const clients, each = 16, 24
	s := c.create()
	c.concurrently(clients, func(i int) error {
		for k := range each {
			b := &record.Batch{Ops: []record.Op{record.Append("l", fmt.Sprintf(`"%d.%d"`, i, k))}}
			if _, err := c.apply(s.h, b); err != nil {
				return err
			}
		}
		return nil
	})
	c.elements(c.must(s.h, record.Get("l")).Values[0].Text, clients, each)
}

// elements requires "i.k" once for every client i and every k, in order of k.
func (c *check) elements(list string, clients, each int) {
	c.t.Helper()
	next := make([]int, clients)
	list = strings.Trim(list, "[]")
	for _, element := range strings.Split(list, ",") {
		client, number, _ := strings.Cut(strings.Trim(element, `"`), ".")
		i, err := strconv.Atoi(client)
		if err != nil || i >= clients || fmt.Sprint(next[i]) != number {
			c.fatalf("element %q is lost, twice there or out of order", element)
		}
		next[i]++
	}
	for i, n := range next {
		if n != each {
			c.fatalf("of %d elements of client %d %d are there", each, i, n)
		}
	}
}

func checkFieldsKept(c *check) {
	const clients, each = 32, 12
	s := c.create()
	c.concurrently(clients, func(i int) error {
		for k := range each {
			b := &record.Batch{Ops: []record.Op{record.Set(fmt.Sprint("f", i), fmt.Sprint(k))}}
			if _, err := c.apply(s.h, b); err != nil {
				return err
			}
		}
		return nil
	})
	for _, f := range c.must(s.h, record.GetAll()).Fields {
		if f.Text != fmt.Sprint(each-1) {
			c.fatalf("field %s is %s, want the %d that was written last", f.Name, f.Text, each-1)
		}
	}
	if n := len(c.must(s.h, record.GetAll()).Fields); n != clients {
		c.fatalf("of %d fields %d are there", clients, n)
	}
}

func checkCompareAndSet(c *check) {
	const clients, each = 16, 6
	s := c.create(record.Set("n0", "0"))
	c.concurrently(clients, func(int) error {
		for done := 0; done < each; {
			reply, err := c.apply(s.h, &record.Batch{Ops: []record.Op{record.Get("n0")}})
			if err != nil {
				return err
			}
			old := reply.Values[0].Text
			n, _ := strconv.Atoi(old)
			reply, err = c.apply(s.h, &record.Batch{
				Conditions: []record.Condition{fieldIs("n0", old)},
				Ops:        []record.Op{record.Set("n0", strconv.Itoa(n+1))},
			})
			if err != nil {
				return err
			}
			if reply.Status == record.OK {
				done++
			}
		}
		return nil
	})
	c.sums(s, 1, clients*each)
}

func checkRevisionRace(c *check) {
	s := c.create(record.Set("n0", "0"))
	for round := range 10 {
		revision := c.must(s.h, record.Set("round", fmt.Sprint(round))).Revision
		var won atomic.Int32
		c.concurrently(16, func(int) error {
			reply, err := c.apply(s.h, &record.Batch{
				Conditions: []record.Condition{revisionIs(revision)},
				Ops:        []record.Op{record.Add("n0", 1)},
			})
			if err == nil && reply.Status == record.OK {
				won.Add(1)
			}
			return err
		})
		same(c, "batches applied under one revision", won.Load(), 1)
	}
	c.sums(s, 1, 10)
}

// winners has n goroutines apply a batch each to a session, in several rounds,
// and counts those that won.
func (c *check) winners(prepare func() record.Handle, n int, op func(i int) record.Op, won func(i int, r record.Reply) bool) {
	c.t.Helper()
	for range 10 {
		h := prepare()
		var count atomic.Int32
		c.concurrently(n, func(i int) error {
			reply, err := c.apply(h, &record.Batch{Ops: []record.Op{op(i)}})
			if err == nil && won(i, reply) {
				count.Add(1)
			}
			return err
		})
		if count.Load() != 1 {
			c.fatalf("%d of %d %ss won, want one", count.Load(), n, opNames[op(0).Kind])
		}
	}
}

func checkPopRace(c *check) {
	s := c.create()
	c.winners(func() record.Handle { c.must(s.h, record.Set("f", `"prize"`)); return s.h }, 64,
		func(int) record.Op { return record.Pop("f") },
		func(_ int, r record.Reply) bool { return r.Status == record.OK && r.Values[0].Found })
}

func checkDrainRace(c *check) {
	const clients, each = 8, 16
	s := c.create()
	drained := make([][]string, clients)
	c.concurrently(2*clients, func(i int) error {
		for k := range each {
			op := record.Drain("l")
			if i < clients {
				op = record.Append("l", fmt.Sprintf(`"%d.%d"`, i, k))
			}
			reply, err := c.apply(s.h, &record.Batch{Ops: []record.Op{op}})
			if err != nil {
				return err
			}
			if i >= clients && reply.Status == record.OK && reply.Values[0].Found {
				drained[i-clients] = append(drained[i-clients], strings.Split(strings.Trim(reply.Values[0].Text, "[]"), ",")...)
			}
		}
		return nil
	})
	count := map[string]int{}
	rest := c.must(s.h, record.Drain("l")).Values[0].Text
	for _, elements := range append(drained, strings.Split(strings.Trim(rest, "[]"), ",")) {
		for _, element := range elements {
			if element != "" {
				count[element]++
			}
		}
	}
	for element, n := range count {
		if n != 1 {
			c.fatalf("element %s was drained %d times", element, n)
		}
	}
	same(c, "elements drained", len(count), clients*each)
}

func checkSetIfAbsentRace(c *check) {
	s := c.create()
	var first atomic.Value
	c.winners(func() record.Handle { c.must(s.h, record.Clear()); first = atomic.Value{}; return s.h }, 32,
		func(i int) record.Op { return record.SetIfAbsent("f", fmt.Sprint(i)) },
		func(i int, r record.Reply) bool {
			if r.Status == record.OK && !r.Values[0].Found {
				first.Store(fmt.Sprint(i))
				return true
			}
			return false
		})
	c.answers(c.must(s.h, record.SetIfAbsent("f", `"late"`)), first.Load().(string), true)
}

func checkRotateRace(c *check) {
	secrets := make([]record.Secret, 32)
	for i := range secrets {
		secrets[i] = record.NewSecret()
	}
	answered := make([]record.Secret, len(secrets))
	c.winners(func() record.Handle { return c.create().h }, len(secrets),
		func(i int) record.Op { return record.Rotate(1, secrets[i], minute) },
		func(i int, r record.Reply) bool {
			answered[i] = r.Meta.Secret
			if r.Status != record.OK || r.Meta.Generation != 2 {
				answered[i] = record.Secret{}
			}
			return r.Status == record.OK && r.Values[0].Found
		})
	for i := range answered {
		if answered[i] != answered[0] || answered[i] == (record.Secret{}) {
			c.fatalf("two of the Rotates were answered different secrets")
		}
	}
}

func checkCreateRace(c *check) {
	c.winners(record.NewHandle, 32,
		func(int) record.Op { return record.Create(record.NewSecret(), long) },
		func(_ int, r record.Reply) bool {
			if r.Status != record.OK && r.Status != record.Exists {
				c.t.Errorf("Create over a session answered %q", r.Status)
			}
			return r.Status == record.OK
		})
}

func checkDestroyRace(c *check) {
	c.winners(func() record.Handle { return c.create().h }, 32,
		func(int) record.Op { return record.Destroy(record.Logout, minute) },
		func(_ int, r record.Reply) bool {
			if r.Status != record.OK && r.Status != record.Ended {
				c.t.Errorf("Destroy over a tombstone answered %q", r.Status)
			}
			return r.Status == record.OK && r.Values[0].Found
		})
}

func checkWholeBatches(c *check) {
	s := c.create(record.Set("a", "0"), record.Set("b", "0"), record.Set("c", "0"))
	writing := atomic.Int32{}
	const writers, readers = 4, 4
	writing.Store(writers)
	c.concurrently(writers+readers, func(i int) error {
		if i < writers {
			defer writing.Add(-1)
			for k := range 50 {
				text := fmt.Sprint(i*1000 + k)
				b := &record.Batch{Ops: []record.Op{record.Set("a", text), record.Set("b", text), record.Set("c", text)}}
				if _, err := c.apply(s.h, b); err != nil {
					return err
				}
			}
			return nil
		}
		for writing.Load() > 0 {
			ops := []record.Op{record.Get("a"), record.Get("b"), record.Get("c")}
			if i%2 == 1 {
				ops = []record.Op{record.GetAll()}
			}
			reply, err := c.apply(s.h, &record.Batch{Ops: ops})
			if err != nil {
				return err
			}
			texts := map[string]bool{}
			for _, v := range reply.Values {
				texts[v.Text] = true
			}
			for _, f := range reply.Fields {
				delete(texts, "")
				texts[f.Text] = true
			}
			if len(texts) != 1 {
				return fmt.Errorf("a read saw part of a batch: %v %v", reply.Values, reply.Fields)
			}
		}
		return nil
	})
}

func checkFreshReads(c *check) {
	s := c.create(record.Set("f", "0"))
	for i := range 100 {
		s.do(record.Set("f", fmt.Sprint(i)))
		s.has("f", fmt.Sprint(i))
	}
	var latest atomic.Int64
	const last = 300
	c.concurrently(8, func(i int) error {
		if i == 0 {
			for n := int64(1); n <= last; n++ {
				if _, err := c.apply(s.h, &record.Batch{Ops: []record.Op{record.Set("n", fmt.Sprint(n))}}); err != nil {
					latest.Store(last)
					return err
				}
				latest.Store(n)
			}
			return nil
		}
		for before := int64(0); latest.Load() < last; {
			least := max(before, latest.Load())
			reply, err := c.apply(s.h, &record.Batch{Ops: []record.Op{record.Get("n")}})
			if err != nil {
				return err
			}
			n, _ := strconv.ParseInt(reply.Values[0].Text, 10, 64)
			if n < least {
				return fmt.Errorf("a read saw %d after %d had been written or read", n, least)
			}
			before = n
		}
		return nil
	})
}
