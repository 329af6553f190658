package stores

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/memcachedstore"
	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/pebblestore"
	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

func TestOpen(t *testing.T) {
	database := pgtest.Start(t).URL()
	if _, err := pgstore.Migrate(t.Context(), database, nil); err != nil {
		t.Fatal(err)
	}
	for url, name := range map[string]string{
		"memory:":                                   "memory",
		"memory://?max=1000000":                     "memory",
		"pebble://" + t.TempDir() + "?prefix=x:":    "pebble",
		redistest.Start(t).URL():                    "redis",
		redistest.Start(t).URL() + "?prefix=x:":     "redis",
		database + "?prefix=x:":                     "postgres",
		memcachedtest.Start(t).URL() + "?prefix=x:": "memcached",
		memcachedtest.StartSecured(t).URL():         "memcached",
	} {
		store, err := Open(context.Background(), url)
		if err != nil {
			t.Fatal(err)
		}
		if traits, err := store.Traits(context.Background()); err != nil || traits.Name != name {
			t.Errorf("%s: %+v, %v", url, traits, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNearCache(t *testing.T) {
	server := redistest.Start(t).URL()
	for url, cached := range map[string]bool{
		server + "?nearcache=1":                                 true,
		server + "?prefix=x:&nearcache=1000000&max_stale=500ms": true,
		memcachedtest.Start(t).URL() + "?nearcache=1&ttl=1s":    true,
		server + "?prefix=x:&nearcache=0":                       false,
	} {
		store, err := Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := store.(*nearcache.Cache); ok != cached {
			t.Errorf("%s: %T", url, store)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	for url, want := range map[string]error{
		"":                                    ErrURL,
		"redis":                               ErrURL,
		"mysql://u:TOPSECRET@host":            ErrURL,
		"memory:?size=1":                      ErrURL,
		"memory:?max=0":                       ErrURL,
		"memory:here":                         ErrURL,
		"redis://u:TOPSECRET@h?a=b":           redisstore.ErrURL,
		"redis://u:TOPSECRET@127.0.0.1:1":     record.ErrUnavailable,
		"unix://u:TOPSECRET@host/socket":      redisstore.ErrURL,
		"unix://u:TOPSECRET@/no/such":         record.ErrUnavailable,
		"pazzo://u:TOPSECRET@127.0.0.1:1":     record.ErrUnavailable,
		"pazzos://u:TOPSECRET@h?ca=/none":     redisstore.ErrURL,
		"postgres://u:TOPSECRET@h?schema=A":   pgstore.ErrURL,
		"postgres://u:TOPSECRET@127.0.0.1:1":  record.ErrUnavailable,
		"memcached://:TOPSECRET@h":            memcachedstore.ErrURL,
		"memcached://127.0.0.1:1":             record.ErrUnavailable,
		"redis://127.0.0.1:1?nearcache=1":     record.ErrUnavailable,
		"redis://h?nearcache=yes":             ErrURL,
		"redis://h?nearcache=-1":              ErrURL,
		"redis://h?nearcache=1&nearcache=1":   ErrURL,
		"redis://h?nearcache=1&max_stale=2":   ErrURL,
		"redis://h?nearcache=1&ttl=x":         ErrURL,
		"redis://h?ttl=1s":                    ErrURL,
		"redis://h?max_stale=2s":              ErrURL,
		"redis://h?nearcache=1&max_stale=-2s": ErrURL,
		"pebble:///tmp/x?nearcache=1":         ErrURL,
		"memory:?nearcache=1":                 ErrURL,
		"pebble:relative":                     pebblestore.ErrOptions,
	} {
		store, err := Open(context.Background(), url)
		if !errors.Is(err, want) || store != nil || strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%q: %v, %v", url, store, err)
		}
	}
}
