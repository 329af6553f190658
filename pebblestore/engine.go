package pebblestore

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pazzo-sessions/pazzo/record"
)

// engine is an open directory, which the stores of all its prefixes share.
type engine struct {
	dir  string
	opts Options
	fs   vfs.FS
	lock *pebble.Lock
	db   *pebble.DB
	full *diskWatch

	start      time.Time
	startMS    int64
	shards     [shards]shard
	shardBytes int64

	grouping  sync.Mutex
	next      *group        // guarded by grouping
	wake      chan struct{} // next has something
	synced    time.Time     // up to when everything is on the disk; the committer's
	committed chan struct{} // is closed when the committer has ended

	sweptTotal atomic.Int64
	removed    int64    // bytes that the sweeper has removed; its own
	control    *control // nil if there is none

	listeners sync.Map // *record.Listeners by prefix

	users   atomic.Int64  // stores and backups; the last to leave closes
	opening atomic.Bool   // the database is being opened
	serving atomic.Bool   // neither being opened nor closed
	closing atomic.Bool   // no more calls are begun
	stop    chan struct{} // ends the goroutines
	others  sync.WaitGroup

	failing sync.Once
	failed  chan struct{} // is closed when the store has failed
	reason  error         // why; set before that
}

// Open opens the store in a directory, and makes it if there is none or it is empty.
// What is in the way is told by ErrOptions, ErrInUse, ErrForeign or ErrVersion, and
// nothing is changed then. opts may be nil.
//
// It takes as long as reading the last log, at most about 64 MiB, however many
// sessions there are.
func Open(dir string, opts *Options) (*Store, error) {
	o, err := opts.orDefault()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	en := &engine{
		dir:        dir,
		opts:       o,
		fs:         o.fs,
		start:      start,
		startMS:    start.UnixMilli(),
		shardBytes: o.CacheBytes / 2 / shards,
		wake:       make(chan struct{}, 1),
		synced:     start,
		committed:  make(chan struct{}),
		stop:       make(chan struct{}),
		failed:     make(chan struct{}),
	}
	if en.fs == nil {
		en.fs = vfs.Default
	}
	for i := range en.shards {
		en.shards[i].entries = map[string]entry{}
	}
	if err := en.open(); err != nil {
		return nil, err
	}
	en.users.Store(1)
	return newStore(en, o.Prefix), nil
}

// open takes the directory and starts the goroutines.
func (en *engine) open() (err error) {
	if en.dir, err = prepareDir(en.fs, en.dir); err != nil {
		return err
	}
	if en.lock, err = lockDir(en.fs, en.dir); err != nil {
		return err
	}
	if err := en.openLocked(); err != nil {
		return errors.Join(err, en.lock.Close())
	}
	return nil
}

// prepareDir makes what is missing of a store's directory, and returns its one true
// path: locks in a process go by that.
func prepareDir(fsys vfs.FS, dir string) (string, error) {
	fresh, err := checkFormat(fsys, dir)
	if err != nil {
		return "", err
	}
	if fsys == vfs.Default {
		if dir, err = filepath.Abs(dir); err != nil {
			return "", fmt.Errorf("pebblestore: %w", err)
		}
	}
	if err := makeDir(fsys, dir, fresh); err != nil {
		return "", fmt.Errorf("pebblestore: %w", err)
	}
	if fsys == vfs.Default {
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", fmt.Errorf("pebblestore: %w", err)
		}
	}
	return dir, nil
}

// lockDir takes the lock of a store's directory.
func lockDir(fsys vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(fsys.PathJoin(dir, dataDir), fsys)
	switch {
	case err == nil:
		return lock, nil
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES), err.Error() == "lock held by current process":
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	return nil, fmt.Errorf("pebblestore: %w", err)
}

