package pazzo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

// contenders is how many requests at the same time the tests below run.
const contenders = 32

// rounds is how often each of them does its work.
func rounds() int {
	if nightly() {
		return 1000
	}
	return 20
}

func TestNoUpdateIsLostAmongRequestsOfOneCookie(t *testing.T) {
	for _, mode := range []pazzo.ReadMode{pazzo.Live, pazzo.Snapshot} {
		s := newSite(t, func(o *pazzo.Options) { o.Reads = mode })
		token := s.login(t)
		together(contenders, func(i int) {
			for n := range rounds() {
				ctx := s.context(t, token)
				key := pazzo.Key[int](fmt.Sprint("f", (i+n)%4))
				_, err := key.Update(ctx, func(n int) (int, error) { return n + 1, nil })
				if err != nil {
					t.Error(err)
				}
				if err := notices.Append(ctx, "a"); err != nil {
					t.Error(err)
				}
				if _, err := visits.Add(ctx, 1); err != nil {
					t.Error(err)
				}
			}
		})
		ctx := s.context(t, token)
		all := contenders * rounds()
		sum := 0
		for i := range 4 {
			n, _, err := pazzo.Key[int](fmt.Sprint("f", i)).Get(ctx)
			must(t, err)
			sum += n
		}
		equal(t, "updates kept", sum, all)
		n, err := visits.Get(ctx)
		must(t, err)
		equal(t, "additions kept", n, int64(all))
		list, err := notices.Drain(ctx)
		must(t, err)
		equal(t, "appended values kept", len(list), all)
	}
}

func TestOfManyAtOnceOneWins(t *testing.T) {
	s := newSite(t)
	for range rounds() {
		token := s.login(t)
		s.set(t, token, map[string]string{"name": `"before"`, "popped": "1", "cart": "[]", "notices": `["a","b"]`, "visits": "7"})
		var absent, swapped, popped, counted, notes atomic.Int64
		together(contenders, func(i int) {
			ctx := s.context(t, token)
			if _, set, err := pazzo.Key[int]("absent").SetIfAbsent(ctx, i); err != nil {
				t.Error(err)
			} else if set {
				absent.Add(1)
			}
			if ok, err := name.CompareAndSet(ctx, "before", fmt.Sprint(i)); err != nil {
				t.Error(err)
			} else if ok {
				swapped.Add(1)
			}
			if _, found, err := pazzo.Key[int]("popped").Pop(ctx); err != nil {
				t.Error(err)
			} else if found {
				popped.Add(1)
			}
			if n, found, err := visits.Pop(ctx); err != nil {
				t.Error(err)
			} else if found && n == 7 {
				counted.Add(1)
			}
			if list, err := notices.Drain(ctx); err != nil {
				t.Error(err)
			} else {
				notes.Add(int64(len(list)))
			}
		})
		equal(t, "winners of SetIfAbsent", absent.Load(), 1)
		equal(t, "winners of CompareAndSet", swapped.Load(), 1)
		equal(t, "winners of Pop", popped.Load(), 1)
		equal(t, "winners of Counter.Pop", counted.Load(), 1)
		equal(t, "values drained", notes.Load(), 2)
	}
}

// CompareAndSet compares values, and the text that was read, not one that Go
// would have written.
func TestCompareAndSetTakesTheTextOfAnotherLanguage(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	for text, old := range map[string]any{
		`"\u00e9 \u003c"`: "é <", `{"b":1,"a":2}`: map[string]any{"a": json.Number("2"), "b": json.Number("1")},
	} {
		s.set(t, token, map[string]string{"a": text})
		ok, err := pazzo.Key[any]("a").CompareAndSet(s.context(t, token), old, "new")
		must(t, err)
		equal(t, "swapped "+text, ok, true)
		s.set(t, token, map[string]string{"a": text})
		ctx := s.context(t, token)
		_, err = pazzo.Key[any]("a").Update(ctx, func(any) (any, error) { return "new", nil })
		must(t, err)
	}
}

// A value that changes between the read and the write is not overwritten.
func TestCompareAndSetSeesAWriteInBetween(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	s.set(t, token, map[string]string{"name": `"before"`})
	s.store.before = func(b *record.Batch) error {
		if len(b.Conditions) > 0 {
			s.store.before = nil
			s.set(t, token, map[string]string{"name": `"between"`})
		}
		return nil
	}
	ok, err := name.CompareAndSet(s.context(t, token), "before", "after")
	must(t, err)
	equal(t, "swapped", ok, false)
	equal(t, "text", s.text(t, token, "name"), `"between"`)
}

func TestNestedUpdateOfTheSameFieldConflictsInBoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		ctx := s.context(t, s.login(t))
		start := time.Now()
		_, err := name.Update(ctx, func(outer string) (string, error) {
			_, err := name.Update(ctx, func(inner string) (string, error) { return inner + "i", nil })
			return outer + "o", err
		})
		wantError(t, err, pazzo.ErrConflict)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		got, _, err := name.Get(ctx)
		must(t, err)
		equal(t, "what the inner ones wrote", strings.Trim(got, "i"), "")
		s.store.Close()
	})
}

func TestNestedUpdateOfAnotherFieldWorks(t *testing.T) {
	s := newSite(t)
	ctx := s.context(t, s.login(t))
	got, err := name.Update(ctx, func(string) (string, error) {
		n, err := pazzo.Key[int]("n").Update(ctx, func(n int) (int, error) { return n + 1, nil })
		return fmt.Sprint(n), err
	})
	must(t, err)
	equal(t, "value", got, "1")
}

// Whoever waits in line for a field gives up with its context, and leaves the line
// in order.
func TestUpdateThatWaitsEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		token := s.login(t)
		ctx := s.context(t, token)
		_, err := name.Update(ctx, func(string) (string, error) {
			waiting, cancel := context.WithTimeout(s.context(t, token), 10*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err := name.Update(waiting, func(s string) (string, error) { return s, nil })
			wantError(t, err, context.DeadlineExceeded)
			equal(t, "time waited", time.Since(start), 10*time.Millisecond)
			return "a", nil
		})
		must(t, err)
		_, err = name.Update(ctx, func(s string) (string, error) { return s + "b", nil })
		must(t, err)
		equal(t, "text", s.text(t, token, "name"), `"ab"`)
		s.store.Close()
	})
}

// What a write depends on is read from the store itself, not from a cache or the
// request's snapshot.
func TestReadsThatAWriteDependsOnAreFresh(t *testing.T) {
	for what, f := range map[string]func(ctx context.Context) error{
		"Update": func(ctx context.Context) error {
			_, err := name.Update(ctx, func(s string) (string, error) { return s, nil })
			return err
		},
		"CompareAndSet": func(ctx context.Context) error {
			_, err := name.CompareAndSet(ctx, "a", "b")
			return err
		},
		"Atomically": func(ctx context.Context) error {
			return pazzo.Atomically(ctx, func(ctx context.Context) error { _, _, err := name.Get(ctx); return err })
		},
		"Fresh": func(ctx context.Context) error { _, _, err := name.Fresh(ctx); return err },
	} {
		s := newSite(t, snapshots)
		token := s.login(t)
		s.set(t, token, map[string]string{"name": `"a"`})
		ctx := s.context(t, token)
		allFields(t, ctx) // a snapshot is there
		reads := 0
		s.store.before = func(b *record.Batch) error {
			if b.ReadOnly() {
				reads++
				equal(t, what+" reads afresh", b.Fresh, true)
			}
			return nil
		}
		must(t, f(ctx))
		equal(t, what+": reads", reads, 1)
	}
}
