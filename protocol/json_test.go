package protocol_test

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/pazzo-sessions/pazzo/record"
)

// The forms that records, batches and replies have in the vectors. Secrets,
// handles and packed data are hexadecimal, times are ms since 1970, durations ms.

type jsonRecord struct {
	Tombstone     *jsonTombstone    `json:"tombstone,omitempty"`
	Meta          *jsonMeta         `json:"meta,omitempty"`
	Previous      *jsonPrevious     `json:"previous,omitempty"`
	Revision      uint64            `json:"revision,omitempty"`
	User          string            `json:"user,omitempty"`
	Authenticated int64             `json:"authenticated,omitempty"`
	Device        string            `json:"device,omitempty"`
	Fields        map[string]string `json:"fields,omitempty"`
}

type jsonTombstone struct {
	Reason string `json:"reason"`
	Ended  int64  `json:"ended"`
	Until  int64  `json:"until"`
}

type jsonMeta struct {
	Generation   uint32 `json:"generation"`
	Floor        uint32 `json:"floor"`
	Secret       string `json:"secret"`
	Created      int64  `json:"created"`
	Deadline     int64  `json:"deadline"`
	Idle         int64  `json:"idle"`
	Touched      int64  `json:"touched"`
	FloorTime    int64  `json:"floor_time"`
	Renewed      int64  `json:"renewed"`
	BrowserClose bool   `json:"browser_close,omitempty"`
	CustomExpiry bool   `json:"custom_expiry,omitempty"`
	Unpresented  bool   `json:"unpresented,omitempty"`
	HasPrevious  bool   `json:"has_previous,omitempty"`
	HasUser      bool   `json:"has_user,omitempty"`
}

type jsonPrevious struct {
	Secret    string `json:"secret"`
	Presented int64  `json:"presented"`
	Grace     int64  `json:"grace"`
}

type jsonBatch struct {
	Access     jsonAccess      `json:"access"`
	Conditions []jsonCondition `json:"conditions,omitempty"`
	Operations []jsonOperation `json:"operations"`
	Limits     *jsonLimits     `json:"limits,omitempty"`
}

type jsonAccess struct {
	Mode       string `json:"mode"`
	Generation uint32 `json:"generation,omitempty"`
	Secret     string `json:"secret,omitempty"`
}

type jsonCondition struct {
	Kind     string `json:"kind"`
	Name     string `json:"name,omitempty"`
	Text     string `json:"text,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
}

// jsonOperation has the members that its kind takes; a number to add is a string,
// for it may be beyond what JSON keeps exactly.
type jsonOperation struct {
	Kind         string  `json:"kind"`
	Name         string  `json:"name,omitempty"`
	Text         *string `json:"text,omitempty"`
	Add          string  `json:"add,omitempty"`
	Secret       string  `json:"secret,omitempty"`
	Idle         int64   `json:"idle,omitempty"`
	Absolute     int64   `json:"absolute,omitempty"`
	BrowserClose bool    `json:"browser_close,omitempty"`
	From         int64   `json:"from,omitempty"`
	Grace        int64   `json:"grace,omitempty"`
	User         string  `json:"user,omitempty"`
	Device       *string `json:"device,omitempty"`
	Reason       string  `json:"reason,omitempty"`
	Keep         int64   `json:"keep,omitempty"`
}

type jsonLimits struct {
	Name   int `json:"name,omitempty"`
	Value  int `json:"value,omitempty"`
	Fields int `json:"fields,omitempty"`
	Size   int `json:"size,omitempty"`
}

type jsonReply struct {
	Status   string            `json:"status"`
	At       int               `json:"at,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Meta     *jsonMeta         `json:"meta,omitempty"`
	Revision uint64            `json:"revision,omitempty"`
	Values   []jsonValue       `json:"values,omitempty"`
	Fields   map[string]string `json:"fields,omitempty"`
	Identity *jsonIdentity     `json:"identity,omitempty"`
}

type jsonValue struct {
	Found bool   `json:"found"`
	Text  string `json:"text,omitempty"`
}

type jsonIdentity struct {
	User          string `json:"user,omitempty"`
	Authenticated int64  `json:"authenticated,omitempty"`
	Device        string `json:"device,omitempty"`
}

