package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// site is an app on a server of its own, and the connections that load it.
type site struct {
	name    string
	address string
	cookie  string // "name=value", once a response has set one
	conns   []*conn
}

// serve starts a server for an app on loopback.
func (b *bench) serve(name string, app http.Handler) (*site, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: app}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	b.onClose(func() {
		server.Close()
		<-done
	})
	return b.connect(name, listener.Addr().String())
}

// connect opens the connections to a server that runs.
func (b *bench) connect(name string, addresses ...string) (*site, error) {
	s := &site{name: name, address: addresses[0]}
	b.onClose(func() {
		for _, c := range s.conns {
			c.net.Close()
		}
	})
	for i := range inFlight {
		c, err := dial(addresses[i%len(addresses)])
		if err != nil {
			return nil, err
		}
		s.conns = append(s.conns, c)
	}
	return s, nil
}

// fill makes a session with the fields.
func (s *site) fill(fields []string) error {
	for i, field := range fields {
		if _, err := s.get(fmt.Sprintf("/set?k=%s&v=%d", field, i)); err != nil {
			return err
		}
	}
	return nil
}

// get makes one request and keeps the cookie that comes with the answer.
func (s *site) get(path string) (int, error) {
	answer, cookie, err := s.conns[0].roundTrip(s.request(path), true)
	if err != nil {
		return 0, fmt.Errorf("%s: %s: %w", s.name, path, err)
	}
	if cookie != "" {
		s.cookie = cookie
	}
	return answer, nil
}

// request renders a request as a browser's fetch sends it, but for the headers
// that no session library reads.
func (s *site) request(path string) []byte {
	var r strings.Builder
	fmt.Fprintf(&r, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n", path, s.address)
	r.WriteString("Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Dest: empty\r\n")
	if s.cookie != "" {
		fmt.Fprintf(&r, "Cookie: %s\r\n", s.cookie)
	}
	r.WriteString("\r\n")
	return []byte(r.String())
}

// load keeps as many requests in flight as there are connections, at most
// workers, taking the paths in turn.
func (s *site) load(workers int, paths []string, d time.Duration) (sample, error) {
	requests := make([][]byte, len(paths))
	for i, path := range paths {
		requests[i] = s.request(path)
	}
	got, err := parallel(workers, d, func(worker int) func() error {
		c, next := s.conns[worker], worker
		return func() error {
			next++
			_, _, err := c.roundTrip(requests[next%len(requests)], false)
			return err
		}
	})
	if err != nil {
		return got, fmt.Errorf("%s: %w", s.name, err)
	}
	return got, nil
}

// conn is one connection of the generator. It does as little as possible, since
// it takes its time from the same processors as the server.
type conn struct {
	net net.Conn
	in  *bufio.Reader
}

func dial(address string) (*conn, error) {
	c, err := net.Dial("tcp4", address)
	if err != nil {
		return nil, err
	}
	return &conn{net: c, in: bufio.NewReaderSize(c, 4096)}, nil
}

var (
	lengthHeader = []byte("Content-Length: ")
	cookieHeader = []byte("Set-Cookie: ")
)

// roundTrip sends a request and reads its answer, an integer.
func (c *conn) roundTrip(request []byte, wantCookie bool) (answer int, cookie string, err error) {
	if _, err := c.net.Write(request); err != nil {
		return 0, "", err
	}
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, "", err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	refusal := ""
	if !ok {
		refusal = string(bytes.TrimSpace(status))
	}
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, "", err
		}
		if len(line) == 2 {
			break
		}
		if v, found := bytes.CutPrefix(line, lengthHeader); found {
			length = parse(v[:len(v)-2])
		} else if v, found := bytes.CutPrefix(line, cookieHeader); found && wantCookie {
			pair, _, _ := bytes.Cut(v, []byte(";"))
			cookie = string(pair)
		}
	}
	if length < 0 {
		return 0, "", errors.New("an answer without a length")
	}
	body, err := c.in.Peek(length)
	if err != nil {
		return 0, "", err
	}
	if !ok {
		return 0, "", fmt.Errorf("%s: %s", refusal, bytes.TrimSpace(body))
	}
	answer = parse(body)
	c.in.Discard(length)
	return answer, cookie, nil
}

// parse reads a decimal number, or gives -1.
func parse(digits []byte) int {
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		return -1
	}
	return n
}
