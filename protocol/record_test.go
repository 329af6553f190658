package protocol_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
)

type recordFile struct {
	Layout     int             `json:"layout"`
	Sessions   []redisSession  `json:"sessions"`
	Unreadable []unreadable    `json:"unreadable"`
	Indexes    []redisIndex    `json:"indexes"`
	Keys       []redisIndexKey `json:"index_keys"`
}

// redisSession is a record and the hash that holds it in Redis. Names and values
// are hexadecimal.
type redisSession struct {
	Name    string            `json:"name"`
	Record  *jsonRecord       `json:"record"`
	Prefix  string            `json:"prefix"`
	Handle  string            `json:"handle"`
	Key     string            `json:"key"`
	Hash    map[string]string `json:"hash"`
	Expires int64             `json:"expires"` // as by PEXPIREAT
	Encoded string            `json:"encoded"` // by stores that keep one value for a session
}

// unreadable is meta data that must be left as it is.
type unreadable struct {
	Name  string `json:"name"`
	Meta  string `json:"meta"`
	Error string `json:"error"` // "layout" or "corrupt"
}

type redisIndex struct {
	Name         string            `json:"name"`
	User         string            `json:"user"`
	BlockedUntil int64             `json:"blocked_until,omitempty"`
	Entries      []jsonEntry       `json:"entries"`
	Prefix       string            `json:"prefix"`
	Key          string            `json:"key"`
	Hash         map[string]string `json:"hash"`
	Expires      int64             `json:"expires"`
	Encoded      string            `json:"encoded"`
}

type jsonEntry struct {
	Handle   string `json:"handle"`
	State    string `json:"state"`
	Added    int64  `json:"added"`
	Deadline int64  `json:"deadline"`
}

type redisIndexKey struct {
	User   string `json:"user"`
	Prefix string `json:"prefix"`
	Key    string `json:"key"`
}

var states = []string{"pending", "active", "doomed"}

const (
	start  = 1_800_000_000_000 // 2027
	minute = 60_000
	hour   = 60 * minute
)

// uint48 is written from README.md.
func uint48(n int64) string {
	b := make([]byte, 6)
	for i := range b {
		b[i] = byte(n >> (8 * (5 - i)))
	}
	return hexOf(b)
}

// hash puts a record into a Redis hash as README.md says.
func hash(r *record.Record) map[string]string {
	if r.State == record.Dead {
		packed := r.Tombstone.Pack()
		return map[string]string{hexOf("\x00m"): hexOf(packed[:])}
	}
	packed := r.Meta.Pack()
	size := 0
	h := map[string]string{hexOf("\x00m"): hexOf(packed[:])}
	for _, f := range r.Fields {
		h[hexOf(f.Name)] = hexOf(f.Text)
		size += len(f.Name) + len(f.Text)
	}
	h[hexOf("\x00r")] = uint48(int64(r.Revision)) + uint48(int64(size))[4:]
	if r.Meta.HasPrevious {
		previous := r.Previous.Pack()
		h[hexOf("\x00p")] = hexOf(previous[:])
	}
	if r.Meta.HasUser {
		h[hexOf("\x00u")] = uint48(r.Auth) + hexOf(r.User)
	}
	if r.Device != "" {
		h[hexOf("\x00d")] = hexOf(r.Device)
	}
	return h
}

func sessionKey(prefix string, h record.Handle) string { return prefix + "{" + h.String() + "}" }

func indexKey(prefix, user string) string {
	sum := sha256.Sum256([]byte(user))
	return prefix + "u:" + hex.EncodeToString(sum[:])
}

// played applies batches one minute after another, to a record that is made first.
func played(t *testing.T, batches ...*record.Batch) *record.Record {
	t.Helper()
	r := new(record.Record)
	for i, b := range batches {
		if err := b.Check(); err != nil {
			t.Fatal(err)
		}
		if reply, _ := r.Apply(b, start+int64(i)*minute); reply.Status != record.OK {
			t.Fatalf("batch %d: %v", i, reply.Status)
		}
	}
	return r
}

func admin(ops ...record.Op) *record.Batch { return &record.Batch{Ops: ops} }

