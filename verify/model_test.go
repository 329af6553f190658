package verify

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/pazzo-sessions/pazzo/record"
)

// modelFields are the fields that the histories use, sorted.
var modelFields = [...]string{"a", "b", "list", "n"}

// state is what a session is to the model. It is written apart from
// record.Apply, so that one can show a fault of the other.
type state struct {
	life     life
	reason   record.Reason
	revision uint64
	texts    [len(modelFields)]string // empty if there is no such field
}

// life is absent until created, and ends for good: the histories are shorter than
// any timeout.
type life int

const (
	absent life = iota
	live
	ended
)

// outcome is what a client got to know.
type outcome struct {
	reply   record.Reply
	unknown bool // it may or may not have been executed
}

// sessionModel says which histories of one session are right.
var sessionModel = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, in, out any) (bool, any) {
		next, want := s.(state).apply(in.(*record.Batch))
		got := out.(outcome)
		return got.unknown || agree(in.(*record.Batch), got.reply, want), next
	},
	DescribeOperation: func(in, out any) string { return tell(in.(*record.Batch), out.(outcome)) },
	DescribeState:     func(s any) string { return s.(state).String() },
}

// agree compares what matters here. A server that answers a read by itself need
// not know the revision.
func agree(b *record.Batch, got, want record.Reply) bool {
	if b.ReadOnly() && got.Revision == 0 {
		want.Revision = 0
	}
	return got.Status == want.Status && got.Reason == want.Reason && got.Revision == want.Revision &&
		slices.Equal(got.Values, want.Values) && slices.Equal(got.Fields, want.Fields)
}

func place(name string) int {
	at, found := slices.BinarySearch(modelFields[:], name)
	if !found {
		panic("the model knows no field " + name)
	}
	return at
}

// apply returns the state after b, and the answer.
func (s state) apply(b *record.Batch) (state, record.Reply) {
	first := record.OpGet
	if len(b.Ops) > 0 {
		first = b.Ops[0].Kind
	}
	switch {
	case s.life == ended:
		return s, record.Reply{Status: record.Ended, Reason: s.reason}
	case first == record.OpDestroy:
		return state{life: ended, reason: b.Ops[0].Reason}, record.Reply{Values: []record.Value{{Found: s.life == live}}}
	case first == record.OpCreate && s.life == live:
		return s, record.Reply{Status: record.Exists}
	case first != record.OpCreate && s.life == absent:
		return s, record.Reply{Status: record.Absent}
	}
	for _, c := range b.Conditions {
		if c.Kind == record.RevisionIs && c.Revision != s.revision ||
			c.Kind == record.FieldIs && c.Text != s.texts[place(c.Name)] ||
			c.Kind == record.FieldAbsent && s.texts[place(c.Name)] != "" {
			return s, record.Reply{Status: record.Conflict, Revision: s.revision}
		}
	}
	next := s
	next.life = live
	reply := record.Reply{Values: make([]record.Value, len(b.Ops))}
	writes := first == record.OpCreate
	for i := range b.Ops {
		status, wrote := next.do(&b.Ops[i], &s, &reply, i)
		if status != record.OK {
			return s, record.Reply{Status: status, Revision: s.revision}
		}
		writes = writes || wrote
	}
	if writes {
		next.revision++
	}
	reply.Revision = next.revision
	return next, reply
}

// do applies one operation to s, which reads find as it was before.
func (s *state) do(op *record.Op, before *state, reply *record.Reply, i int) (status record.Status, wrote bool) {
	switch op.Kind {
	case record.OpCreate:
		return record.OK, true
	case record.OpGetAll:
		for k, text := range before.texts {
			if text != "" {
				reply.Fields = append(reply.Fields, record.Field{Name: modelFields[k], Text: text})
			}
		}
		return record.OK, false
	}
	text := &s.texts[place(op.Name)]
	found := record.Value{Text: *text, Found: *text != ""}
	switch op.Kind {
	case record.OpGet:
		reply.Values[i] = found
		return record.OK, false
	case record.OpSet:
		*text = op.Text
	case record.OpSetIfAbsent:
		if reply.Values[i] = found; found.Found {
			return record.OK, false
		}
		*text = op.Text
	case record.OpPop, record.OpDrain:
		if op.Kind == record.OpDrain && found.Found && !strings.HasPrefix(*text, "[") {
			return record.NotList, false
		}
		reply.Values[i], *text = found, ""
		return record.OK, found.Found
	case record.OpAdd:
		n := int64(0)
		if found.Found {
			var err error
			if n, err = strconv.ParseInt(*text, 10, 64); err != nil {
				return record.NotInteger, false
			}
		}
		*text = strconv.FormatInt(n+op.Int, 10)
		reply.Values[i] = record.Value{Text: *text, Found: found.Found}
	case record.OpAppend:
		if found.Found && !strings.HasPrefix(*text, "[") {
			return record.NotList, false
		}
		elements := strings.Trim(*text, "[]")
		if elements != "" {
			elements += ","
		}
		*text = "[" + elements + op.Text + "]"
	default:
		panic(fmt.Sprint("the model knows no operation ", op.Kind))
	}
	return record.OK, true
}

// String describes a state in a drawn history.
func (s state) String() string {
	switch s.life {
	case absent:
		return "absent"
	case ended:
		return "ended by " + s.reason.String()
	}
	text := fmt.Sprint("revision ", s.revision)
	for i, t := range s.texts {
		if t != "" {
			text += fmt.Sprintf(", %s = %s", modelFields[i], t)
		}
	}
	return text
}

// tell describes a call and its answer in a drawn history.
func tell(b *record.Batch, out outcome) string {
	kinds := map[record.OpKind]string{record.OpGet: "get", record.OpGetAll: "get all", record.OpSet: "set",
		record.OpSetIfAbsent: "set if absent", record.OpPop: "pop", record.OpAdd: "add", record.OpAppend: "append",
		record.OpDrain: "drain", record.OpCreate: "create", record.OpDestroy: "destroy"}
	var parts []string
	for _, op := range b.Ops {
		part := kinds[op.Kind] + " " + op.Name + " " + op.Text
		if op.Kind == record.OpAdd {
			part += strconv.FormatInt(op.Int, 10)
		}
		parts = append(parts, strings.TrimSpace(part))
	}
	for _, c := range b.Conditions {
		switch c.Kind {
		case record.FieldIs:
			parts = append(parts, "if "+c.Name+" is "+c.Text)
		case record.FieldAbsent:
			parts = append(parts, "if no "+c.Name)
		case record.RevisionIs:
			parts = append(parts, fmt.Sprint("if revision ", c.Revision))
		}
	}
	answer := "unknown"
	if r := out.reply; !out.unknown {
		answer = r.Status.String()
		for _, v := range r.Values {
			if v.Found || v.Text != "" {
				answer += " " + v.Text
			}
		}
		for _, f := range r.Fields {
			answer += fmt.Sprintf(" %s=%s", f.Name, f.Text)
		}
		answer += fmt.Sprintf(" (revision %d)", r.Revision)
	}
	return strings.Join(parts, ", ") + " → " + answer
}

// know turns what a store returned into an outcome. executed is false when the
// batch has no place in a history.
func know(reply record.Reply, err error) (out outcome, executed bool, unexpected error) {
	switch {
	case err == nil:
		return outcome{reply: reply}, true, nil
	case errors.Is(err, record.ErrOutcomeUnknown):
		return outcome{unknown: true}, true, nil
	case errors.Is(err, record.ErrUnavailable):
		return outcome{}, false, nil
	}
	return outcome{}, false, err
}
