// Package stores opens a store by its URL, so that a program is pointed at
// another one by its configuration alone.
package stores

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/pazzo-sessions/pazzo/memcachedstore"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/pebblestore"
	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
)

// ErrURL is returned when no store has a URL's scheme, or its parameters are
// invalid.
var ErrURL = errors.New("stores: invalid store URL")

// Open opens the store that rawURL names:
//
//	memory:                       in this process; ?max=BYTES caps it (memstore.Options)
//	pebble:///path                on this machine's disk; see pebblestore.ParseURL
//	redis://host:port/db          and rediss, redis+sentinel, rediss+sentinel,
//	                              redis+cluster, rediss+cluster; see redisstore.Open
//	postgres://host:port/database PostgreSQL, also postgresql; see pgstore.Open
//	memcached://host:port,…       memcached, also memcacheds; see memcachedstore.Open
//	unix:///path                  an agent at its socket
//	pazzo://host:port             an agent over TCP, and pazzos over TLS
//
// A store that can tell of changes, Redis, PostgreSQL or an agent, takes two parameters
// more: nearcache=1 puts a near cache of the default size in front of it, nearcache=BYTES
// one of that size, and max_stale=DURATION says how old its reads can be at most
// (nearcache.Options). memcached cannot tell, and takes ttl=DURATION instead of that. The
// store is a *nearcache.Cache then.
//
// ctx bounds the connecting. An error for an invalid URL names what is wrong and
// what is allowed, but no password; an unreachable server is
// record.ErrUnavailable.
func Open(ctx context.Context, rawURL string) (record.Store, error) {
	bare, options, err := cutNearCache(rawURL)
	if err != nil {
		return nil, err
	}
	store, err := open(ctx, bare)
	if err != nil || options == nil {
		return store, err
	}
	cache, err := nearcache.New(store, options)
	if err != nil {
		store.Close()
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	return cache, nil
}

func open(ctx context.Context, rawURL string) (record.Store, error) {
	scheme, rest, found := strings.Cut(rawURL, ":")
	if !found {
		scheme = ""
	}
	switch scheme {
	case "memory":
		return openMemory(rest)
	case "pebble":
		return openPebble(rawURL)
	case "redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster", "unix", "pazzo", "pazzos":
		store, err := redisstore.Open(ctx, rawURL, nil)
		if err != nil {
			return nil, err // not a nil *Store in the interface
		}
		return store, nil
	case "postgres", "postgresql":
		store, err := pgstore.Open(ctx, rawURL, nil)
		if err != nil {
			return nil, err
		}
		return store, nil
	case "memcached", "memcacheds":
		store, err := memcachedstore.Open(ctx, rawURL, nil)
		if err != nil {
			return nil, err
		}
		return store, nil
	}
	return nil, fmt.Errorf("%w: the scheme must be memory, memcached, memcacheds, pebble, postgres, postgresql, redis, rediss, redis or rediss with +sentinel or +cluster, unix, pazzo or pazzos", ErrURL)
}

func openMemory(rest string) (record.Store, error) {
	place, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil || strings.Trim(place, "/") != "" {
		return nil, fmt.Errorf("%w: after memory: only parameters are allowed", ErrURL)
	}
	options := &memstore.Options{}
	for name, list := range values {
		if name != "max" {
			return nil, fmt.Errorf("%w: unknown parameter %q; allowed here is max", ErrURL, name)
		}
		n, err := strconv.ParseInt(list[0], 10, 64)
		if err != nil || n < 1 || len(list) > 1 {
			return nil, fmt.Errorf("%w: max %q; a number of bytes from 1 is allowed", ErrURL, strings.Join(list, ", "))
		}
		options.MaxBytes = n
	}
	return memstore.New(options), nil
}

func openPebble(rawURL string) (record.Store, error) {
	dir, options, err := pebblestore.ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	store, err := pebblestore.Open(dir, options)
	if err != nil {
		return nil, err
	}
	return store, nil
}
