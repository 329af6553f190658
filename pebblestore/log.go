package pebblestore

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logFS sees to it that Pebble never learns of a failure of its log, at which it
// would end the process.
type logFS struct {
	vfs.FS
	en *engine
}

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// Create implements [vfs.FS].
func (l logFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.Create(name, category)
	return l.guard(name, f, err)
}

// ReuseForWrite implements [vfs.FS].
func (l logFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.ReuseForWrite(oldname, newname, category)
	return l.guard(newname, f, err)
}

func (l logFS) guard(name string, f vfs.File, err error) (vfs.File, error) {
	if !isLog(name) {
		return f, err
	}
	if err := l.en.hold("making a log", err); err != nil {
		return nil, err
	}
	return logFile{f, l.en}, nil
}

// logFile is a log that is being written.
type logFile struct {
	vfs.File
	en *engine
}

// Write implements [vfs.File].
func (f logFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.en.hold("writing the log", err)
}

// Sync implements [vfs.File].
func (f logFile) Sync() error { return f.en.hold("syncing the log", f.File.Sync()) }

// SyncData implements [vfs.File].
func (f logFile) SyncData() error { return f.en.hold("syncing the log", f.File.SyncData()) }

// SyncTo implements [vfs.File].
func (f logFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.en.hold("syncing the log", err)
}

// Close implements [vfs.File].
func (f logFile) Close() error { return f.en.hold("closing the log", f.File.Close()) }

// hold makes the store fail if there is an error, and does not return then: the
// caller keeps the locks that it holds, so that nothing more is done to the files.
// While the store is opened or closed it returns the error.
func (en *engine) hold(what string, err error) error {
	if err == nil || !en.serving.Load() {
		return err
	}
	en.fail(fmt.Errorf("%s: %w", what, err))
	select {}
}

// logger passes on what Pebble reports.
type logger struct{ en *engine }

// Infof implements [pebble.Logger].
func (logger) Infof(string, ...any) {}

// Errorf implements [pebble.Logger].
func (l logger) Errorf(format string, args ...any) {
	l.en.opts.Logger.Error("pebblestore: "+fmt.Sprintf(format, args...), "directory", l.en.dir)
}

// Fatalf implements [pebble.Logger]. It is called where Pebble cannot go on and
// expects the process to end. The store fails instead.
func (l logger) Fatalf(format string, args ...any) {
	// The caller returns the error if this returns.
	_ = l.en.hold("database", fmt.Errorf(format, args...))
}
