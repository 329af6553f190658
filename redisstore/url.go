package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// ErrURL is returned when a store URL or an option is invalid.
var ErrURL = errors.New("redisstore: invalid store URL")

// config is what a URL and Options say.
type config struct {
	client  rueidis.ClientOption
	prefix  string
	timeout time.Duration
}

// target is the URL in parts.
type target struct {
	secure bool
	kind   string // "", "sentinel", "cluster", "agent" or "socket"
	user   *url.Userinfo
	hosts  []string
	path   []string
	query  url.Values
}

// forms are the schemes.
var forms = map[string]target{
	"redis":           {},
	"rediss":          {secure: true},
	"redis+sentinel":  {kind: "sentinel"},
	"rediss+sentinel": {kind: "sentinel", secure: true},
	"redis+cluster":   {kind: "cluster"},
	"rediss+cluster":  {kind: "cluster", secure: true},
	"pazzo":           {kind: "agent"},
	"pazzos":          {kind: "agent", secure: true},
	"unix":            {kind: "socket"},
}

const schemes = "redis, rediss, redis+sentinel, rediss+sentinel, redis+cluster, rediss+cluster, unix, pazzo, pazzos"

// ports are those that need not be written.
var ports = map[string]string{"": "6379", "cluster": "6379", "sentinel": "26379", "agent": "7379"}

// parse reads a store URL. Its errors never contain the URL itself, which may
// hold a password.
func parse(raw string, opts *Options) (config, error) {
	if opts == nil {
		opts = &Options{}
	}
	t, err := split(raw)
	if err != nil {
		return config{}, err
	}
	c := config{prefix: opts.Prefix, timeout: opts.Timeout}
	if err := c.parameters(&t); err != nil {
		return config{}, err
	}
	if err := c.checkOptions(); err != nil {
		return config{}, err
	}
	if err := c.connect(&t, opts.TLS); err != nil {
		return config{}, err
	}
	return c, nil
}

// split takes a URL apart. It does not use url.Parse, which knows one host only.
func split(raw string) (t target, err error) {
	scheme, rest, found := strings.Cut(raw, "://")
	t, known := forms[scheme]
	if !found || !known {
		return t, fmt.Errorf("%w: the scheme must be one of %s", ErrURL, schemes)
	}
	if strings.Contains(rest, "#") {
		return t, fmt.Errorf("%w: it has a fragment (#…); in a password, write %%23", ErrURL)
	}
	rest, query, _ := strings.Cut(rest, "?")
	if t.query, err = url.ParseQuery(query); err != nil {
		return t, fmt.Errorf("%w: the parameters after ? are malformed", ErrURL)
	}
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if t.user, err = userinfo(authority[:at]); err != nil {
			return t, err
		}
		authority = authority[at+1:]
	}
	if t.kind == "socket" {
		return t, t.socket(authority, path)
	}
	if path = strings.Trim(path, "/"); path != "" {
		t.path = strings.Split(path, "/")
	}
	t.hosts, err = hosts(authority, ports[t.kind])
	return t, err
}

// socket reads the path of a Unix socket: unix:///path, or unix://user:password@/path.
func (t *target) socket(authority, path string) error {
	path, err := url.PathUnescape(path)
	if err != nil || authority != "" || path == "" {
		return fmt.Errorf("%w: a socket's URL is unix:///path, with user:password@ before the path perhaps", ErrURL)
	}
	t.hosts = []string{"/" + path}
	return nil
}

func userinfo(text string) (*url.Userinfo, error) {
	name, password, _ := strings.Cut(text, ":")
	name, err1 := url.PathUnescape(name)
	password, err2 := url.PathUnescape(password)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("%w: user and password are not percent-encoded", ErrURL)
	}
	return url.UserPassword(name, password), nil
}

func hosts(list, port string) (addresses []string, err error) {
	for _, host := range strings.Split(list, ",") {
		u, err := url.Parse("//" + host)
		if err != nil || u.Hostname() == "" || u.Host != host {
			return nil, fmt.Errorf("%w: %q is not host or host:port", ErrURL, host)
		}
		p := u.Port()
		if p == "" {
			p = port
		}
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("%w: port %q; 1 to 65535 are allowed", ErrURL, p)
		}
		addresses = append(addresses, net.JoinHostPort(u.Hostname(), p))
	}
	return addresses, nil
}

