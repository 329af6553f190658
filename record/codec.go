package record

import (
	"encoding/binary"
	"fmt"
)

// The encoding, for stores that keep one value per session:
//
//	layout 1 | flags 1 | …            as Meta.Pack or Tombstone.Pack; a tombstone ends here
//	revision                          uvarint
//	previous 28                       if there is one
//	user | authentication 6           if there is one; user is a length (uvarint) and bytes
//	device                            length and bytes
//	number of fields                  uvarint
//	name | text                       for each field, sorted by name; lengths and bytes
//
// The empty string is an absent record.

// Append appends r's encoding to dst: nothing for an absent record.
func (r *Record) Append(dst []byte) []byte {
	switch r.State {
	case None:
		return dst
	case Dead:
		packed := r.Tombstone.Pack()
		return append(dst, packed[:]...)
	}
	dst = append(dst, make([]byte, MetaSize)...)
	r.Meta.pack((*[MetaSize]byte)(dst[len(dst)-MetaSize:]))
	dst = binary.AppendUvarint(dst, r.Revision)
	if r.Meta.HasPrevious {
		previous := r.Previous.Pack()
		dst = append(dst, previous[:]...)
	}
	if r.Meta.HasUser {
		dst = appendText(dst, r.User)
		var auth [6]byte
		putUint48(auth[:], r.Auth)
		dst = append(dst, auth[:]...)
	}
	dst = appendText(dst, r.Device)
	dst = binary.AppendUvarint(dst, uint64(len(r.Fields)))
	for _, f := range r.Fields {
		dst = appendText(dst, f.Name)
		dst = appendText(dst, f.Text)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// Decode makes r the record that s encodes and keeps r's capacity. The strings of
// r are parts of s; otherwise it allocates for at most one field per two bytes of
// s. ErrLayout is returned for an unknown layout, ErrCorrupt for anything that
// Append does not write; r is then absent.
func (r *Record) Decode(s string) error {
	r.Reset()
	if s == "" {
		return nil
	}
	if IsTombstone(s) {
		if err := r.Tombstone.Unpack(s); err != nil {
			return err
		}
		r.State = Dead
		return nil
	}
	if err := checkLayout(s); err != nil {
		return err
	}
	if err := r.decodeLive(s); err != nil {
		r.Reset()
		return err
	}
	r.State = Live
	return nil
}

func (r *Record) decodeLive(s string) error {
	in := input{rest: s}
	if err := r.Meta.Unpack(in.take(MetaSize)); err != nil {
		return err
	}
	r.Revision = in.uvarint()
	if r.Meta.HasPrevious {
		if err := r.Previous.Unpack(in.take(PreviousSize)); err != nil {
			return err
		}
	}
	if r.Meta.HasUser {
		r.User = in.text()
		r.Auth = in.uint48()
	}
	r.Device = in.text()
	fields := in.uvarint()
	if in.bad || fields > uint64(len(in.rest)/2) {
		return fmt.Errorf("%w: the record is cut short", ErrCorrupt)
	}
	for range fields {
		f := Field{Name: in.text(), Text: in.text()}
		if in.bad {
			return fmt.Errorf("%w: the record is cut short", ErrCorrupt)
		}
		if n := len(r.Fields); n > 0 && r.Fields[n-1].Name >= f.Name {
			return fmt.Errorf("%w: fields out of order", ErrCorrupt)
		}
		r.size += len(f.Name) + len(f.Text)
		r.Fields = append(r.Fields, f)
	}
	if in.rest != "" {
		return fmt.Errorf("%w: %d bytes after the record", ErrCorrupt, len(in.rest))
	}
	return nil
}

// input reads an encoding from its front. After a read beyond its end it is bad
// and yields nothing.
type input struct {
	rest string
	bad  bool
}

func (in *input) take(n int) string {
	if n < 0 || n > len(in.rest) {
		in.rest, in.bad = "", true
		return ""
	}
	s := in.rest[:n]
	in.rest = in.rest[n:]
	return s
}

// uvarint reads the shortest encoding of a number; a longer one is bad, so that
// a record has one encoding.
func (in *input) uvarint() (v uint64) {
	for i := 0; i < len(in.rest) && i < binary.MaxVarintLen64; i++ {
		c := in.rest[i]
		if c < 0x80 {
			if i > 0 && c == 0 || i == binary.MaxVarintLen64-1 && c > 1 {
				break
			}
			in.rest = in.rest[i+1:]
			return v | uint64(c)<<(7*i)
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	in.rest, in.bad = "", true
	return 0
}

func (in *input) uint48() int64 {
	s := in.take(6)
	if in.bad {
		return 0
	}
	return getUint48(s)
}

func (in *input) text() string {
	if s := in.rest; s != "" && s[0] < 0x80 && int(s[0]) < len(s) { // the usual case
		end := 1 + int(s[0])
		in.rest = s[end:]
		return s[1:end]
	}
	n := in.uvarint()
	if n > uint64(len(in.rest)) {
		in.rest, in.bad = "", true
		return ""
	}
	return in.take(int(n))
}
