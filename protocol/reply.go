package protocol

import (
	"errors"
	"fmt"

	"github.com/pazzo-sessions/pazzo/record"
)

// replySize is the length of an answer of apply.lua up to the meta data.
const replySize = 38

// The statuses of apply.lua and index.lua that are errors here.
const (
	statusLayout  = 254
	statusCorrupt = 255
)

// ErrReply is wrapped when an answer is not what the script gives: a fault of the
// connection or of the server. Nothing of the answer is to be used.
var ErrReply = errors.New("protocol: the reply is not that of this call")

// ParseReply reads the answer of apply.lua to b on the session h. It returns
// [ErrReply] when the answer does not name h or is no answer to b, and
// record.ErrLayout and record.ErrCorrupt when the script found such a record.
func ParseReply(answer string, h record.Handle, b *record.Batch) (reply record.Reply, err error) {
	if len(answer) < replySize || answer[:len(h)] != string(h[:]) {
		return reply, fmt.Errorf("%w: it names another session", ErrReply)
	}
	at := int(uint32At(answer, 17))
	switch answer[16] {
	case statusLayout:
		return reply, record.LayoutError{Met: byte(at)}
	case statusCorrupt:
		return reply, fmt.Errorf("%w: session %s", record.ErrCorrupt, h)
	}
	reply.Status = record.Status(answer[16])
	reply.At = at
	reply.Reason = record.Reason(answer[21])
	reply.Now = Uint48(answer[22:])
	reply.Revision, reply.Size = RevisionAndSize(answer[28:])
	in := input{rest: answer[replySize:]}
	if reply.Revision != 0 { // then there is a record to tell of
		if err := reply.Meta.Unpack(in.take(record.MetaSize)); err != nil {
			return record.Reply{}, err
		}
	}
	if reply.Status == record.OK {
		reply.Values = make([]record.Value, len(b.Ops))
		for i := range b.Ops {
			if err := in.answer(b.Ops[i].Kind, i, &reply); err != nil {
				return record.Reply{}, err
			}
		}
	}
	if in.bad || in.rest != "" {
		return record.Reply{}, fmt.Errorf("%w: it has the wrong length", ErrReply)
	}
	return reply, nil
}

// input reads an answer from its front. After a read beyond its end it is bad and
// yields nothing.
type input struct {
	rest string
	bad  bool
}

func (in *input) take(n int) string {
	if n > len(in.rest) {
		in.rest, in.bad = "", true
		return ""
	}
	s := in.rest[:n]
	in.rest = in.rest[n:]
	return s
}

func (in *input) number() int {
	if s := in.take(4); s != "" {
		return int(uint32At(s, 0))
	}
	return 0
}

func (in *input) value() record.Value {
	found := in.take(1) == "\x01"
	return record.Value{Found: found, Text: in.take(in.number())}
}

// answer reads what the operation i, of the given kind, answers.
func (in *input) answer(kind record.OpKind, i int, reply *record.Reply) error {
	switch kind {
	case record.OpGet, record.OpSetIfAbsent, record.OpPop, record.OpDrain, record.OpAdd, record.OpDelete,
		record.OpRotate, record.OpTouch, record.OpDestroy:
		reply.Values[i] = in.value()
	case record.OpGetIdentity:
		user := in.value()
		reply.Identity.Device = in.value().Text
		return SetUser(&reply.Identity, user)
	case record.OpGetAll:
		n := in.number()
		reply.Fields = make([]record.Field, 0, min(n, len(in.rest)/8))
		for ; n > 0 && !in.bad; n-- {
			name := in.take(in.number())
			reply.Fields = append(reply.Fields, record.Field{Name: name, Text: in.take(in.number())})
		}
		SortFields(reply.Fields)
	}
	return nil
}
