package pazzo

import (
	"context"

	"github.com/pazzo-sessions/pazzo/record"
)

// fields is what keys work on: a Session, or a transaction on one.
type fields interface {
	// get reads a field. fresh bypasses caches and the snapshot.
	get(ctx context.Context, name string, fresh bool) (text string, found bool, err error)
	// put does one operation on a field.
	put(ctx context.Context, op record.Op) (record.Value, error)
	// all reads all fields.
	all(ctx context.Context) ([]record.Field, error)
	// update gives a field the text that f makes of its own, with nothing of
	// others in between. f may be called several times.
	update(ctx context.Context, name string, f func(text string, found bool) (string, error)) error
	// swap gives a field a text if it still has the one that was read.
	swap(ctx context.Context, name, old, text string) (bool, error)
}

func (s *Session) get(ctx context.Context, name string, fresh bool) (text string, found bool, err error) {
	if s.manager.options.Reads == Snapshot && !fresh {
		return s.snapshotGet(ctx, name)
	}
	c := newCall(record.Get(name))
	defer c.release()
	c.batch.Fresh = fresh
	if err := s.do(ctx, c); err != nil {
		return "", false, err
	}
	return c.reply.Values[0].Text, c.reply.Values[0].Found, nil
}

func (s *Session) put(ctx context.Context, op record.Op) (record.Value, error) {
	c := newCall(op)
	defer c.release()
	err := s.do(ctx, c)
	s.wrote(op.Name)
	if err != nil {
		return record.Value{}, err
	}
	return c.reply.Values[0], nil
}

func (s *Session) all(ctx context.Context) ([]record.Field, error) {
	if s.manager.options.Reads == Snapshot {
		return s.snapshotAll(ctx)
	}
	fields, _, err := s.load(ctx, false)
	return fields, err
}

// load reads all fields and the revision from the store.
func (s *Session) load(ctx context.Context, fresh bool) (fields []record.Field, revision uint64, err error) {
	c := newCall(record.GetAll())
	defer c.release()
	c.batch.Fresh = fresh
	err = s.do(ctx, c)
	return c.reply.Fields, c.reply.Revision, err
}

func (s *Session) swap(ctx context.Context, name, old, text string) (bool, error) {
	conflict, err := s.putIf(ctx, record.Set(name, text), fieldIs(name, old, true))
	return !conflict && err == nil, err
}

// putIf does one operation, unless one condition does not hold.
func (s *Session) putIf(ctx context.Context, op record.Op, condition record.Condition) (conflict bool, err error) {
	c := newCall(op)
	defer c.release()
	c.batch.Conditions = append(c.conditions[:0], condition)
	err = s.do(ctx, c)
	s.wrote(op.Name)
	return c.conflict(err)
}

func (s *Session) update(ctx context.Context, name string, f func(text string, found bool) (string, error)) error {
	return s.retry(ctx, name, func() (conflict bool, err error) {
		old, found, err := s.get(ctx, name, true)
		if err != nil {
			return false, err
		}
		text, err := f(old, found)
		if err != nil {
			return false, err
		}
		return s.putIf(ctx, record.Set(name, text), fieldIs(name, old, found))
	})
}

func fieldIs(name, text string, found bool) record.Condition {
	if found {
		return record.Condition{Kind: record.FieldIs, Name: name, Text: text}
	}
	return record.Condition{Kind: record.FieldAbsent, Name: name}
}
