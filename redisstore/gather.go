package redisstore

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// A server tells of each change by itself, so that a process which is told of 10,000 a second
// would be woken as often, and take a quarter of a processor for no more than that. So, from
// gatherFrom changes in gatherWindow on, what comes is left to gather for a moment. Whoever
// waits for a record ends that.
const (
	gatherWindow = 10 * time.Millisecond
	gatherFrom   = 20
	gatherPause  = 4 * time.Millisecond
	gatherBytes  = 64 << 10 // that come in the meantime wake us all the same
)

// gathering says when a node's connection is left alone.
type gathering struct {
	start   time.Time
	told    atomic.Int64  // changes since then
	waiting atomic.Int64  // who waits for a record
	asked   chan struct{} // has one when somebody has begun to wait

	window atomic.Int64 // when it began, in ns since start
	before atomic.Int64 // told at that time
	dense  atomic.Bool  // many were told in the window before it
}

func newGathering() *gathering {
	return &gathering{start: time.Now(), asked: make(chan struct{}, 1)}
}

// wait notes that somebody waits for a record, until done is called.
func (g *gathering) wait() (done func()) {
	g.waiting.Add(1)
	select {
	case g.asked <- struct{}{}:
	default:
	}
	return func() { g.waiting.Add(-1) }
}

// due reports whether what comes is to gather.
func (g *gathering) due() bool {
	if now := int64(time.Since(g.start)); now-g.window.Load() >= int64(gatherWindow) {
		told := g.told.Load()
		g.dense.Store(told-g.before.Load() >= gatherFrom)
		g.window.Store(now)
		g.before.Store(told)
	}
	return g.dense.Load() && g.waiting.Load() == 0
}

// rest returns after gatherPause, or when somebody begins to wait.
func (g *gathering) rest() {
	timer := time.NewTimer(gatherPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.asked:
	}
}

// gathered is a connection that is read so.
type gathered struct {
	net.Conn
	*gathering
	raw syscall.RawConn // nil: it cannot be left alone
}

func (g *gathering) over(conn net.Conn) gathered {
	made := gathered{Conn: conn, gathering: g}
	inner := conn
	if k, ok := inner.(*socket); ok {
		inner = k.Conn
	}
	if t, ok := inner.(*tls.Conn); ok {
		inner = t.NetConn()
	}
	if c, ok := inner.(syscall.Conn); ok {
		made.raw, _ = c.SyscallConn()
	}
	return made
}

// Read implements net.Conn.
func (g gathered) Read(b []byte) (int, error) {
	if g.raw != nil && g.due() && wakeAt(g.raw, gatherBytes) == nil {
		g.rest()
		if err := wakeAt(g.raw, 1); err != nil {
			return 0, err // else nothing might wake us
		}
	}
	return g.Conn.Read(b)
}
