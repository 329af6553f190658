package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/pazzo-sessions/pazzo/record"
)

// The names in a session's hash that are not those of fields, and the name in an
// index that is not a handle.
const (
	NameMeta     = "\x00m" // record.Meta.Pack, or record.Tombstone.Pack
	NameRevision = "\x00r" // revision 6 | size 4
	NamePrevious = "\x00p" // record.Previous.Pack
	NameUser     = "\x00u" // time of authentication 6 | user
	NameDevice   = "\x00d"
	NameBlocked  = "\x00b" // blocked until 6
)

// SessionKey returns <prefix>{<handle>}: the braces make the handle alone decide
// the slot.
func SessionKey(prefix string, h record.Handle) string {
	var buffer [96]byte
	key := append(append(buffer[:0], prefix...), '{')
	key = append(hex.AppendEncode(key, h[:]), '}')
	return string(key)
}

// IndexKey returns <prefix>u:<SHA-256 of the user>: names of users may be long,
// and need not be in key listings.
func IndexKey(prefix, user string) string {
	sum := sha256.Sum256([]byte(user))
	return prefix + "u:" + hex.EncodeToString(sum[:])
}

// SetUser reads the hash's field NameUser into id. It returns record.ErrCorrupt
// when there is one that is not what it should be.
func SetUser(id *record.Identity, u record.Value) error {
	if !u.Found {
		return nil
	}
	if len(u.Text) < 7 {
		return fmt.Errorf("%w: user", record.ErrCorrupt)
	}
	id.Auth, id.User = Uint48(u.Text), u.Text[6:]
	return nil
}

// RevisionAndSize reads the ten bytes of NameRevision at the front of s.
func RevisionAndSize(s string) (revision uint64, size int) {
	return uint64(Uint48(s)), int(uint32At(s, 6))
}

// SortFields sorts by name, as record.Reply has them.
func SortFields(fields []record.Field) {
	slices.SortFunc(fields, func(a, b record.Field) int { return strings.Compare(a.Name, b.Name) })
}
