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
	reply, err := s.do(ctx, &c.batch)
	if err != nil {
		return "", false, err
	}
	return reply.Values[0].Text, reply.Values[0].Found, nil
}

func (s *Session) put(ctx context.Context, op record.Op) (record.Value, error) {
	c := newCall(op)
	defer c.release()
	reply, err := s.do(ctx, &c.batch)
	s.wrote(op.Name)
	if err != nil {
		return record.Value{}, err
	}
	return reply.Values[0], nil
}

func (s *Session) all(ctx context.Context) ([]record.Field, error) {
	if s.manager.options.Reads == Snapshot {
		return s.snapshotAll(ctx)
	}
	reply, err := s.load(ctx, false)
	return reply.Fields, err
}

// load reads all fields and the revision from the store.
func (s *Session) load(ctx context.Context, fresh bool) (record.Reply, error) {
	c := newCall(record.GetAll())
	defer c.release()
	c.batch.Fresh = fresh
	return s.do(ctx, &c.batch)
}

func (s *Session) swap(ctx context.Context, name, old, text string) (bool, error) {
	reply, err := s.putIf(ctx, record.Set(name, text), fieldIs(name, old, true))
	if reply.Status == record.Conflict {
		return false, nil
	}
	return err == nil, err
}

// putIf does one operation under one condition. The reply's status is Conflict if
// that does not hold.
func (s *Session) putIf(ctx context.Context, op record.Op, condition record.Condition) (record.Reply, error) {
	c := newCall(op)
	defer c.release()
	c.batch.Conditions = append(c.conditions[:0], condition)
	reply, err := s.do(ctx, &c.batch)
	s.wrote(op.Name)
	return reply, err
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
		reply, err := s.putIf(ctx, record.Set(name, text), fieldIs(name, old, found))
		return reply.Status == record.Conflict, err
	})
}

func fieldIs(name, text string, found bool) record.Condition {
	if found {
		return record.Condition{Kind: record.FieldIs, Name: name, Text: text}
	}
	return record.Condition{Kind: record.FieldAbsent, Name: name}
}
