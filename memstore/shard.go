package memstore

import "sync"

// table is a map from keys to texts with deadlines, in shards chosen by the
// first byte of the key, which is uniform: handles are random, user names hashed.
type table[K comparable] struct {
	shards []shard[K]
}

func newTable[K comparable](shards int, now int64) table[K] {
	t := table[K]{make([]shard[K], shards)}
	for i := range t.shards {
		t.shards[i].tick = now / tickMS
		t.shards[i].places = make(map[K]uint32)
	}
	return t
}

func (t *table[K]) shard(first byte) *shard[K] {
	return &t.shards[int(first)%len(t.shards)]
}

// next returns the first tick for which a shard has a list to look through.
func (t *table[K]) next() int64 {
	next := int64(never)
	for i := range t.shards {
		next = min(next, t.shards[i].next())
	}
	return next
}

// drop empties the table for good.
func (t *table[K]) drop() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.places, s.old, s.chunks, s.count = nil, nil, nil, 0
		s.wheel = wheel{}
		s.mu.Unlock()
	}
}

// shard is a part of a table under one lock. Its entries lie in a slab without a
// gap, from place 1 (0 means none): what is removed is replaced by the last one.
// So the slab shrinks as it empties, entry by entry. A map does not shrink; the
// sweeper rebuilds it after a spike.
type shard[K comparable] struct {
	mu     sync.Mutex
	places map[K]uint32
	old    map[K]uint32 // what a rebuild has not moved to places yet; else nil
	chunks []*[chunkSize]entry[K]
	count  uint32
	peak   uint32 // the highest count since places was made
	wheel
}

// chunkSize is how many entries the slab grows and shrinks by.
const chunkSize = 64

// entry is a text in the slab. It is in one list of the wheel.
type entry[K comparable] struct {
	key        K
	text       string
	deadline   int64
	prev, next uint32 // see link
}

func (s *shard[K]) at(place uint32) *entry[K] {
	return &s.chunks[place/chunkSize][place%chunkSize]
}

// find returns the place of a key, or 0.
func (s *shard[K]) find(key K) uint32 {
	place := s.places[key]
	if place == 0 && s.old != nil {
		place = s.old[key]
	}
	return place
}

// text returns the text at a place, "" at 0.
func (s *shard[K]) text(place uint32) string {
	if place == 0 {
		return ""
	}
	return s.at(place).text
}

// keep stores a text at the place of its key, 0 if it has none yet; an empty text
// removes the entry. It reports false, and does nothing, when that passes the cap.
func (s *shard[K]) keep(all *shared, place uint32, key K, text []byte, deadline int64, always bool) bool {
	if len(text) == 0 {
		if place != 0 {
			s.remove(all, place)
		}
		return true
	}
	grows := cost(len(text))
	if place != 0 {
		grows -= cost(len(s.at(place).text))
	}
	if !all.take(grows, always) {
		return false
	}
	if place == 0 {
		s.add(key, string(text), deadline)
		all.expect(deadline)
		return true
	}
	e := s.at(place)
	e.text = string(text)
	earlier := deadline < e.deadline
	e.deadline = deadline
	if earlier { // a later one is seen when its list falls due
		s.unlink(place)
		s.link(place, s.listFor(deadline))
		all.expect(deadline)
	}
	return true
}

func (s *shard[K]) add(key K, text string, deadline int64) {
	s.count++
	s.peak = max(s.peak, s.count)
	place := s.count
	if int(place/chunkSize) == len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkSize]entry[K]))
	}
	*s.at(place) = entry[K]{key: key, text: text, deadline: deadline}
	s.link(place, s.listFor(deadline))
	s.places[key] = place
}

func (s *shard[K]) remove(all *shared, place uint32) {
	s.unlink(place)
	e := s.at(place)
	all.take(-cost(len(e.text)), true)
	delete(s.places, e.key)
	if s.old != nil {
		delete(s.old, e.key)
	}
	if last := s.count; place != last {
		*e = *s.at(last)
		s.setNext(e.prev, place)
		if e.next != 0 {
			s.at(e.next).prev = place
		}
		s.move(e.key, place)
	}
	*s.at(s.count) = entry[K]{}
	s.count--
	if spare := int(s.count/chunkSize) + 2; len(s.chunks) > spare {
		s.chunks[spare] = nil
		s.chunks = s.chunks[:spare]
	}
}

// move notes that a key that is listed has another place. In a rebuild it is in
// one of the maps.
func (s *shard[K]) move(key K, place uint32) {
	s.places[key] = place
	if s.old != nil {
		delete(s.old, key)
	}
}

// bloated reports whether the map was made for far more than there is.
func (s *shard[K]) bloated() bool { return s.peak >= chunkSize && s.count < s.peak/4 }

// rebuild moves the places to a new map, a slice of them per hold of the lock.
// There is one rebuild at a time.
func (s *shard[K]) rebuild() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.bloated() {
		return
	}
	s.old, s.places, s.peak = s.places, make(map[K]uint32, s.count), s.count
	moved := 0
	for key, place := range s.old {
		s.move(key, place)
		if moved++; moved%slice == 0 {
			s.pause()
		}
	}
	s.old = nil
	s.chunks = append([]*[chunkSize]entry[K](nil), s.chunks...)
}
