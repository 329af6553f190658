package memstore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/pazzo-sessions/pazzo/record"
)

// A snapshot is
//
//	"pazzo memstore" | version 1
//	kind 1 | key | length 4 | encoding    for each session and each index
//	kind 0 | number of those 8
//	SHA-256 of all of that
//
// where a session's key is its handle, an index's the SHA-256 of the user, and the
// encodings are those of package record.
const (
	snapshotMagic   = "pazzo memstore"
	snapshotVersion = 1

	kindEnd     = 0
	kindSession = 1
	kindIndex   = 2

	// maxEncoding bounds what is believed of a length, in bytes.
	maxEncoding = 1 << 30
)

// ErrSnapshot is returned when what is read is not a whole snapshot of this
// version.
var ErrSnapshot = errors.New("memstore: not a snapshot")

// Snapshot writes the sessions and indexes that have not expired. Each of them is as
// it was at some time during the call; the store goes on meanwhile. Sessions come
// before indexes, so that whoever had logged in is listed.
//
// It holds the lock of one shard at a time, for as long as it takes to copy the
// places of its entries, not their texts.
func (s *Store) Snapshot(w io.Writer) error {
	sum := sha256.New()
	out := &snapshotWriter{w: bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)}
	out.write([]byte(snapshotMagic))
	out.write([]byte{snapshotVersion})
	now := s.now()
	snapshotTable(&s.sessions, out, kindSession, now, func(h *record.Handle) []byte { return h[:] })
	snapshotTable(&s.indexes, out, kindIndex, now, func(user *[sha256.Size]byte) []byte { return user[:] })
	out.write(binary.BigEndian.AppendUint64([]byte{kindEnd}, out.entries))
	if out.err == nil {
		out.err = out.w.Flush()
	}
	if out.err != nil {
		return out.err
	}
	if s.closed.Load() {
		return errClosed()
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// snapshotWriter writes until the first error.
type snapshotWriter struct {
	w       *bufio.Writer
	entries uint64
	head    []byte
	err     error
}

func (out *snapshotWriter) write(p []byte) {
	if out.err == nil {
		_, out.err = out.w.Write(p)
	}
}

func (out *snapshotWriter) entry(kind byte, key []byte, text string) {
	out.head = append(append(out.head[:0], kind), key...)
	out.write(binary.BigEndian.AppendUint32(out.head, uint32(len(text))))
	if out.err == nil {
		_, out.err = out.w.WriteString(text)
	}
	out.entries++
}

func snapshotTable[K comparable](t *table[K], out *snapshotWriter, kind byte, now int64, key func(*K) []byte) {
	var copied []entry[K]
	for i := range t.shards {
		copied = t.shards[i].copyTo(copied[:0], now)
		for j := range copied {
			out.entry(kind, key(&copied[j].key), copied[j].text)
		}
	}
}

// copyTo appends the entries that have not expired.
func (s *shard[K]) copyTo(dst []entry[K], now int64) []entry[K] {
	s.mu.Lock()
	defer s.mu.Unlock()
	for place := uint32(1); place <= s.count; place++ {
		if e := s.at(place); now < e.deadline {
			dst = append(dst, *e)
		}
	}
	return dst
}

// Load adds what Snapshot wrote to the store, but for what has expired since. It
// reads no further than that. Whoever is logged in is listed afterwards, and of users
// that are blocked there is no session: what was unlisted while the snapshot was
// written may be in it. ErrSnapshot is returned for anything that Snapshot does not
// write, and record.ErrFull when it passes Options.MaxBytes; what was read until then
// stays in the store.
func (s *Store) Load(r io.Reader) error {
	in := &snapshotReader{r: r, sum: sha256.New()}
	head := in.read(len(snapshotMagic) + 1)
	switch {
	case in.err != nil:
		return in.err
	case string(head[:len(snapshotMagic)]) != snapshotMagic:
		return fmt.Errorf("%w: it begins with %q", ErrSnapshot, head)
	case head[len(snapshotMagic)] != snapshotVersion:
		return fmt.Errorf("%w: of version %d; this program knows version %d", ErrSnapshot, head[len(snapshotMagic)], snapshotVersion)
	}
	entries := uint64(0)
	for in.err == nil {
		kind := in.read(1)
		if in.err == nil && kind[0] == kindEnd {
			if err := in.end(entries); err != nil {
				return err
			}
			return s.relist()
		}
		if in.err == nil {
			in.err = s.loadEntry(in, kind[0])
		}
		entries++
	}
	return in.err
}

// loadEntry reads an entry of a kind and keeps it.
func (s *Store) loadEntry(in *snapshotReader, kind byte) error {
	switch kind {
	case kindSession:
		var h record.Handle
		copy(h[:], in.read(len(h)))
		text := in.text()
		if in.err != nil {
			return in.err
		}
		return s.loadSession(h, text)
	case kindIndex:
		var user [sha256.Size]byte
		copy(user[:], in.read(len(user)))
		text := in.text()
		if in.err != nil {
			return in.err
		}
		return s.loadIndex(user, text)
	}
	return fmt.Errorf("%w: unknown kind %d", ErrSnapshot, kind)
}

func (s *Store) loadSession(h record.Handle, text []byte) error {
	var r record.Record
	if err := r.Decode(string(text)); err != nil {
		return fmt.Errorf("%w: session %s: %w", ErrSnapshot, h, err)
	}
	return loadText(&s.sessions, s, h[0], h, text, r.Expires())
}

func (s *Store) loadIndex(user [sha256.Size]byte, text []byte) error {
	var x record.Index
	if err := x.Decode(string(text)); err != nil {
		return fmt.Errorf("%w: index %x: %w", ErrSnapshot, user, err)
	}
	return loadText(&s.indexes, s, user[0], user, text, x.Expires())
}

func loadText[K comparable](t *table[K], s *Store, first byte, key K, text []byte, expires int64) error {
	if s.now() >= expires {
		return nil
	}
	shard := t.shard(first)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if s.closed.Load() {
		return errClosed()
	}
	if !shard.keep(&s.shared, shard.find(key), key, text, expires, false) {
		return record.ErrFull
	}
	return nil
}

// relist lists every session of a user, or ends it if the user is blocked or the
// session is over the cap.
func (s *Store) relist() error {
	var copied []entry[record.Handle]
	var r record.Record
	for i := range s.sessions.shards {
		now := s.now()
		copied = s.sessions.shards[i].copyTo(copied[:0], now)
		for j := range copied {
			if err := r.Decode(copied[j].text); err != nil {
				return err
			}
			if !r.Meta.HasUser {
				continue
			}
			if err := s.relistOne(copied[j].key, &r, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// endedFor is how long a session that relist has ended leaves a tombstone, in ms.
const endedFor = 60_000

func (s *Store) relistOne(h record.Handle, r *record.Record, now int64) error {
	if listed, err := s.isListed(h, r); listed || err != nil {
		return err
	}
	left := min(max(r.Meta.Deadline-now, 1), record.MaxTimeout)
	step := record.IndexStep{Kind: record.Refresh, Handle: h, Lifetime: left}
	reply, err := s.ApplyIndex(context.Background(), r.User, &step)
	if err != nil || reply.Status == record.IndexOK {
		return err
	}
	end := record.Batch{Ops: []record.Op{record.Destroy(record.Revoked, endedFor)}}
	_, err = s.Apply(context.Background(), h, &end)
	return err
}

// isListed reports whether a session is listed for its user as it should be.
func (s *Store) isListed(h record.Handle, r *record.Record) (bool, error) {
	reply, err := s.ApplyIndex(context.Background(), r.User, &record.IndexStep{Kind: record.List})
	if err != nil || reply.BlockedUntil > 0 {
		return false, err
	}
	for _, e := range reply.Entries {
		if e.Handle == h {
			return e.State == record.Active && e.Deadline >= r.Meta.Deadline, nil
		}
	}
	return false, nil
}

// snapshotReader reads until the first error. What it returns is good until the
// next read.
type snapshotReader struct {
	r   io.Reader
	sum hash.Hash
	buf bytes.Buffer
	err error
}

// read returns n bytes. Memory is taken as they come, not as they are claimed.
func (in *snapshotReader) read(n int) []byte {
	in.buf.Reset()
	if in.err != nil {
		return nil
	}
	if _, err := io.CopyN(&in.buf, in.r, int64(n)); err != nil {
		in.fail(err)
		return nil
	}
	in.sum.Write(in.buf.Bytes())
	return in.buf.Bytes()
}

func (in *snapshotReader) text() []byte {
	length := in.read(4)
	if in.err != nil {
		return nil
	}
	n := binary.BigEndian.Uint32(length)
	if n > maxEncoding {
		in.err = fmt.Errorf("%w: an entry of %d bytes", ErrSnapshot, n)
		return nil
	}
	return in.read(int(n))
}

func (in *snapshotReader) fail(err error) {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = fmt.Errorf("%w: it is cut short", ErrSnapshot)
	}
	in.err = err
}

// end reads what follows the entries.
func (in *snapshotReader) end(entries uint64) error {
	count := in.read(8)
	if in.err != nil {
		return in.err
	}
	if n := binary.BigEndian.Uint64(count); n != entries {
		return fmt.Errorf("%w: %d entries instead of %d", ErrSnapshot, entries, n)
	}
	want := in.sum.Sum(nil)
	got := in.read(sha256.Size)
	if in.err != nil {
		return in.err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: its checksum is wrong", ErrSnapshot)
	}
	return nil
}
