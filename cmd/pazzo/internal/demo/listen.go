package demo

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// perOrigin is how many HTTP/1.1 connections a browser opens to one origin.
// Cookies ignore ports, so more requests at once need more ports.
const perOrigin = 6

// extraPorts take the storm's requests. Chromium opens 256 connections in all,
// and the page needs a few itself.
const extraPorts = 40

// maxAtOnce is how many requests the page can have in flight.
const maxAtOnce = extraPorts * perOrigin

// maxMoves is how many ports are tried after one that is taken.
const maxMoves = 50

// listen listens on addr, which must be on the loopback: the production cookie is
// Secure, and browsers accept that over plain http from there only. If the port is
// taken it takes the next free one.
func listen(addr string) (net.Listener, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: want host:port, such as 127.0.0.1:8080", addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("address %q is not on the loopback, and browsers accept the session's Secure cookie over plain http from there only: use 127.0.0.1", addr)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %q: port %q is not a number up to 65535", addr, text)
	}
	for move := uint64(0); ; move++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.FormatUint(port+move, 10)))
		if err == nil {
			return l, nil
		}
		if !taken(err) || move == maxMoves || port+move == 65535 {
			return nil, err
		}
	}
}

// taken reports whether an error of Listen says that the port is in use.
func taken(err error) bool {
	const windows = syscall.Errno(10048) // WSAEADDRINUSE
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windows)
}

// listenMore opens n free ports on the host of l.
func listenMore(l net.Listener, n int) ([]net.Listener, error) {
	host, _, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	more := make([]net.Listener, 0, n)
	for range n {
		extra, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			closeAll(more)
			return nil, fmt.Errorf("cannot open the ports that the page needs: %w", err)
		}
		more = append(more, extra)
	}
	return more, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
