package pazzo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo"
)

// item is what a shop would keep.
type item struct {
	Name  string   `json:"name"`
	Count int      `json:"count"`
	Tags  []string `json:"tags,omitempty"`
}

const (
	cart    pazzo.Key[[]item]   = "cart"
	name    pazzo.Key[string]   = "name"
	visits  pazzo.Counter       = "visits"
	notices pazzo.Flash[string] = "notices"
)

// same fails the test unless two values are alike.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s is %#v, want %#v", what, got, want)
	}
}

// text returns what a field holds, as another request sees it, or "absent".
func (s *site) text(t testing.TB, token, name string) string {
	t.Helper()
	ctx := s.context(t, token)
	text, found, err := pazzo.FromContext(ctx).Get(ctx, name)
	must(t, err)
	if !found {
		return "absent"
	}
	return string(text)
}

// set gives fields their texts in a request of its own.
func (s *site) set(t testing.TB, token string, fields map[string]string) {
	t.Helper()
	ctx := s.context(t, token)
	for name, text := range fields {
		must(t, pazzo.FromContext(ctx).Set(ctx, name, json.RawMessage(text)))
	}
}

// modes are the two kinds of reads, with and without a transaction around, which
// all give the same answers to one request alone.
func modes(t *testing.T, test func(t *testing.T, s *site, token string, do func(func(ctx context.Context)))) {
	for _, mode := range []pazzo.ReadMode{pazzo.Live, pazzo.Snapshot} {
		for _, atomically := range []bool{false, true} {
			t.Run(fmt.Sprintf("mode %d, atomically %v", mode, atomically), func(t *testing.T) {
				s := newSite(t, func(o *pazzo.Options) { o.Reads = mode })
				token := s.login(t)
				test(t, s, token, func(f func(ctx context.Context)) {
					ctx := s.context(t, token)
					if !atomically {
						f(ctx)
						return
					}
					must(t, pazzo.Atomically(ctx, func(ctx context.Context) error { f(ctx); return nil }))
				})
			})
		}
	}
}

func TestKey(t *testing.T) {
	modes(t, func(t *testing.T, s *site, token string, do func(func(ctx context.Context))) {
		apple, pear := []item{{Name: "apple", Count: 2}}, []item{{Name: "pear", Tags: []string{"<é\u2028😀>"}}}
		is := func(ctx context.Context, want []item) {
			t.Helper()
			for what, get := range map[string]func(context.Context) ([]item, bool, error){"Get": cart.Get, "Fresh": cart.Fresh} {
				got, found, err := get(ctx)
				must(t, err)
				same(t, what, got, want)
				equal(t, what+": found", found, want != nil)
			}
			got, err := cart.GetOr(ctx, pear)
			must(t, err)
			if want == nil {
				want = pear
			}
			same(t, "GetOr", got, want)
		}
		do(func(ctx context.Context) { is(ctx, nil) })
		do(func(ctx context.Context) { must(t, cart.Set(ctx, apple)); is(ctx, apple) })
		do(func(ctx context.Context) { is(ctx, apple); must(t, cart.Set(ctx, pear)); is(ctx, pear) })
		equal(t, "text", s.text(t, token, "cart"), `[{"name":"pear","count":0,"tags":["\u003cé\u2028😀\u003e"]}]`)
		do(func(ctx context.Context) {
			now, set, err := cart.SetIfAbsent(ctx, apple)
			must(t, err)
			same(t, "value that was there", now, pear)
			equal(t, "set", set, false)
			is(ctx, pear)
			must(t, cart.Delete(ctx))
			is(ctx, nil)
			must(t, cart.Delete(ctx))
		})
		do(func(ctx context.Context) {
			is(ctx, nil)
			now, set, err := cart.SetIfAbsent(ctx, apple)
			must(t, err)
			same(t, "value that was set", now, apple)
			equal(t, "set", set, true)
			is(ctx, apple)
		})
		do(func(ctx context.Context) {
			swapped, err := cart.CompareAndSet(ctx, pear, pear)
			must(t, err)
			equal(t, "swapped for another", swapped, false)
			is(ctx, apple)
			swapped, err = cart.CompareAndSet(ctx, apple, pear)
			must(t, err)
			equal(t, "swapped for the same", swapped, true)
			is(ctx, pear)
			swapped, err = name.CompareAndSet(ctx, "", "a")
			must(t, err)
			equal(t, "swapped for none", swapped, false)
		})
		do(func(ctx context.Context) {
			got, found, err := cart.Pop(ctx)
			must(t, err)
			same(t, "popped", got, pear)
			equal(t, "found", found, true)
			got, found, err = cart.Pop(ctx)
			must(t, err)
			same(t, "popped again", got, []item(nil))
			equal(t, "found again", found, false)
			is(ctx, nil)
		})
		do(func(ctx context.Context) {
			add := func(list []item) ([]item, error) { return append(list, item{Name: "fig"}), nil }
			for n := range 3 {
				got, err := cart.Update(ctx, add)
				must(t, err)
				equal(t, "items", len(got), n+1)
			}
			failed := errors.New("no")
			_, err := cart.Update(ctx, func([]item) ([]item, error) { return nil, failed })
			equal(t, "error of Update", err, failed)
		})
		do(func(ctx context.Context) { is(ctx, []item{{Name: "fig"}, {Name: "fig"}, {Name: "fig"}}) })
	})
}