// makeDir makes what is missing of a directory. The format comes first, so that no
// crash leaves data without it.
func makeDir(fsys vfs.FS, dir string, fresh bool) error {
	if fresh {
		if err := fsys.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := syncDir(fsys, fsys.PathDir(dir)); err != nil {
			return err
		}
		if err := writeFormat(fsys, dir); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(fsys.PathJoin(dir, dataDir), 0o700); err != nil {
		return err
	}
	return syncDir(fsys, dir)
}

func (en *engine) openLocked() (err error) {
	if err := en.removeCheckpoints(); err != nil {
		return err
	}
	en.full = newDiskWatch(en)
	en.opening.Store(true)
	if en.db, err = en.openDB(); err != nil {
		return err
	}
	en.opening.Store(false)
	en.next = en.newGroup()
	if en.control, err = en.listen(); err != nil {
		en.opts.Logger.Warn("pebblestore: no backup can be taken while the store is open", "directory", en.dir, "error", err)
	}
	en.serving.Store(true)
	go en.commitUntilClosed()
	en.others.Go(en.sweepUntilClosed)
	en.others.Go(en.full.watchUntilClosed)
	return nil
}

// memTable is the size of what is kept in memory, and in the log, before it is
// written to a table, in bytes.
const memTable = 32 << 20

// openDB opens the database, which may have to write what a crash left in the log.
// Pebble tries that again and again when it fails; it is given up then, and Pebble
// kept from going on.
func (en *engine) openDB() (*pebble.DB, error) {
	if free, known := en.full.look(); known && free < resumeFree {
		return nil, fmt.Errorf("pebblestore: opening %s: the disk is full", en.dir)
	}
	type result struct {
		db  *pebble.DB
		err error
	}
	opened := make(chan result, 1)
	go func() {
		db, err := pebble.Open(en.fs.PathJoin(en.dir, dataDir), en.dbOptions())
		opened <- result{db, err}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, fmt.Errorf("pebblestore: opening %s: %w", en.dir, r.err)
		}
		return r.db, nil
	case <-en.failed:
		return nil, fmt.Errorf("pebblestore: opening %s: %w", en.dir, en.cause())
	}
}

func (en *engine) dbOptions() *pebble.Options {
	logger := logger{en}
	options := &pebble.Options{
		FS:                 logFS{vfs.OnDiskFull(en.fs, en.full.stall), en},
		Lock:               en.lock,
		CacheSize:          en.opts.CacheBytes / 2,
		MemTableSize:       en.opts.memTable,
		FormatMajorVersion: pebble.FormatValueSeparation,
		Logger:             logger,
		EventListener: &pebble.EventListener{
			BackgroundError: en.backgroundError,
			// The read that met it returns an error.
			DataCorruption: func(info pebble.DataCorruptionInfo) { logger.Errorf("%s", info) },
		},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return options
}

// backgroundError is told when a table was not written, which is tried again.
func (en *engine) backgroundError(err error) {
	if en.opening.Load() {
		en.fail(err)
		select {}
	}
	logger{en}.Errorf("%v", err)
}

// now is the store's clock in ms since 1970.
func (en *engine) now() int64 { return en.startMS + time.Since(en.start).Milliseconds() }

// fail ends all work: what is on the disk and what is in memory may differ.
func (en *engine) fail(err error) {
	en.failing.Do(func() {
		en.reason = err
		close(en.failed)
		en.opts.Logger.Error("pebblestore: the store has failed, and no call succeeds until the process is started anew",
			"directory", en.dir, "error", err)
	})
}

// failure returns why no call can succeed, as ErrUnavailable, or nil.
func (en *engine) failure() error {
	if err := en.broken(); err != nil {
		return err
	}
	if en.closing.Load() {
		return errClosed()
	}
	return nil
}

// broken returns an error if the store has failed, as ErrUnavailable.
func (en *engine) broken() error {
	select {
	case <-en.failed:
		return fmt.Errorf("%w: %w", record.ErrUnavailable, hidden{en.cause()})
	default:
		return nil
	}
}

// cause returns why the store has failed. It has.
func (en *engine) cause() error {
	return fmt.Errorf("pebblestore has failed and must be opened by a new process: %w", en.reason)
}

// share adds a user, unless there is none any more.
func (en *engine) share() bool {
	for n := en.users.Load(); n > 0; n = en.users.Load() {
		if en.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// leave is the end of a user. The last one closes.
func (en *engine) leave() error {
	if en.users.Add(-1) > 0 {
		return nil
	}
	en.control.close()
	// Whoever has passed the check holds a shard's lock; what it adds is written.
	en.closing.Store(true)
	for i := range en.shards {
		en.shards[i].mu.Lock()
		en.shards[i].mu.Unlock() //lint:ignore SA2001 waits for who is in there
	}
	close(en.stop)
	select {
	case <-en.committed:
	case <-en.failed:
	}
	return en.shut()
}

// shut closes the database, unless it has failed: then it may hang, and keeps the
// directory until the process ends. The goroutines end as far as it lets them.
func (en *engine) shut() error {
	if en.broken() != nil {
		return en.cause()
	}
	en.others.Wait()
	en.serving.Store(false)
	return errors.Join(en.next.batch.Close(), en.db.Close(), en.lock.Close())
}