// parameters reads what follows the question mark, but for the certificates.
func (c *config) parameters(t *target) error {
	allowed := []string{"prefix", "timeout"}
	if t.secure {
		allowed = append(allowed, "ca")
	}
	if t.kind == "sentinel" {
		allowed = append(allowed, "sentinel_user", "sentinel_password")
	}
	for name, values := range t.query {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("%w: unknown parameter %q; allowed here are %s", ErrURL, name, strings.Join(allowed, ", "))
		}
		if len(values) > 1 || values[0] == "" {
			return fmt.Errorf("%w: parameter %s is empty or given twice", ErrURL, name)
		}
	}
	if t.query.Has("prefix") {
		c.prefix = t.query.Get("prefix")
	}
	if t.query.Has("timeout") {
		d, err := time.ParseDuration(t.query.Get("timeout"))
		if err != nil || d <= 0 {
			return fmt.Errorf("%w: timeout %q; a duration such as 500ms or 2s is allowed", ErrURL, t.query.Get("timeout"))
		}
		c.timeout = d
	}
	return nil
}

func (c *config) checkOptions() error {
	if c.prefix == "" {
		c.prefix = DefaultPrefix
	}
	if !strings.HasSuffix(c.prefix, ":") || strings.ContainsAny(c.prefix, "{}") {
		return fmt.Errorf(`%w: prefix %q; it must end in ":" and have no braces`, ErrURL, c.prefix)
	}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	if c.timeout < time.Millisecond {
		return fmt.Errorf("%w: timeout %s; 1ms or more is allowed", ErrURL, c.timeout)
	}
	return nil
}

// flushDelay lets calls at the same time go out together. Under load that saves a
// good part of the work on both sides; a call alone hardly feels it, since only
// the next one waits.
const flushDelay = 20 * time.Microsecond

// connect makes rueidis' options. It retries nothing by itself: we do, and know
// what may be repeated. One pipelined connection is the fastest for many short
// calls, and always pipelining lets a call end with its context without breaking
// the connection for others.
func (c *config) connect(t *target, config *tls.Config) error {
	o := &c.client
	o.InitAddress = t.hosts
	o.DisableRetry, o.DisableCache, o.AlwaysPipelining = true, true, true
	o.PipelineMultiplex = -1
	o.MaxFlushDelay = flushDelay
	o.Dialer.Timeout = c.timeout
	o.Dialer.KeepAlive = min(c.timeout, time.Second) // a silent connection is pinged that often
	o.ConnWriteTimeout = c.timeout                   // and dropped that long after
	o.ClusterOption.MaxMovedRedirections = 8
	if t.user != nil {
		o.Username = t.user.Username()
		o.Password, _ = t.user.Password()
	}
	if t.secure {
		var err error
		if o.TLSConfig, err = certificates(t.query.Get("ca"), config); err != nil {
			return err
		}
	}
	switch t.kind {
	case "sentinel":
		return c.sentinel(t)
	case "cluster":
		if len(t.path) > 0 {
			return fmt.Errorf("%w: a Cluster has no databases; nothing is allowed after the hosts", ErrURL)
		}
		return nil
	}
	if len(t.hosts) > 1 {
		return fmt.Errorf("%w: several hosts; they need redis+sentinel or redis+cluster", ErrURL)
	}
	if t.kind == "socket" {
		o.ForceSingleClient = true
		return nil
	}
	o.ForceSingleClient = true
	return c.database(t.path)
}

func (c *config) sentinel(t *target) error {
	if len(t.path) == 0 {
		return fmt.Errorf("%w: the name of the primary is missing after the Sentinels: …/name/db", ErrURL)
	}
	s := &c.client.Sentinel
	s.MasterSet = t.path[0]
	s.Dialer, s.TLSConfig = c.client.Dialer, c.client.TLSConfig
	s.Username, s.Password = t.query.Get("sentinel_user"), t.query.Get("sentinel_password")
	s.TopologyRefreshInterval = time.Second // should the event of a failover be missed
	return c.database(t.path[1:])
}

func (c *config) database(path []string) error {
	if len(path) == 0 {
		return nil
	}
	n, err := strconv.Atoi(path[0])
	if err != nil || n < 0 || len(path) > 1 {
		return fmt.Errorf("%w: database %q; a number from 0 is allowed", ErrURL, strings.Join(path, "/"))
	}
	c.client.SelectDB = n
	return nil
}

func certificates(file string, config *tls.Config) (*tls.Config, error) {
	if config == nil {
		config = &tls.Config{}
	}
	if file == "" {
		return config, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: parameter ca: %w", ErrURL, err)
	}
	config = config.Clone()
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: parameter ca: no certificate in the file", ErrURL)
	}
	return config, nil
}
