package memcachedstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// ErrURL is returned when a store URL or an option is invalid.
var ErrURL = errors.New("memcachedstore: invalid store URL")

const defaultPort = "11211"

// config is what a URL and Options say.
type config struct {
	Options
	servers []address
	login   login
	ca      string      // a file
	tls     *tls.Config // nil: none
}

// address is a server as the URL names it.
type address struct{ host, port string }

func (a address) String() string { return net.JoinHostPort(a.host, a.port) }

// parse reads a store URL. It does not use url.Parse, which knows one host only. Its
// errors do not quote the hosts, among which a password may have been put by mistake.
func parse(raw string, opts *Options) (config, error) {
	var c config
	if opts != nil {
		c.Options = *opts
	}
	scheme, rest, found := strings.Cut(raw, "://")
	if !found || scheme != "memcached" && scheme != "memcacheds" {
		return c, fmt.Errorf("%w: the scheme must be memcached, or memcacheds for TLS", ErrURL)
	}
	rest, query, _ := strings.Cut(rest, "?")
	list, path, _ := strings.Cut(rest, "/")
	if path != "" {
		return c, fmt.Errorf("%w: nothing but parameters is allowed after the hosts", ErrURL)
	}
	if at := strings.LastIndexByte(list, '@'); at >= 0 {
		if err := c.user(list[:at]); err != nil {
			return c, err
		}
		list = list[at+1:]
	}
	if err := c.hosts(list); err != nil {
		return c, err
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return c, fmt.Errorf("%w: the parameters after ? are malformed", ErrURL)
	}
	if err := c.parameters(values); err != nil {
		return c, err
	}
	c.orDefault()
	if err := c.check(); err != nil {
		return c, err
	}
	switch {
	case scheme == "memcacheds":
		return c, c.secure()
	case c.ca != "":
		return c, fmt.Errorf("%w: parameter ca is for TLS, with the scheme memcacheds", ErrURL)
	}
	return c, nil
}

// user reads user:password.
func (c *config) user(text string) (err error) {
	user, password, found := strings.Cut(text, ":")
	if c.login.user, err = url.PathUnescape(user); err == nil {
		c.login.password, err = url.PathUnescape(password)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w: before the @, a %% that escapes nothing; write %%25", ErrURL)
	case !found || user == "" || password == "":
		return fmt.Errorf("%w: before the @, user:password is expected", ErrURL)
	case !c.login.valid():
		return fmt.Errorf("%w: user and password must have no spaces or control characters, the user no colon, and %d bytes at most together", ErrURL, maxLogin)
	}
	return nil
}

// secure makes the settings of TLS.
func (c *config) secure() error {
	c.tls = c.TLS
	if c.tls == nil {
		c.tls = &tls.Config{}
	}
	if c.ca == "" {
		return nil
	}
	pem, err := os.ReadFile(c.ca)
	if err != nil {
		return fmt.Errorf("%w: parameter ca: %w", ErrURL, err)
	}
	c.tls = c.tls.Clone()
	c.tls.RootCAs = x509.NewCertPool()
	if !c.tls.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%w: parameter ca: no certificate in the file", ErrURL)
	}
	return nil
}

func (c *config) hosts(list string) error {
	seen := map[address]bool{}
	for i, text := range strings.Split(list, ",") {
		u, err := url.Parse("//" + text)
		if err != nil || u.Hostname() == "" || u.Host != text {
			return fmt.Errorf("%w: host %d is not host or host:port", ErrURL, i+1)
		}
		a := address{u.Hostname(), u.Port()}
		if a.port == "" {
			a.port = defaultPort
		}
		if n, err := strconv.Atoi(a.port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("%w: port %q; 1 to 65535 are allowed", ErrURL, a.port)
		}
		if seen[a] {
			return fmt.Errorf("%w: host %d is there twice", ErrURL, i+1)
		}
		seen[a] = true
		c.servers = append(c.servers, a)
	}
	return nil
}

func (c *config) parameters(values url.Values) error {
	for name, list := range values {
		text := list[0]
		if len(list) > 1 || text == "" {
			return fmt.Errorf("%w: parameter %q is empty or given twice", ErrURL, name)
		}
		var err error
		switch name {
		case "prefix":
			c.Prefix = text
		case "ca":
			c.ca = text
		case "timeout":
			c.Timeout, err = time.ParseDuration(text)
			if err != nil || c.Timeout <= 0 {
				return fmt.Errorf("%w: timeout %q; a duration such as 500ms or 2s is allowed", ErrURL, text)
			}
		case "connections":
			c.Connections, err = strconv.Atoi(text)
			if err != nil || c.Connections <= 0 {
				return fmt.Errorf("%w: connections %q; 1 to 64 are allowed", ErrURL, text)
			}
		case "max_item":
			c.MaxItem, err = strconv.Atoi(text)
			if err != nil || c.MaxItem <= 0 {
				return fmt.Errorf("%w: max_item %q; a number of bytes is allowed", ErrURL, text)
			}
		default:
			return fmt.Errorf("%w: unknown parameter %q; allowed are prefix, timeout, connections, max_item and ca", ErrURL, name)
		}
	}
	return nil
}

func (o *Options) orDefault() {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Connections == 0 {
		o.Connections = DefaultConnections
	}
	if o.MaxItem == 0 {
		o.MaxItem = DefaultMaxItem
	}
}

func (o *Options) check() error {
	switch {
	case !strings.HasSuffix(o.Prefix, ":") || strings.ContainsAny(o.Prefix, "{}") || len(o.Prefix) > MaxPrefix || !printable(o.Prefix):
		return fmt.Errorf(`%w: prefix %q; at most %d printable ASCII characters are allowed, no space or braces, ":" the last`, ErrURL, o.Prefix, MaxPrefix)
	case o.Timeout < time.Millisecond:
		return fmt.Errorf("%w: timeout %s; 1ms or more is allowed", ErrURL, o.Timeout)
	case o.Connections < 1 || o.Connections > 64:
		return fmt.Errorf("%w: %d connections; 1 to 64 are allowed", ErrURL, o.Connections)
	case o.MaxItem < 1<<10 || o.MaxItem > 1<<30:
		return fmt.Errorf("%w: max_item %d; %d to %d bytes are allowed", ErrURL, o.MaxItem, 1<<10, 1<<30)
	}
	return nil
}

// printable reports whether a text may be part of a key.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
