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
	NameFresh    = "\x00f" // in no hash: has an agent ask the store, not its near cache
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

// ParseHash makes r the record that a session's hash holds. It returns record.ErrCorrupt
// when the hash is not one, record.ErrLayout when its layout is unknown, and r is then
// absent. The strings of r are those of the hash.
func ParseHash(hash map[string]string, r *record.Record) error {
	r.Reset()
	err := parseHash(hash, r)
	if err != nil {
		r.Reset()
	}
	return err
}

func parseHash(hash map[string]string, r *record.Record) error {
	meta := hash[NameMeta]
	if record.IsTombstone(meta) {
		r.State = record.Dead
		return r.Tombstone.Unpack(meta)
	}
	if err := r.Meta.Unpack(meta); err != nil {
		return err
	}
	r.State = record.Live
	revision := hash[NameRevision]
	if len(revision) != 10 {
		return fmt.Errorf("%w: revision", record.ErrCorrupt)
	}
	r.Revision, _ = RevisionAndSize(revision)
	if r.Meta.HasPrevious {
		if err := r.Previous.Unpack(hash[NamePrevious]); err != nil {
			return err
		}
	}
	if r.Meta.HasUser {
		text, found := hash[NameUser]
		var id record.Identity
		if err := SetUser(&id, record.Value{Text: text, Found: found}); err != nil || !found {
			return fmt.Errorf("%w: user", record.ErrCorrupt)
		}
		r.User, r.Auth = id.User, id.Auth
	}
	r.Device = hash[NameDevice]
	r.Fields = FieldsOf(hash)
	return nil
}

// FieldsOf returns the session's fields in a hash, sorted by name.
func FieldsOf(hash map[string]string) []record.Field {
	fields := make([]record.Field, 0, len(hash))
	for name, text := range hash {
		if name != "" && name[0] != 0 {
			fields = append(fields, record.Field{Name: name, Text: text})
		}
	}
	SortFields(fields)
	return fields
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
