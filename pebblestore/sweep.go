package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pazzo-sessions/pazzo/record"
)

const (
	// sweepEvery is how often expired sessions are reclaimed. Reads do not depend on
	// it; they judge the deadline themselves.
	sweepEvery = time.Second
	// chunk is how many places in the order of expiry are looked at before those who
	// wait for the disk or a processor have their turn.
	chunk = 256
	// lag is how far back each sweep looks, in s, for places that were not in the
	// database when the last one came by.
	lag = 60
	// startOver is how often a sweep looks at everything that is due, however long
	// ago.
	startOver = 10 * time.Minute
)

// sweepUntilClosed reclaims what has expired.
func (en *engine) sweepUntilClosed() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	from, over := uint32(0), time.Now()
	for {
		select {
		case <-en.stop:
			return
		case <-en.failed:
			return
		case <-ticker.C:
		}
		if time.Since(over) > startOver {
			from, over = 0, time.Now()
		}
		upTo := uint32(min(en.now()/1000, math.MaxUint32-1))
		if err := en.sweep(from, upTo); err != nil {
			if en.failure() == nil {
				en.opts.Logger.Error("pebblestore: sweeping failed, and is tried again", "directory", en.dir, "error", err)
			}
			continue
		}
		from = max(upTo, lag) - lag
		en.giveBack()
	}
}

// giveBackFrom is the least, in bytes, for which space is given back at once.
const giveBackFrom = 1 << 20

// giveBack rewrites the files if at least a third of what they hold, roughly, was
// removed since the last time. Pebble does so by itself only as more is written.
func (en *engine) giveBack() {
	all := [2][]byte{{sessionKind}, {expiryKind + 1}}
	used, err := en.db.EstimateDiskUsage(all[0], all[1])
	free, known := en.full.look()
	if err != nil || en.removed < giveBackFrom || uint64(en.removed) < used/3 || known && free < used {
		return
	}
	en.removed = 0
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	defer ended.Wait()
	defer cancel()
	ended.Go(func() {
		select {
		case <-en.stop:
		case <-en.failed:
		case <-ctx.Done():
		}
		cancel()
	})
	if err := en.db.Compact(ctx, all[0], all[1], false); err != nil && ctx.Err() == nil {
		en.opts.Logger.Error("pebblestore: space was not given back", "directory", en.dir, "error", err)
	}
}

// sweep looks at everything filed under a second of a range.
func (en *engine) sweep(from, upTo uint32) error {
	next := expiryKey(nil, from, nil)
	end := expiryKey(nil, upTo+1, nil)
	for next != nil {
		began := time.Now()
		places, err := en.places(next, end)
		if err != nil {
			return err
		}
		next = nil
		if len(places) == chunk {
			next = append(places[chunk-1], 0)
		}
		if err := en.sweepPlaces(places); err != nil {
			return err
		}
		select {
		case <-en.stop:
			return nil
		case <-en.failed:
			return en.cause()
		case <-time.After(min(time.Since(began), 50*time.Millisecond)): // half of the time at most
		}
	}
	return nil
}

// places returns the first places of a range.
func (en *engine) places(from, end []byte) (places [][]byte, err error) {
	places = make([][]byte, 0, chunk)
	iter, err := en.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: end})
	if err != nil {
		return nil, err
	}
	for valid := iter.First(); valid && len(places) < chunk; valid = iter.Next() {
		places = append(places, append([]byte(nil), iter.Key()...))
	}
	return places, errors.Join(iter.Error(), iter.Close())
}

// sweepPlaces reclaims or files again what is at places, and waits until that is
// written.
func (en *engine) sweepPlaces(places [][]byte) error {
	var last *group
	removed := make([][]byte, 0, len(places))
	for _, place := range places {
		filed, key := binary.BigEndian.Uint32(place[1:]), place[1+filedSize:]
		g, gone, err := en.sweepKey(filed, key)
		if err != nil {
			return err
		}
		if g != nil {
			last = g
		}
		if gone {
			removed = append(removed, key)
		}
	}
	if err := en.await(context.Background(), last); err != nil {
		return err
	}
	for _, key := range removed {
		en.shard(key).forget(key)
	}
	en.sweptTotal.Add(int64(len(removed)))
	return nil
}

// sweepKey removes the entry of a key if it has expired, and files it again if not.
// What cannot be read is left as it is.
func (en *engine) sweepKey(filed uint32, key []byte) (g *group, gone bool, err error) {
	s := en.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.peekAside(en, key)
	if errors.Is(err, record.ErrCorrupt) {
		return nil, false, nil
	}
	if err != nil || e.value == "" || e.filed() != filed {
		return nil, false, err // the place is removed already
	}
	expires, err := expiresOf(key[0], e.text())
	switch {
	case err != nil:
		return nil, false, nil
	case en.now() >= expires:
		en.removed += int64(len(key) + len(e.value))
		return s.write(en, key, e, ""), true, nil
	}
	return s.write(en, key, e, valueOf(secondAfter(expires), []byte(e.text()))), false, nil
}

// expiresOf returns when an entry ends, in ms.
func expiresOf(kind byte, text string) (int64, error) {
	if kind == indexKind {
		var x record.Index
		err := x.Decode(text)
		return x.Expires(), err
	}
	if record.IsTombstone(text) {
		var t record.Tombstone
		err := t.Unpack(text)
		return t.Until, err
	}
	var m record.Meta
	err := m.Unpack(text[:min(len(text), record.MetaSize)])
	return m.Expires(), err
}

// forget drops an entry that is written and says that there is nothing.
func (s *shard) forget(key []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, found := s.entries[string(key)]; found && e.value == "" && e.written() {
		delete(s.entries, string(key))
		s.bytes -= int64(len(key) + entryCost)
	}
}