func TestCounter(t *testing.T) {
	modes(t, func(t *testing.T, s *site, token string, do func(func(ctx context.Context))) {
		const most = 1<<53 - 1
		is := func(ctx context.Context, want int64) {
			t.Helper()
			for what, get := range map[string]func(context.Context) (int64, error){"Get": visits.Get, "Fresh": visits.Fresh} {
				got, err := get(ctx)
				must(t, err)
				equal(t, what, got, want)
			}
		}
		add := func(ctx context.Context, n, want int64, target error) {
			t.Helper()
			got, err := visits.Add(ctx, n)
			wantError(t, err, target)
			equal(t, "sum", got, want)
		}
		do(func(ctx context.Context) { is(ctx, 0); add(ctx, 0, 0, nil); add(ctx, 5, 5, nil); is(ctx, 5) })
		do(func(ctx context.Context) { is(ctx, 5); add(ctx, -7, -2, nil); is(ctx, -2) })
		equal(t, "text", s.text(t, token, "visits"), "-2")
		do(func(ctx context.Context) {
			must(t, visits.Set(ctx, most))
			add(ctx, 1, 0, pazzo.ErrRange)
			is(ctx, most)
			add(ctx, -1, most-1, nil)
			must(t, visits.Set(ctx, -most))
			add(ctx, -1, 0, pazzo.ErrRange)
			is(ctx, -most)
			for _, n := range []int64{most + 1, -most - 1, math.MaxInt64, math.MinInt64} {
				add(ctx, n, 0, pazzo.ErrRange)
				wantError(t, visits.Set(ctx, n), pazzo.ErrRange)
			}
			is(ctx, -most)
		})
		do(func(ctx context.Context) {
			n, found, err := visits.Pop(ctx)
			must(t, err)
			equal(t, "popped", n, -most)
			equal(t, "found", found, true)
			n, found, err = visits.Pop(ctx)
			must(t, err)
			equal(t, "popped again", n, 0)
			equal(t, "found again", found, false)
			must(t, visits.Set(ctx, 3))
			must(t, visits.Delete(ctx))
			is(ctx, 0)
		})
		for _, text := range []string{`"5"`, "1.0", "5e2", "-0", "null", "[1]", "true"} {
			s.set(t, token, map[string]string{"visits": text})
			do(func(ctx context.Context) {
				add(ctx, 1, 0, pazzo.ErrNotInteger)
				_, err := visits.Get(ctx)
				wantError(t, err, pazzo.ErrDecode)
				wantError(t, err, pazzo.ErrNotInteger)
			})
			equal(t, "text", s.text(t, token, "visits"), text)
		}
		for _, text := range []string{"9007199254740992", "-9007199254740992", "123456789012345678901234567890", "-99999999999999999999"} {
			s.set(t, token, map[string]string{"visits": text})
			do(func(ctx context.Context) {
				add(ctx, 1, 0, pazzo.ErrRange)
				_, err := visits.Get(ctx)
				wantError(t, err, pazzo.ErrDecode)
				wantError(t, err, pazzo.ErrRange)
			})
			equal(t, "text", s.text(t, token, "visits"), text)
			do(func(ctx context.Context) {
				_, found, err := visits.Pop(ctx)
				wantError(t, err, pazzo.ErrRange)
				equal(t, "found", found, false)
			})
			equal(t, "text after Pop", s.text(t, token, "visits"), "absent")
		}
	})
}

