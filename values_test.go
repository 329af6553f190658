package pazzo_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

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
