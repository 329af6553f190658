package agent

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	c := Default()
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

// Every invalid setting is named, with what is allowed.
func TestInvalidSettings(t *testing.T) {
	missing := t.TempDir() + "/missing"
	for _, c := range []struct {
		change func(c *Config)
		says   string
	}{
		{func(c *Config) { c.Prefix = "x" }, `prefix: "x"; it must end in ":"`},
		{func(c *Config) { c.Prefix = "{x}:" }, "have no braces"},
		{func(c *Config) { c.Socket = "" }, "one of socket and listen is needed"},
		{func(c *Config) { c.Socket = "/" + strings.Repeat("x", 100) }, "socket: a path of 101 bytes; at most 95"},
		{func(c *Config) { c.Snapshot = missing + "/sessions" }, "is no folder"},
		{func(c *Config) { c.SocketMode = 0o4660 }, "socket-mode: 04660; permissions"},
		{func(c *Config) { c.SocketMode = 0o060 }, "let the owner write"},
		{func(c *Config) { c.Listen = "7379" }, "listen: \"7379\"; host:port"},
		{func(c *Config) { c.Listen = "0.0.0.0:7379" }, "not on the loopback"},
		{func(c *Config) { c.Listen = "example.org:7379" }, "password-file or users"},
		{func(c *Config) { c.TLSCert = "x" }, "tls-cert and tls-key go together"},
		{func(c *Config) { c.TLSCert, c.TLSKey = "x", "y" }, "listen is not set"},
		{func(c *Config) { c.TLSClientCA = "x" }, "tls-client-ca"},
		{func(c *Config) { c.Listen, c.TLSCert, c.TLSKey = "localhost:1", missing, missing }, "tls-cert: open"},
		{func(c *Config) { c.Store = "redis://h?timeout=1s&prefix=x:" }, "that is the setting prefix"},
		{func(c *Config) { c.Store, c.Snapshot = "redis://h", "x" }, "snapshot: it is for the store in memory"},
		{func(c *Config) { c.MaxConnections = 0 }, "max-connections: 0; 1 to 1000000 are allowed"},
		{func(c *Config) { c.MaxFrame = 1000 }, "max-frame: 1000; 65536 to 1073741824 are allowed"},
		{func(c *Config) { c.MaxPipeline = 10_001 }, "max-pipeline: 10001; 1 to 10000 are allowed"},
		{func(c *Config) { c.ReadTimeout = 0 }, "read-timeout: 0s; 100ms or more is allowed"},
		{func(c *Config) { c.WriteTimeout = time.Millisecond }, "write-timeout: 1ms; 100ms or more is allowed"},
		{func(c *Config) { c.IdleTimeout = -1 }, "idle-timeout: -1ns; 100ms or more is allowed, or 0 for never"},
		{func(c *Config) { c.DrainTimeout = 0 }, "drain-timeout: 0s"},
		{func(c *Config) { c.SnapshotInterval = time.Millisecond }, "snapshot-interval: 1ms"},
		{func(c *Config) { c.PasswordFile = missing }, "password-file: open"},
		{func(c *Config) { c.PasswordFile = write(t, "p", "\n") }, "is empty; it must hold a password"},
		{func(c *Config) { c.UsersFile = missing }, "users: open"},
		{func(c *Config) { c.UsersFile = write(t, "u", "# nobody\n") }, "it has no users"},
		{func(c *Config) { c.UsersFile = write(t, "u", "ann a:\n") }, "line 1: 2 words"},
		{func(c *Config) { c.UsersFile = write(t, "u", "\nann a: TOPSECRET\n") }, "line 2: the password must begin with"},
		{func(c *Config) { c.UsersFile = write(t, "u", "ann a: sha256:TOPSECRET\n") }, "64 hexadecimal digits"},
		{func(c *Config) { c.UsersFile = write(t, "u", "ann a: file:TOPSECRET\n") }, "no such file"},
		{func(c *Config) { c.UsersFile = write(t, "u", "ann a "+digits("1")+"\n") }, `prefix "a"; it must end in ":"`},
		{func(c *Config) { c.UsersFile = write(t, "u", strings.Repeat("ann a: "+digits("1")+"\n", 2)) }, `"ann" is there twice`},
		{func(c *Config) {
			c.PasswordFile = write(t, "p", "pw")
			c.UsersFile = write(t, "u", "default a: "+digits("1")+"\n")
		}, "the users have one named default"},
	} {
		settings := Default()
		c.change(&settings)
		a, err := New(t.Context(), settings, quiet())
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v; want %s", err, c.says)
		}
		if a != nil {
			a.Close()
		}
		if err != nil && strings.Contains(err.Error(), "TOPSECRET") && !strings.Contains(err.Error(), "no such file") {
			t.Errorf("a password is shown: %v", err)
		}
	}
}

func TestPasswordsMayBeInAFileOfTheirOwn(t *testing.T) {
	c := testConfig(t)
	c.UsersFile = write(t, "users", "ann a: file:"+write(t, "pw", "secret\n")+"\n")
	w := start(t, c).dial()
	w.want("+OK\r\n", "AUTH", "ann", "secret")
}
