package redisstore

import (
	"context"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// ApplyIndex applies step to the index of user's sessions; see record.Store.
func (s *Store) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	tag := protocol.TagOf(user)
	writes := step.Kind != record.List
	answer, err := s.run(ctx, &protocol.IndexScript, protocol.IndexKey(s.prefix, user), protocol.StepArgs(tag, step), writes)
	if err != nil {
		return record.IndexReply{}, err
	}
	reply, err := protocol.ParseIndexReply(answer, tag)
	if err != nil {
		return record.IndexReply{}, s.replyError(err, writes)
	}
	s.learn(reply.Now)
	return reply, nil
}
