package memcachedstore

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// way is how a server is reached.
type way struct {
	server  address
	timeout time.Duration // for connecting, and for an answer
	login   login
	tls     *tls.Config // nil: none
}

// login is a user and password of memcached's -Y; the zero login is none.
type login struct{ user, password string }

// maxLogin is how long a user and password may be together, in bytes: memcached reads as
// much of a line of its file.
const maxLogin = 250

// valid reports whether memcached can have such a login: it is the two with a colon between
// them in its file, and with a space on the wire.
func (l login) valid() bool {
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f }
	return !strings.ContainsFunc(l.user+l.password, bad) && !strings.Contains(l.user, ":") && len(l.user)+len(l.password) <= maxLogin
}

// connect dials, and makes sure that the server is one that we can use.
func (l *link) connect() (*bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.timeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", l.server.String())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	if l.conn, err = l.encrypted(ctx, conn); err != nil {
		conn.Close()
		return nil, errors.Join(err, ctx.Err())
	}
	in := bufio.NewReaderSize(l.conn, 16<<10)
	if err := l.greet(in); err != nil || !stop() {
		conn.Close()
		return nil, errors.Join(err, ctx.Err())
	}
	return in, nil
}

// encrypted is conn, with TLS if that is wanted.
func (w *way) encrypted(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if w.tls == nil {
		return conn, nil
	}
	config := w.tls
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = w.server.host
	}
	secure := tls.Client(conn, config)
	return secure, secure.HandshakeContext(ctx)
}

// unauthenticated is what a server says that wants a password first.
const unauthenticated = "CLIENT_ERROR unauthenticated"

// greet logs in, and asks whether the server knows the meta commands, keeps CAS values, and
// how large its items may be.
func (l *link) greet(in *bufio.Reader) error {
	line, err := l.say(in, "mn\r\n")
	if err != nil {
		return err
	}
	switch {
	case line == unauthenticated && l.login == login{}:
		return errors.New("it wants a user and password")
	case line == unauthenticated:
		if line, err = l.logIn(in); err != nil {
			return err
		}
	case l.login != login{}:
		// The way to log in is a set: such a server would keep the password as an item.
		return errors.New("it runs without -Y, and wants no password, but the URL has one")
	}
	if line != "MN" {
		return errors.New("it does not know the meta commands; version 1.6 or newer is needed")
	}
	if _, err := io.WriteString(l.conn, "stats settings\r\n"); err != nil {
		return err
	}
	settings, err := readStats(in)
	if err != nil {
		return err
	}
	if settings["cas_enabled"] == "no" {
		return errors.New("it runs with -C, without CAS values, which are needed")
	}
	l.maxItem = int(number(settings["item_size_max"]))
	return nil
}

// say sends a text and returns the line that answers it.
func (l *link) say(in *bufio.Reader, text string) (string, error) {
	if _, err := io.WriteString(l.conn, text); err != nil {
		return "", err
	}
	line, err := readLine(in)
	return string(line), err
}

// logIn gives user and password, by a set of any key, and greets again.
func (l *link) logIn(in *bufio.Reader) (greeting string, err error) {
	text := l.login.user + " " + l.login.password
	line, err := l.say(in, fmt.Sprintf("set login 0 0 %d\r\n%s\r\n", len(text), text))
	if err != nil {
		return "", err
	}
	if line != "STORED" {
		return "", errors.New("it refuses the user and password")
	}
	return l.say(in, "mn\r\n")
}