func makeRecords(t *testing.T) recordFile {
	file := recordFile{Layout: record.Layout}
	create := record.Create(counting(0x10), record.Expiry{Idle: hour, Absolute: 24 * hour})
	for _, c := range []struct {
		name   string
		prefix string
		handle record.Handle
		record *record.Record
	}{
		{"new and empty", "pazzo:", counting(0), played(t, admin(create))},
		{"fields", "pazzo:", counting(0), played(t, admin(create, record.Set("visits", "1"), record.Set("cart", `[{"name":"apple"},1.50,"\u003c"]`)))},
		{"names and texts that are not ASCII", "pazzo:", counting(0), played(t, admin(create, record.Set("é😀", `"é😀"`), record.Set("a\x00b", `""`), record.Set(" ", "{}")))},
		{"another prefix", "shop:sessions:", filled(0xff), played(t, admin(create, record.Set("a", "1")))},
		{"logged in", "pazzo:", counting(0), played(t, admin(create), admin(record.Authenticate("ann", counting(0x20), 24*hour)))},
		{"user not ASCII, device", "pazzo:", counting(0), played(t, admin(create), admin(record.Authenticate("änn@example", counting(0x20), 0)),
			admin(record.Describe(`{"ip":"2001:db8::1","user_agent":"é"}`)))},
		{"rotated, not yet presented", "pazzo:", counting(0), played(t, admin(create), admin(record.Rotate(1, counting(0x20), 15_000)))},
		{"rotated and presented", "pazzo:", counting(0), played(t, admin(create), admin(record.Rotate(1, counting(0x20), 15_000)),
			&record.Batch{Access: record.Access{Mode: record.Open, Generation: 2, Secret: counting(0x20)}, Ops: []record.Op{record.Set("a", "1")}})},
		{"renewed twice", "pazzo:", counting(0), played(t, admin(create), admin(record.Renew(counting(0x20))), admin(record.Renew(counting(0x30))))},
		{"its own timeouts, until the browser closes", "pazzo:", counting(0), played(t, admin(create),
			admin(record.SetExpiry(record.Expiry{Idle: 10 * minute, Absolute: 20 * minute, BrowserClose: true})))},
		{"many changes", "pazzo:", counting(0), played(t, admin(create), admin(record.Set("a", "1")), admin(record.Set("a", "22")), admin(record.Delete("a")), admin(record.Add("b", -7)))},
		{"touched", "pazzo:", counting(0), played(t, admin(create), admin(), admin(), admin(), admin(), admin(), admin(record.Touch()))},
		{"tombstone: logout", "pazzo:", counting(0), played(t, admin(create), admin(record.Destroy(record.Logout, minute)))},
		{"tombstone: replaced", "pazzo:", counting(0), played(t, admin(create), admin(record.Destroy(record.Replaced, minute)))},
		{"tombstone: revoked", "pazzo:", counting(0), played(t, admin(record.Destroy(record.Revoked, minute)))},
		{"tombstone: evicted", "pazzo:", counting(0), played(t, admin(create), admin(record.Destroy(record.Evicted, hour)))},
	} {
		file.Sessions = append(file.Sessions, redisSession{
			Name: c.name, Record: newRecord(c.record), Prefix: c.prefix, Handle: c.handle.String(), Key: sessionKey(c.prefix, c.handle),
			Hash: hash(c.record), Expires: c.record.Expires(), Encoded: hexOf(c.record.Append(nil)),
		})
	}
	meta := played(t, admin(create)).Meta.Pack()
	tombstone := played(t, admin(record.Destroy(record.Logout, minute))).Tombstone.Pack()
	changed := func(b []byte, at int, to byte) string {
		b = append([]byte{}, b...)
		b[at] = to
		return hexOf(b)
	}
	for _, c := range []struct{ name, meta, err string }{
		{"layout 2", changed(meta[:], 0, 2), "layout"},
		{"layout 0", changed(meta[:], 0, 0), "layout"},
		{"layout 2, longer", changed(meta[:], 0, 2) + "00", "layout"},
		{"layout 2, one byte", "02", "layout"},
		{"empty", "", "corrupt"},
		{"short", hexOf(meta[:61]), "corrupt"},
		{"long", hexOf(meta[:]) + "00", "corrupt"},
		{"unknown flag", changed(meta[:], 1, 0x40), "corrupt"},
		{"flag of a tombstone", changed(meta[:], 1, 0x20), "corrupt"},
		{"tombstone of layout 2", changed(tombstone[:], 0, 2), "layout"},
		{"tombstone with an unknown reason", changed(tombstone[:], 2, 4), "corrupt"},
		{"tombstone with another flag", changed(tombstone[:], 1, 0x21), "corrupt"},
		{"short tombstone", hexOf(tombstone[:14]), "corrupt"},
	} {
		file.Unreadable = append(file.Unreadable, unreadable{c.name, c.meta, c.err})
	}
	for _, c := range []struct {
		name, user string
		index      record.Index
	}{
		{"one active", "ann", record.Index{Entries: []record.Entry{{Handle: counting(0), State: record.Active, Added: start, Deadline: start + hour}}}},
		{"each state", "änn@example", record.Index{Entries: []record.Entry{
			{Handle: counting(0), State: record.Doomed, Added: start, Deadline: start + hour},
			{Handle: counting(1), State: record.Active, Added: start, Deadline: start + 3*hour},
			{Handle: filled(0xff), State: record.Pending, Added: start + 1, Deadline: start + 2*hour}}}},
		{"blocked, and a session", "ann", record.Index{BlockedUntil: start + 24*hour, Entries: []record.Entry{
			{Handle: counting(0), State: record.Active, Added: start, Deadline: start + hour}}}},
		{"blocked", "ann", record.Index{BlockedUntil: start + 24*hour}},
	} {
		j := redisIndex{Name: c.name, User: c.user, BlockedUntil: c.index.BlockedUntil, Entries: newEntries(c.index.Entries), Prefix: "pazzo:",
			Key: indexKey("pazzo:", c.user), Hash: map[string]string{}, Expires: c.index.Expires(), Encoded: hexOf(c.index.Append(nil))}
		for i := range c.index.Entries {
			packed := c.index.Entries[i].Pack()
			j.Hash[hexOf(c.index.Entries[i].Handle[:])] = hexOf(packed[:])
		}
		if c.index.BlockedUntil != 0 {
			j.Hash[hexOf("\x00b")] = uint48(c.index.BlockedUntil)
		}
		file.Indexes = append(file.Indexes, j)
	}
	for _, c := range [][2]string{{"pazzo:", "ann"}, {"pazzo:", "änn@example"}, {"shop:sessions:", "ann"}, {"pazzo:", "a{b}:c "}} {
		file.Keys = append(file.Keys, redisIndexKey{User: c[1], Prefix: c[0], Key: indexKey(c[0], c[1])})
	}
	return file
}

