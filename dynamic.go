package pazzo

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/pazzo-sessions/pazzo/record"
)

// The methods below are for fields whose names are known at run time only. For
// the others, Key, Counter and Flash are safer and say more.

// Get returns the JSON text of a field. found is false if there is none.
func (s *Session) Get(ctx context.Context, name string) (text json.RawMessage, found bool, err error) {
	return Key[json.RawMessage](name).Get(s.within(ctx))
}

// Value returns a field's value as encoding/json decodes it into an any, with
// numbers as json.Number: nil if there is no such field.
func (s *Session) Value(ctx context.Context, name string) (any, error) {
	value, _, err := Key[any](name).Get(s.within(ctx))
	return value, err
}

// Set gives a field a value: a json.RawMessage as it is, anything else as
// encoding/json encodes it. ErrEncode is returned when that is not possible.
func (s *Session) Set(ctx context.Context, name string, value any) error {
	return Key[any](name).Set(s.within(ctx), value)
}

// Add adds n to an integer field and returns the sum; see Counter.Add.
func (s *Session) Add(ctx context.Context, name string, n int64) (int64, error) {
	return Counter(name).Add(s.within(ctx), n)
}

// Append adds a value to a list; see Flash.Append.
func (s *Session) Append(ctx context.Context, name string, value any) error {
	return Flash[any](name).Append(s.within(ctx), value)
}

// Pop removes a field and returns its JSON text; see Key.Pop.
func (s *Session) Pop(ctx context.Context, name string) (text json.RawMessage, found bool, err error) {
	return Key[json.RawMessage](name).Pop(s.within(ctx))
}

// Delete removes a field.
func (s *Session) Delete(ctx context.Context, name string) error {
	return Key[any](name).Delete(s.within(ctx))
}

// Clear removes all fields. The session itself stays, and so does who is logged
// in.
func (s *Session) Clear(ctx context.Context) error {
	f, err := s.fieldsOf(ctx)
	if err != nil {
		return err
	}
	_, err = f.put(ctx, record.Clear())
	return err
}

// All reads all fields at one point in time and returns their names and JSON
// texts, sorted by name.
func (s *Session) All(ctx context.Context) (iter.Seq2[string, json.RawMessage], error) {
	f, err := s.fieldsOf(ctx)
	if err != nil {
		return func(func(string, json.RawMessage) bool) {}, err
	}
	list, err := f.all(ctx)
	return func(yield func(string, json.RawMessage) bool) {
		for _, field := range list {
			if !yield(field.Name, json.RawMessage(field.Text)) {
				return
			}
		}
	}, err
}

// within returns a context in which keys work on s, or on the transaction on it
// that ctx carries.
func (s *Session) within(ctx context.Context) context.Context {
	if FromContext(ctx) == s {
		return ctx
	}
	return NewContext(ctx, s)
}
