package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A directory holds
//
//	FORMAT            "pazzo sessions, format 1\n"
//	data/             the database
//	control           a socket, while the store is open
//	checkpoint-…/     while a backup is taken
//
// FORMAT is written first, in one step, so that it is there before anything else,
// and read before anything is touched.
const (
	formatFile    = "FORMAT"
	newFormatFile = "FORMAT.new"
	dataDir       = "data"
	controlSocket = "control"
	checkpoints   = "checkpoint-"

	formatText    = "pazzo sessions, format "
	formatVersion = 1
)

// In the database, P being a prefix preceded by its length in one byte:
//
//	s P handle 16        filed 4 | record, as record.Record.Append encodes it
//	u P SHA-256 32       filed 4 | index, as record.Index.Append does
//	x filed 4 | key      nothing: the order of expiry
//
// Filed is the second, since 1970, when the sweeper looks at the entry next; it is
// never later than the entry's end, rounded up. A write that prolongs a session
// leaves it: the sweeper files the session again when it comes by.
const (
	sessionKind = 's'
	indexKind   = 'u'
	expiryKind  = 'x'

	filedSize = 4
)

// checkFormat reports whether dir is a store's directory; fresh says that it is
// empty or does not exist.
func checkFormat(fsys vfs.FS, dir string) (fresh bool, err error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("pebblestore: %w", err)
	}
	if !slices.Contains(names, formatFile) {
		for _, name := range names {
			if name != newFormatFile && name != "lost+found" {
				return false, fmt.Errorf("%w: %s has no file %s, but %q", ErrForeign, dir, formatFile, name)
			}
		}
		return true, nil
	}
	version, err := readFormat(fsys, fsys.PathJoin(dir, formatFile))
	switch {
	case err != nil:
		return false, err
	case version > formatVersion:
		return false, fmt.Errorf("%w: %s has format %d, this version knows %d", ErrVersion, dir, version, formatVersion)
	}
	return false, nil
}

func readFormat(fsys vfs.FS, path string) (int, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return 0, fmt.Errorf("pebblestore: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 100))
	if err != nil {
		return 0, fmt.Errorf("pebblestore: %s: %w", path, err)
	}
	rest, ours := strings.CutPrefix(string(text), formatText)
	version, err := strconv.ParseUint(strings.TrimSuffix(rest, "\n"), 10, 31)
	if !ours || err != nil || version == 0 {
		return 0, fmt.Errorf("%w: %s is not a format that Pazzo has written", ErrForeign, path)
	}
	return int(version), nil
}

// writeFormat makes dir a store's directory, in one step that lasts.
func writeFormat(fsys vfs.FS, dir string) error {
	path := fsys.PathJoin(dir, newFormatFile)
	f, err := fsys.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s%d\n", formatText, formatVersion)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(path, fsys.PathJoin(dir, formatFile)); err != nil {
		return err
	}
	return syncDir(fsys, dir)
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
