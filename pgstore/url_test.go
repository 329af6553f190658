package pgstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

func TestURL(t *testing.T) {
	c, err := parse("postgresql://u:p%40w@h1:5433,h2/db?prefix=shop:&schema=s_1&timeout=300ms&sweep=off&sslmode=disable&synchronous_commit=off",
		&Options{Prefix: "other:", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if c.Options != (Options{Prefix: "shop:", Schema: "s_1", Timeout: 300 * time.Millisecond, Sweep: -1}) {
		t.Errorf("options %+v", c.Options)
	}
	conn := c.pool.ConnConfig
	if conn.User != "u" || conn.Password != "p@w" || conn.Host != "h1" || conn.Port != 5433 || conn.Database != "db" || len(conn.Fallbacks) != 1 {
		t.Errorf("connects to %s:%d/%s", conn.Host, conn.Port, conn.Database)
	}
	if got := conn.RuntimeParams; got["synchronous_commit"] != "off" || got["prefix"] != "" || got["schema"] != "" {
		t.Errorf("runtime parameters %v", got)
	}
	if c.pool.MaxConns != DefaultMaxConns || conn.ConnectTimeout != 300*time.Millisecond {
		t.Errorf("%d connections, %v", c.pool.MaxConns, conn.ConnectTimeout)
	}
	if c, err = parse("postgres://h/?pool_max_conns=3&connect_timeout=7", nil); err != nil || c.pool.MaxConns != 3 || c.pool.ConnConfig.ConnectTimeout != 7*time.Second {
		t.Errorf("%+v, %v", c.pool, err)
	}
	if c.Options != (Options{DefaultPrefix, DefaultSchema, DefaultTimeout, DefaultSweep, ""}) {
		t.Errorf("defaults %+v", c.Options)
	}
	if c.listen != c.pool.ConnConfig {
		t.Error("without listen, changes are told of elsewhere")
	}
}

func TestListenURL(t *testing.T) {
	for _, listen := range []string{"postgres://u:p@direct:5433/db?sslmode=disable", "postgres%3A%2F%2Fu%3Ap%40direct%3A5433%2Fdb%3Fsslmode%3Ddisable%26application_name%3Dx"} {
		c, err := parse("postgres://bouncer:6432/db?timeout=300ms&listen="+listen, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.pool.ConnConfig.Host != "bouncer" || c.listen.Host != "direct" || c.listen.Port != 5433 || c.listen.Password != "p" ||
			c.listen.TLSConfig != nil || c.listen.ConnectTimeout != 300*time.Millisecond {
			t.Errorf("%s: %s, %s:%d", listen, c.pool.ConnConfig.Host, c.listen.Host, c.listen.Port)
		}
	}
}

func TestURLErrors(t *testing.T) {
	for url, says := range map[string]string{
		"mysql://u:TOPSECRET@h/":                          "postgres or postgresql",
		"postgres://u:TOPSECRET#@h/":                      "%23",
		"postgres://u:TOPSECRET@h/?prefix=a":              `end in ":"`,
		"postgres://u:TOPSECRET@h/?prefix=":               "prefix is empty",
		"postgres://u:TOPSECRET@h/?schema=A":              "a-z",
		"postgres://u:TOPSECRET@h/?schema=a;drop":         "malformed",
		"postgres://u:TOPSECRET@h/?timeout=5":             "500ms",
		"postgres://u:TOPSECRET@h/?timeout=1us":           "1ms or more",
		"postgres://u:TOPSECRET@h/?sweep=1ms":             "10ms or more",
		"postgres://u:TOPSECRET@h/?timeout=1s&timeout=2s": "given twice",
		"postgres://u:TOPSECRET@h:port/":                  "",
		"postgres://u:TOPSECRET%zz@h/":                    "",
		"postgres://u:TOPSECRET@h/?sslmode=maybe":         "sslmode",
		"postgres://u:TOPSECRET@h/?pool_max_conns=no":     "pool_max_conns",
		"postgres://h/?listen=":                           "listen is empty",
		"postgres://h/?listen=redis://u:TOPSECRET@h/":     "in that of listen",
		"postgres://h/?listen=postgres://:TOPSECRET@h:p/": "in that of listen",
	} {
		s, err := Open(context.Background(), url, nil)
		if !errors.Is(err, ErrURL) || s != nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%s: the password is in %q", url, err)
		}
	}
	s, err := Open(context.Background(), "postgres://u:TOPSECRET@127.0.0.1:1/", nil)
	if !errors.Is(err, record.ErrUnavailable) || s != nil || strings.Contains(err.Error(), "TOPSECRET") {
		t.Errorf("no server: %v", err)
	}
}
