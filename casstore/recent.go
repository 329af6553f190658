package casstore

import "time"

// What is remembered of a key, so that the next batch that writes begins with a Swap: a
// guess, which the Swap puts to the test.
const (
	// maxAge is how long a guess is worth making. It also bounds how far two clocks can
	// drift apart meanwhile: 1 ms, at 100 ppm.
	maxAge = 10 * time.Second
	// maxRemembered is the longest encoding that is remembered, in bytes.
	maxRemembered = 16 << 10
	// entryCost is what an entry takes beside its data, about, in bytes.
	entryCost = 256
)

// memory is the cells seen last, of at most so many bytes. Those that are not used while
// half of that is filled with others are forgotten.
type memory struct {
	half     int // bytes
	young    map[Key]seen
	old      map[Key]seen
	youngest int // bytes of young
}

// seen is a cell and when it came.
type seen struct {
	cell     Cell
	received time.Time
	// doubtful says that the last guess was wrong: others change the key as well. A
	// guess is made again when a Read has shown that it would have been right.
	doubtful bool
}

func newMemory(bytes int) memory { return memory{half: bytes / 2, young: map[Key]seen{}} }

// put remembers what a key has.
func (m *memory) put(k Key, s seen) {
	size := len(s.cell.Data) + entryCost
	if m.half < size || len(s.cell.Data) > maxRemembered {
		return
	}
	if m.youngest+size > m.half {
		m.old, m.young, m.youngest = m.young, make(map[Key]seen, len(m.young)), 0
	}
	m.young[k] = s
	m.youngest += size
}

// take returns what is remembered of a key, and forgets it: a queue has it now.
func (m *memory) take(k Key) (s seen, found bool) {
	if s, found = m.young[k]; found {
		delete(m.young, k)
		m.youngest -= len(s.cell.Data) + entryCost
	} else if s, found = m.old[k]; found {
		delete(m.old, k)
	}
	return s, found && time.Since(s.received) < maxAge
}
