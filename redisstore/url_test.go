package redisstore

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for raw, check := range map[string]func(c config) bool{
		"redis://localhost": func(c config) bool {
			return c.client.InitAddress[0] == "localhost:6379" && c.client.ForceSingleClient && c.client.TLSConfig == nil &&
				c.prefix == "pazzo:" && c.timeout == time.Second
		},
		"redis://ann:p%40ss@h:1/15?prefix=a:b:&timeout=500ms": func(c config) bool {
			return c.client.Username == "ann" && c.client.Password == "p@ss" && c.client.SelectDB == 15 &&
				c.prefix == "a:b:" && c.timeout == 500*time.Millisecond
		},
		"rediss://[::1]:7000": func(c config) bool {
			return c.client.TLSConfig != nil && c.client.InitAddress[0] == "[::1]:7000"
		},
		"redis+sentinel://:pw@h1:1,h2/main/2?sentinel_user=u&sentinel_password=p": func(c config) bool {
			return slices.Equal(c.client.InitAddress, []string{"h1:1", "h2:26379"}) && c.client.Sentinel.MasterSet == "main" &&
				c.client.SelectDB == 2 && c.client.Password == "pw" && c.client.Username == "" &&
				c.client.Sentinel.Username == "u" && c.client.Sentinel.Password == "p"
		},
		"rediss+cluster://h1:1,h2:2": func(c config) bool {
			return len(c.client.InitAddress) == 2 && !c.client.ForceSingleClient && c.client.TLSConfig != nil
		},
		"unix:///run/pazzo/agent.sock?prefix=a:": func(c config) bool {
			return c.client.InitAddress[0] == "/run/pazzo/agent.sock" && c.client.ForceSingleClient && c.prefix == "a:" &&
				c.client.Username == "" && c.client.TLSConfig == nil
		},
		"unix://ann:p%40ss@/a%3fb": func(c config) bool {
			return c.client.InitAddress[0] == "/a?b" && c.client.Username == "ann" && c.client.Password == "p@ss"
		},
		"pazzo://:pw@h/15": func(c config) bool {
			return c.client.InitAddress[0] == "h:7379" && c.client.ForceSingleClient && c.client.Password == "pw" &&
				c.client.SelectDB == 15 && c.client.TLSConfig == nil
		},
		"pazzos://h:1": func(c config) bool {
			return c.client.InitAddress[0] == "h:1" && c.client.TLSConfig != nil
		},
	} {
		if c, err := parse(raw, nil); err != nil || !check(c) {
			t.Errorf("%s: %+v, %v", raw, c, err)
		}
	}
}

func TestParseErrorsNameTheFault(t *testing.T) {
	for raw, word := range map[string]string{
		"":                                      "scheme",
		"http://x":                              "scheme",
		"redis+sentinels://x/y":                 "scheme",
		"pazzo+cluster://x":                     "scheme",
		"unix:/path":                            "scheme",
		"unix://":                               "unix:///path",
		"unix://host/path":                      "unix:///path",
		"unix:///p?ca=/x":                       `"ca"`,
		"pazzo://a,b":                           "several",
		"redis://":                              "host",
		"redis://h:0":                           "port",
		"redis://h:99999":                       "port",
		"redis://h/x":                           "database",
		"redis://h/-1":                          "database",
		"redis://h/1/2":                         "database",
		"redis://a,b":                           "redis+cluster",
		"redis://u:TOPSECRET@h?perfix=x:":       `"perfix"`,
		"redis://u:TOPSECRET@h#?":               "fragment",
		"redis://u:TOPSECRET%zz@h":              "percent-encoded",
		"redis://u:TOPSECRET@h:port":            "h:port",
		"redis://u:TOPSECRET@h?prefix=%zz":      "malformed",
		"redis://h?ca=/x":                       `"ca"`,
		"rediss://h?ca=/no/such/file":           "parameter ca",
		"redis://h?prefix=x":                    "prefix",
		"redis://h?prefix={x}:":                 "braces",
		"redis://h?prefix=a:&prefix=b:":         "twice",
		"redis://h?timeout=5":                   "500ms",
		"redis://h?timeout=-1s":                 "timeout",
		"redis://h?timeout=1us":                 "timeout",
		"redis+sentinel://h":                    "name of the primary",
		"redis+cluster://u:TOPSECRET@h/1":       "no databases",
		"redis+cluster://h?sentinel_password=x": "allowed here are prefix, timeout",
	} {
		_, err := parse(raw, nil)
		if !errors.Is(err, ErrURL) || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", raw, err)
		}
		if err != nil && strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	if _, err := parse("redis://h", &Options{Prefix: "bad"}); !errors.Is(err, ErrURL) {
		t.Error(err)
	}
}
