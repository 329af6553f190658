package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Rules on contexts, errors, ownership and closing.
var contractRules = []rule{
	{"DeadContextIsUnavailable", "a call under a context that has ended is not executed, and is ErrUnavailable", checkContext},
	{"ReplyIsTheCallers", "the reply is the caller's: changing its slices changes nothing in the store", checkReplyOwned},
	{"BatchIsTheCallersAgain", "the batch and the step are left as they were, and belong to the caller after the call", checkBatchOwned},
	{"TraitsName", "Traits names the store in one lower-case word, and answers the same each time", checkTraits},
	{"ClosedIsUnavailable", "every call after Close is ErrUnavailable, never an empty session; calls under way may be", checkClose},
}

func checkContext(c *check) {
	s := c.create(record.Set("f", "1"))
	u := c.user()
	dead, cancel := context.WithCancel(c.ctx)
	cancel()
	past, cancelPast := context.WithDeadline(c.ctx, time.Now().Add(-time.Second))
	defer cancelPast()
	for _, ctx := range []context.Context{dead, past} {
		for _, op := range []record.Op{record.Get("f"), record.GetAll(), record.Set("f", "2"), record.Add("n", 1), record.Touch(),
			record.Destroy(record.Logout, minute)} {
			reply, err := c.store.Apply(ctx, s.h, &record.Batch{Ops: []record.Op{op}})
			if !errors.Is(err, record.ErrUnavailable) || errors.Is(err, record.ErrOutcomeUnknown) {
				c.fatalf("%s: status %q and error %v, want ErrUnavailable", opNames[op.Kind], reply.Status, err)
			}
		}
		for _, step := range []record.IndexStep{enlist(record.NewHandle(), 1), list, block(time.Hour)} {
			reply, err := c.store.ApplyIndex(ctx, u.name, &step)
			if !errors.Is(err, record.ErrUnavailable) || errors.Is(err, record.ErrOutcomeUnknown) {
				c.fatalf("index step %d: status %q and error %v, want ErrUnavailable", step.Kind, reply.Status, err)
			}
		}
	}
	s.holds("f", "1")
	u.step(record.IndexOK, list)
}

func checkReplyOwned(c *check) {
	s := c.create(record.Set("f", "1"), record.Set("g", `"x"`), record.Set("l", "[1]"))
	read := &record.Batch{Ops: []record.Op{record.GetAll(), record.Get("f"), record.Get("g")}}
	first := s.expect(record.OK, read)
	kept := first
	kept.Values, kept.Fields = slices.Clone(first.Values), slices.Clone(first.Fields)
	s.do(record.Set("f", "2"), record.Append("l", "2"))
	if !slices.Equal(first.Fields, kept.Fields) || !slices.Equal(first.Values, kept.Values) {
		c.errorf("a later write changed an earlier reply")
	}
	s.do(record.Set("f", "1"), record.Set("l", "[1]"))
	for range 2 {
		reply := s.expect(record.OK, read)
		same(c, "fields", reply.Fields, kept.Fields)
		same(c, "values", reply.Values, kept.Values)
		clear(reply.Fields)
		clear(reply.Values)
		_ = append(reply.Fields[:1], record.Field{Name: "x", Text: "9"})
	}
	s.holds("f", "1", "g", `"x"`, "l", "[1]")

	u := c.user()
	h := record.NewHandle()
	u.step(record.IndexOK, enlist(h, 3))
	for range 2 {
		clear(u.step(record.IndexOK, list).Entries)
	}
	u.step(record.IndexOK, confirm(h))
}

func checkBatchOwned(c *check) {
	s := c.create(record.Set("f", "0"))
	ops := make([]record.Op, 3)
	conditions := make([]record.Condition, 1)
	for i := range 20 {
		conditions[0] = fieldIs("f", fmt.Sprint(i))
		copy(ops, []record.Op{record.Set("f", fmt.Sprint(i+1)), record.Add("n", 1), record.Append("l", "1")})
		b := &record.Batch{Access: s.token(), Conditions: conditions, Ops: ops}
		s.expect(record.OK, b)
		if b.Access != s.token() || conditions[0] != fieldIs("f", fmt.Sprint(i)) || ops[0] != record.Set("f", fmt.Sprint(i+1)) ||
			ops[1] != record.Add("n", 1) || ops[2] != record.Append("l", "1") || b.Limits != (record.Limits{}) {
			c.fatalf("the store changed the batch")
		}
		copy(ops, []record.Op{record.Set("f", "-1"), record.Set("n", "-1"), record.Set("l", "[]")})
		*b = record.Batch{Ops: ops}
	}
	s.holds("f", "20", "l", "["+strings.Repeat("1,", 19)+"1]", "n", "20")
}

func checkTraits(c *check) {
	traits, err := c.store.Traits(c.ctx)
	if err != nil {
		c.fatalf("Traits: %v", err)
	}
	if traits.Name == "" || strings.ToLower(traits.Name) != traits.Name || strings.ContainsAny(traits.Name, " \t\n") {
		c.errorf("the store is named %q", traits.Name)
	}
	again, err := c.store.Traits(c.ctx)
	if err != nil || again != traits {
		c.errorf("Traits answered %+v, then %+v (%v)", traits, again, err)
	}
}

func checkClose(c *check) {
	c.store = c.fresh()
	s := c.create(record.Set("f", "1"))
	u := c.user()
	u.step(record.IndexOK, enlist(record.NewHandle(), 1))
	ends := make(chan error)
	var started sync.WaitGroup
	const callers = 8
	for range callers {
		started.Add(1)
		go func() {
			for i := 0; ; i++ {
				reply, err := c.apply(s.h, &record.Batch{Ops: []record.Op{record.Add("n", 1)}})
				if i == 0 {
					started.Done()
				}
				if err == nil && reply.Status != record.OK {
					err = fmt.Errorf("an Add while the store is closed answered %q", reply.Status)
				}
				if err != nil {
					ends <- err
					return
				}
			}
		}()
	}
	started.Wait()
	if err := c.store.Close(); err != nil {
		c.errorf("Close: %v", err)
	}
	for range callers {
		select {
		case err := <-ends:
			if !errors.Is(err, record.ErrUnavailable) && !errors.Is(err, record.ErrOutcomeUnknown) {
				c.errorf("a call while the store was closed: %v", err)
			}
		case <-time.After(10 * time.Second):
			c.fatalf("calls go on, or hang, 10 s after Close")
		}
	}
	for _, op := range []record.Op{record.Get("f"), record.Set("f", "2"), record.Create(record.NewSecret(), long)} {
		if reply, err := c.apply(s.h, &record.Batch{Ops: []record.Op{op}}); !errors.Is(err, record.ErrUnavailable) {
			c.errorf("%s after Close: status %q and error %v, want ErrUnavailable", opNames[op.Kind], reply.Status, err)
		}
	}
	if reply, err := u.try(list); !errors.Is(err, record.ErrUnavailable) {
		c.errorf("List after Close: status %q and error %v, want ErrUnavailable", reply.Status, err)
	}
}
