package gorillacompat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/compat"
)

// changes are the fields that differ from what was read: their new texts, "" for
// those that are gone.
type changes struct {
	fields map[string]string
	before map[string]string
}

// changes compares the session's values with what was read.
func (st *state) changes(values map[any]any) (changes, error) {
	c := changes{fields: make(map[string]string), before: st.texts}
	for name := range st.texts {
		if _, kept := values[compat.Key(name)]; !kept {
			c.fields[name] = ""
		}
	}
	for key, value := range values {
		name, err := compat.Name(key)
		if err != nil {
			return c, err
		}
		text, read := st.texts[name]
		if read && isOf(text, value) {
			continue
		}
		now, err := compat.Encode(value)
		if err != nil {
			return c, fmt.Errorf("key %#v: %w", key, err)
		}
		if string(now) != text {
			c.fields[name] = string(now)
		}
	}
	return c, nil
}

// isOf reports whether a value is what was read as text. Texts are not compared:
// package gob writes one map in several ways.
func isOf(text string, value any) bool {
	if e, failed := value.(*pazzo.DecodeError); failed {
		return string(e.Text) == text
	}
	read, err := compat.Decode(json.RawMessage(text))
	return err == nil && reflect.DeepEqual(read, value)
}

// apply writes the changes in one step and takes in what the fields are now.
func (c changes) apply(ctx context.Context, st *state, values map[any]any) error {
	if len(c.fields) == 0 {
		return nil
	}
	written := make(map[string]string)
	session := st.visit.Session
	err := pazzo.Atomically(pazzo.NewContext(ctx, session), func(ctx context.Context) error {
		for _, name := range slices.Sorted(maps.Keys(c.fields)) {
			text, err := c.merged(ctx, session, name)
			if err != nil {
				return err
			}
			if err := write(ctx, session, name, text); err != nil {
				return err
			}
			written[name] = text
		}
		return nil
	})
	if err == nil {
		c.takeIn(st, values, written)
	}
	return err
}

func write(ctx context.Context, session *pazzo.Session, name, text string) error {
	if text == "" {
		return session.Delete(ctx, name)
	}
	return session.Set(ctx, name, json.RawMessage(text))
}

func (c changes) takeIn(st *state, values map[any]any, written map[string]string) {
	if st.texts == nil {
		st.texts = make(map[string]string)
	}
	for name, text := range written {
		if text == "" {
			delete(st.texts, name)
		} else {
			st.texts[name] = text
		}
		if text == c.fields[name] {
			continue
		}
		delete(values, compat.Key(name)) // it was merged
		if value, err := compat.Decode(json.RawMessage(text)); err == nil && text != "" {
			values[compat.Key(name)] = value
		}
	}
}

// merged returns what a field is to be. A list that the request has added to, or
// taken the first elements of, is changed so as it is now; anything else becomes what
// the request has.
func (c changes) merged(ctx context.Context, session *pazzo.Session, name string) (string, error) {
	before, after := elements(c.before[name]), elements(c.fields[name])
	if c.before[name] != "" && before == nil || c.fields[name] != "" && after == nil {
		return c.fields[name], nil
	}
	raw, _, err := session.Get(ctx, name)
	if err != nil {
		return "", err
	}
	now := elements(string(raw))
	if len(raw) > 0 && now == nil {
		return c.fields[name], nil
	}
	list := merge(before, after, now)
	if len(list) == 0 && c.fields[name] == "" {
		return "", nil
	}
	return join(list), nil
}

// elements returns those of a JSON array, none for "", and nil for anything else.
func elements(text string) []json.RawMessage {
	if text == "" {
		return []json.RawMessage{}
	}
	if text[0] != '[' {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	return list
}

// merge makes of now what the request has made of before. Nobody but this request
// puts anything in front of a list, so one that does not begin as before any longer
// has had its elements taken by another request, or was given others.
func merge(before, after, now []json.RawMessage) []json.RawMessage {
	switch {
	case hasPrefix(after, before): // added to
		return slices.Concat(now, after[len(before):])
	case hasPrefix(now, before): // taken, or changed: what came since stays
		return slices.Concat(after, now[len(before):])
	case len(after) == 0: // taken twice
		return now
	}
	return after
}

func hasPrefix(list, prefix []json.RawMessage) bool {
	return len(list) >= len(prefix) && slices.EqualFunc(list[:len(prefix)], prefix, slices.Equal)
}

func join(list []json.RawMessage) string {
	return "[" + string(bytes.Join(texts(list), []byte(","))) + "]"
}

func texts(list []json.RawMessage) [][]byte {
	all := make([][]byte, len(list))
	for i, text := range list {
		all[i] = text
	}
	return all
}
