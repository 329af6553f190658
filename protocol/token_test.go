package protocol_test

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
)

type tokenFile struct {
	Keys    []tokenKey     `json:"keys"`
	Valid   []validToken   `json:"valid"`
	Invalid []invalidToken `json:"invalid"`
}

type tokenKey struct {
	SecretKey string `json:"secret_key"`
	Derived   string `json:"derived"`
}

type validToken struct {
	Name       string   `json:"name"`
	SecretKeys []string `json:"secret_keys"` // of the app that gets the token
	SignedBy   int      `json:"signed_by"`   // an index of these
	Handle     string   `json:"handle"`
	Generation uint32   `json:"generation"`
	Secret     string   `json:"secret"`
	MAC        string   `json:"mac"`
	Token      string   `json:"token"`
	Reissued   string   `json:"reissued"` // signed with the first key
}

type invalidToken struct {
	Name       string   `json:"name"`
	SecretKeys []string `json:"secret_keys"`
	Token      string   `json:"token"`
}

var secretKeys = []string{
	"a secret key for test vectors, 1",
	"schlüssel für prüfvektoren, 2 – ein längerer",
	strings.Repeat("long key ", 20),
	"\"quoted\" \\ and\twith\nspaces at the end   ",
}

// derive and seal are written from README.md, not taken from the library.
func derive(t *testing.T, secretKey string) []byte {
	t.Helper()
	k, err := hkdf.Key(sha256.New, []byte(secretKey), nil, "pazzo token key 1", 32)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func seal(t *testing.T, secretKey string, h record.Handle, generation uint32, s record.Secret) (body, mac []byte, token string) {
	t.Helper()
	body = binary.BigEndian.AppendUint32(h[:], generation)
	body = append(body, s[:]...)
	m := hmac.New(sha256.New, derive(t, secretKey))
	m.Write([]byte("pazzo token 1"))
	m.Write(body)
	mac = m.Sum(nil)[:12]
	return body, mac, base64.RawURLEncoding.EncodeToString(append(body, mac...))
}

func counting(from byte) (b [16]byte) {
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func filled(with byte) (b [16]byte) {
	for i := range b {
		b[i] = with
	}
	return b
}

func makeTokens(t *testing.T) tokenFile {
	var file tokenFile
	for _, key := range secretKeys {
		file.Keys = append(file.Keys, tokenKey{key, hexOf(derive(t, key))})
	}
	for _, c := range []struct {
		name       string
		keys       []string
		by         int
		handle     [16]byte
		generation uint32
		secret     [16]byte
	}{
		{"counting bytes", secretKeys[:1], 0, counting(0), 1, counting(0x10)},
		{"a key that is not ASCII", secretKeys[1:2], 0, counting(0), 1, counting(0x10)},
		{"a key longer than a block of SHA-256", secretKeys[2:3], 0, counting(0), 1, counting(0x10)},
		{"a key with white space at its end", secretKeys[3:4], 0, counting(0), 1, counting(0x10)},
		{"zeros", secretKeys[:1], 0, filled(0), 1, filled(0)},
		{"ones, and the last generation", secretKeys[:1], 0, filled(0xff), 1<<32 - 1, filled(0xff)},
		{"letters - and _", secretKeys[:1], 0, filled(0xfb), 0xfbefbe, filled(0xef)},
		{"generation is big-endian", secretKeys[:1], 0, counting(0x20), 0x01020304, counting(0x30)},
		{"signed with the second of three keys", []string{secretKeys[1], secretKeys[0], secretKeys[2]}, 1, counting(0), 7, counting(0x10)},
		{"signed with the last of two keys", secretKeys[:2], 1, counting(0), 7, counting(0x10)},
	} {
		_, mac, token := seal(t, c.keys[c.by], c.handle, c.generation, c.secret)
		_, _, again := seal(t, c.keys[0], c.handle, c.generation, c.secret)
		file.Valid = append(file.Valid, validToken{
			Name: c.name, SecretKeys: c.keys, SignedBy: c.by, Handle: hexOf(c.handle[:]), Generation: c.generation,
			Secret: hexOf(c.secret[:]), MAC: hexOf(mac), Token: token, Reissued: again,
		})
	}
	body, mac, good := seal(t, secretKeys[0], counting(0), 1, counting(0x10))
	flip := func(at int) string {
		raw := append(append([]byte{}, body...), mac...)
		raw[at] ^= 1
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	_, _, foreign := seal(t, secretKeys[1], counting(0), 1, counting(0x10))
	unlabelled := hmac.New(sha256.New, derive(t, secretKeys[0]))
	unlabelled.Write(body)
	raw := hmac.New(sha256.New, []byte(secretKeys[0]))
	raw.Write(append([]byte("pazzo token 1"), body...))
	for _, c := range []struct{ name, token string }{
		{"signed with another key", foreign},
		{"mac without the label", base64.RawURLEncoding.EncodeToString(append(append([]byte{}, body...), unlabelled.Sum(nil)[:12]...))},
		{"mac with the secret key itself", base64.RawURLEncoding.EncodeToString(append(append([]byte{}, body...), raw.Sum(nil)[:12]...))},
		{"first bit of the handle", flip(0)},
		{"last bit of the handle", flip(15)},
		{"generation", flip(19)},
		{"secret", flip(20)},
		{"last bit of the secret", flip(35)},
		{"mac", flip(36)},
		{"last bit of the mac", flip(47)},
		{"zeros", strings.Repeat("A", 64)},
		{"nothing", ""},
		{"padding", good + "="},
		{"cut by one", good[:63]},
		{"cut by four", good[:60]},
		{"without mac", good[:48]},
		{"four letters more", good + "AAAA"},
		{"twice", good + good},
		{"a space in front", " " + good},
		{"a space behind", good + " "},
		{"a line feed behind", good + "\n"},
		{"a line feed inside", good[:32] + "\n" + good[32:]},
		{"a line feed for a letter", good[:32] + "\n" + good[33:]},
		{"quotes", `"` + good + `"`},
		{"upper case", strings.ToUpper(good)},
		{"plus, slash", strings.NewReplacer("-", "+", "_", "/").Replace(withMinus(t))},
		{"percent", good[:61] + "%3D"},
		{"not ASCII", good[:62] + "é"},
		{"NUL behind", good + "\x00"},
	} {
		file.Invalid = append(file.Invalid, invalidToken{Name: c.name, SecretKeys: secretKeys[:1], Token: c.token})
	}
	return file
}

// withMinus returns a good token that has - and _ in it.
func withMinus(t *testing.T) string {
	_, _, token := seal(t, secretKeys[0], filled(0xfb), 0xfbefbe, filled(0xef))
	if !strings.Contains(token, "-") || !strings.Contains(token, "_") {
		t.Fatalf("token is %s", token)
	}
	return token
}

func TestTokenVectors(t *testing.T) { golden(t, "token.json", makeTokens(t)) }

func manager(t *testing.T, keys []string) (*pazzo.Manager, *memstore.Store) {
	t.Helper()
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	m, err := pazzo.New(store, &pazzo.Options{SecretKeys: keys, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return m, store
}

func TestLibraryPassesTheTokenVectors(t *testing.T) {
	file := load[tokenFile](t, "token.json")
	for _, v := range file.Valid {
		m, store := manager(t, v.SecretKeys)
		var handle record.Handle
		copy(handle[:], unhex(v.Handle))
		s, err := m.Acquire(v.Token)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		alike(t, v.Name+": token", s.Token(), v.Reissued)
		// It opens the session with that handle and secret, if that is in its first
		// generation.
		b := &record.Batch{Ops: []record.Op{record.Create(readSecret(v.Secret), record.Expiry{Idle: 1e6, Absolute: 1e6})}}
		if _, err := store.Apply(context.Background(), handle, b); err != nil {
			t.Fatal(err)
		}
		got, found, err := s.Handle(context.Background())
		if err != nil || found != (v.Generation == 1) || found && got != handle {
			t.Errorf("%s: opens %v, found %v, error %v", v.Name, got, found, err)
		}
	}
	for _, v := range file.Invalid {
		m, _ := manager(t, v.SecretKeys)
		if _, err := m.Acquire(v.Token); v.Token != "" && !errors.Is(err, pazzo.ErrToken) {
			t.Errorf("%s: error is %v, want %v", v.Name, err, pazzo.ErrToken)
		}
	}
}
