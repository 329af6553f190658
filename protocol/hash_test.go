package protocol_test

import (
	"errors"
	"maps"
	"testing"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// plain returns a hash of the vectors in bytes.
func plain(hexed map[string]string) map[string]string {
	h := make(map[string]string, len(hexed))
	for name, text := range hexed {
		h[unhex(name)] = unhex(text)
	}
	return h
}

func TestHashIsReadAsTheRecordVectorsSay(t *testing.T) {
	for _, v := range load[recordFile](t, "record.json").Sessions {
		r := record.Record{Device: "of another"}
		if err := protocol.ParseHash(plain(v.Hash), &r); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		alike(t, v.Name, hexOf(r.Append(nil)), v.Encoded)
	}
}

func TestHashThatIsNone(t *testing.T) {
	var whole map[string]string // with everything that a hash may have
	for _, v := range load[recordFile](t, "record.json").Sessions {
		if r := v.Record.read(); r.Meta.HasPrevious {
			r.Meta.HasUser, r.User, r.Auth = true, "ann", r.Meta.Created
			whole = plain(hash(r))
		}
	}
	if whole == nil {
		t.Fatal("no vector has a previous generation")
	}
	for name, change := range map[string]func(h map[string]string){
		"no meta data":           func(h map[string]string) { delete(h, protocol.NameMeta) },
		"short meta data":        func(h map[string]string) { h[protocol.NameMeta] = h[protocol.NameMeta][1:] },
		"no revision":            func(h map[string]string) { delete(h, protocol.NameRevision) },
		"long revision":          func(h map[string]string) { h[protocol.NameRevision] += "x" },
		"no previous generation": func(h map[string]string) { delete(h, protocol.NamePrevious) },
		"no user":                func(h map[string]string) { delete(h, protocol.NameUser) },
		"an empty user":          func(h map[string]string) { h[protocol.NameUser] = h[protocol.NameUser][:6] },
		"a broken tombstone":     func(h map[string]string) { h[protocol.NameMeta] = "\x01\x20\xff" },
		"nothing at all":         func(h map[string]string) { clear(h) },
	} {
		h := maps.Clone(whole)
		change(h)
		var r record.Record
		if err := protocol.ParseHash(h, &r); err == nil || r.State != record.None {
			t.Errorf("%s: %v, state %d", name, err, r.State)
		}
	}
	h := maps.Clone(whole)
	h[protocol.NameMeta] = "\x63" + h[protocol.NameMeta][1:]
	var r record.Record
	if err := protocol.ParseHash(h, &r); !errors.Is(err, record.ErrLayout) {
		t.Errorf("a later layout: %v", err)
	}
}
