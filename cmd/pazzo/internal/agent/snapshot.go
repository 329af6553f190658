package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// The file is
//
//	"pazzo agent" | version 1 | number of spaces 2
//	database 1 | length 1 | prefix      for each space
//	CRC-32C of all of that 4
//	a snapshot of package memstore      for each space, with a checksum of its own
const (
	snapshotMagic   = "pazzo agent"
	snapshotVersion = 1
)

// ErrSnapshot is wrapped when the snapshot file is not a whole one of this version.
// It is left as it is.
var ErrSnapshot = errors.New("the snapshot cannot be used, and is left alone")

// snapshots is what the agent knows of its file.
type snapshots struct {
	mu   sync.Mutex // one is written at a time
	last atomic.Pointer[time.Time]
}

// snapshotHead is the file up to the snapshots of the spaces.
func snapshotHead(list []*space) []byte {
	head := append([]byte(snapshotMagic), snapshotVersion)
	head = binary.BigEndian.AppendUint16(head, uint16(len(list)))
	for _, s := range list {
		head = append(head, byte(s.database), byte(len(s.prefix)))
		head = append(head, s.prefix...)
	}
	return binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli()))
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// writeSnapshot replaces the file in one step: a crash leaves the old one or the
// new one, and never half of one.
func (a *Agent) writeSnapshot() error {
	a.snapshots.mu.Lock()
	defer a.snapshots.mu.Unlock()
	path, began := a.settings().Snapshot, time.Now()
	temporary := path + ".new"
	size, err := writeSynced(temporary, a.spaces.all())
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		os.Remove(temporary)
		return fmt.Errorf("snapshot: %w", err)
	}
	a.snapshots.last.Store(&began)
	a.log.Debug("snapshot written", "path", path, "bytes", size, "took", time.Since(began))
	return nil
}

func writeSynced(path string, list []*space) (size int64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Write(snapshotHead(list)); err != nil {
		return 0, err
	}
	for _, s := range list {
		if err := s.memory.Snapshot(f); err != nil {
			return 0, err
		}
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	size, err = f.Seek(0, io.SeekCurrent)
	return size, errors.Join(err, f.Close())
}

// syncFolder makes a rename last.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// loadSnapshot reads the file, if there is one. What it has of prefixes that no user
// has any more is kept, so that it is there again when a user is.
func (a *Agent) loadSnapshot(ctx context.Context, path string) error {
	if found, err := os.Stat(filepath.Dir(path)); err != nil || !found.IsDir() {
		return invalid("snapshot", filepath.Dir(path)+" is no folder")
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		a.log.Info("no snapshot yet", "path", path)
		return nil
	}
	if err != nil {
		return invalid("snapshot", err.Error())
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 64<<10)
	names, err := readSnapshotHead(in)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSnapshot, path, err)
	}
	for _, name := range names {
		s, err := a.spaces.get(ctx, name.database, name.prefix)
		if err != nil {
			return err
		}
		if err := s.memory.Load(in); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrSnapshot, path, err)
		}
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return fmt.Errorf("%w: %s: there is more after its end", ErrSnapshot, path)
	}
	for _, name := range names {
		s, _ := a.spaces.get(ctx, name.database, name.prefix)
		records, _ := s.memory.Stats()
		a.log.Info("snapshot loaded", "path", path, "prefix", name.prefix, "database", name.database, "records", records)
	}
	return nil
}

func readSnapshotHead(in io.Reader) (names []spaceName, err error) {
	var read bytes.Buffer
	in = io.TeeReader(in, &read)
	begin := make([]byte, len(snapshotMagic)+3)
	if _, err := io.ReadFull(in, begin); err != nil || !bytes.HasPrefix(begin, []byte(snapshotMagic)) {
		return nil, errors.New("it was not written by an agent")
	}
	if v := begin[len(snapshotMagic)]; v != snapshotVersion {
		return nil, fmt.Errorf("it has version %d, and this agent knows %d", v, snapshotVersion)
	}
	for range binary.BigEndian.Uint16(begin[len(snapshotMagic)+1:]) {
		var name [2 + 255]byte
		if _, err := io.ReadFull(in, name[:2]); err != nil {
			return nil, errors.New("it is cut short")
		}
		prefix := name[2 : 2+int(name[1])]
		if _, err := io.ReadFull(in, prefix); err != nil {
			return nil, errors.New("it is cut short")
		}
		names = append(names, spaceName{int(name[0]), string(prefix)})
	}
	want := crc32.Checksum(read.Bytes(), castagnoli())
	var sum [4]byte
	if _, err := io.ReadFull(in, sum[:]); err != nil {
		return nil, errors.New("it is cut short")
	}
	if binary.BigEndian.Uint32(sum[:]) != want {
		return nil, errors.New("its checksum is wrong")
	}
	return names, nil
}

// snapshotUntil writes one at every interval, until ctx ends. A failure is logged,
// and the next interval tries again.
func (a *Agent) snapshotUntil(ctx context.Context) {
	ticker := time.NewTicker(a.settings().SnapshotInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := a.writeSnapshot(); err != nil {
			a.log.Error("no snapshot was written", "error", err)
		}
	}
}
