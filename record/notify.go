package record

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Notifier is a Store that tells of changes, so that a cache can stand in front of it
// (package nearcache).
type Notifier interface {
	Store
	// Record returns the record of the session named h, whole: absent, a tombstone or live;
	// and the store's clock, in ms since 1970, when it was read. The record is the
	// caller's. Whatever changes it afterwards is told to the listeners: ErrUntracked is
	// returned while that cannot be promised. The other errors are those of Apply.
	Record(ctx context.Context, h Handle) (r Record, now int64, err error)
	// Notify tells l of changes, until stop is called; after stop has returned, l is told
	// nothing more. Nothing is told before the first Current, nor after Close.
	Notify(l Listener) (stop func())
}

// Listener is told of the changes of a Notifier's sessions. Its functions must return
// quickly and not use the store. Changed may be called by several goroutines at once, the
// others by one at a time.
type Listener interface {
	// Changed tells that the record of the session named h was changed, or may have been, by
	// anybody. Several changes may be told of once, and the expiry of a record need not be.
	Changed(h Handle)
	// Lost tells that changes may have been missed. What was loaded before is not to be
	// trusted any more.
	Lost()
	// Current tells that every change that took effect before the given time has been told
	// of. The time is by the monotonic clock of this process; one in the future means
	// that changes are told of before the call that made them returns.
	Current(at time.Time)
}

// Keeper is a Listener that keeps records which it has read by Notifier.Record, each until
// it is told of a change of it. It relies on no more than that: a store that can tell only of
// the first change of a session after a Record of it tells Current to Keepers alone.
type Keeper interface {
	Listener
	// Keeper marks such a listener. It is not called.
	Keeper()
}

// ErrUntracked is returned by Notifier.Record while changes cannot be told of.
var ErrUntracked = errors.New("record: changes are not being followed")

// Listeners is a list of listeners, for who writes a Notifier. It is itself a Listener,
// which tells all of them, and safe for concurrent use.
type Listeners struct {
	mu   sync.Mutex // guards changes of the list, which is replaced then
	list atomic.Pointer[[]*listening]
}

// listening is a listener until it is stopped.
type listening struct {
	Listener
	telling sync.RWMutex // held for reading while it is told
	stopped bool
}

// Add adds l, until stop is called. After stop has returned, l is told nothing more.
func (s *Listeners) Add(l Listener) (stop func()) {
	each := &listening{Listener: l}
	s.replace(func(list []*listening) []*listening { return append(list, each) })
	return func() {
		s.replace(func(list []*listening) []*listening {
			return slices.DeleteFunc(list, func(other *listening) bool { return other == each })
		})
		each.telling.Lock()
		each.stopped = true
		each.telling.Unlock()
	}
}

func (s *Listeners) replace(change func(list []*listening) []*listening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*listening
	if old := s.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	list = change(list)
	s.list.Store(&list)
}

// Len returns how many there are.
func (s *Listeners) Len() int {
	if list := s.list.Load(); list != nil {
		return len(*list)
	}
	return 0
}

// Changed tells all of a change.
func (s *Listeners) Changed(h Handle) {
	if s.list.Load() != nil { // a store's every write comes here
		s.tell(func(l Listener) { l.Changed(h) })
	}
}

// Lost tells all that changes may have been missed.
func (s *Listeners) Lost() { s.tell(Listener.Lost) }

// Current tells all up to when they have been told everything.
func (s *Listeners) Current(at time.Time) { s.tell(func(l Listener) { l.Current(at) }) }

func (s *Listeners) tell(f func(Listener)) {
	list := s.list.Load()
	if list == nil {
		return
	}
	for _, each := range *list {
		each.telling.RLock()
		if !each.stopped {
			f(each.Listener)
		}
		each.telling.RUnlock()
	}
}
