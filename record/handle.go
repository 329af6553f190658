package record

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrHandle is returned when a text is not a handle: 32 lower-case hexadecimal
// digits.
var ErrHandle = errors.New("record: malformed session handle")

// Handle names a session for as long as it lives: 128 random bits. It is
// public: it goes into listings, logs and revocations, and gives no access.
type Handle [16]byte

// NewHandle returns a random handle from the operating system's generator.
func NewHandle() (h Handle) {
	rand.Read(h[:])
	return h
}

// String returns the handle as 32 lower-case hexadecimal digits.
func (h Handle) String() string { return hex.EncodeToString(h[:]) }

// ParseHandle reads what String wrote. ErrHandle is returned when text is
// anything else.
func ParseHandle(text string) (h Handle, err error) {
	if len(text) != 2*len(h) {
		return Handle{}, fmt.Errorf("%w: %d characters instead of %d", ErrHandle, len(text), 2*len(h))
	}
	if _, err := hex.Decode(h[:], []byte(text)); err != nil || h.String() != text {
		return Handle{}, ErrHandle
	}
	return h, nil
}

// MarshalText is String, for encoding/json and log/slog.
func (h Handle) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is ParseHandle.
func (h *Handle) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHandle(string(text))
	return err
}

// Secret is the random half of a token: 128 bits that only the cookie and the
// record hold (OWASP ASVS 5.0, 7.2.3). It is never printed.
type Secret [16]byte

// NewSecret returns a random secret from the operating system's generator.
func NewSecret() (s Secret) {
	rand.Read(s[:])
	return s
}

// String hides the secret, so that no log shows it by accident.
func (s Secret) String() string { return "[secret]" }

// Format hides the secret from every verb, %x and %#v among them. Package fmt does
// not ask it for %p, which vet refuses, nor for a secret in an unexported field: a
// struct that has one needs a Format or LogValue of its own.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText hides the secret from encoding/json and log/slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
