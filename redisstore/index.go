package redisstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pazzo-sessions/pazzo/record"
)

// tag names an index in the answer of index.lua: half of the user's SHA-256.
type tag [16]byte

// ApplyIndex applies step to the index of user's sessions; see record.Store.
func (s *Store) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	sum := sha256.Sum256([]byte(user))
	t := tag(sum[:16])
	writes := step.Kind != record.List
	answer, err := s.run(ctx, &s.index, s.indexKey(user), encodeStep(t, step), writes)
	if err != nil {
		return record.IndexReply{}, err
	}
	reply, err := decodeStep(answer, t)
	if err != nil {
		return record.IndexReply{}, s.replyError(err, writes)
	}
	s.learn(reply.Now)
	return reply, nil
}

// encodeStep returns the arguments of index.lua; the script's comment defines
// them.
func encodeStep(t tag, step *record.IndexStep) []string {
	var buffer [64]byte
	p := append(append(buffer[:0], record.Layout), t[:]...)
	p = append(append(p, byte(step.Kind)), step.Handle[:]...)
	p = binary.BigEndian.AppendUint32(p, uint32(max(step.Max, 0)))
	p = append(p, flag(step.Evict), flag(step.Verified))
	p = appendUint48(appendUint48(p, step.Lifetime), step.Duration)
	args := make([]string, 1, 1+len(step.Handles))
	args[0] = string(p)
	if step.Kind == record.Unlist {
		for i := range step.Handles {
			args = append(args, string(step.Handles[i][:]))
		}
	}
	return args
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// decodeStep reads the answer of index.lua. It fails unless the answer has the
// tag t.
func decodeStep(answer string, t tag) (reply record.IndexReply, err error) {
	const headSize, entrySize = 29, 16 + record.EntrySize
	if len(answer) < headSize || answer[:len(t)] != string(t[:]) {
		return reply, fmt.Errorf("%w: it names another index", errReply)
	}
	if answer[16] == statusCorrupt {
		return reply, fmt.Errorf("%w: index", record.ErrCorrupt)
	}
	packed := answer[headSize:]
	if len(packed)%entrySize != 0 {
		return reply, fmt.Errorf("%w: it has part of an entry", errReply)
	}
	reply = record.IndexReply{
		Status:       record.IndexStatus(answer[16]),
		Now:          uint48(answer[17:]),
		BlockedUntil: uint48(answer[23:]),
	}
	if len(packed) > 0 {
		reply.Entries = make([]record.Entry, len(packed)/entrySize)
	}
	for i := range reply.Entries {
		e, from := &reply.Entries[i], packed[i*entrySize:]
		copy(e.Handle[:], from)
		if err := e.Unpack(from[len(e.Handle):entrySize]); err != nil {
			return record.IndexReply{}, err
		}
	}
	slices.SortFunc(reply.Entries, func(a, b record.Entry) int {
		return cmp.Or(cmp.Compare(a.Added, b.Added), slices.Compare(a.Handle[:], b.Handle[:]))
	})
	return reply, nil
}