func TestFlash(t *testing.T) {
	modes(t, func(t *testing.T, s *site, token string, do func(func(ctx context.Context))) {
		is := func(ctx context.Context, want ...string) {
			t.Helper()
			for what, get := range map[string]func(context.Context) ([]string, error){"Get": notices.Get, "Fresh": notices.Fresh} {
				got, err := get(ctx)
				must(t, err)
				same(t, what, got, want)
			}
		}
		do(func(ctx context.Context) {
			is(ctx)
			list, err := notices.Drain(ctx)
			must(t, err)
			same(t, "drained", list, []string(nil))
		})
		do(func(ctx context.Context) { must(t, notices.Append(ctx, "a, ]\"")); is(ctx, "a, ]\"") })
		do(func(ctx context.Context) { must(t, notices.Append(ctx, "b")); must(t, notices.Append(ctx, "c")) })
		equal(t, "text", s.text(t, token, "notices"), `["a, ]\"","b","c"]`)
		do(func(ctx context.Context) {
			is(ctx, "a, ]\"", "b", "c")
			list, err := notices.Drain(ctx)
			must(t, err)
			same(t, "drained", list, []string{"a, ]\"", "b", "c"})
			is(ctx)
			must(t, notices.Append(ctx, "d"))
		})
		do(func(ctx context.Context) { is(ctx, "d"); must(t, notices.Delete(ctx)); is(ctx) })
		for _, text := range []string{`{"a":1}`, `"[]"`, "1", "null"} {
			s.set(t, token, map[string]string{"notices": text})
			do(func(ctx context.Context) {
				wantError(t, notices.Append(ctx, "a"), pazzo.ErrNotList)
				_, err := notices.Drain(ctx)
				wantError(t, err, pazzo.ErrNotList)
			})
			equal(t, "text", s.text(t, token, "notices"), text)
		}
		s.set(t, token, map[string]string{"notices": "[]"})
		do(func(ctx context.Context) { must(t, notices.Append(ctx, "a")); is(ctx, "a") })
		s.set(t, token, map[string]string{"notices": `["a",1]`})
		do(func(ctx context.Context) {
			_, err := notices.Get(ctx)
			wantError(t, err, pazzo.ErrDecode)
			_, err = notices.Drain(ctx)
			var decoding *pazzo.DecodeError
			if !errors.As(err, &decoding) || string(decoding.Text) != `["a",1]` {
				t.Errorf("error is %v", err)
			}
		})
		equal(t, "drained all the same", s.text(t, token, "notices"), "absent")
	})
}

// allFields returns the fields that All yields.
func allFields(t testing.TB, ctx context.Context) map[string]string {
	t.Helper()
	all, err := pazzo.FromContext(ctx).All(ctx)
	must(t, err)
	got, last := map[string]string{}, ""
	for name, text := range all {
		if name <= last {
			t.Errorf("%q comes after %q", name, last)
		}
		got[name], last = string(text), name
	}
	return got
}

func TestFieldsByName(t *testing.T) {
	modes(t, func(t *testing.T, s *site, token string, do func(func(ctx context.Context))) {
		value := func(ctx context.Context, name string, want any) {
			t.Helper()
			got, err := pazzo.FromContext(ctx).Value(ctx, name)
			must(t, err)
			same(t, name, got, want)
		}
		do(func(ctx context.Context) {
			session := pazzo.FromContext(ctx)
			value(ctx, "a", nil)
			must(t, session.Set(ctx, "a", map[string]any{"n": 1.5, "s": "x", "l": []int{1, 2}}))
			must(t, session.Set(ctx, "b", json.RawMessage(` [ 1 , "a b" ] `)))
			must(t, session.Set(ctx, "c", nil))
			n, err := session.Add(ctx, "d", 41)
			must(t, err)
			equal(t, "sum", n, 41)
			must(t, session.Append(ctx, "e", item{Name: "fig"}))
			must(t, session.Append(ctx, "e", true))
			value(ctx, "a", map[string]any{"n": json.Number("1.5"), "s": "x", "l": []any{json.Number("1"), json.Number("2")}})
		})
		do(func(ctx context.Context) {
			session := pazzo.FromContext(ctx)
			same(t, "all", allFields(t, ctx), map[string]string{
				"made": "true", "a": `{"l":[1,2],"n":1.5,"s":"x"}`, "b": `[1,"a b"]`, "c": "null", "d": "41", "e": `[{"name":"fig","count":0},true]`,
			})
			value(ctx, "c", nil)
			text, found, err := session.Get(ctx, "b")
			must(t, err)
			equal(t, "text", string(text), `[1,"a b"]`)
			equal(t, "found", found, true)
			text, found, err = session.Pop(ctx, "b")
			must(t, err)
			equal(t, "popped", string(text), `[1,"a b"]`)
			equal(t, "found", found, true)
			must(t, session.Delete(ctx, "a"))
			_, found, err = session.Get(ctx, "a")
			must(t, err)
			equal(t, "found after Delete", found, false)
			same(t, "all", allFields(t, ctx), map[string]string{"made": "true", "c": "null", "d": "41", "e": `[{"name":"fig","count":0},true]`})
			must(t, session.Set(ctx, "z", 1))
			must(t, session.Clear(ctx))
			same(t, "all after Clear", allFields(t, ctx), map[string]string{})
			value(ctx, "d", nil)
			must(t, session.Set(ctx, "f", "after"))
		})
		do(func(ctx context.Context) { same(t, "all", allFields(t, ctx), map[string]string{"f": `"after"`}) })
	})
}