func newEntries(entries []record.Entry) []jsonEntry {
	list := []jsonEntry{}
	for _, e := range entries {
		list = append(list, jsonEntry{Handle: e.Handle.String(), State: states[e.State], Added: e.Added, Deadline: e.Deadline})
	}
	return list
}

func readEntries(list []jsonEntry) (entries []record.Entry) {
	for _, j := range list {
		e := record.Entry{State: record.EntryState(number(states, j.State)), Added: j.Added, Deadline: j.Deadline}
		copy(e.Handle[:], unhex(j.Handle))
		entries = append(entries, e)
	}
	return entries
}

func TestRecordVectors(t *testing.T) { golden(t, "record.json", makeRecords(t)) }

func TestLibraryPassesTheRecordVectors(t *testing.T) {
	file := load[recordFile](t, "record.json")
	for _, v := range file.Sessions {
		r := v.Record.read()
		alike(t, v.Name+": hash", hash(r), v.Hash)
		alike(t, v.Name+": encoded", hexOf(r.Append(nil)), v.Encoded)
		alike(t, v.Name+": expires", r.Expires(), v.Expires)
		var back record.Record
		if err := back.Decode(unhex(v.Encoded)); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		alike(t, v.Name+": decoded", newRecord(&back), v.Record)
		h, err := record.ParseHandle(v.Handle)
		if err != nil {
			t.Error(err)
		}
		alike(t, v.Name+": key", sessionKey(v.Prefix, h), v.Key)
	}
	for _, v := range file.Unreadable {
		err := readMeta(unhex(v.Meta))
		if want := map[string]error{"layout": record.ErrLayout, "corrupt": record.ErrCorrupt}[v.Error]; !errors.Is(err, want) {
			t.Errorf("%s: error is %v, want %v", v.Name, err, want)
		}
	}
	for _, v := range file.Indexes {
		x := record.Index{BlockedUntil: v.BlockedUntil, Entries: readEntries(v.Entries)}
		alike(t, v.Name+": encoded", hexOf(x.Append(nil)), v.Encoded)
		alike(t, v.Name+": expires", x.Expires(), v.Expires)
	}
}

// readMeta reads the field \0m of a hash.
func readMeta(s string) error {
	var tombstone record.Tombstone
	if record.IsTombstone(s) {
		return tombstone.Unpack(s)
	}
	var meta record.Meta
	return meta.Unpack(s)
}
