package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrExists is returned when a backup or a restore would go where something is.
var ErrExists = errors.New("pebblestore: the target is there already")

// Backup copies the store in dir to the directory to, which must not exist or be
// empty. The store may be open, in this process or another, on the same machine: the
// copy has what was on the disk at one moment, records and indexes together. The
// user who calls must be allowed to read the directory.
//
// A copy has the sessions' values and secrets; without the apps' secret key nobody
// makes a cookie of them. Errors are ErrForeign, ErrVersion, ErrExists, and those of
// the file systems; an unfinished copy is removed.
func Backup(ctx context.Context, dir, to string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if fresh, err := checkFormat(vfs.Default, dir); err != nil {
		return err
	} else if fresh {
		return fmt.Errorf("%w: there is none in %s", ErrForeign, dir)
	}
	c, err := askCheckpoint(ctx, dir)
	if err == nil {
		defer c.close()
		return copyStore(ctx, filepath.Join(dir, c.name), to)
	}
	if !errors.Is(err, errNotServed) {
		return err
	}
	if dir, err = prepareDir(vfs.Default, dir); err != nil {
		return err
	}
	lock, err := lockDir(vfs.Default, dir)
	if errors.Is(err, ErrInUse) {
		return fmt.Errorf("%w, by a process that takes no backups", err)
	}
	if err != nil {
		return err
	}
	return errors.Join(copyStore(ctx, dir, to), lock.Close())
}

// Restore copies a backup to the directory dir, which must not exist or be empty, and
// opens it once to see that it can be read. Sessions that were ended since the backup
// are back until they expire, and those since are missing.
//
// Errors are as for Backup.
func Restore(ctx context.Context, backup, dir string) error {
	if fresh, err := checkFormat(vfs.Default, backup); err != nil {
		return err
	} else if fresh {
		return fmt.Errorf("%w: there is no backup in %s", ErrForeign, backup)
	}
	if err := copyStore(ctx, backup, dir); err != nil {
		return err
	}
	store, err := Open(dir, nil)
	if err != nil {
		return fmt.Errorf("the copy cannot be opened: %w", err)
	}
	return store.Close()
}

// copyStore copies a store that nobody changes. The format goes last: without it, a
// copy that was cut short is no store.
func copyStore(ctx context.Context, from, to string) (err error) {
	names, err := os.ReadDir(to)
	if err == nil && len(names) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s must not exist, or be an empty directory", ErrExists, to)
	}
	made := errors.Is(err, fs.ErrNotExist)
	data := filepath.Join(to, dataDir)
	defer func() {
		if err != nil {
			os.RemoveAll(data)
			if made {
				os.Remove(to)
			}
		}
	}()
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	files, err := os.ReadDir(filepath.Join(from, dataDir))
	if err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	for _, file := range files {
		if file.Name() == "LOCK" || !file.Type().IsRegular() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(from, dataDir, file.Name()), filepath.Join(data, file.Name())); err != nil {
			return fmt.Errorf("pebblestore: %w", err)
		}
	}
	if err := syncDir(vfs.Default, data); err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	if err := writeFormat(vfs.Default, to); err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	return syncDir(vfs.Default, filepath.Dir(filepath.Clean(to)))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// checkpoint makes one beside the data and returns its name. It is made of hard
// links, so it takes a moment and no space. The store is not closed meanwhile.
func (en *engine) checkpoint() (name string, err error) {
	if err := en.failure(); err != nil {
		return "", err
	}
	name = fmt.Sprintf("%s%d", checkpoints, time.Now().UnixNano())
	path := en.fs.PathJoin(en.dir, name)
	if err := en.fs.MkdirAll(path, 0o700); err != nil {
		return "", err
	}
	if err := en.db.Checkpoint(en.fs.PathJoin(path, dataDir), pebble.WithFlushedWAL()); err != nil {
		return "", errors.Join(err, en.fs.RemoveAll(path))
	}
	return name, nil
}

// removeCheckpoints removes those that a crash has left.
func (en *engine) removeCheckpoints() error {
	names, err := en.fs.List(en.dir)
	if err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, checkpoints) {
			if err := en.fs.RemoveAll(en.fs.PathJoin(en.dir, name)); err != nil {
				return fmt.Errorf("pebblestore: %w", err)
			}
		}
	}
	return nil
}