// A loop over All may end early, and may read and write.
func TestAllMayBeLeftEarlyAndWrittenMeanwhile(t *testing.T) {
	s := newSite(t)
	ctx := s.context(t, s.login(t))
	session := pazzo.FromContext(ctx)
	must(t, session.Set(ctx, "a", 1))
	all, err := session.All(ctx)
	must(t, err)
	for range 2 {
		n := 0
		for name := range all {
			n++
			must(t, session.Delete(ctx, name))
			break
		}
		equal(t, "fields seen", n, 1)
	}
}

func TestNamesAreCheckedBeforeTheStoreIsAsked(t *testing.T) {
	for _, mode := range []pazzo.ReadMode{pazzo.Live, pazzo.Snapshot} {
		s := newSite(t, func(o *pazzo.Options) { o.Reads = mode })
		token := s.login(t)
		for name, want := range map[string]error{
			"": pazzo.ErrName, "\x00a": pazzo.ErrName, "a\xff": pazzo.ErrName, "\xed\xa0\x80": pazzo.ErrName,
			strings.Repeat("n", 257): pazzo.ErrTooLarge, strings.Repeat("é", 129): pazzo.ErrTooLarge,
		} {
			s.store.costs(t, 0, func() {
				ctx := s.context(t, token)
				for i, err := range callsOf(ctx, name) {
					if !errors.Is(err, want) {
						t.Errorf("call %d with name %.10q: error is %v, want %v", i, name, err, want)
					}
				}
			})
		}
		for _, name := range []string{"a", "é", "a\x00", strings.Repeat("n", 256), " ", "\n", "{}", "\u2028"} {
			ctx := s.context(t, token)
			must(t, pazzo.FromContext(ctx).Set(ctx, name, name))
			value, err := pazzo.FromContext(ctx).Value(ctx, name)
			must(t, err)
			same(t, "value", value, any(name))
		}
	}
}

// callsOf calls each method of a field with the given name.
func callsOf(ctx context.Context, name string) (errs []error) {
	note := func(err error) { errs = append(errs, err) }
	key, count, list := pazzo.Key[int](name), pazzo.Counter(name), pazzo.Flash[int](name)
	_, _, err := key.Get(ctx)
	note(err)
	_, _, err = key.Fresh(ctx)
	note(err)
	note(key.Set(ctx, 1))
	_, _, err = key.SetIfAbsent(ctx, 1)
	note(err)
	_, err = key.CompareAndSet(ctx, 1, 2)
	note(err)
	note(key.Delete(ctx))
	_, _, err = key.Pop(ctx)
	note(err)
	_, err = key.Update(ctx, func(n int) (int, error) { return n, nil })
	note(err)
	_, err = count.Add(ctx, 1)
	note(err)
	note(list.Append(ctx, 1))
	_, err = list.Drain(ctx)
	note(err)
	note(pazzo.Atomically(ctx, func(ctx context.Context) error { return key.Set(ctx, 1) }))
	note(pazzo.Atomically(ctx, func(ctx context.Context) error { return key.Delete(ctx) }))
	note(pazzo.Atomically(ctx, func(ctx context.Context) error { _, _, err := key.Get(ctx); return err }))
	return errs
}
