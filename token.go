package pazzo

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/pazzo-sessions/pazzo/record"
)

// A token is what the cookie holds:
//
//	base64url( handle 16 | generation 4 | secret 16 | mac 12 )
//
// in 64 characters without padding. The mac is the front of
// HMAC-SHA256(K, "pazzo token 1" | handle | generation | secret), and K is
// HKDF-SHA256 of the secret key's UTF-8 bytes with the info "pazzo token key 1",
// no salt, 32 bytes. protocol/token.json has vectors.
type token struct {
	handle     record.Handle
	generation uint32
	secret     record.Secret
}

// held returns the access of a request that has opened the session with t.
func (t token) held() record.Access {
	return record.Access{Mode: record.Held, Generation: t.generation, Secret: t.secret}
}

const (
	tokenBody  = 16 + 4 + 16
	macSize    = 12
	tokenSize  = tokenBody + macSize
	tokenChars = tokenSize * 4 / 3

	keyInfo  = "pazzo token key 1"
	macLabel = "pazzo token 1"
)

// keyring signs with its first key and verifies with all.
type keyring []*signer

// signer computes macs with one key. It is safe for concurrent use.
type signer struct {
	macs sync.Pool // of *mac
}

// mac is an HMAC with its keyed state kept, and room for one message: a new
// hmac for each token would cost four times as much.
type mac struct {
	hash  hash.Hash
	bytes [sha256.Size]byte
	body  [len(macLabel) + tokenBody]byte
	text  [tokenChars]byte
	raw   [tokenSize]byte
}

func newKeyring(secretKeys []string) (keyring, error) {
	ring := make(keyring, len(secretKeys))
	for i, secret := range secretKeys {
		key, err := hkdf.Key(sha256.New, []byte(secret), nil, keyInfo, sha256.Size)
		if err != nil {
			return nil, err
		}
		ring[i] = &signer{}
		ring[i].macs.New = func() any {
			m := &mac{hash: hmac.New(sha256.New, key)}
			copy(m.body[:], macLabel)
			return m
		}
	}
	return ring, nil
}

// sum returns the mac of the body that m.body holds.
func (m *mac) sum() []byte {
	m.hash.Reset()
	m.hash.Write(m.body[:])
	return m.hash.Sum(m.bytes[:0])[:macSize]
}

// seal returns the token as text.
func (k keyring) seal(t token) string {
	m := k[0].macs.Get().(*mac)
	defer k[0].macs.Put(m)
	body := m.body[len(macLabel):]
	copy(body, t.handle[:])
	binary.BigEndian.PutUint32(body[16:], t.generation)
	copy(body[20:], t.secret[:])
	copy(m.raw[:], body)
	copy(m.raw[tokenBody:], m.sum())
	base64.RawURLEncoding.Encode(m.text[:], m.raw[:])
	return string(m.text[:])
}

// open verifies a text and returns its token, and whether it was signed with an
// older key than the first. ok is false for anything that we did not make.
func (k keyring) open(text string) (t token, old, ok bool) {
	if len(text) != tokenChars {
		return token{}, false, false
	}
	for i, s := range k {
		m := s.macs.Get().(*mac)
		ok = m.verify(text)
		if ok {
			body := m.raw[:tokenBody]
			copy(t.handle[:], body)
			t.generation = binary.BigEndian.Uint32(body[16:])
			copy(t.secret[:], body[20:])
		}
		s.macs.Put(m)
		if ok {
			return t, i > 0, true
		}
	}
	return token{}, false, false
}

func (m *mac) verify(text string) bool {
	copy(m.text[:], text)
	// Decode skips line breaks, so a short result is a malformed token.
	n, err := base64.RawURLEncoding.Decode(m.raw[:], m.text[:])
	if err != nil || n != tokenSize {
		return false
	}
	copy(m.body[len(macLabel):], m.raw[:tokenBody])
	return subtle.ConstantTimeCompare(m.sum(), m.raw[tokenBody:]) == 1
}
