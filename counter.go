package pazzo

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pazzo-sessions/pazzo/record"
)

// Counter is a field of the session that holds an integer within ±(2^53−1), which
// every language reads exactly. Like Key it is a name:
//
//	const visits pazzo.Counter = "visits"
//
//	n, err := visits.Add(r.Context(), 1)
type Counter string

// Get returns the count: 0 if there is no such field. ErrDecode is returned when
// the field is not an integer, or beyond ±(2^53−1).
func (c Counter) Get(ctx context.Context) (int64, error) { return c.get(ctx, false) }

// Fresh is Get that bypasses the request's snapshot and the near cache.
func (c Counter) Fresh(ctx context.Context) (int64, error) { return c.get(ctx, true) }

func (c Counter) get(ctx context.Context, fresh bool) (int64, error) {
	f, err := fieldsOf(ctx)
	if err != nil {
		return 0, err
	}
	if s, ok := f.(*Session); ok && !fresh {
		if n, _, ok, err := readNear(s, string(c), parseInteger); ok {
			return int64(n), err
		}
	}
	text, found, err := f.get(ctx, string(c), fresh)
	if err != nil || !found {
		return 0, err
	}
	return c.parse(text)
}

func (c Counter) parse(text string) (int64, error) {
	n, err := parseInteger(string(c), text)
	return int64(n), err
}

// integer is the value of a Counter: not any int64 is.
type integer int64

func parseInteger(name, text string) (integer, error) {
	n, ok := record.ParseInt(text)
	if !ok {
		return 0, &DecodeError{Field: name, Text: []byte(text), Err: ErrNotInteger}
	}
	if n < -record.MaxInt || n > record.MaxInt {
		return 0, &DecodeError{Field: name, Text: []byte(text), Err: ErrRange}
	}
	return integer(n), nil
}

// Add adds n, which may be negative, and returns the sum. No addition is lost,
// however many run at the same time, and each costs one round trip.
// ErrNotInteger is returned when the field holds something else, ErrRange when n
// or the sum is beyond ±(2^53−1); nothing is changed then.
func (c Counter) Add(ctx context.Context, n int64) (int64, error) {
	f, err := fieldsOf(ctx)
	if err != nil {
		return 0, err
	}
	v, err := f.put(ctx, record.Add(string(c), n))
	if err != nil {
		return 0, err
	}
	return c.parse(v.Text)
}

// Set gives the count a value. ErrRange is returned when it is beyond ±(2^53−1).
func (c Counter) Set(ctx context.Context, n int64) error {
	if n < -record.MaxInt || n > record.MaxInt {
		return fmt.Errorf("%w: %q", ErrRange, string(c))
	}
	return Key[int64](c).Set(ctx, n)
}

// Delete removes the field.
func (c Counter) Delete(ctx context.Context) error { return Key[int64](c).Delete(ctx) }

// Pop removes the field and returns the count: of several at the same time, one
// finds it. When it is not an integer, it is in the DecodeError.
func (c Counter) Pop(ctx context.Context) (n int64, found bool, err error) {
	text, found, err := Key[json.RawMessage](c).Pop(ctx)
	if err != nil || !found {
		return 0, false, err
	}
	n, err = c.parse(string(text))
	return n, err == nil, err
}
