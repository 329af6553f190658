package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"
)

// ErrConfig is wrapped when a setting is invalid. The text names the setting and
// what is allowed.
var ErrConfig = errors.New("invalid setting")

// Config is the agent's settings. Default fills one in.
type Config struct {
	Store  string // a URL for stores.Open; without a prefix, which is the next one
	Prefix string // of the keys of users that have none of their own

	Socket     string      // the path of the Unix socket; none if empty
	SocketMode fs.FileMode // its permissions
	Listen     string      // host:port for TCP; none if empty

	TLSCert     string // the certificate for TCP, a PEM file; plain TCP if empty
	TLSKey      string // its key, a PEM file
	TLSClientCA string // a PEM file: clients must have a certificate of one of these

	PasswordFile string // holds the password of the user default
	UsersFile    string // see ParseUsers

	MaxConnections int           // beyond that many, new ones are refused
	MaxFrame       int           // bytes of one command
	MaxPipeline    int           // commands of a connection that wait for a store at once
	ReadTimeout    time.Duration // for a command to arrive, from its first byte on
	WriteTimeout   time.Duration // for a client to take replies
	IdleTimeout    time.Duration // without a command; 0: for ever
	DrainTimeout   time.Duration // for commands under way at the end

	Snapshot         string        // the file; none if empty. For the store in memory
	SnapshotInterval time.Duration // between two snapshots; 0: at the end only
}

// Default returns the settings that hold when nothing else is said.
func Default() Config {
	return Config{
		Store:            "memory:",
		Prefix:           "pazzo:",
		Socket:           DefaultSocket,
		SocketMode:       0o660,
		MaxConnections:   10_000,
		MaxFrame:         8 << 20,
		MaxPipeline:      128,
		ReadTimeout:      30 * time.Second,
		WriteTimeout:     10 * time.Second,
		DrainTimeout:     10 * time.Second,
		SnapshotInterval: time.Minute,
	}
}

// DefaultSocket is where clients look for an agent.
const DefaultSocket = "/run/pazzo/agent.sock"

// maxSocket bounds the path of the socket, in bytes: systems take a little more than
// 100, and the number of the process is added to it for a moment.
const maxSocket = 95

// The bounds of MaxFrame, in bytes. A batch that fills a session of the usual limits
// takes a little more than 1 MiB.
const (
	minFrame = 64 << 10
	maxFrame = 1 << 30
)

// Check returns ErrConfig, naming the first setting that is invalid. What is in the
// files is not looked at.
func (c *Config) Check() error {
	if err := checkPrefix(c.Prefix); err != nil {
		return invalid("prefix", err.Error())
	}
	if _, query, _ := strings.Cut(c.Store, "?"); strings.Contains("&"+query, "&prefix=") {
		return invalid("store", "its URL has a prefix; that is the setting prefix")
	}
	if c.Socket == "" && c.Listen == "" {
		return invalid("socket", "there is neither a socket nor an address to listen at; one of socket and listen is needed")
	}
	if len(c.Socket) > maxSocket {
		return invalid("socket", fmt.Sprintf("a path of %d bytes; at most %d are allowed", len(c.Socket), maxSocket))
	}
	if c.SocketMode&^0o777 != 0 || c.SocketMode&0o200 == 0 {
		return invalid("socket-mode", fmt.Sprintf("%#o; permissions in octal are allowed that let the owner write, such as 0660", uint32(c.SocketMode)))
	}
	if err := c.checkTCP(); err != nil {
		return err
	}
	if c.Snapshot != "" && !c.inMemory() {
		return invalid("snapshot", "it is for the store in memory; others keep sessions by themselves")
	}
	return c.checkLimits()
}

func (c *Config) inMemory() bool { return strings.HasPrefix(c.Store, "memory:") }

// authenticated reports whether users have passwords.
func (c *Config) authenticated() bool { return c.PasswordFile != "" || c.UsersFile != "" }

func (c *Config) checkTCP() error {
	if c.Listen != "" {
		host, port, err := net.SplitHostPort(c.Listen)
		if err != nil || port == "" {
			return invalid("listen", fmt.Sprintf("%q; host:port is allowed, such as 127.0.0.1:7379", c.Listen))
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && !c.authenticated() {
			return invalid("listen", fmt.Sprintf("%q is not on the loopback: that takes a password-file or users", c.Listen))
		}
	}
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return invalid("tls-cert", "tls-cert and tls-key go together")
	case c.TLSCert != "" && c.Listen == "":
		return invalid("tls-cert", "TLS is for TCP, and listen is not set")
	case c.TLSClientCA != "" && c.TLSCert == "":
		return invalid("tls-client-ca", "it takes tls-cert and tls-key")
	}
	return nil
}

func (c *Config) checkLimits() error {
	for _, n := range []struct {
		name             string
		value, low, high int
	}{
		{"max-connections", c.MaxConnections, 1, 1_000_000},
		{"max-frame", c.MaxFrame, minFrame, maxFrame},
		{"max-pipeline", c.MaxPipeline, 1, 10_000},
	} {
		if n.value < n.low || n.value > n.high {
			return invalid(n.name, fmt.Sprintf("%d; %d to %d are allowed", n.value, n.low, n.high))
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		never bool // 0 is allowed
	}{
		{"read-timeout", c.ReadTimeout, false},
		{"write-timeout", c.WriteTimeout, false},
		{"idle-timeout", c.IdleTimeout, true},
		{"drain-timeout", c.DrainTimeout, false},
		{"snapshot-interval", c.SnapshotInterval, true},
	} {
		if d.value == 0 && d.never || d.value >= 100*time.Millisecond {
			continue
		}
		allowed := "100ms or more is allowed"
		if d.never {
			allowed += ", or 0 for never"
		}
		return invalid(d.name, fmt.Sprintf("%s; %s", d.value, allowed))
	}
	return nil
}

func invalid(name, text string) error { return fmt.Errorf("%w %s: %s", ErrConfig, name, text) }

// checkPrefix keeps prefixes to what the protocol allows, and no longer than a
// snapshot holds.
func checkPrefix(prefix string) error {
	if !strings.HasSuffix(prefix, ":") || strings.ContainsAny(prefix, "{}") || len(prefix) > 255 {
		return fmt.Errorf(`%q; it must end in ":", have no braces and at most 255 bytes`, prefix)
	}
	return nil
}

// readFile reads a file that a setting names.
func readFile(setting, path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, invalid(setting, err.Error())
	}
	return data, nil
}
