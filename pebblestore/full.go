package pebblestore

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// diskWatch knows whether the disk has room.
type diskWatch struct {
	en      *engine
	low     atomic.Bool // less than Options.MinFree
	stalled atomic.Bool // nothing: writes wait
}

func newDiskWatch(en *engine) *diskWatch {
	w := &diskWatch{en: en}
	w.look()
	return w
}

const (
	// lookEvery is how often the free space is looked at.
	lookEvery = 250 * time.Millisecond
	// resumeFree is how much must be free for writes that have met a full disk to go
	// on, in bytes. They are tried once more only.
	resumeFree = 4 << 20
)

// refuse returns ErrFull when a write cannot be taken now.
func (w *diskWatch) refuse(grows bool) error {
	switch {
	case w.stalled.Load():
		return fmt.Errorf("%w: the disk is full", record.ErrFull)
	case grows && w.low.Load():
		return fmt.Errorf("%w: less than %d bytes of the disk are free", record.ErrFull, w.en.opts.MinFree)
	}
	return nil
}

// look compares the free space with MinFree, and returns it. An unknown one, as on
// some file systems, is enough.
func (w *diskWatch) look() (free uint64, known bool) {
	usage, err := w.en.fs.GetDiskUsage(w.en.dir)
	if err != nil {
		return 0, false
	}
	low := usage.AvailBytes < uint64(w.en.opts.MinFree)
	if w.low.Swap(low) != low {
		if low {
			w.en.opts.Logger.Error("pebblestore: the disk is nearly full: writes that need room are refused",
				"directory", w.en.dir, "free", usage.AvailBytes, "needed", w.en.opts.MinFree)
		} else {
			w.en.opts.Logger.Info("pebblestore: the disk has room again", "directory", w.en.dir, "free", usage.AvailBytes)
		}
	}
	return usage.AvailBytes, true
}

func (w *diskWatch) watchUntilClosed() {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-w.en.stop:
			return
		case <-w.en.failed:
			return
		case <-ticker.C:
			w.look()
		}
	}
}

// stall is called when a write has met a full disk. The write is tried once more
// when it returns, and other writes wait meanwhile; so it waits until there is room,
// or the store is closed.
func (w *diskWatch) stall() {
	if !w.en.serving.Load() {
		return // the opening, or the closing, fails
	}
	w.stalled.Store(true)
	defer w.stalled.Store(false)
	w.en.opts.Logger.Error("pebblestore: the disk is full: writes wait", "directory", w.en.dir)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if free, known := w.look(); !known || free >= resumeFree {
			return
		}
		select {
		case <-w.en.stop:
			return
		case <-ticker.C:
		}
	}
}
