package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of a Store. The zero Options, and nil, are the defaults.
type Options struct {
	// Prefix sets apart sessions that share a directory, as it does in Redis. It
	// ends in ":", has no braces and at most 255 bytes. The default is
	// DefaultPrefix.
	Prefix string
	// LoseUpTo is for how long writes that were acknowledged may stay off the disk:
	// a failure of the process or the machine then loses those of about that last
	// time, logouts among them, and readers may have seen them. The default, 0, is
	// none. It is at most a minute, and applies to all prefixes of a directory.
	LoseUpTo time.Duration
	// CacheBytes is the memory for sessions and for blocks of the files, half each,
	// in bytes: from 1 MiB, by default 128 MiB. Another 64 MiB or so are for writes.
	CacheBytes int64
	// MinFree is the free space on the disk, in bytes, below which writes that make
	// the data larger are refused with record.ErrFull. It is looked at four times a
	// second. The default is 64 MiB; a negative value is 0.
	MinFree int64
	// Logger is told of failures, and of a disk that is full. No session's handle,
	// user or value is in it. The default is slog.Default().
	Logger *slog.Logger

	// For tests.
	fs       vfs.FS // default: the operating system's
	memTable uint64 // bytes; default: memTable
}

const (
	// DefaultPrefix is the Prefix when none is given.
	DefaultPrefix = "pazzo:"

	defaultCache   = 128 << 20
	minCache       = 1 << 20
	defaultMinFree = 64 << 20
	maxLoseUpTo    = time.Minute
	maxPrefix      = 255
)

// Errors of Open and its like.
var (
	// ErrOptions is returned when an option, or a parameter of a URL, is invalid.
	ErrOptions = errors.New("pebblestore: invalid option")
	// ErrInUse is returned when another process, or another Store of this one, has
	// the directory.
	ErrInUse = errors.New("pebblestore: the directory is in use")
	// ErrForeign is returned when a directory has something else in it than a store.
	// It is left alone.
	ErrForeign = errors.New("pebblestore: not a directory of sessions")
	// ErrVersion is returned when a directory was written by a newer version than
	// this one. It is left alone.
	ErrVersion = errors.New("pebblestore: written by a newer version")
)

// orDefault returns a copy with the defaults filled in, or ErrOptions.
func (o *Options) orDefault() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Prefix == "" {
		opts.Prefix = DefaultPrefix
	}
	if opts.CacheBytes == 0 {
		opts.CacheBytes = defaultCache
	}
	switch {
	case opts.MinFree == 0:
		opts.MinFree = defaultMinFree
	case opts.MinFree < 0:
		opts.MinFree = 0
	}
	if opts.memTable == 0 {
		opts.memTable = memTable
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.LoseUpTo < 0 || opts.LoseUpTo > maxLoseUpTo {
		return opts, fmt.Errorf("%w: LoseUpTo is %s; 0 to %s is allowed", ErrOptions, opts.LoseUpTo, maxLoseUpTo)
	}
	if opts.CacheBytes < minCache {
		return opts, fmt.Errorf("%w: CacheBytes is %d; %d or more is allowed", ErrOptions, opts.CacheBytes, minCache)
	}
	return opts, checkPrefix(opts.Prefix)
}

func checkPrefix(prefix string) error {
	if !strings.HasSuffix(prefix, ":") || strings.ContainsAny(prefix, "{}") || len(prefix) > maxPrefix {
		return fmt.Errorf(`%w: prefix %q; it must end in ":", have no braces and at most %d bytes`, ErrOptions, prefix, maxPrefix)
	}
	return nil
}

// ParseURL returns the directory and the options that a URL names:
//
//	pebble:///var/lib/pazzo?prefix=pazzo:&lose-up-to=100ms&cache=BYTES&min-free=BYTES
//
// The path is absolute; all parameters may be left out. An error is ErrOptions, and
// names what is wrong and what is allowed.
func ParseURL(rawURL string) (dir string, opts *Options, err error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "pebble" || u.Opaque != "" || u.Host != "" || u.User != nil || u.Fragment != "" || !path.IsAbs(u.Path) {
		return "", nil, fmt.Errorf("%w: a URL must be pebble:// and an absolute path, such as pebble:///var/lib/pazzo", ErrOptions)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", nil, fmt.Errorf("%w: the parameters of the URL are malformed", ErrOptions)
	}
	opts = &Options{}
	for name, values := range query {
		if len(values) > 1 {
			return "", nil, fmt.Errorf("%w: %s is there %d times; once is allowed", ErrOptions, name, len(values))
		}
		if err := opts.set(name, values[0]); err != nil {
			return "", nil, err
		}
	}
	if _, err := opts.orDefault(); err != nil {
		return "", nil, err
	}
	return u.Path, opts, nil
}

// set sets the option of a URL's parameter.
func (o *Options) set(name, value string) (err error) {
	allowed := "a number of bytes"
	switch name {
	case "prefix":
		o.Prefix = value
		return checkPrefix(value)
	case "lose-up-to":
		allowed = "a duration such as 100ms"
		o.LoseUpTo, err = time.ParseDuration(value)
	case "cache":
		o.CacheBytes, err = parseBytes(value)
	case "min-free":
		if o.MinFree, err = parseBytes(value); o.MinFree == 0 {
			o.MinFree = -1
		}
	default:
		names := []string{"prefix", "lose-up-to", "cache", "min-free"}
		slices.Sort(names)
		return fmt.Errorf("%w: unknown parameter %q; allowed are %s", ErrOptions, name, strings.Join(names, ", "))
	}
	if err != nil {
		return fmt.Errorf("%w: %s is %q; %s is allowed", ErrOptions, name, value, allowed)
	}
	return nil
}

func parseBytes(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 62)
	return int64(n), err
}
