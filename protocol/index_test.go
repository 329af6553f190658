package protocol_test

import (
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
)

type indexFile struct {
	Cases []indexCase `json:"cases"`
}

// indexCase is a step applied to an index at a time, and what follows.
type indexCase struct {
	Name   string         `json:"name"`
	Now    int64          `json:"now"`
	Before jsonIndex      `json:"before"`
	Step   jsonStep       `json:"step"`
	Reply  jsonIndexReply `json:"reply"`
	After  jsonIndex      `json:"after"`
}

// jsonIndexReply has the entries that the caller may have to act on; see
// record.IndexReply.
type jsonIndexReply struct {
	Status       string      `json:"status"`
	BlockedUntil int64       `json:"blocked_until,omitempty"`
	Entries      []jsonEntry `json:"entries"`
}

type jsonIndex struct {
	BlockedUntil int64       `json:"blocked_until,omitempty"`
	Entries      []jsonEntry `json:"entries"`
}

type jsonStep struct {
	Kind     string   `json:"kind"`
	Handle   string   `json:"handle,omitempty"`
	Handles  []string `json:"handles,omitempty"`
	Max      int      `json:"max,omitempty"`
	Evict    bool     `json:"evict,omitempty"`
	Verified bool     `json:"verified,omitempty"`
	Lifetime int64    `json:"lifetime,omitempty"`
	Duration int64    `json:"duration,omitempty"`
}

var stepKinds = []string{"enlist", "confirm", "refresh", "unlist", "list", "block", "unblock"}

func newIndex(x *record.Index) jsonIndex {
	return jsonIndex{BlockedUntil: x.BlockedUntil, Entries: newEntries(x.Entries)}
}

func newIndexReply(r *record.IndexReply) jsonIndexReply {
	return jsonIndexReply{Status: r.Status.String(), BlockedUntil: r.BlockedUntil, Entries: newEntries(r.Entries)}
}

func (j *jsonIndex) read() *record.Index {
	return &record.Index{BlockedUntil: j.BlockedUntil, Entries: readEntries(j.Entries)}
}

func newStep(s *record.IndexStep) jsonStep {
	j := jsonStep{Kind: stepKinds[s.Kind], Max: s.Max, Evict: s.Evict, Verified: s.Verified, Lifetime: s.Lifetime, Duration: s.Duration}
	switch s.Kind {
	case record.Enlist, record.Confirm, record.Refresh:
		j.Handle = s.Handle.String()
	}
	for _, h := range s.Handles {
		j.Handles = append(j.Handles, h.String())
	}
	return j
}

func (j *jsonStep) read() *record.IndexStep {
	s := &record.IndexStep{Kind: record.IndexKind(number(stepKinds, j.Kind)), Max: j.Max, Evict: j.Evict, Verified: j.Verified, Lifetime: j.Lifetime, Duration: j.Duration}
	copy(s.Handle[:], unhex(j.Handle))
	for _, text := range j.Handles {
		var h record.Handle
		copy(h[:], unhex(text))
		s.Handles = append(s.Handles, h)
	}
	return s
}

