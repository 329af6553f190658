package memcachedstore

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/pazzo-sessions/pazzo/casstore"
	"github.com/pazzo-sessions/pazzo/record"
)

// The defaults of Options.
const (
	DefaultPrefix      = "pazzo:"
	DefaultTimeout     = time.Second
	DefaultConnections = 2
	DefaultMaxItem     = 1 << 20
)

// Options configure a Store. The URL's parameters override them. A nil *Options and a
// zero member mean the defaults.
type Options struct {
	// Prefix begins every key. It ends in ":", has no braces, and is at most MaxPrefix
	// bytes of printable ASCII. Default "pazzo:".
	Prefix string
	// Timeout bounds every call, attempts and waits included. A shorter deadline of the
	// call's context holds as well. Default 1 s, from 1 ms.
	Timeout time.Duration
	// Connections is how many are kept to each server, 1 to 64. Default 2.
	Connections int
	// MaxItem is the largest item that every server takes (memcached's -I), in bytes, from
	// 1 KiB to 1 GiB. A session that would pass it fails with record.ErrTooLarge, and stays
	// as it is; memcached itself would drop it. Default 1 MiB, as memcached's.
	MaxItem int
	// TLS is how connections to a memcacheds URL are encrypted and verified. Default: by
	// the system's authorities, and for the host's name.
	TLS *tls.Config
}

// MaxPrefix is how long a prefix may be, in bytes: memcached's keys have at most 250.
const MaxPrefix = 150

// itemOverhead is what memcached counts to an item beside its data: the header, the CAS
// value and the longest key, in bytes.
const itemOverhead = 512

// memory bounds what is remembered of items, in bytes: some ten thousand ordinary sessions.
const memory = 16 << 20

// Store is a record.Store in memcached. Make it with Open.
type Store struct {
	*casstore.Store
	servers *servers
}

var _ record.Store = (*Store)(nil)

// Open connects to the servers that url names, of which one at least must answer. The
// form is:
//
//	memcached://[user:password@]host[:port][,host[:port]…]
//
// and memcacheds:// over TLS. A user and password, the same for all servers, are those of
// memcached's -Y. A server that asks for none, though the URL has them, is refused. Without
// TLS they are sent in clear.
//
// Parameters, which override opts:
//
//	prefix       Options.Prefix
//	timeout      Options.Timeout, such as 500ms
//	connections  Options.Connections
//	max_item     Options.MaxItem
//	ca           a file of certificates, PEM, which alone are trusted over TLS
//
// ErrURL is returned for an invalid url; it names what is wrong and what is allowed, but no
// password. record.ErrUnavailable is returned when no server answers, or lets us in, or
// knows the meta commands.
func Open(ctx context.Context, url string, opts *Options) (*Store, error) {
	c, err := parse(url, opts)
	if err != nil {
		return nil, err
	}
	s := newServers(c)
	store := &Store{Store: casstore.New(s, casstore.Options{
		Name:    "memcachedstore",
		Timeout: c.Timeout,
		MaxSize: c.MaxItem - itemOverhead,
		Memory:  memory,
	}), servers: s}
	if _, err := store.Traits(ctx); err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}

// Evictions returns how many items the servers that answer have dropped for want of
// memory since they started. record.ErrUnavailable is returned when none answers.
func (s *Store) Evictions(ctx context.Context) (total int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.servers.timeout)
	defer cancel()
	var errs []error
	for _, one := range s.servers.all {
		stats, err := one.stats(ctx, "")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		total += number(stats["evictions"])
	}
	if len(errs) == len(s.servers.all) {
		return 0, unavailable(errors.Join(errs...))
	}
	return total, nil
}
