package protocol

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pazzo-sessions/pazzo/record"
)

// Tag names an index in the answer of index.lua: half of the user's SHA-256.
type Tag [16]byte

// TagOf returns the tag of a user's index.
func TagOf(user string) Tag {
	sum := sha256.Sum256([]byte(user))
	return Tag(sum[:16])
}

// StepArgs returns the arguments of index.lua for a step, which has passed Check, on
// the index that has the tag t; the script's comment defines them.
func StepArgs(t Tag, step *record.IndexStep) []string {
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

// ParseIndexReply reads the answer of index.lua. It returns [ErrReply] when the
// answer has not the tag t or is no answer, and record.ErrCorrupt when the script
// found an index that it cannot read.
func ParseIndexReply(answer string, t Tag) (reply record.IndexReply, err error) {
	const headSize, entrySize = 29, 16 + record.EntrySize
	if len(answer) < headSize || answer[:len(t)] != string(t[:]) {
		return reply, fmt.Errorf("%w: it names another index", ErrReply)
	}
	if answer[16] == statusCorrupt {
		return reply, fmt.Errorf("%w: index", record.ErrCorrupt)
	}
	packed := answer[headSize:]
	if len(packed)%entrySize != 0 {
		return reply, fmt.Errorf("%w: it has part of an entry", ErrReply)
	}
	reply = record.IndexReply{
		Status:       record.IndexStatus(answer[16]),
		Now:          Uint48(answer[17:]),
		BlockedUntil: Uint48(answer[23:]),
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
