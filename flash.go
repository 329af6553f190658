package pazzo

import (
	"context"

	"github.com/pazzo-sessions/pazzo/record"
)

// Flash is a field of the session that holds a list of T, such as messages to be
// shown once. Like Key it is a name:
//
//	const notices pazzo.Flash[string] = "notices"
type Flash[T any] string

// Append adds a value at the end of the list. None is lost, however many are
// added at the same time. ErrNotList is returned when the field holds something
// else, ErrTooLarge when the list would pass Limits.Value.
func (l Flash[T]) Append(ctx context.Context, value T) error {
	_, err := Key[T](l).put(ctx, record.Append, value)
	return err
}

// Drain empties the list and returns it: nil if there is none. Each value is
// returned to one caller. ErrNotList is returned when the field holds something
// else, which stays there. When a value does not decode, the list is in the
// DecodeError.
func (l Flash[T]) Drain(ctx context.Context) ([]T, error) {
	f, err := fieldsOf(ctx)
	if err != nil {
		return nil, err
	}
	v, err := f.put(ctx, record.Drain(string(l)))
	if err != nil || !v.Found {
		return nil, err
	}
	return decode[[]T](string(l), v.Text)
}

// Get returns the list and leaves it.
func (l Flash[T]) Get(ctx context.Context) ([]T, error) {
	list, _, err := Key[[]T](l).Get(ctx)
	return list, err
}

// Fresh is Get that bypasses the request's snapshot and the near cache.
func (l Flash[T]) Fresh(ctx context.Context) ([]T, error) {
	list, _, err := Key[[]T](l).Fresh(ctx)
	return list, err
}

// Delete removes the list.
func (l Flash[T]) Delete(ctx context.Context) error { return Key[[]T](l).Delete(ctx) }
