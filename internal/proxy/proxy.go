// Package proxy is a bad network: a TCP proxy on the loopback that does harm on demand. It
// is for tests of the project's own.
package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// quiet is how long a server must be silent before a cut that waits for the
// execution takes place.
const quiet = 50 * time.Millisecond

// Direction is a direction of a [Proxy]'s traffic. Directions add up: Up|Down.
type Direction int

const (
	Up   Direction = 1 << iota // from the client to the server
	Down                       // from the server to the client
)

// Proxy forwards TCP connections to an address and does harm on demand. Its
// methods may be called from any goroutine; what they change applies to the
// connections there are and to later ones.
type Proxy struct {
	listener net.Listener
	tasks    sync.WaitGroup // the accept loop and two pumps per connection

	mu      sync.Mutex
	target  string // host:port
	links   map[*link]struct{}
	closed  bool
	refuse  bool
	hole    Direction
	delay   [2]time.Duration // by index
	changed chan struct{}    // closed and replaced when hole changes
	cut     *replyCut        // the next one, or nil
}

// replyCut waits for a request, and then for its reply.
type replyCut struct {
	match []byte
	done  chan struct{}
}

// New listens on a free loopback port in front of the address target
// (host:port). The caller ends it with [Proxy.Close].
func New(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{
		listener: listener,
		target:   target,
		links:    make(map[*link]struct{}),
		changed:  make(chan struct{}),
	}
	p.tasks.Go(p.accept)
	return p, nil
}

// Start is New for a test, which ends the proxy.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := New(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Addr returns the address that clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends all connections and returns when every goroutine has ended. A
// second Close does nothing.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.listener.Close()
	p.Cut()
	p.tasks.Wait()
}

// Cut resets all connections that there are. New ones are accepted: see
// [Proxy.Refuse].
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// Refuse makes the proxy reset every new connection, or serve them again.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Redirect sends new connections to another address, as a failover does. Those there are
// stay.
func (p *Proxy) Redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// BlackHole stops forwarding in the directions d and closes nothing, until
// [Proxy.Heal]. What was sent meanwhile waits, and a close is not passed on
// either. New connections are accepted, as a peer's kernel would.
// BlackHole(Down) holds replies back that were executed.
func (p *Proxy) BlackHole(d Direction) { p.setHole(d) }

// Heal ends a BlackHole: what has waited is forwarded.
func (p *Proxy) Heal() { p.setHole(0) }

func (p *Proxy) setHole(d Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = d
	close(p.changed)
	p.changed = make(chan struct{})
}

// Delay holds every piece of data back for the time given for its direction; 0
// ends it. Data keeps its order, and pieces wait one after another.
func (p *Proxy) Delay(up, down time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = [2]time.Duration{up, down}
}

// CutReply plays a connection that breaks after the execution and before the
// reply, once: when a client has sent a piece with match in it ("" is any), the
// server receives it, nothing more goes down on that connection, and when the
// server has answered and then been silent for 50 ms, the connection is reset.
// The channel is closed after that. Another CutReply replaces one that has not
// matched yet.
func (p *Proxy) CutReply(match string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = &replyCut{match: []byte(match), done: make(chan struct{})}
	return p.cut.done
}

// Connections returns how many connections the proxy serves.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of file descriptors, say
			continue
		}
		p.tasks.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}

// serve connects to the target and pumps both directions until one side ends.
func (p *Proxy) serve(client *net.TCPConn) {
	l := &link{client: client, done: make(chan struct{})}
	defer l.reset()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	conn, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		return
	}
	l.server = conn.(*net.TCPConn)
	defer l.server.Close()
	if !p.add(l) {
		return
	}
	defer p.remove(l)
	p.tasks.Go(func() { p.pump(l, Down, l.server, l.client) })
	p.pump(l, Up, l.client, l.server)
	<-l.done
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.refuse {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// pump forwards one direction of a link until either side ends.
func (p *Proxy) pump(l *link, d Direction, from, to *net.TCPConn) {
	defer l.end(d)
	var tail []byte // the end of what went up before, for a match across pieces
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if !p.pass(l, d) {
			return
		}
		if err != nil {
			return
		}
		if d == Up {
			tail = p.arm(l, tail, b[:n])
		} else if l.cutting() {
			l.swallow()
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// pass returns when the direction is open and its delay is over, or false when
// the link has ended.
func (p *Proxy) pass(l *link, d Direction) bool {
	for {
		p.mu.Lock()
		open, changed, delay := p.hole&d == 0, p.changed, p.delay[d-1]
		p.mu.Unlock()
		if open {
			return l.sleep(delay)
		}
		select {
		case <-changed:
		case <-l.done:
			return false
		}
	}
}

// arm gives the waiting cut to the link if its request is in piece. It returns
// what to keep for the next piece.
func (p *Proxy) arm(l *link, tail, piece []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == nil {
		return nil
	}
	text := append(tail, piece...)
	if !bytes.Contains(text, p.cut.match) {
		keep := min(len(text), max(len(p.cut.match)-1, 0))
		return append([]byte(nil), text[len(text)-keep:]...)
	}
	if l.armCut(p.cut) {
		p.cut = nil
	}
	return nil
}

// link is one connection through the proxy.
type link struct {
	client, server *net.TCPConn
	done           chan struct{} // closed when it has ended

	mu    sync.Mutex
	ended bool
	cut   *replyCut
}

// end closes both sides. The pump of the direction Down, which is the one that
// a cut waits for, says that the cut is done.
func (l *link) end(d Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended = true
		close(l.done)
		l.client.Close()
		if l.server != nil {
			l.server.Close()
		}
	}
	if d == Down && l.cut != nil {
		close(l.cut.done)
	}
}

// reset closes both sides; the client sees a reset.
func (l *link) reset() {
	l.client.SetLinger(0)
	l.end(0)
}

// armCut reports whether the link took the cut. One that has ended takes none.
func (l *link) armCut(cut *replyCut) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.cut != nil {
		return false
	}
	l.cut = cut
	return true
}

func (l *link) cutting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut != nil
}

// swallow reads replies until the server is silent, since the first may be for
// an earlier request, and resets the link.
func (l *link) swallow() {
	defer l.reset()
	b := make([]byte, 64<<10)
	for {
		l.server.SetReadDeadline(time.Now().Add(quiet))
		if _, err := l.server.Read(b); err != nil {
			return
		}
	}
}

// sleep returns after d, or false at once when the link ends.
func (l *link) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}