func makeIndexes(t *testing.T) indexFile {
	a, b, c, d := record.Handle(filled(0xa)), record.Handle(filled(0xb)), record.Handle(filled(0xc)), record.Handle(filled(0xd))
	entry := func(h record.Handle, state record.EntryState, added int64) record.Entry {
		return record.Entry{Handle: h, State: state, Added: start + added, Deadline: start + added + hour}
	}
	enlist := func(h record.Handle, most int, evict, verified bool) record.IndexStep {
		return record.IndexStep{Kind: record.Enlist, Handle: h, Max: most, Evict: evict, Verified: verified, Lifetime: hour}
	}
	list := record.IndexStep{Kind: record.List}
	block := func(d int64) record.IndexStep { return record.IndexStep{Kind: record.Block, Duration: d} }
	none := record.Index{}
	three := record.Index{Entries: []record.Entry{entry(b, record.Active, 0), entry(a, record.Active, 1), entry(c, record.Pending, 2)}}
	doomed := record.Index{Entries: []record.Entry{entry(b, record.Doomed, 0), entry(a, record.Active, 1), entry(c, record.Pending, 2)}}
	blocked := record.Index{BlockedUntil: start + hour, Entries: three.Entries}
	const now = start + minute

	var file indexFile
	add := func(name string, now int64, before record.Index, step record.IndexStep) {
		if err := step.Check(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		j := newIndex(&before)
		x := j.read() // a copy
		reply, _ := x.Apply(&step, now)
		file.Cases = append(file.Cases, indexCase{name, now, j, newStep(&step), newIndexReply(&reply), newIndex(x)})
	}
	add("enlist the first", now, none, enlist(a, 3, true, false))
	add("enlist within the cap", now, three, enlist(d, 4, false, false))
	add("enlist what is listed", now, three, enlist(a, 3, false, false))
	add("enlist over the cap, dead entries not yet looked for", now, three, enlist(d, 3, true, false))
	add("enlist over the cap: the oldest is doomed", now, three, enlist(d, 3, true, true))
	add("enlist over a smaller cap: so many are doomed", now, three, enlist(d, 1, true, true))
	add("enlist over the cap: refused", now, three, enlist(d, 3, false, true))
	add("the doomed do not count", now, doomed, enlist(d, 3, false, false))
	add("enlist a doomed one", now, doomed, enlist(b, 3, true, true))
	add("enlist while blocked", now, blocked, enlist(d, 9, true, true))
	add("enlist after the block", start+hour, record.Index{BlockedUntil: start + hour}, enlist(d, 9, true, true))
	add("enlist at the same time: sorted by handle", start, three, enlist(record.Handle(filled(1)), 9, true, true))
	add("confirm", now, three, record.IndexStep{Kind: record.Confirm, Handle: c})
	add("confirm again", now, three, record.IndexStep{Kind: record.Confirm, Handle: a})
	add("confirm what is not listed", now, three, record.IndexStep{Kind: record.Confirm, Handle: d})
	add("confirm a doomed one", now, doomed, record.IndexStep{Kind: record.Confirm, Handle: b})
	add("confirm while blocked", now, blocked, record.IndexStep{Kind: record.Confirm, Handle: c})
	add("refresh", now, three, record.IndexStep{Kind: record.Refresh, Handle: a, Lifetime: 3 * hour})
	add("refresh for a shorter time", now, three, record.IndexStep{Kind: record.Refresh, Handle: a, Lifetime: minute})
	add("refresh what is not listed", now, three, record.IndexStep{Kind: record.Refresh, Handle: d, Lifetime: hour})
	add("refresh a doomed one", now, doomed, record.IndexStep{Kind: record.Refresh, Handle: b, Lifetime: hour})
	add("refresh while blocked", now, blocked, record.IndexStep{Kind: record.Refresh, Handle: a, Lifetime: hour})
	add("unlist", now, three, record.IndexStep{Kind: record.Unlist, Handles: []record.Handle{a, d, c}})
	add("unlist the last", now, record.Index{Entries: three.Entries[:1]}, record.IndexStep{Kind: record.Unlist, Handles: []record.Handle{b}})
	add("list", now, blocked, list)
	add("list nothing", now, none, list)
	add("the dead are forgotten at their deadline", start+hour+1, three, list)
	add("block", now, three, block(hour))
	add("block for a shorter time", now, blocked, block(minute))
	add("block for a longer time", now, blocked, block(2*hour))
	add("unblock", now, blocked, record.IndexStep{Kind: record.Unblock})
	add("unblock who is not blocked", now, three, record.IndexStep{Kind: record.Unblock})
	return file
}

func TestIndexVectors(t *testing.T) { golden(t, "index.json", makeIndexes(t)) }

func TestLibraryPassesTheIndexVectors(t *testing.T) {
	file := load[indexFile](t, "index.json")
	seen := map[string]bool{}
	for _, c := range file.Cases {
		x, step := c.Before.read(), c.Step.read()
		reply, _ := x.Apply(step, c.Now)
		alike(t, c.Name+": reply", newIndexReply(&reply), c.Reply)
		alike(t, c.Name+": index", newIndex(x), c.After)
		seen[c.Step.Kind], seen["status "+c.Reply.Status] = true, true
	}
	for _, kind := range stepKinds {
		if !seen[kind] {
			t.Errorf("no case of %s", kind)
		}
	}
	for status := record.IndexOK; status <= record.IndexDoomed; status++ {
		if !seen["status "+status.String()] {
			t.Errorf("no case with status %q", status)
		}
	}
}
