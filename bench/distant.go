package main

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// distant is a server that is further away: what goes to it and what comes back takes a time
// each, and waits for nothing else.
type distant struct {
	listener net.Listener
	target   string
	each     time.Duration
	line     chan piece // in the order of arrival, and so of departure
	tasks    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  []net.Conn
}

// piece is data on its way. Without data it is the end of a connection.
type piece struct {
	due  time.Time
	to   net.Conn
	data []byte
}

// distance puts each way between the caller and a server, and returns the address to use.
func (b *bench) distance(target string, each time.Duration) (address string, err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	const underWay = 4096
	d := &distant{listener: l, target: target, each: each, line: make(chan piece, underWay)}
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		d.deliver()
	}()
	d.tasks.Go(d.accept)
	b.onClose(func() {
		d.close()
		d.tasks.Wait()
		close(d.line)
		<-delivered
	})
	return l.Addr().String(), nil
}

func (d *distant) accept() {
	for {
		near, err := d.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		far, err := net.Dial("tcp", d.target)
		if err != nil {
			near.Close()
			continue
		}
		if !d.add(near, far) {
			return
		}
		d.tasks.Go(func() { d.carry(near, far) })
		d.tasks.Go(func() { d.carry(far, near) })
	}
}

func (d *distant) add(conns ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		for _, c := range conns {
			c.Close()
		}
		return false
	}
	d.conns = append(d.conns, conns...)
	return true
}

// carry puts what comes from one side on the line to the other.
func (d *distant) carry(from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			d.line <- piece{time.Now().Add(d.each), to, append([]byte(nil), buffer[:n]...)}
		}
		if err != nil {
			d.line <- piece{time.Now().Add(d.each), to, nil}
			return
		}
	}
}

// deliver hands over what is due. All takes the same time, so that it is due in order. It
// sleeps in the kernel by itself, since Go rounds short sleeps up to 1 ms.
func (d *distant) deliver() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for p := range d.line {
		if wait := time.Until(p.due); wait > 0 {
			request := syscall.NsecToTimespec(int64(wait))
			syscall.Nanosleep(&request, nil)
		}
		if p.data == nil {
			p.to.Close()
			continue
		}
		p.to.Write(p.data) // whoever waits for an answer sees the failure
	}
}

func (d *distant) close() {
	d.listener.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, c := range d.conns {
		c.Close()
	}
}
