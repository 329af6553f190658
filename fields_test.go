package pazzo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
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

func TestAValueThatDoesNotDecodeSpoilsItsOwnFieldOnly(t *testing.T) {
	modes(t, func(t *testing.T, s *site, token string, do func(func(ctx context.Context))) {
		s.set(t, token, map[string]string{"cart": `{"not":"a list"}`, "name": `"ann"`})
		fails := func(err error) {
			t.Helper()
			wantError(t, err, pazzo.ErrDecode)
		}
		do(func(ctx context.Context) {
			value, found, err := cart.Get(ctx)
			fails(err)
			equal(t, "found", found, false)
			same(t, "value", value, []item(nil))
			_, err = cart.GetOr(ctx, nil)
			fails(err)
			_, set, err := cart.SetIfAbsent(ctx, nil)
			fails(err)
			equal(t, "set", set, false)
			_, err = cart.CompareAndSet(ctx, nil, nil)
			fails(err)
			_, err = cart.Update(ctx, func([]item) ([]item, error) { t.Error("f was called"); return nil, nil })
			fails(err)
			got, found, err := name.Get(ctx)
			must(t, err)
			equal(t, "other field", got, "ann")
			equal(t, "other field found", found, true)
			equal(t, "fields listed", len(allFields(t, ctx)), 3)
		})
		equal(t, "text", s.text(t, token, "cart"), `{"not":"a list"}`)
		do(func(ctx context.Context) {
			_, found, err := cart.Pop(ctx)
			var decoding *pazzo.DecodeError
			if found || !errors.As(err, &decoding) || string(decoding.Text) != `{"not":"a list"}` {
				t.Errorf("popped: found %v, error %v", found, err)
			}
			must(t, cart.Set(ctx, nil))
		})
		do(func(ctx context.Context) {
			_, found, err := cart.Get(ctx)
			must(t, err)
			equal(t, "found after Set", found, true)
		})
	})
}

func TestNumbersKeepTheirPrecision(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	ctx := s.context(t, token)
	session := pazzo.FromContext(ctx)
	for _, text := range []string{"9007199254740993", "123456789012345678901234567890", "0.1", "1.50", "1e400", "-0", "1E+2"} {
		must(t, session.Set(ctx, "n", json.RawMessage(text)))
		equal(t, "text", s.text(t, token, "n"), text)
		value, err := session.Value(ctx, "n")
		must(t, err)
		same(t, "value", value, any(json.Number(text)))
		// What was read can be written back unchanged.
		must(t, session.Set(ctx, "n", value))
		equal(t, "text written back", s.text(t, token, "n"), text)
	}
	for _, n := range []int64{math.MaxInt64, math.MinInt64, 1<<53 + 1} {
		must(t, pazzo.Key[int64]("n").Set(ctx, n))
		got, _, err := pazzo.Key[int64]("n").Get(ctx)
		must(t, err)
		equal(t, "int64", got, n)
	}
	for _, x := range []float64{math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1, math.Pi, -1e21} {
		must(t, pazzo.Key[float64]("n").Set(ctx, x))
		got, _, err := pazzo.Key[float64]("n").Get(ctx)
		must(t, err)
		equal(t, "float64", got, x)
	}
	must(t, session.Set(ctx, "n", json.RawMessage(`{"In":[9007199254740993]}`)))
	within, _, err := pazzo.Key[struct{ In any }]("n").Get(ctx)
	must(t, err)
	same(t, "within a struct", within.In, any([]any{json.Number("9007199254740993")}))
}

func TestNullIsNoValueOfATypeThatHasNoNull(t *testing.T) {
	s := newSite(t)
	ctx := s.context(t, s.login(t))
	must(t, pazzo.FromContext(ctx).Set(ctx, "a", nil))
	_, found, err := pazzo.Key[int]("a").Get(ctx)
	wantError(t, err, pazzo.ErrDecode)
	equal(t, "found", found, false)
	_, _, err = pazzo.Key[string]("a").Get(ctx)
	wantError(t, err, pazzo.ErrDecode)
	_, _, err = pazzo.Key[struct{ A int }]("a").Get(ctx)
	wantError(t, err, pazzo.ErrDecode)
	for _, get := range []func() (bool, error){
		func() (bool, error) { v, found, err := pazzo.Key[*int]("a").Get(ctx); return v == nil && found, err },
		func() (bool, error) { v, found, err := pazzo.Key[[]int]("a").Get(ctx); return v == nil && found, err },
		func() (bool, error) { v, found, err := pazzo.Key[any]("a").Get(ctx); return v == nil && found, err },
	} {
		isNil, err := get()
		must(t, err)
		equal(t, "nil, and found", isNil, true)
	}
}

