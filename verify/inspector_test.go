package verify

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"strconv"
	"testing"

	"github.com/redis/rueidis"
	"pgregory.net/rapid"

	"github.com/pazzo-sessions/pazzo/record"
)

// inspector looks at what lies in Redis, and moves it in time.
type inspector struct {
	client rueidis.Client
}

func newInspector(t *testing.T, addr string) *inspector {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &inspector{client}
}

func (r *inspector) do(t *rapid.T, args ...string) rueidis.RedisResult {
	result := r.client.Do(context.Background(), r.client.B().Arbitrary(args[0]).Args(args[1:]...).Build())
	if err := result.Error(); err != nil {
		t.Fatalf("%q: %v", args[0], err)
	}
	return result
}

// over reports whether a time is past by the server's clock.
func (r *inspector) over(t *rapid.T, at int64) bool {
	now, err := r.do(t, "TIME").AsIntSlice()
	if err != nil {
		t.Fatal(err)
	}
	return now[0]*1000+now[1]/1000 >= at
}

// read returns a hash and when it expires, or -2 if there is none.
func (r *inspector) read(t *rapid.T, key string) (map[string]string, int64) {
	expires, err := r.do(t, "PEXPIRETIME", key).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	hash, err := r.do(t, "HGETALL", key).AsStrMap()
	if err != nil {
		t.Fatal(err)
	}
	return hash, expires
}

func (r *inspector) write(t *rapid.T, key string, hash map[string]string, expires int64) {
	r.do(t, "DEL", key)
	if len(hash) == 0 {
		return
	}
	args := []string{"HSET", key}
	for name, text := range hash {
		args = append(args, name, text)
	}
	r.do(t, args...)
	r.do(t, "PEXPIREAT", key, strconv.FormatInt(expires, 10))
}

// compare fails unless the hash of h is want in the published layout. A record
// that has expired may be there or not.
func (r *inspector) compare(t *rapid.T, h record.Handle, want *record.Record) {
	hash, expires := r.read(t, sessionKey(h))
	expected := hashOf(want)
	if (len(hash) == 0) != (len(expected) == 0) && r.over(t, max(want.Expires(), expires)) {
		return
	}
	if !maps.Equal(hash, expected) {
		t.Fatalf("in Redis\n got %q\nwant %q", hash, expected)
	}
	if len(hash) > 0 && expires != want.Expires() {
		t.Fatalf("the key expires at %d, the record at %d", expires, want.Expires())
	}
}

// jump lets ms pass for the session: all its times are that much earlier.
func (r *inspector) jump(t *rapid.T, h record.Handle, rec *record.Record, ms int64) {
	r.compare(t, h, rec)
	for _, at := range []*int64{&rec.Meta.Created, &rec.Meta.Deadline, &rec.Meta.Touched, &rec.Meta.FloorTime,
		&rec.Meta.Renewed, &rec.Previous.Presented, &rec.Auth, &rec.Tombstone.Ended, &rec.Tombstone.Until} {
		if *at != 0 {
			*at -= ms
		}
	}
	r.write(t, sessionKey(h), hashOf(rec), rec.Expires())
}

func sessionKey(h record.Handle) string { return "pazzo:{" + h.String() + "}" }

// hashOf returns the published layout of a record.
func hashOf(r *record.Record) map[string]string {
	switch r.State {
	case record.None:
		return nil
	case record.Dead:
		packed := r.Tombstone.Pack()
		return map[string]string{"\x00m": string(packed[:])}
	}
	packed := r.Meta.Pack()
	revision := binary.BigEndian.AppendUint64(nil, r.Revision)[2:]
	hash := map[string]string{
		"\x00m": string(packed[:]),
		"\x00r": string(binary.BigEndian.AppendUint32(revision, uint32(r.Size()))),
	}
	if r.Meta.HasPrevious {
		previous := r.Previous.Pack()
		hash["\x00p"] = string(previous[:])
	}
	if r.Meta.HasUser {
		hash["\x00u"] = string(binary.BigEndian.AppendUint64(nil, uint64(r.Auth))[2:]) + r.User
	}
	if r.Device != "" {
		hash["\x00d"] = r.Device
	}
	for _, f := range r.Fields {
		hash[f.Name] = f.Text
	}
	return hash
}

func indexKey(user string) string {
	sum := sha256.Sum256([]byte(user))
	return "pazzo:u:" + hex.EncodeToString(sum[:])
}

func indexHash(x *record.Index) map[string]string {
	hash := map[string]string{}
	for i := range x.Entries {
		packed := x.Entries[i].Pack()
		hash[string(x.Entries[i].Handle[:])] = string(packed[:])
	}
	if x.BlockedUntil != 0 {
		hash["\x00b"] = string(binary.BigEndian.AppendUint64(nil, uint64(x.BlockedUntil))[2:])
	}
	return hash
}

func (r *inspector) compareIndex(t *rapid.T, user string, want *record.Index) {
	hash, expires := r.read(t, indexKey(user))
	expected := indexHash(want)
	if (len(hash) == 0) != (len(expected) == 0) && r.over(t, max(want.Expires(), expires)) {
		return
	}
	if !maps.Equal(hash, expected) {
		t.Fatalf("in Redis\n got %q\nwant %q", hash, expected)
	}
	if len(hash) > 0 && expires != want.Expires() {
		t.Fatalf("the key expires at %d, the index at %d", expires, want.Expires())
	}
}

// jumpIndex lets ms pass for the index.
func (r *inspector) jumpIndex(t *rapid.T, user string, x *record.Index, ms int64) {
	for i := range x.Entries {
		x.Entries[i].Added -= ms
		x.Entries[i].Deadline -= ms
	}
	if x.BlockedUntil != 0 {
		x.BlockedUntil -= ms
	}
	r.write(t, indexKey(user), indexHash(x), x.Expires())
}
