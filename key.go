package pazzo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/pazzo-sessions/pazzo/record"
)

// Key is a field of the session that holds a T. It is a name, best made a
// constant:
//
//	const cart pazzo.Key[Cart] = "cart"
//
//	c, found, err := cart.Get(r.Context())
//
// Its methods work on the session that the context carries (see Manager.Handler
// and NewContext), inside Atomically on the transaction, and give ErrNoSession
// without one. Values are kept as JSON, which other languages read; a T with an
// any in it gets numbers as json.Number, and null is ErrDecode for a T that cannot
// be nil. A name has 1–256 bytes of valid UTF-8
// and no leading NUL; anything else gives ErrName.
//
// Reads find nothing in a session that has ended or was superseded; writes give
// ErrGone or ErrSuperseded.
type Key[T any] string

// Get returns the field's value. found is false, and the value zero, if there is
// none. ErrDecode is returned when the field holds something else than a T.
func (k Key[T]) Get(ctx context.Context) (value T, found bool, err error) { return k.get(ctx, false) }

// Fresh is Get that bypasses the request's snapshot and the near cache.
func (k Key[T]) Fresh(ctx context.Context) (value T, found bool, err error) { return k.get(ctx, true) }

func (k Key[T]) get(ctx context.Context, fresh bool) (value T, found bool, err error) {
	f, err := fieldsOf(ctx)
	if err != nil {
		return value, false, err
	}
	if s, ok := f.(*Session); ok && !fresh {
		if value, found, ok, err := readNear(s, string(k), decode[T]); ok {
			return value, found, err
		}
	}
	text, found, err := f.get(ctx, string(k), fresh)
	if err != nil || !found {
		return value, false, err
	}
	value, err = decode[T](string(k), text)
	return value, err == nil, err
}

// GetOr returns the field's value, or missing if there is none.
func (k Key[T]) GetOr(ctx context.Context, missing T) (T, error) {
	value, found, err := k.Get(ctx)
	if err == nil && !found {
		return missing, nil
	}
	return value, err
}

// Set gives the field a value. Of two at the same time the later one stays; for a
// value that depends on the one before, use Update.
func (k Key[T]) Set(ctx context.Context, value T) error {
	_, err := k.put(ctx, record.Set, value)
	return err
}

func (k Key[T]) put(ctx context.Context, op func(name, text string) record.Op, value T) (record.Value, error) {
	f, err := fieldsOf(ctx)
	if err != nil {
		return record.Value{}, err
	}
	text, err := encode(string(k), value)
	if err != nil {
		return record.Value{}, err
	}
	return f.put(ctx, op(string(k), text))
}

// SetIfAbsent gives the field a value unless it has one, and returns the value
// that it has now and whether that is the new one.
func (k Key[T]) SetIfAbsent(ctx context.Context, value T) (now T, set bool, err error) {
	v, err := k.put(ctx, record.SetIfAbsent, value)
	if err != nil {
		return now, false, err
	}
	if !v.Found {
		return value, true, nil
	}
	now, err = decode[T](string(k), v.Text)
	return now, false, err
}

// CompareAndSet gives the field the value new if it has the value old, and reports
// whether it did. Values are compared as by reflect.DeepEqual.
func (k Key[T]) CompareAndSet(ctx context.Context, old, new T) (bool, error) {
	f, err := fieldsOf(ctx)
	if err != nil {
		return false, err
	}
	before, found, err := f.get(ctx, string(k), true)
	if err != nil || !found {
		return false, err
	}
	value, err := decode[T](string(k), before)
	if err != nil || !reflect.DeepEqual(value, old) {
		return false, err
	}
	text, err := encode(string(k), new)
	if err != nil {
		return false, err
	}
	return f.swap(ctx, string(k), before, text)
}

// Delete removes the field.
func (k Key[T]) Delete(ctx context.Context) error {
	f, err := fieldsOf(ctx)
	if err != nil {
		return err
	}
	_, err = f.put(ctx, record.Delete(string(k)))
	return err
}

// Pop removes the field and returns its value: of several at the same time, one
// finds it. When the value does not decode, it is in the DecodeError.
func (k Key[T]) Pop(ctx context.Context) (value T, found bool, err error) {
	f, err := fieldsOf(ctx)
	if err != nil {
		return value, false, err
	}
	v, err := f.put(ctx, record.Pop(string(k)))
	if err != nil || !v.Found {
		return value, false, err
	}
	value, err = decode[T](string(k), v.Text)
	return value, err == nil, err
}

// Update gives the field the value that f makes of its present one (zero if there
// is none), with nothing of others lost in between, and returns it. f may be
// called several times and must have no other effect. When f returns an error,
// nothing is written and Update returns that error. ErrConflict is returned after
// 64 attempts in vain, as when f updates the same field by a call of its own, which
// takes some seconds.
func (k Key[T]) Update(ctx context.Context, f func(value T) (T, error)) (value T, err error) {
	target, err := fieldsOf(ctx)
	if err != nil {
		return value, err
	}
	err = target.update(ctx, string(k), func(text string, found bool) (string, error) {
		var old T
		if found {
			if old, err = decode[T](string(k), text); err != nil {
				return "", err
			}
		}
		if value, err = f(old); err != nil {
			return "", err
		}
		return encode(string(k), value)
	})
	return value, err
}

// encode returns value as a JSON text, or ErrEncode.
func encode(name string, value any) (string, error) {
	if s, ok := value.(string); ok && !utf8.ValidString(s) {
		// Package json would put U+FFFD in place of what it cannot encode.
		return "", fmt.Errorf("%w for field %q: the string is not UTF-8", ErrEncode, name)
	}
	text, err := json.Marshal(value)
	if err == nil {
		switch value.(type) {
		case bool, int, int64, int32, uint32, float64:
			return string(text), nil
		}
		var checked string
		if checked, err = record.CheckJSON(text); err == nil {
			return checked, nil
		}
	}
	return "", fmt.Errorf("%w for field %q: %w", ErrEncode, name, err)
}

// decode reads a JSON text as a T, or returns a DecodeError.
func decode[T any](name, text string) (T, error) {
	var value T
	if raw, ok := any(&value).(*json.RawMessage); ok {
		*raw = json.RawMessage(text)
		return value, nil
	}
	if err := unmarshal(text, &value); err != nil {
		var zero T
		return zero, &DecodeError{Field: name, Text: json.RawMessage(text), Err: err}
	}
	return value, nil
}

// errNull is the cause of a DecodeError where package json would leave a zero
// value.
var errNull = errors.New("null for a type that has none")

func unmarshal[T any](text string, value *T) error {
	if text == "null" && !mayBeNull(value) {
		return errNull
	}
	switch any(value).(type) {
	case *bool, *string, *int, *int64, *float64:
		return json.Unmarshal([]byte(text), value)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(value); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one value")
	}
	return nil
}

// mayBeNull reports whether a T can say that it was null.
func mayBeNull[T any](value *T) bool {
	if _, itself := any(value).(json.Unmarshaler); itself {
		return true
	}
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		return true
	}
	return false
}