var (
	modes      = []string{"admin", "open", "held"}
	conditions = []string{"field is", "field absent", "revision is", "user is or none"}
	kinds      = []string{"get", "get all", "set", "set if absent", "delete", "pop", "add", "append", "drain", "clear", "get identity",
		"touch", "rotate", "renew", "authenticate", "set expiry", "describe", "create", "destroy"}
)

func unhex(text string) string {
	raw, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func hexOf[T ~string | ~[]byte](raw T) string { return hex.EncodeToString([]byte(raw)) }

func secretHex(s record.Secret) string {
	if s == (record.Secret{}) {
		return ""
	}
	return hexOf(s[:])
}

func readSecret(text string) (s record.Secret) {
	copy(s[:], unhex(text))
	return s
}

// number returns the place of a word in its list.
func number(words []string, word string) int {
	for i := range words {
		if words[i] == word {
			return i
		}
	}
	panic(fmt.Sprintf("unknown word %q", word))
}

func newMeta(m *record.Meta) *jsonMeta {
	if m.Generation == 0 {
		return nil
	}
	return &jsonMeta{
		Generation: m.Generation, Floor: m.Floor, Secret: hexOf(m.Secret[:]), Created: m.Created, Deadline: m.Deadline, Idle: m.Idle,
		Touched: m.Touched, FloorTime: m.FloorTime, Renewed: m.Renewed, BrowserClose: m.BrowserClose, CustomExpiry: m.CustomExpiry,
		Unpresented: m.Unpresented, HasPrevious: m.HasPrevious, HasUser: m.HasUser,
	}
}

func (m *jsonMeta) read() record.Meta {
	return record.Meta{
		Generation: m.Generation, Floor: m.Floor, Secret: readSecret(m.Secret), Created: m.Created, Deadline: m.Deadline, Idle: m.Idle,
		Touched: m.Touched, FloorTime: m.FloorTime, Renewed: m.Renewed, BrowserClose: m.BrowserClose, CustomExpiry: m.CustomExpiry,
		Unpresented: m.Unpresented, HasPrevious: m.HasPrevious, HasUser: m.HasUser,
	}
}

// newRecord returns the form of a record: nil if it is absent.
func newRecord(r *record.Record) *jsonRecord {
	switch r.State {
	case record.None:
		return nil
	case record.Dead:
		return &jsonRecord{Tombstone: &jsonTombstone{Reason: r.Tombstone.Reason.String(), Ended: r.Tombstone.Ended, Until: r.Tombstone.Until}}
	}
	j := &jsonRecord{Meta: newMeta(&r.Meta), Revision: r.Revision, User: r.User, Authenticated: r.Auth, Device: r.Device, Fields: newFields(r.Fields)}
	if r.Meta.HasPrevious {
		j.Previous = &jsonPrevious{Secret: hexOf(r.Previous.Secret[:]), Presented: r.Previous.Presented, Grace: r.Previous.Grace}
	}
	return j
}

func newFields(fields []record.Field) map[string]string {
	m := make(map[string]string, len(fields))
	for _, f := range fields {
		m[f.Name] = f.Text
	}
	return m
}

// read makes the record that j describes. The fields go in by a batch, as those of
// any record do.
func (j *jsonRecord) read() *record.Record {
	r := &record.Record{}
	if j == nil {
		return r
	}
	if j.Tombstone != nil {
		r.State = record.Dead
		r.Tombstone = record.Tombstone{Reason: record.Reason(number(reasons, j.Tombstone.Reason)), Ended: j.Tombstone.Ended, Until: j.Tombstone.Until}
		return r
	}
	var fields []record.Field
	for name, text := range j.Fields {
		fields = append(fields, record.Field{Name: name, Text: text})
	}
	sortFields(fields)
	r = record.Scratch(fields)
	r.Meta, r.Revision, r.User, r.Auth, r.Device = j.Meta.read(), j.Revision, j.User, j.Authenticated, j.Device
	if j.Previous != nil {
		r.Previous = record.Previous{Secret: readSecret(j.Previous.Secret), Presented: j.Previous.Presented, Grace: j.Previous.Grace}
	}
	return r
}

func newBatch(b *record.Batch) jsonBatch {
	j := jsonBatch{
		Access:     jsonAccess{Mode: modes[b.Access.Mode], Generation: b.Access.Generation, Secret: secretHex(b.Access.Secret)},
		Operations: []jsonOperation{},
	}
	if b.Limits != (record.Limits{}) {
		j.Limits = (*jsonLimits)(&b.Limits)
	}
	for _, c := range b.Conditions {
		j.Conditions = append(j.Conditions, jsonCondition{Kind: conditions[c.Kind], Name: c.Name, Text: c.Text, Revision: c.Revision})
	}
	for i := range b.Ops {
		j.Operations = append(j.Operations, newOperation(&b.Ops[i]))
	}
	return j
}

func newOperation(op *record.Op) jsonOperation {
	j := jsonOperation{Kind: kinds[op.Kind], Name: op.Name, Secret: secretHex(op.Secret)}
	switch op.Kind {
	case record.OpSet, record.OpSetIfAbsent, record.OpAppend:
		j.Text = &op.Text
	case record.OpAdd:
		j.Add = strconv.FormatInt(op.Int, 10)
	case record.OpRotate:
		j.From, j.Grace = op.Int, op.Expiry.Idle
	case record.OpAuthenticate:
		j.User, j.Absolute = op.Text, op.Expiry.Absolute
	case record.OpDescribe:
		j.Device = &op.Text
	case record.OpSetExpiry, record.OpCreate:
		j.Idle, j.Absolute, j.BrowserClose = op.Expiry.Idle, op.Expiry.Absolute, op.Expiry.BrowserClose
	case record.OpDestroy:
		j.Reason, j.Keep = op.Reason.String(), op.Int
	}
	return j
}

func (j *jsonBatch) read() *record.Batch {
	b := &record.Batch{Access: record.Access{Mode: record.Mode(number(modes, j.Access.Mode)), Generation: j.Access.Generation, Secret: readSecret(j.Access.Secret)}}
	if j.Limits != nil {
		b.Limits = record.Limits(*j.Limits)
	}
	for _, c := range j.Conditions {
		b.Conditions = append(b.Conditions, record.Condition{Kind: record.ConditionKind(number(conditions, c.Kind)), Name: c.Name, Text: c.Text, Revision: c.Revision})
	}
	for i := range j.Operations {
		b.Ops = append(b.Ops, j.Operations[i].read())
	}
	return b
}

func (j *jsonOperation) read() record.Op {
	op := record.Op{Kind: record.OpKind(number(kinds, j.Kind)), Name: j.Name, Secret: readSecret(j.Secret)}
	switch op.Kind {
	case record.OpSet, record.OpSetIfAbsent, record.OpAppend:
		op.Text = *j.Text
	case record.OpAdd:
		n, err := strconv.ParseInt(j.Add, 10, 64)
		if err != nil {
			panic(err)
		}
		op.Int = n
	case record.OpRotate:
		op.Int, op.Expiry.Idle = j.From, j.Grace
	case record.OpAuthenticate:
		op.Text, op.Expiry.Absolute = j.User, j.Absolute
	case record.OpDescribe:
		op.Text = *j.Device
	case record.OpSetExpiry, record.OpCreate:
		op.Expiry = record.Expiry{Idle: j.Idle, Absolute: j.Absolute, BrowserClose: j.BrowserClose}
	case record.OpDestroy:
		op.Reason, op.Int = record.Reason(number(reasons, j.Reason)), j.Keep
	}
	return op
}

// newReply returns the form of a reply to b. Revision 0 says that it is not known
// or that there is none; Now is the case's time.
func newReply(reply *record.Reply, b *record.Batch) jsonReply {
	j := jsonReply{Status: reply.Status.String(), At: reply.At, Meta: newMeta(&reply.Meta), Revision: reply.Revision}
	if reply.Status == record.Ended {
		j.Reason = reply.Reason.String()
	}
	for _, v := range reply.Values {
		j.Values = append(j.Values, jsonValue{Found: v.Found, Text: v.Text})
	}
	if reply.Status != record.OK {
		return j
	}
	for i := range b.Ops {
		switch b.Ops[i].Kind {
		case record.OpGetAll:
			j.Fields = newFields(reply.Fields)
		case record.OpGetIdentity:
			j.Identity = &jsonIdentity{User: reply.Identity.User, Authenticated: reply.Identity.Auth, Device: reply.Identity.Device}
		}
	}
	return j
}
