package redisstore

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// read answers a batch that only reads by a plain command. done is false when
// that does not settle it and the script must: when the record is absent, ended,
// unreadable or in a grace, and also when its secret is not the token's. A plain
// reply does not name its session, but the secret does; so nobody is shown
// another's session, should the connection ever mix up replies.
func (s *Store) read(ctx context.Context, key string, b *record.Batch) (reply record.Reply, done bool, err error) {
	for i := range b.Ops {
		if b.Ops[i].Kind == record.OpGetAll {
			if pastCaches(b) {
				return reply, false, nil // an agent may answer HGETALL from its cache
			}
			return s.readAll(ctx, key, b)
		}
	}
	var buffer [16]string
	names := append(buffer[:0], protocol.NameMeta)
	for i := range b.Ops {
		if b.Ops[i].Kind == record.OpGet {
			names = append(names, b.Ops[i].Name)
		} else {
			names = append(names, protocol.NameUser, protocol.NameDevice)
		}
	}
	if pastCaches(b) {
		names = append(names, protocol.NameFresh)
	}
	result, err := s.query(ctx, func(c rueidis.Client) rueidis.Completed {
		return c.B().Hmget().Key(key).Field(names...).Build()
	})
	if err != nil {
		return reply, false, err
	}
	values, err := result.ToArray()
	if err != nil || len(values) != len(names) {
		return reply, false, s.replyError(fmt.Errorf("%w: %d values for %d names", protocol.ErrReply, len(values), len(names)), false)
	}
	if packed := text(&values[0]); !s.settle(&reply, packed.Text, b.Access) {
		return record.Reply{}, false, nil
	}
	reply.Values = make([]record.Value, len(b.Ops))
	values = values[1:]
	for i := range b.Ops {
		if b.Ops[i].Kind == record.OpGet {
			reply.Values[i] = text(&values[0])
			values = values[1:]
			continue
		}
		if err := protocol.SetUser(&reply.Identity, text(&values[0])); err != nil {
			return record.Reply{}, false, s.replyError(err, false)
		}
		reply.Identity.Device = text(&values[1]).Text
		values = values[2:]
	}
	return reply, true, nil
}

// pastCaches reports whether an agent must not answer by its near cache. It is not told of a
// revision to reach, so it reads from its store in any case.
func pastCaches(b *record.Batch) bool { return b.Fresh || b.MinRevision > 0 }

// text reads a value of a plain reply, or null.
func text(m *rueidis.RedisMessage) record.Value {
	s, err := m.ToString()
	return record.Value{Text: s, Found: err == nil}
}

// readAll is read for a batch that asks for all fields.
func (s *Store) readAll(ctx context.Context, key string, b *record.Batch) (reply record.Reply, done bool, err error) {
	result, err := s.query(ctx, func(c rueidis.Client) rueidis.Completed {
		return c.B().Hgetall().Key(key).Build()
	})
	if err != nil {
		return reply, false, err
	}
	hash, err := result.AsStrMap()
	if err != nil {
		return reply, false, s.replyError(fmt.Errorf("%w: %w", protocol.ErrReply, err), false)
	}
	if !s.settle(&reply, hash[protocol.NameMeta], b.Access) {
		return record.Reply{}, false, nil
	}
	reply.Values = make([]record.Value, len(b.Ops))
	for i := range b.Ops {
		switch op := &b.Ops[i]; op.Kind {
		case record.OpGet:
			reply.Values[i].Text, reply.Values[i].Found = hash[op.Name]
		case record.OpGetAll:
			reply.Fields = protocol.FieldsOf(hash)
		case record.OpGetIdentity:
			reply.Identity.Device = hash[protocol.NameDevice]
			user, found := hash[protocol.NameUser]
			if err := protocol.SetUser(&reply.Identity, record.Value{Text: user, Found: found}); err != nil {
				return record.Reply{}, false, s.replyError(err, false)
			}
		}
	}
	if r := hash[protocol.NameRevision]; len(r) == 10 {
		reply.Revision, reply.Size = protocol.RevisionAndSize(r)
	}
	return reply, true, nil
}

// clockMargin is how near to a record's end, in ms, our idea of the server's clock
// does not do, and the script has to tell.
const clockMargin = 2 * clockTolerance

// settle reports whether packed meta data alone show that access is given, and
// begins the reply.
func (s *Store) settle(reply *record.Reply, packed string, access record.Access) bool {
	if reply.Meta.Unpack(packed) != nil || !reply.Meta.Secret.Equal(access.Secret) {
		return false
	}
	reply.Now = s.now()
	status, decided := access.Judge(&reply.Meta)
	return decided && status == record.OK && reply.Now < reply.Meta.Expires()-clockMargin
}
