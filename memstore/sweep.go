package memstore

import (
	"math"
	"runtime"
	"time"
)

const (
	// tickMS is the precision of the wheel in ms: how late the expired are
	// reclaimed. Reads do not depend on it; they judge the deadline themselves.
	tickMS = 1000
	// levels of the wheel: lists of 1, 64, 4,096 and 262,144 ticks; beyond 194
	// days entries wait in the last list and are placed again.
	levels   = 4
	slotBits = 6
	slots    = 1 << slotBits
	due      = levels * slots // the list that is being looked through
	never    = math.MaxInt64

	// slice is how many entries the sweeper handles in one hold of a lock.
	slice = 64
	// roomMS is how long a sweep for want of room holds good.
	roomMS = 10
)

// wheel sorts the entries of a shard into lists by the time when they are looked
// at: never after their deadline's tick. A deadline that moves later leaves the
// entry in its list, and it is placed again when that falls due, at most once for
// each level. Thus expiry costs O(1) for each entry, and there is no timer.
type wheel struct {
	tick  int64 // up to which the lists were looked through
	heads [levels*slots + 1]uint32
}

// listFor returns the list for a deadline.
func (w *wheel) listFor(deadline int64) uint32 {
	tick := max((deadline+tickMS-1)/tickMS, w.tick+1)
	now := w.tick
	for level := range uint32(levels) {
		if tick-now < slots {
			return level*slots + uint32(tick%slots)
		}
		tick, now = tick/slots, now/slots
	}
	// Beyond the wheel: the last list of all.
	now = w.tick >> (slotBits * (levels - 1))
	return (levels-1)*slots + uint32((now+slots-1)%slots)
}

// listFlag marks, in entry.prev, that the entry is the head of a list, which the
// other bits name.
const listFlag = 1 << 31

// link puts the entry at a place first in a list.
func (s *shard[K]) link(place, list uint32) {
	e := s.at(place)
	e.prev, e.next = listFlag|list, s.heads[list]
	if e.next != 0 {
		s.at(e.next).prev = place
	}
	s.heads[list] = place
}

// unlink takes the entry at a place out of its list.
func (s *shard[K]) unlink(place uint32) {
	e := s.at(place)
	s.setNext(e.prev, e.next)
	if e.next != 0 {
		s.at(e.next).prev = e.prev
	}
}

// setNext makes next the successor of an entry, or the head of a list.
func (s *shard[K]) setNext(prev, next uint32) {
	if prev&listFlag != 0 {
		s.heads[prev&^listFlag] = next
	} else {
		s.at(prev).next = next
	}
}

// advance looks through the lists up to the tick of now and removes what has
// expired. One goroutine at a time does so.
func (s *shard[K]) advance(all *shared, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := s.tick, now/tickMS
	if to <= from {
		return
	}
	s.tick = to
	for level := range levels {
		for tick := from + 1; tick <= min(to, from+slots); tick++ {
			s.drain(all, uint32(level*slots)+uint32(tick%slots), now)
		}
		from, to = from/slots, to/slots
	}
}

// lookAhead removes what has expired at now in the tick that has begun, without
// waiting for its end.
func (s *shard[K]) lookAhead(all *shared, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tick := s.tick + 1
	for level := range levels {
		s.drain(all, uint32(level*slots)+uint32(tick%slots), now)
		if tick%slots != 0 {
			return
		}
		tick /= slots
	}
}

// drain looks through one list: it removes the expired and places the others
// again. It is set apart first, so that what joins it meanwhile waits for its
// next turn.
func (s *shard[K]) drain(all *shared, list uint32, now int64) {
	if s.heads[list] == 0 {
		return
	}
	s.heads[due], s.heads[list] = s.heads[list], 0
	s.at(s.heads[due]).prev = listFlag | due
	for handled := 1; s.heads[due] != 0; handled++ {
		place := s.heads[due]
		if e := s.at(place); now >= e.deadline {
			s.remove(all, place)
		} else {
			s.unlink(place)
			s.link(place, s.listFor(e.deadline))
		}
		if handled%slice == 0 {
			s.pause()
		}
	}
}

// pause lets others have the lock.
func (s *shard[K]) pause() {
	s.mu.Unlock()
	runtime.Gosched()
	s.mu.Lock()
}

// next returns the first tick for which there is a list to look through, or
// never.
func (s *shard[K]) next() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == 0 {
		return never
	}
	next := int64(never)
	for level := range levels {
		now := s.tick >> (slotBits * level)
		for tick := now + 1; tick < now+slots; tick++ {
			if s.heads[level*slots+int(tick%slots)] != 0 {
				next = min(next, tick<<(slotBits*level))
				break
			}
		}
	}
	return next
}

// sweepUntilClosed is the store's one goroutine. It sleeps as long as nothing can
// expire.
func (s *Store) sweepUntilClosed() {
	defer close(s.done)
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		s.shared.wake.Store(never) // whoever comes now is seen here, or kicks
		next := min(s.sessions.next(), s.indexes.next())
		s.shared.wake.Store(next)
		timer.Reset(s.until(next))
		select {
		case <-s.stop:
			return
		case <-s.shared.kick:
			timer.Reset(s.until(s.now()/tickMS + 1))
			select {
			case <-s.stop:
				return
			case <-timer.C:
			}
		case <-timer.C:
		}
		s.sweeping.Lock()
		s.sweep(false)
		s.sweeping.Unlock()
	}
}

// until returns how long it is until a tick.
func (s *Store) until(tick int64) time.Duration {
	if tick == never {
		return never
	}
	return time.Duration(tick*tickMS-s.now()) * time.Millisecond
}

// sweep reclaims what has expired before the present tick, and in it if ahead is
// set.
func (s *Store) sweep(ahead bool) {
	now := s.now()
	sweepTable(&s.sessions, &s.shared, now, ahead, s.stop)
	sweepTable(&s.indexes, &s.shared, now, ahead, s.stop)
}

func sweepTable[K comparable](t *table[K], all *shared, now int64, ahead bool, stop <-chan struct{}) {
	for i := range t.shards {
		select {
		case <-stop:
			return
		default:
		}
		s := &t.shards[i]
		s.advance(all, now)
		if ahead {
			s.lookAhead(all, now)
		}
		s.rebuild()
	}
}

// makeRoom reclaims everything that has expired by now, unless that was done just
// before.
func (s *Store) makeRoom() {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	if s.now()-s.swept >= roomMS && !s.closed.Load() {
		s.sweep(true)
		s.swept = s.now()
	}
}
