package nearcache

import (
	"context"
	"slices"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// echo is how long after the answer to an own write the store's word of it may come. Word
// that comes later is of another's. Should it be of ours after all, a load is wasted.
const echo = 20 * time.Millisecond

// maxPending is how many answers may overtake one that they follow.
const maxPending = 64

// ack is an own write that was done, and what it did.
type ack struct {
	batch record.Batch
	reply record.Reply
	clock int64 // the store's, less ours, ms
	until int64
}

// write has the store apply a batch, and then takes it over into the copy, if the answer
// proves that the copy was up to date.
func (c *Cache) write(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	s := c.shard(h)
	s.mu.Lock()
	e := s.get(h)
	e.writes++
	s.mu.Unlock()

	epoch, sent := c.epoch.Load(), c.now()
	reply, err := c.Store.Apply(ctx, h, b)
	now := c.now()

	s.mu.Lock()
	defer s.mu.Unlock()
	e.writes--
	e.echo = c.echoUntil(now)
	if current := s.entries[h]; current != e { // evicted meanwhile
		if current == nil {
			return reply, err
		}
		e = current
		e.echo = c.echoUntil(now)
	}
	if err != nil || reply.Revision == 0 || epoch != c.epoch.Load() {
		s.drop(e)
		return reply, err
	}
	e.raise(reply.Revision)
	e.shared = nil // it may be older than this write
	if e.text == "" && !creates(b) {
		return reply, err
	}
	a := ack{reply: reply, clock: reply.Now - sent/int64(time.Millisecond) + 1, until: c.briefly(sent)}
	if reply.Revision > e.revision+1 {
		a.batch = *b // which is the caller's again after this
		a.batch.Ops, a.batch.Conditions = slices.Clone(b.Ops), slices.Clone(b.Conditions)
		a.reply.Values = slices.Clone(reply.Values)
		if e.pending = append(e.pending, a); len(e.pending) > maxPending {
			s.drop(e)
		}
		return reply, err
	}
	a.batch = *b
	s.catchUp(e, &a)
	return reply, err
}

// echoUntil returns until when word of an own write that was answered at now may come. A
// store that tells before it answers has told.
func (c *Cache) echoUntil(now int64) int64 {
	if c.until.Load() > now+2*c.maxStale {
		return 0
	}
	return now + int64(echo)
}

// creates reports whether there was no record before the batch, if it is accepted.
func creates(b *record.Batch) bool { return len(b.Ops) > 0 && b.Ops[0].Kind == record.OpCreate }

// catchUp takes over a, whose turn it is, and what is pending behind it.
func (s *shard) catchUp(e *entry, a *ack) {
	if !s.takeOver(e, a) {
		s.drop(e)
		return
	}
	s.takePending(e)
}

// takePending takes over what is pending and follows the copy, and forgets what is in it.
func (s *shard) takePending(e *entry) {
	for len(e.pending) > 0 {
		e.pending = slices.DeleteFunc(e.pending, func(a ack) bool { return a.reply.Revision <= e.revision })
		i := slices.IndexFunc(e.pending, func(a ack) bool { return a.reply.Revision == e.revision+1 })
		if i < 0 {
			return
		}
		if !s.takeOver(e, &e.pending[i]) {
			s.drop(e)
		}
	}
}

// takeOver applies an own write to the copy, unless its effect is there. It reports
// whether the copy is now as the store's record was after the write, or later.
func (s *shard) takeOver(e *entry, a *ack) bool {
	if a.reply.Revision < e.revision {
		return true
	}
	r := records.Get().(*record.Record)
	defer release(r)
	if r.Decode(e.text) != nil {
		return false
	}
	if r.Revision == a.reply.Revision && r.Meta == a.reply.Meta {
		return true
	}
	reply, changed := r.Apply(&a.batch, a.reply.Now)
	if reply.Status != a.reply.Status || reply.Revision != a.reply.Revision || reply.Meta != a.reply.Meta || reply.Size != a.reply.Size ||
		!slices.Equal(reply.Values, a.reply.Values) { // the write may have found nothing to do, where another had been before
		return false
	}
	if changed {
		s.keep(e, copy{text: string(r.Append(nil)), revision: r.Revision, clock: a.clock, until: a.until})
	}
	return true
}
