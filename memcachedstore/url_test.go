package memcachedstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

func TestURL(t *testing.T) {
	c, err := parse("memcached://h1:1,[::1]:2,h3/?prefix=shop:&timeout=300ms&connections=3&max_item=2097152", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.servers) != 3 || c.servers[1].String() != "[::1]:2" || c.servers[2].String() != "h3:11211" {
		t.Errorf("servers %v", c.servers)
	}
	if c.Options != (Options{"shop:", 300 * time.Millisecond, 3, 2 << 20, nil}) {
		t.Errorf("options %+v", c.Options)
	}
	if c, err = parse("memcached://h", nil); err != nil || c.Options != (Options{DefaultPrefix, DefaultTimeout, DefaultConnections, DefaultMaxItem, nil}) {
		t.Errorf("defaults %+v, %v", c.Options, err)
	}
	if c.tls != nil || c.login != (login{}) {
		t.Errorf("login %+v, TLS %v", c.login, c.tls)
	}
	if c, err = parse("memcacheds://app:p%40%3Aw@h1,h2", nil); err != nil || c.login != (login{"app", "p@:w"}) || len(c.servers) != 2 || c.tls == nil {
		t.Errorf("login %+v, servers %v, TLS %v, %v", c.login, c.servers, c.tls, err)
	}
}

func TestURLErrors(t *testing.T) {
	for url, says := range map[string]string{
		"redis://h":                         "memcached",
		"memcached://":                      "host 1",
		"memcached://h:x":                   "host 1",
		"memcached://h:0":                   "65535",
		"memcached://h,h":                   "twice",
		"memcached://h,h:11211":             "twice",
		"memcached://u@h":                   "user:password",
		"memcached://:TOPSECRET@h":          "user:password",
		"memcached://u:TOP%20SECRET@h":      "spaces",
		"memcached://u:TOPSECRET%0D%0A@h":   "control",
		"memcached://u%3A:TOPSECRET@h":      "colon",
		"memcached://u:TOPSECRET%@h":        "%25",
		"memcached://u:TOPSECRET@h:x":       "host 1",
		"memcached://h?ca=x":                "memcacheds",
		"memcacheds://h?ca=/no/such/file":   "/no/such/file",
		"memcacheds://h?ca=url.go":          "no certificate",
		"memcached://h/0":                   "after the hosts",
		"memcached://h?a=b":                 "prefix, timeout",
		"memcached://h?prefix=a":            `":" the last`,
		"memcached://h?prefix=a%20b:":       "printable",
		"memcached://h?prefix=ä:":           "printable",
		"memcached://h?timeout=1":           "500ms",
		"memcached://h?connections=0":       "1 to 64",
		"memcached://h?connections=65":      "1 to 64",
		"memcached://h?max_item=100":        "1024",
		"memcached://h?timeout=1s&timeout=": "given twice",
		"memcached://h?prefix=" + strings.Repeat("x", MaxPrefix) + ":": "150",
	} {
		s, err := Open(context.Background(), url, nil)
		if !errors.Is(err, ErrURL) || s != nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%s: %v", url, err)
		}
	}
	s, err := Open(context.Background(), "memcached://127.0.0.1:1", nil)
	if !errors.Is(err, record.ErrUnavailable) || s != nil {
		t.Errorf("no server: %v", err)
	}
}
