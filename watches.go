package pazzo

import (
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
)

// watches wakes who watches a Manager's sessions when the store tells of changes. It listens
// to the store while anybody watches.
type watches struct {
	source record.Notifier // or nil: the store tells of nothing

	joining sync.Mutex // held while the listener comes or goes; taken before mu
	count   int        // of watchers
	stop    func()     // the listener, if count > 0 and there is a source

	mu   sync.Mutex // guards what follows
	told time.Time  // up to when all changes were told of; zero: some may have been missed
	wake map[record.Handle]map[chan struct{}]struct{}
}

// notifier returns what tells of the store's changes, or nil.
func notifier(store record.Store) record.Notifier {
	if cache, ok := store.(*nearcache.Cache); ok {
		store = cache.Store
	}
	source, _ := store.(record.Notifier)
	return source
}

// join has wake be sent to, whenever the session named h may have changed, until leave. One
// that has not been received yet suffices for several.
func (w *watches) join(h record.Handle, wake chan struct{}) (leave func()) {
	w.joining.Lock()
	defer w.joining.Unlock()
	if w.count++; w.count == 1 && w.source != nil {
		w.stop = w.source.Notify((*wakeup)(w))
	}
	w.add(h, wake)
	return func() {
		w.remove(h, wake)
		w.joining.Lock()
		defer w.joining.Unlock()
		if w.count--; w.count == 0 && w.source != nil {
			w.stop()
			(*wakeup)(w).Lost()
		}
	}
}

func (w *watches) add(h record.Handle, wake chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wake == nil {
		w.wake = make(map[record.Handle]map[chan struct{}]struct{})
	}
	if w.wake[h] == nil {
		w.wake[h] = make(map[chan struct{}]struct{})
	}
	w.wake[h][wake] = struct{}{}
}

func (w *watches) remove(h record.Handle, wake chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.wake[h], wake)
	if len(w.wake[h]) == 0 {
		delete(w.wake, h)
	}
}

// until returns when a watcher has to look by itself, unless the store says more before. told
// is false when it has to from now on.
func (w *watches) until(now time.Time) (until time.Time, told bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told.IsZero() {
		return now, false
	}
	until = w.told.Add(look)
	return until, now.Before(until)
}

// wakeup is what the store tells.
type wakeup watches

var _ record.Listener = (*wakeup)(nil)

// Changed implements record.Listener.
func (w *wakeup) Changed(h record.Handle) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rouse(w.wake[h])
}

// Lost implements record.Listener.
func (w *wakeup) Lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = time.Time{}
	w.all()
}

// Current implements record.Listener. What changed before there was contact is not told of.
func (w *wakeup) Current(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told.IsZero() {
		w.all()
	}
	w.told = at
}

// all wakes everybody. w.mu is held.
func (w *wakeup) all() {
	for _, some := range w.wake {
		rouse(some)
	}
}

func rouse(watchers map[chan struct{}]struct{}) {
	for wake := range watchers {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
