package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/resp"
	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// tracker tells connections of the changes of a space's sessions, as a Redis server does
// in the BCAST mode of its CLIENT TRACKING. The store tells it while there are any.
type tracker struct {
	prefix string
	source record.Notifier

	changing sync.Mutex // held while the first comes or the last goes
	stop     func()     // ends what the store tells; nil while there is nobody

	mu      sync.Mutex // guards what follows
	tracked map[*pushes]struct{}
	told    time.Time     // until when everything has been told; zero: contact is lost
	moved   chan struct{} // closed when told is another
}

func newTracker(prefix string, source record.Notifier) *tracker {
	return &tracker{prefix: prefix, source: source, tracked: map[*pushes]struct{}{}, moved: make(chan struct{})}
}

func (t *tracker) add(p *pushes) {
	t.changing.Lock()
	defer t.changing.Unlock()
	t.mu.Lock()
	t.tracked[p] = struct{}{}
	t.mu.Unlock()
	if t.stop == nil {
		t.stop = t.source.Notify(t)
	}
}

func (t *tracker) remove(p *pushes) {
	t.changing.Lock()
	defer t.changing.Unlock()
	t.mu.Lock()
	delete(t.tracked, p)
	last := len(t.tracked) == 0
	t.mu.Unlock()
	if last && t.stop != nil {
		t.stop()
		t.stop = nil
		t.tell(time.Time{})
	}
}

// Changed implements record.Listener.
func (t *tracker) Changed(h record.Handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.tracked {
		p.changed(h)
	}
}

// Lost implements record.Listener.
func (t *tracker) Lost() {
	t.tell(time.Time{})
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.tracked {
		p.lost()
	}
}

// Current implements record.Listener.
func (t *tracker) Current(at time.Time) { t.tell(at) }

func (t *tracker) tell(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told = at
	close(t.moved)
	t.moved = make(chan struct{})
}

// confirmer is a store that can find out by itself whether it has told everything.
type confirmer interface {
	Confirm(ctx context.Context) error
}

// confirmTimeout bounds the wait for the store to have told everything.
const confirmTimeout = time.Second

// confirm waits until everything has been told that took effect before the call. It
// reports false if that cannot be promised.
func (t *tracker) confirm(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	at := time.Now()
	source, asks := t.source.(confirmer)
	for {
		t.mu.Lock()
		told, moved := t.told, t.moved
		t.mu.Unlock()
		if !told.Before(at) || asks && source.Confirm(ctx) == nil {
			return true
		}
		select {
		case <-moved: // contact may be there now, if it is the first
		case <-ctx.Done():
			return false
		}
	}
}

// maxPushes is how many changes wait for a connection to take them, at most. If there are
// more, it is told that any session may have changed.
const maxPushes = 64 << 10

// pushes are the changes that a connection is still to be told of.
type pushes struct {
	tracker *tracker
	wake    chan struct{} // holds one, when there is something to send
	end     chan struct{}
	ended   sync.WaitGroup

	mu      sync.Mutex
	handles []record.Handle
	all     bool
}

func (p *pushes) changed(h record.Handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch n := len(p.handles); {
	case p.all, n > 0 && p.handles[n-1] == h:
		return
	case n == maxPushes:
		p.handles, p.all = p.handles[:0], true
	default:
		p.handles = append(p.handles, h)
	}
	p.signal()
}

func (p *pushes) lost() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handles, p.all = p.handles[:0], true
	p.signal()
}

func (p *pushes) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take returns what there is to send.
func (p *pushes) take() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.handles) == 0 && !p.all {
		return nil
	}
	w := resp.Writer{RESP3: true}
	w.Push(2)
	w.Text("invalidate")
	if p.all {
		w.Null()
	} else {
		w.Array(len(p.handles))
	}
	for _, h := range p.handles {
		w.Text(protocol.SessionKey(p.tracker.prefix, h))
	}
	p.all = false
	if p.handles = p.handles[:0]; cap(p.handles) > keptOps {
		p.handles = nil
	}
	return w.Bytes()
}

// track begins to tell the connection of changes.
func (c *conn) track(t *tracker) {
	if c.pushes.Load() != nil {
		return
	}
	p := &pushes{tracker: t, wake: make(chan struct{}, 1), end: make(chan struct{})}
	c.pushes.Store(p)
	p.ended.Go(func() { c.push(p) })
	t.add(p)
}

// untrack ends that.
func (c *conn) untrack() {
	p := c.pushes.Swap(nil)
	if p == nil {
		return
	}
	p.tracker.remove(p)
	close(p.end)
	p.ended.Wait()
}

// push sends changes as they come. What replies go out take them along.
func (c *conn) push(p *pushes) {
	for {
		select {
		case <-p.wake:
		case <-p.end:
			return
		}
		if err := c.send(nil); err != nil {
			c.nc.Close() // which the reader notices
			return
		}
	}
}

// clientTracking answers CLIENT TRACKING.
func clientTracking(r request, t *task) {
	switch {
	case r.is(2, "OFF") && r.Len() == 3:
		r.conn.untrack()
		t.w.Simple("OK")
		return
	case !r.is(2, "ON"):
		t.w.Error("ERR syntax error")
		return
	case t.space.tracker == nil:
		t.w.Error("ERR pazzo: the store of this agent cannot tell of changes; switch the client's cache off")
		return
	case !t.w.RESP3:
		t.w.Error("ERR pazzo: this agent tells of changes in RESP3 only: begin with HELLO 3")
		return
	}
	options := r.Strings(nil, 3)
	broadcast := false
	for i := 0; i < len(options); i++ {
		switch strings.ToUpper(options[i]) {
		case "BCAST":
			broadcast = true
		case "PREFIX":
			if i++; i == len(options) || !strings.HasPrefix(t.space.prefix+"{", options[i]) {
				t.w.Error("ERR pazzo: a PREFIX must be that of all sessions, such as " + t.space.prefix + "{")
				return
			}
		default:
			t.w.Error("ERR pazzo: this agent tells of changes with BCAST and PREFIX only")
			return
		}
	}
	if !broadcast || !slices.ContainsFunc(options, func(o string) bool { return strings.EqualFold(o, "PREFIX") }) {
		t.w.Error("ERR pazzo: this agent tells of changes with BCAST PREFIX " + t.space.prefix + "{ only; switch the client's cache off")
		return
	}
	r.conn.track(t.space.tracker)
	t.w.Simple("OK")
}

// answerWhenTold answers a sign of life that a tracked connection asks for, once it has been
// sent all that happened before.
func answerWhenTold(t *task) {
	t.work = func(ctx context.Context, a *Agent, t *task) {
		if t.space.tracker.confirm(ctx) {
			t.w.Int(0)
			return
		}
		a.storeError(t, record.ErrUntracked)
	}
}
