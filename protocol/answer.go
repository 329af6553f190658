package protocol

import (
	"encoding/binary"

	"github.com/pazzo-sessions/pazzo/record"
)

// AppendReply appends apply.lua's answer to b on the session h: it is the reverse of
// [ParseReply]. The reply is the whole one of record.Apply, with the revision.
func AppendReply(dst []byte, h record.Handle, b *record.Batch, r *record.Reply) []byte {
	dst = append(dst, h[:]...)
	dst = append(dst, byte(r.Status))
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.At))
	dst = append(dst, byte(r.Reason))
	dst = appendUint48(dst, r.Now)
	dst = appendRevision(dst, r)
	if r.Revision != 0 { // then there is a record to tell of
		packed := r.Meta.Pack()
		dst = append(dst, packed[:]...)
	}
	if r.Status != record.OK {
		return dst
	}
	for i := range b.Ops {
		dst = appendAnswer(dst, b.Ops[i].Kind, i, r)
	}
	return dst
}

// appendAnswer appends what the operation i, of the given kind, answers.
func appendAnswer(dst []byte, kind record.OpKind, i int, r *record.Reply) []byte {
	switch kind {
	case record.OpGet, record.OpSetIfAbsent, record.OpPop, record.OpDrain, record.OpAdd, record.OpDelete,
		record.OpRotate, record.OpTouch, record.OpDestroy:
		v := &r.Values[i]
		dst = append(dst, flag(v.Found))
		return appendText(dst, v.Text)
	case record.OpGetIdentity:
		dst = appendValue(dst, UserField(&r.Identity))
		return appendValue(dst, r.Identity.Device)
	case record.OpGetAll:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.Fields)))
		for i := range r.Fields {
			dst = appendText(appendText(dst, r.Fields[i].Name), r.Fields[i].Text)
		}
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
}

// appendValue appends a value that is never empty when it is there.
func appendValue(dst []byte, s string) []byte {
	return appendText(append(dst, flag(s != "")), s)
}

// appendRevision appends revision 6 | size 4.
func appendRevision(dst []byte, r *record.Reply) []byte {
	dst = appendUint48(dst, int64(r.Revision))
	return binary.BigEndian.AppendUint32(dst, uint32(r.Size))
}

// AppendUnreadable appends apply.lua's answer when the session lies there in a
// layout that this version does not know, which is then named, or is corrupt data
// (layout record.Layout). Now is the store's clock, in ms.
func AppendUnreadable(dst []byte, h record.Handle, layout byte, now int64) []byte {
	dst = append(dst, h[:]...)
	if layout == record.Layout {
		dst = append(dst, statusCorrupt, 0, 0, 0, 0, 0)
	} else {
		dst = append(dst, statusLayout, 0, 0, 0, layout, 0)
	}
	dst = appendUint48(dst, now)
	return append(dst, make([]byte, replySize-28)...)
}

// AppendIndexReply appends index.lua's answer: it is the reverse of
// [ParseIndexReply].
func AppendIndexReply(dst []byte, t Tag, r *record.IndexReply) []byte {
	dst = append(append(dst, t[:]...), byte(r.Status))
	dst = appendUint48(appendUint48(dst, r.Now), r.BlockedUntil)
	for i := range r.Entries {
		packed := r.Entries[i].Pack()
		dst = append(append(dst, r.Entries[i].Handle[:]...), packed[:]...)
	}
	return dst
}

// AppendUnreadableIndex appends index.lua's answer when the index is corrupt data.
func AppendUnreadableIndex(dst []byte, t Tag, now int64) []byte {
	dst = append(append(dst, t[:]...), statusCorrupt)
	return appendUint48(appendUint48(dst, now), 0)
}

// UserField returns the hash's field NameUser, or "" when nobody is logged in: it is
// the reverse of [SetUser].
func UserField(id *record.Identity) string {
	if id.User == "" {
		return ""
	}
	return string(append(appendUint48(make([]byte, 0, 6+len(id.User)), id.Auth), id.User...))
}

// RevisionField returns the hash's field NameRevision: it is the reverse of
// [RevisionAndSize].
func RevisionField(r *record.Reply) string {
	return string(appendRevision(make([]byte, 0, 10), r))
}
