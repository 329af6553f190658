package nearcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// The defaults and bounds of Options.
const (
	DefaultMaxBytes = 64 << 20
	DefaultMaxStale = 2 * time.Second
	leastBytes      = 64 << 10
	leastStale      = 100 * time.Millisecond
	mostStale       = time.Minute
)

// ErrOptions is returned by New when the options are invalid, or do not suit the store.
var ErrOptions = errors.New("nearcache: invalid options")

// Options configure a Cache. A nil *Options and a zero member mean the defaults.
type Options struct {
	// MaxBytes bounds the memory: each copy counts with its encoded length and 256 bytes
	// for its place. What was used least lately goes first. Default 64 MiB, at least 64 KiB.
	MaxBytes int64
	// MaxStale is how old the state that a read sees can be at most, see the package's
	// comment. Default 2 s, from 100 ms to 1 min. A store tells that all is told a few
	// times in 2 s; with less than that, more reads ask the store.
	MaxStale time.Duration
	// TTL is how long a copy is good after it was read, for a store that cannot tell of
	// changes, such as memcachedstore. A read misses the writes of other processes in the last
	// TTL, a logout among them; own ones it sees. The default, 0, refuses such a store, so that
	// nobody has this by accident; else from 100 ms to 1 min, and neither with MaxStale nor for
	// a store that does tell.
	TTL time.Duration
}

// Cache is a record.Store that answers reads by its copies. It is safe for concurrent use.
type Cache struct {
	record.Store // whose index, traits and so on are not cached
	source       record.Notifier

	start    time.Time // where the times below count from, in ns
	maxStale int64
	ttl      int64         // of copies; 0: the store tells of changes
	until    atomic.Int64  // when the copies are no longer good, unless the store says more
	epoch    atomic.Uint64 // rises when contact is lost
	shards   [shards]shard
	stop     func()

	hits, misses atomic.Uint64
}

var _ record.Store = (*Cache)(nil)

// New puts a cache in front of store, which it owns from then on: Close closes both.
// ErrOptions is returned, and the store left alone, if an option is out of its range, or the
// store is no record.Notifier and there is no TTL.
func New(store record.Store, opts *Options) (*Cache, error) {
	if opts == nil {
		opts = &Options{}
	}
	source, tells := store.(record.Notifier)
	if err := opts.check(store, tells); err != nil {
		return nil, err
	}
	if !tells {
		source = silent{store}
	}
	c := &Cache{Store: store, source: source, start: time.Now(), ttl: int64(opts.TTL)}
	c.maxStale = cmp.Or(c.ttl, int64(opts.MaxStale), int64(DefaultMaxStale))
	for i := range c.shards {
		c.shards[i].init(cmp.Or(opts.MaxBytes, DefaultMaxBytes) / shards)
	}
	c.stop = source.Notify((*listener)(c))
	return c, nil
}

// check returns ErrOptions if there is anything wrong with the options for the store.
func (o *Options) check(store record.Store, tells bool) error {
	const wrong = "%w: %s is %s; %s to %s is allowed"
	switch {
	case o.MaxBytes != 0 && o.MaxBytes < leastBytes:
		return fmt.Errorf("%w: MaxBytes is %d; %d or more is allowed", ErrOptions, o.MaxBytes, leastBytes)
	case o.MaxStale != 0 && (o.MaxStale < leastStale || o.MaxStale > mostStale):
		return fmt.Errorf(wrong, ErrOptions, "MaxStale", o.MaxStale, leastStale, mostStale)
	case o.TTL != 0 && (o.TTL < leastStale || o.TTL > mostStale):
		return fmt.Errorf(wrong, ErrOptions, "TTL", o.TTL, leastStale, mostStale)
	case o.TTL != 0 && tells:
		return fmt.Errorf("%w: a %T tells of changes, so that a TTL is not needed; MaxStale is allowed", ErrOptions, store)
	case o.TTL != 0 && o.MaxStale != 0:
		return fmt.Errorf("%w: TTL is %s and MaxStale %s; one of them is allowed", ErrOptions, o.TTL, o.MaxStale)
	case o.TTL == 0 && !tells:
		return fmt.Errorf("%w: a %T cannot tell of changes, which needs a TTL", ErrOptions, store)
	}
	return nil
}

// Close stops the caching and closes the store.
func (c *Cache) Close() error {
	c.stop()
	(*listener)(c).Lost()
	return c.Store.Close()
}

// Stats are counts since New, but for Bytes.
type Stats struct {
	Hits, Misses uint64 // of reads; a View is one hit, and what must ask the store is neither
	Bytes        int64  // as Options.MaxBytes counts
}

// Stats returns the cache's counts.
func (c *Cache) Stats() Stats {
	s := Stats{Hits: c.hits.Load(), Misses: c.misses.Load()}
	for i := range c.shards {
		s.Bytes += c.shards[i].size()
	}
	return s
}

// now is the time that the copies' lives are measured by, in ns.
func (c *Cache) now() int64 { return int64(time.Since(c.start)) }

// briefly is until when something is good that was sent for at the time given, if the store
// may not tell of the next change of it.
func (c *Cache) briefly(sent int64) int64 { return sent + cmp.Or(c.ttl, c.maxStale/8) }

// live reports whether what the cache has is good at now.
func (c *Cache) live(now int64) bool { return now < c.until.Load() }

// Apply implements record.Store.
func (c *Cache) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	if !b.ReadOnly() {
		return c.write(ctx, h, b)
	}
	if err := ctx.Err(); err != nil {
		return record.Reply{}, fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	if b.Access.Mode == record.Admin || !c.live(c.now()) {
		return c.pass(ctx, h, b)
	}
	if b.Fresh {
		return c.readFresh(ctx, h, b)
	}
	return c.read(ctx, h, b)
}

// pass asks the store, and forgets what the cache has: the answer may be newer, and does
// not tell by how much.
func (c *Cache) pass(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	s := c.shard(h)
	s.forget(h)
	defer s.forget(h)
	return c.Store.Apply(ctx, h, b)
}

// listener is what the store tells.
type listener Cache

var _ record.Keeper = (*listener)(nil)

// Keeper implements record.Keeper: what was not read by Record since the store told of a
// change, but made of own writes, is kept for a limited time only.
func (l *listener) Keeper() {}

func (l *listener) Changed(h record.Handle) {
	c := (*Cache)(l)
	c.shard(h).changed(h, c.now(), c.maxStale/8)
}

// Lost ends the epoch, before anything of the next one may be kept.
func (l *listener) Lost() {
	l.until.Store(0)
	l.epoch.Add(1)
	for i := range l.shards {
		l.shards[i].clear()
	}
}

func (l *listener) Current(at time.Time) {
	told := int64(at.Sub(l.start))
	l.until.Store(min(told, math.MaxInt64-l.maxStale) + l.maxStale)
}
