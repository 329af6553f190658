package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Layout is the version of the record's layout that this package reads and
// writes.
const Layout = 1

// MetaSize is the length of a packed [Meta] in bytes. It stays within 64, so
// that a Redis hash with short fields remains a listpack
// (hash-max-listpack-value, default 64).
const MetaSize = 62

// ErrLayout is returned when a record or an index was written in a layout that
// this version does not know. It is left as it is: upgrade this program.
var ErrLayout = errors.New("record: unknown layout")

// LayoutError is the ErrLayout that tells which layout was met.
type LayoutError struct{ Met byte }

func (e LayoutError) Error() string {
	return fmt.Sprintf("%v %d: this version knows layout %d", ErrLayout, e.Met, Layout)
}

// Is reports whether target is ErrLayout.
func (e LayoutError) Is(target error) bool { return target == ErrLayout }

// ErrCorrupt is returned when stored bytes are not a record or an index.
var ErrCorrupt = errors.New("record: corrupt data")

// Meta is the part of a live record that every operation needs. All times are
// milliseconds since 1970 by the store's clock, all durations milliseconds.
type Meta struct {
	Generation uint32 // counts the tokens of this session, from 1
	Floor      uint32 // the oldest generation still accepted
	Secret     Secret // of the current generation
	Created    int64
	Deadline   int64 // the absolute end
	Idle       int64 // the idle timeout; the session ends at Touched+Idle
	Touched    int64 // the last time that was recorded as activity
	FloorTime  int64 // when the floor was last raised, or Created
	Renewed    int64 // when the current generation began

	BrowserClose bool // the cookie ends with the browser, whatever the options say
	CustomExpiry bool // SetExpiry chose the timeouts; Authenticate leaves them
	Unpresented  bool // nobody has presented the current generation's token yet
	HasPrevious  bool // a previous secret is kept
	HasUser      bool // somebody is logged in
}

const (
	flagBrowserClose = 1 << iota
	flagCustomExpiry
	flagUnpresented
	flagPrevious
	flagUser
	flagTombstone
	flagsKnown = 1<<iota - 1
)

// Expires returns when the record ends: idle or absolute, whichever is first.
func (m *Meta) Expires() int64 { return min(m.Touched+m.Idle, m.Deadline) }

// TouchDue reports whether activity at now is worth recording: at most once per
// tenth of the idle timeout, so a session may end after 0.9 of it.
func (m *Meta) TouchDue(now int64) bool { return now-m.Touched >= m.Idle/10 }

// Pack returns m as MetaSize bytes:
//
//	layout 1 | flags 1 | generation 4 | floor 4 | secret 16 | created 6 |
//	deadline 6 | idle 6 | touched 6 | floor time 6 | renewed 6
//
// with numbers in big-endian order. Flags, from bit 0: browser close, custom
// expiry, unpresented, has previous, has user, tombstone.
func (m *Meta) Pack() (b [MetaSize]byte) {
	m.pack(&b)
	return b
}

func (m *Meta) pack(b *[MetaSize]byte) {
	b[0], b[1] = Layout, m.flags()
	binary.BigEndian.PutUint32(b[2:], m.Generation)
	binary.BigEndian.PutUint32(b[6:], m.Floor)
	copy(b[10:], m.Secret[:])
	putUint48(b[26:], m.Created)
	putUint48(b[32:], m.Deadline)
	putUint48(b[38:], m.Idle)
	putUint48(b[44:], m.Touched)
	putUint48(b[50:], m.FloorTime)
	putUint48(b[56:], m.Renewed)
}

func (m *Meta) flags() byte {
	return bit(m.BrowserClose, flagBrowserClose) | bit(m.CustomExpiry, flagCustomExpiry) |
		bit(m.Unpresented, flagUnpresented) | bit(m.HasPrevious, flagPrevious) | bit(m.HasUser, flagUser)
}

func bit(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}

// Unpack reads what Pack wrote. ErrLayout is returned when the layout is newer
// or unknown, ErrCorrupt when the length or a flag is wrong.
func (m *Meta) Unpack(s string) error {
	if err := checkLayout(s); err != nil {
		return err
	}
	if len(s) != MetaSize {
		return fmt.Errorf("%w: meta of %d bytes instead of %d", ErrCorrupt, len(s), MetaSize)
	}
	f := s[1]
	if f&^flagsKnown != 0 || f&flagTombstone != 0 {
		return fmt.Errorf("%w: meta flags %#x", ErrCorrupt, f)
	}
	*m = Meta{
		Generation:   getUint32(s[2:6]),
		Floor:        getUint32(s[6:10]),
		Created:      getUint48(s[26:32]),
		Deadline:     getUint48(s[32:38]),
		Idle:         getUint48(s[38:44]),
		Touched:      getUint48(s[44:50]),
		FloorTime:    getUint48(s[50:56]),
		Renewed:      getUint48(s[56:62]),
		BrowserClose: f&flagBrowserClose != 0,
		CustomExpiry: f&flagCustomExpiry != 0,
		Unpresented:  f&flagUnpresented != 0,
		HasPrevious:  f&flagPrevious != 0,
		HasUser:      f&flagUser != 0,
	}
	copy(m.Secret[:], s[10:26])
	return nil
}

