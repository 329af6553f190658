package redisstore

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// Relay calls a script with a key and arguments that are encoded already, as the
// agent has them from its clients, and returns its answer as it is. The key is the
// whole one, and of this store's prefix. Errors are those of Apply; writes says
// whether the outcome matters when contact is lost.
func (s *Store) Relay(ctx context.Context, script *protocol.Script, key string, args []string, writes bool) (string, error) {
	answer, err := s.run(ctx, script, key, args, writes)
	if err != nil {
		return "", err
	}
	const tag = 16 // the handle or tag comes first in the answer, and second in the arguments
	if len(answer) < tag || len(args[0]) <= tag || answer[:tag] != args[0][1:1+tag] {
		return "", s.replyError(fmt.Errorf("%w: it names another session or index", protocol.ErrReply), writes)
	}
	return answer, nil
}

// RelayFields passes an HMGET on: it returns the values under the names, as they lie
// in the hash. They do not tell whose they are; see Live reads in
// protocol/README.md.
func (s *Store) RelayFields(ctx context.Context, key string, names []string) ([]record.Value, error) {
	result, err := s.query(ctx, func(c rueidis.Client) rueidis.Completed {
		return c.B().Hmget().Key(key).Field(names...).Build()
	})
	if err != nil {
		return nil, err
	}
	list, err := result.ToArray()
	if err != nil || len(list) != len(names) {
		return nil, s.replyError(fmt.Errorf("%w: %d values for %d names", protocol.ErrReply, len(list), len(names)), false)
	}
	values := make([]record.Value, len(list))
	for i := range list {
		values[i] = text(&list[i])
	}
	return values, nil
}

// RelayHash passes an HGETALL on, and returns the hash.
func (s *Store) RelayHash(ctx context.Context, key string) (map[string]string, error) {
	result, err := s.query(ctx, func(c rueidis.Client) rueidis.Completed { return c.B().Hgetall().Key(key).Build() })
	if err != nil {
		return nil, err
	}
	hash, err := result.AsStrMap()
	if err != nil {
		return nil, s.replyError(fmt.Errorf("%w: %w", protocol.ErrReply, err), false)
	}
	return hash, nil
}
