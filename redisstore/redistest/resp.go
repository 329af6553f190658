package redistest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// ReplyError is an error reply of the server, as it sent it: "ERR …".
type ReplyError string

func (e ReplyError) Error() string { return string(e) }

// conn is a connection that speaks RESP2, one command at a time.
type conn struct {
	nc net.Conn
	r  *bufio.Reader
}

// dial connects to addr, with TLS unless config is nil.
func dial(ctx context.Context, addr string, config *tls.Config) (*conn, error) {
	var d interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = &net.Dialer{}
	if config != nil {
		d = &tls.Dialer{Config: config}
	}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("redistest: %w", err)
	}
	return newConn(nc), nil
}

func newConn(nc net.Conn) *conn { return &conn{nc: nc, r: bufio.NewReader(nc)} }

func (c *conn) close() { c.nc.Close() }

// do sends a command and reads its reply. When ctx ends first, the connection
// is of no more use.
func (c *conn) do(ctx context.Context, args ...string) (any, error) {
	stop := context.AfterFunc(ctx, func() { c.nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	reply, err := c.roundTrip(args)
	var refused ReplyError
	if err == nil || errors.As(err, &refused) {
		return reply, err
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, fmt.Errorf("redistest: %s %s: %w", c.nc.RemoteAddr(), args[0], err)
}

func (c *conn) roundTrip(args []string) (any, error) {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.nc.Write(b); err != nil {
		return nil, err
	}
	return c.read()
}

func (c *conn) read() (any, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 {
		return nil, fmt.Errorf("malformed reply %q", line)
	}
	kind, rest := line[0], line[1:len(line)-2]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, ReplyError(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("malformed reply %q", line)
	}
	switch {
	case kind == ':':
		return n, nil
	case kind == '$' && n < 0, kind == '*' && n < 0:
		return nil, nil
	case kind == '$':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, b); err != nil {
			return nil, err
		}
		return string(b[:n]), nil
	case kind == '*':
		return c.readList(n)
	}
	return nil, fmt.Errorf("malformed reply %q", line)
}

// readList reads n replies. An error among them is an element.
func (c *conn) readList(n int64) (any, error) {
	list := make([]any, n)
	for i := range list {
		v, err := c.read()
		var refused ReplyError
		switch {
		case errors.As(err, &refused):
			v = refused
		case err != nil:
			return nil, err
		}
		list[i] = v
	}
	return list, nil
}
