package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/pazzo-sessions/pazzo/record"
)

// ParseSessionKey returns the handle in a session's key, and whether it is one with
// that prefix: it is the reverse of [SessionKey].
func ParseSessionKey(prefix, key string) (h record.Handle, ok bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok || len(rest) != 2*len(h)+2 || rest[0] != '{' || rest[len(rest)-1] != '}' {
		return h, false
	}
	return h, unhex(h[:], rest[1:len(rest)-1])
}

// ParseIndexKey returns the SHA-256 of the user in an index's key, and whether it is
// one with that prefix: it is the reverse of [IndexKey].
func ParseIndexKey(prefix, key string) (user [sha256.Size]byte, ok bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok || len(rest) != 2*len(user)+2 || rest[:2] != "u:" {
		return user, false
	}
	return user, unhex(user[:], rest[2:])
}

// unhex reads lower-case hexadecimal digits, twice as many as dst is long.
func unhex(dst []byte, digits string) bool {
	var buffer [2 * sha256.Size]byte
	src := buffer[:copy(buffer[:], digits)]
	for _, c := range src {
		if c >= 'A' && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(dst, src)
	return err == nil
}
