package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pazzo-sessions/pazzo/record"
)

// shards is how many locks share the keys. Disk reads are done under them, so there
// are many more than readers at a time.
const shards = 1024

// shard has the entries of some keys: those that are not written yet, and a cache of
// others. Whoever reads or changes a key holds the lock; what was read may be shown
// only once its group is written.
type shard struct {
	mu      sync.Mutex
	entries map[string]entry
	bytes   int64  // of them
	writes  uint64 // that there ever were
}

// entry is the latest of a key.
type entry struct {
	value string // as in the database; "" if there is none
	group *group // that it is written with; nil if that was before
}

// entryCost is what an entry takes beside its key and value, in bytes, roughly.
const entryCost = 96

func (e entry) text() string {
	if e.value == "" {
		return ""
	}
	return e.value[filedSize:]
}

func (e entry) filed() uint32 { return binary.BigEndian.Uint32([]byte(e.value[:filedSize])) }

// written reports whether the entry has been, or never will be.
func (e entry) written() bool {
	if e.group == nil {
		return true
	}
	select {
	case <-e.group.done:
		return true
	default:
		return false
	}
}

// shard returns the one of a key, whose last byte is random: a handle's or a hash's.
func (en *engine) shard(key []byte) *shard {
	n := len(key)
	return &en.shards[(int(key[n-1])<<8|int(key[n-2]))%shards]
}

// load returns the latest of a key. The caller holds the lock, and must not show it
// before its group is written.
func (s *shard) load(en *engine, key []byte) (entry, error) {
	e, err := s.peek(en, key)
	if _, found := s.entries[string(key)]; !found && e.value != "" {
		s.keep(en, string(key), e)
	}
	return e, err
}

// peek is load without making room in the cache.
func (s *shard) peek(en *engine, key []byte) (entry, error) {
	if err := en.failure(); err != nil {
		return entry{}, err
	}
	if e, found := s.entries[string(key)]; found {
		return e, nil
	}
	return en.fetch(key)
}

// peekAside is peek for who has time: the lock is let go of while the database is read, so
// that nobody waits for the disk; if there was a write meanwhile, it is read once more.
func (s *shard) peekAside(en *engine, key []byte) (entry, error) {
	if _, found := s.entries[string(key)]; found || en.failure() != nil {
		return s.peek(en, key)
	}
	before := s.writes
	s.mu.Unlock()
	e, err := en.fetch(key)
	s.mu.Lock()
	if s.writes != before {
		return s.peek(en, key)
	}
	if err := en.failure(); err != nil { // since then
		return entry{}, err
	}
	return e, err
}

// fetch reads an entry from the database.
func (en *engine) fetch(key []byte) (entry, error) {
	value, closer, err := en.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, fmt.Errorf("%w: reading: %w", record.ErrUnavailable, err)
	}
	e := entry{value: string(value)}
	if err := closer.Close(); err != nil {
		return entry{}, fmt.Errorf("%w: reading: %w", record.ErrUnavailable, err)
	}
	if len(e.value) < filedSize {
		return entry{}, fmt.Errorf("%w: a value of %d bytes", record.ErrCorrupt, len(e.value))
	}
	return e, nil
}

// keep makes e the latest of a key, and drops others that are written if there are
// too many.
func (s *shard) keep(en *engine, key string, e entry) {
	if old, found := s.entries[key]; found {
		s.bytes -= int64(len(key) + len(old.value) + entryCost)
	}
	s.entries[key] = e
	s.bytes += int64(len(key) + len(e.value) + entryCost)
	if s.bytes <= en.shardBytes {
		return
	}
	looked := 0
	for other, e := range s.entries { // begins anywhere
		if other != key && e.written() {
			delete(s.entries, other)
			s.bytes -= int64(len(other) + len(e.value) + entryCost)
		}
		if looked++; s.bytes <= en.shardBytes || looked == mostLooked {
			return
		}
	}
}

// mostLooked bounds how many entries one keep looks at.
const mostLooked = 64

// put replaces old, the latest of a key, by text, which ends at a time in ms; an
// empty text removes it. The caller holds the lock. Unless always is set, a text that
// is longer is refused with record.ErrFull when there is no room for it.
func (s *shard) put(en *engine, key []byte, old entry, text []byte, expires int64, always bool) (*group, error) {
	if err := en.full.refuse(len(text) > len(old.text()) && !always); err != nil {
		return nil, err
	}
	filed := secondAfter(expires)
	had := old.value != ""
	if had {
		filed = min(filed, old.filed())
	}
	var value string
	if len(text) > 0 {
		value = valueOf(filed, text)
	}
	return s.write(en, key, old, value), nil
}

// write replaces old by value, and its place in the order of expiry with it.
func (s *shard) write(en *engine, key []byte, old entry, value string) *group {
	s.writes++
	e := entry{value: value}
	had, has := old.value != "", value != ""
	moves := had != has || had && old.filed() != e.filed()
	e.group = en.add(func(b *pebble.Batch) {
		// None of these fails on a batch that is not indexed.
		var place [1 + filedSize + 2 + maxPrefix + 32]byte
		if has {
			_ = b.Set(key, []byte(value), nil)
		} else if had {
			_ = b.DeleteSized(key, uint32(len(old.value)), nil)
		}
		if had && moves {
			_ = b.DeleteSized(expiryKey(place[:0], old.filed(), key), 0, nil)
		}
		if has && moves {
			_ = b.Set(expiryKey(place[:0], e.filed(), key), nil, nil)
		}
	})
	s.keep(en, string(key), e)
	return e.group
}

func valueOf(filed uint32, text []byte) string {
	var b strings.Builder
	b.Grow(filedSize + len(text))
	var head [filedSize]byte
	binary.BigEndian.PutUint32(head[:], filed)
	b.Write(head[:])
	b.Write(text)
	return b.String()
}

// expiryKey appends the place of a key in the order of expiry.
func expiryKey(dst []byte, filed uint32, key []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, expiryKind), filed)
	return append(dst, key...)
}

// secondAfter rounds a time in ms up to a second. Beyond 2106 it is that.
func secondAfter(ms int64) uint32 {
	return uint32(min(max((ms+999)/1000, 0), math.MaxUint32))
}