type lying string

func (l lying) MarshalJSON() ([]byte, error) { return []byte(l), nil }

func TestWhatHasNoJSONFormIsRefusedBeforeAnythingIsSent(t *testing.T) {
	for _, token := range []string{"", "made"} {
		s := newSite(t)
		if token != "" {
			token = s.login(t)
		}
		ctx := s.context(t, token)
		session := pazzo.FromContext(ctx)
		for _, value := range []any{
			math.NaN(), math.Inf(1), math.Inf(-1), []float64{math.NaN()}, make(chan int), func() {}, complex(1, 2),
			json.RawMessage(`"\ud800"`), json.RawMessage(`"\udc00\ud800"`), json.RawMessage(`["\ud83dx"]`), json.RawMessage("\"\xff\""), "\xff",
			json.RawMessage(`1 2`), json.RawMessage(`{`), json.RawMessage(``), json.RawMessage(` `), json.RawMessage(`NaN`), json.RawMessage(`'a'`),
			lying(`"\ud800"`), lying(`1 2`), map[string]any{"a": json.RawMessage(`"\ud800"`)}, json.Number("nan"),
		} {
			s.store.costs(t, 0, func() {
				for _, err := range []error{
					session.Set(ctx, "a", value),
					session.Append(ctx, "a", value),
					pazzo.Key[any]("a").Set(ctx, value),
					pazzo.Atomically(ctx, func(ctx context.Context) error { return session.Set(ctx, "a", value) }),
				} {
					if !errors.Is(err, pazzo.ErrEncode) {
						t.Errorf("%#v: error is %v, want %v", value, err, pazzo.ErrEncode)
					}
				}
				_, set, err := pazzo.Key[any]("a").SetIfAbsent(ctx, value)
				wantError(t, err, pazzo.ErrEncode)
				equal(t, "set", set, false)
			})
		}
		swapped, err := pazzo.Key[any]("made").CompareAndSet(ctx, true, math.NaN())
		equal(t, "swapped", swapped, false)
		if token != "" {
			wantError(t, err, pazzo.ErrEncode)
		}
		_, err = pazzo.Key[float64]("a").Update(ctx, func(float64) (float64, error) { return math.NaN(), nil })
		wantError(t, err, pazzo.ErrEncode)
		equal(t, "fields", len(allFields(t, ctx)), len(token)/64)
		must(t, session.Set(ctx, "a", json.RawMessage(`"\ud83d\ude00"`)))
		text, _, err := session.Get(ctx, "a")
		must(t, err)
		equal(t, "a whole pair", string(text), `"\ud83d\ude00"`)
	}
}

func TestLimitsChangeNothing(t *testing.T) {
	s := newSite(t, func(o *pazzo.Options) { o.Limits = record.Limits{Name: 10, Value: 20, Fields: 3, Size: 60} })
	token := s.login(t) // made: 4 + 4 bytes
	ctx := s.context(t, token)
	session := pazzo.FromContext(ctx)
	large := func(err error) {
		t.Helper()
		wantError(t, err, pazzo.ErrTooLarge)
		equal(t, "status", pazzo.StatusCode(err), 413)
	}
	large(session.Set(ctx, "12345678901", 1))
	large(session.Set(ctx, "a", strings.Repeat("x", 19)))
	must(t, session.Set(ctx, "a", strings.Repeat("x", 18)))
	must(t, session.Set(ctx, "list", []int{1, 2, 3, 4, 5, 6, 7, 8}))
	large(session.Append(ctx, "list", 12345))
	large(session.Set(ctx, "b", 1))
	large(pazzo.Atomically(ctx, func(ctx context.Context) error { return session.Set(ctx, "b", 1) }))
	must(t, pazzo.Atomically(ctx, func(ctx context.Context) error {
		must(t, session.Delete(ctx, "made"))
		return session.Set(ctx, "b", 1)
	}))
	same(t, "fields", allFields(t, ctx), map[string]string{"a": `"xxxxxxxxxxxxxxxxxx"`, "list": "[1,2,3,4,5,6,7,8]", "b": "1"})
	must(t, session.Set(ctx, "list", 1))
	large(session.Set(ctx, "b", strings.Repeat("x", 18+1)))
	must(t, session.Set(ctx, "b", strings.Repeat("x", 18)))
	large(session.Set(ctx, "list", strings.Repeat("x", 18)))
	equal(t, "text", s.text(t, token, "list"), "1")
}

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
