package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pazzo-sessions/pazzo/record"
)

// group is what is written with one sync.
type group struct {
	batch *pebble.Batch
	done  chan struct{} // is closed when err is final
	err   error         // nil: it is on the disk
}

// maxGroup is from which size on, in bytes, the next writers wait for a group to be
// written before they add to another.
const maxGroup = 8 << 20

func (en *engine) newGroup() *group {
	return &group{batch: en.db.NewBatch(), done: make(chan struct{})}
}

// add puts changes into the group that is written next. Changes of one key are added
// under the lock of its shard, and so are written in their order.
func (en *engine) add(change func(*pebble.Batch)) *group {
	en.grouping.Lock()
	defer en.grouping.Unlock()
	g := en.next
	change(g.batch)
	select {
	case en.wake <- struct{}{}:
	default:
	}
	return g
}

// room waits until the next group takes more.
func (en *engine) room(ctx context.Context) error {
	for {
		en.grouping.Lock()
		g, size := en.next, en.next.batch.Len()
		en.grouping.Unlock()
		if size < maxGroup {
			return nil
		}
		if err := en.await(ctx, g); err != nil {
			return unavailable(err)
		}
	}
}

// take returns the group to be written, or nil if nothing is.
func (en *engine) take() *group {
	en.grouping.Lock()
	defer en.grouping.Unlock()
	if en.next.batch.Empty() {
		return nil
	}
	g := en.next
	en.next = en.newGroup()
	return g
}

// commitUntilClosed is the one goroutine that writes. While it syncs a group, the
// next one fills.
func (en *engine) commitUntilClosed() {
	defer close(en.committed)
	sync := time.NewTimer(time.Hour)
	sync.Stop()
	defer sync.Stop()
	for open := true; open; {
		select {
		case <-en.wake:
		case <-sync.C:
			en.syncLog()
			continue
		case <-en.stop:
			open = false
		}
		g := en.take()
		if g == nil {
			continue
		}
		en.commit(g)
		if en.opts.LoseUpTo > 0 {
			if time.Since(en.synced) >= en.opts.LoseUpTo {
				en.syncLog()
			} else {
				sync.Reset(en.opts.LoseUpTo - time.Since(en.synced))
			}
		}
	}
	en.syncLog()
}

// commit writes a group and tells who waits for it.
func (en *engine) commit(g *group) {
	defer close(g.done)
	if err := en.broken(); err != nil {
		g.err = err
		return
	}
	if err := en.write(g.batch); err != nil {
		en.fail(err)
		g.err = fmt.Errorf("%w: %w", record.ErrOutcomeUnknown, err)
	}
}

// write makes a batch last, or at least known to the log.
func (en *engine) write(b *pebble.Batch) error {
	if en.opts.LoseUpTo == 0 {
		return en.writeSynced(b)
	}
	return errors.Join(en.db.Apply(b, pebble.NoSync), b.Close())
}

// writeSynced makes a batch last. Not by Apply, which takes an error of the sync for
// the end of the process.
func (en *engine) writeSynced(b *pebble.Batch) error {
	if err := en.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return err
	}
	return errors.Join(b.SyncWait(), b.Close())
}

// syncLog makes last what was written without a sync.
func (en *engine) syncLog() {
	if en.opts.LoseUpTo == 0 || en.broken() != nil {
		return
	}
	began := time.Now()
	b := en.db.NewBatch()
	err := b.LogData(nil, nil)
	if err == nil {
		err = en.writeSynced(b)
	}
	if err != nil {
		en.fail(err)
		return
	}
	en.synced = began
}

// await waits until a group is written. The error says that it was not, or not in
// time: then its outcome is unknown.
func (en *engine) await(ctx context.Context, g *group) error {
	if g == nil {
		return nil
	}
	select {
	case <-g.done:
		return g.err
	default:
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", record.ErrOutcomeUnknown, ctx.Err())
	case <-en.failed:
	}
	// A failure while this very group is written tells more.
	select {
	case <-g.done:
		return g.err
	case <-time.After(failedGrace):
		return fmt.Errorf("%w: %w", record.ErrOutcomeUnknown, en.cause())
	}
}

// failedGrace is how long a writer waits for word of its group once the store has
// failed: the committer may hang in what has failed.
const failedGrace = 100 * time.Millisecond

// unavailable turns the error of one who has changed nothing into ErrUnavailable.
func unavailable(err error) error {
	if err == nil || errors.Is(err, record.ErrUnavailable) && !errors.Is(err, record.ErrOutcomeUnknown) {
		return err
	}
	return fmt.Errorf("%w: %w", record.ErrUnavailable, hidden{err})
}

// hidden is an error whose kind is not passed on, only its text.
type hidden struct{ err error }

func (h hidden) Error() string { return h.err.Error() }