func checkLayout(s string) error {
	if s == "" {
		return fmt.Errorf("%w: no data", ErrCorrupt)
	}
	if s[0] != Layout {
		return LayoutError{s[0]}
	}
	return nil
}

// Previous is the generation before the current one, kept after a periodic
// renewal so that a lost response logs nobody out.
type Previous struct {
	Secret    Secret
	Presented int64 // when the current generation was first presented, or 0
	Grace     int64 // ms that the previous one stays good after that
}

// PreviousSize is the length of a packed [Previous] in bytes.
const PreviousSize = 28

// Good reports whether the previous generation's token still opens the session.
func (p *Previous) Good(now int64) bool {
	return p.Presented == 0 || now < p.Presented+p.Grace
}

// Pack returns p as secret 16 | presented 6 | grace 6.
func (p *Previous) Pack() [PreviousSize]byte {
	var b [PreviousSize]byte
	copy(b[:], p.Secret[:])
	putUint48(b[16:], p.Presented)
	putUint48(b[22:], p.Grace)
	return b
}

// Unpack reads what Pack wrote, or returns ErrCorrupt.
func (p *Previous) Unpack(s string) error {
	if len(s) != PreviousSize {
		return fmt.Errorf("%w: previous generation of %d bytes instead of %d", ErrCorrupt, len(s), PreviousSize)
	}
	copy(p.Secret[:], s)
	p.Presented = getUint48(s[16:22])
	p.Grace = getUint48(s[22:28])
	return nil
}

// Tombstone is what remains of a destroyed session for a while, so that nothing
// in flight brings it back. It holds no data.
type Tombstone struct {
	Reason Reason
	Ended  int64 // when the session was destroyed
	Until  int64 // when the tombstone itself goes
}

// TombstoneSize is the length of a packed [Tombstone] in bytes.
const TombstoneSize = 15

// Pack returns t as layout 1 | flags 1 | reason 1 | ended 6 | until 6. It takes
// the place of the packed Meta.
func (t *Tombstone) Pack() [TombstoneSize]byte {
	b := [TombstoneSize]byte{Layout, flagTombstone, byte(t.Reason)}
	putUint48(b[3:], t.Ended)
	putUint48(b[9:], t.Until)
	return b
}

// Unpack reads what Pack wrote, or returns ErrLayout or ErrCorrupt.
func (t *Tombstone) Unpack(s string) error {
	if err := checkLayout(s); err != nil {
		return err
	}
	if len(s) != TombstoneSize || s[1] != flagTombstone || Reason(s[2]) > lastReason {
		return fmt.Errorf("%w: tombstone", ErrCorrupt)
	}
	t.Reason = Reason(s[2])
	t.Ended = getUint48(s[3:9])
	t.Until = getUint48(s[9:15])
	return nil
}

// IsTombstone reports whether packed meta data is that of a destroyed session.
func IsTombstone(s string) bool { return len(s) == TombstoneSize && s[1]&flagTombstone != 0 }

// Reason says why a session was destroyed.
type Reason uint8

// The reasons.
const (
	Logout     Reason = iota // the app destroyed it, as at logout
	Replaced                 // another user logged in over it
	Revoked                  // an operator, or the user elsewhere, ended it
	Evicted                  // the user has too many sessions
	lastReason = Evicted
)

// String returns the reason in one word.
func (r Reason) String() string {
	switch r {
	case Logout:
		return "logout"
	case Replaced:
		return "replaced"
	case Revoked:
		return "revoked"
	case Evicted:
		return "evicted"
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

func putUint48(b []byte, v int64) {
	_ = b[5]
	b[0], b[1], b[2] = byte(v>>40), byte(v>>32), byte(v>>24)
	b[3], b[4], b[5] = byte(v>>16), byte(v>>8), byte(v)
}

func getUint48(s string) int64 {
	_ = s[5]
	return int64(s[0])<<40 | int64(s[1])<<32 | int64(s[2])<<24 | int64(s[3])<<16 | int64(s[4])<<8 | int64(s[5])
}

func getUint32(s string) uint32 {
	_ = s[3]
	return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
}
