package memcachedstore

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pazzo-sessions/pazzo/casstore"
	"github.com/pazzo-sessions/pazzo/record"
)

// servers are the memcached servers as package casstore sees them.
type servers struct {
	prefix  string
	timeout time.Duration
	maxItem int
	ring    ring
	all     []*pool
	opaque  atomic.Uint64
}

func newServers(c config) *servers {
	s := &servers{prefix: c.Prefix, timeout: c.Timeout, maxItem: c.MaxItem, ring: newRing(c.servers)}
	for _, a := range c.servers {
		s.all = append(s.all, &pool{way: way{a, c.Timeout, c.login, c.tls}, links: make([]*link, c.Connections)})
	}
	return s
}

// pool is the links to one server. One that has ended is replaced when it is needed.
type pool struct {
	way
	next atomic.Uint32

	tasks  sync.WaitGroup // the links' goroutines
	mu     sync.Mutex
	links  []*link
	closed bool
}

// link returns a connected link.
func (p *pool) link(ctx context.Context) (*link, error) {
	at := int(p.next.Add(1)) % len(p.links)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, notSent(errClosed)
	}
	l := p.links[at]
	if l == nil || l.ctx.Err() != nil {
		l = dial(&p.tasks, p.way)
		p.links[at] = l
	}
	p.mu.Unlock()
	return l, l.connected(ctx)
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for _, l := range p.links {
		if l != nil {
			l.end(errClosed)
		}
	}
	p.tasks.Wait()
}

// stats asks for statistics of a kind, "" for the general ones.
func (p *pool) stats(ctx context.Context, kind string) (stats map[string]string, err error) {
	l, err := p.link(ctx)
	if err != nil {
		return nil, err
	}
	var got map[string]string
	x := &exchange{request: []byte(strings.TrimSpace("stats "+kind) + "\r\n"), read: func(in *bufio.Reader) (err error) {
		got, err = readStats(in)
		return err
	}}
	if err := l.do(ctx, x); err != nil {
		return nil, err
	}
	return got, nil
}

// key returns an item's key.
func (s *servers) key(k casstore.Key) string {
	if k.Kind == casstore.User {
		return s.prefix + "u:" + hex.EncodeToString([]byte(k.ID))
	}
	return s.prefix + hex.EncodeToString([]byte(k.ID))
}

func (s *servers) home(key string) *pool { return s.all[s.ring.server(key)] }

// ask has one get or set done over l.
func (s *servers) ask(ctx context.Context, l *link, request func(opaque uint64) []byte) (answer, error) {
	opaque := s.opaque.Add(1)
	got := new(answer) // the link's, if ctx ends first
	x := &exchange{request: request(opaque), read: func(in *bufio.Reader) (err error) {
		*got, err = readAnswer(in, opaque, max(s.maxItem, l.maxItem))
		return err
	}}
	if err := l.do(ctx, x); err != nil {
		return answer{}, err
	}
	return *got, nil
}

// Read implements [casstore.Server]. When the connection is lost, it tries another: after
// a restart all that there were may be found to be dead.
func (s *servers) Read(ctx context.Context, k casstore.Key) (cell casstore.Cell, err error) {
	key := s.key(k)
	home := s.home(key)
	for range len(home.links) + 1 {
		cell, err = s.read(ctx, home, key)
		if err == nil || ctx.Err() != nil {
			return cell, err
		}
	}
	return casstore.Cell{}, err
}

func (s *servers) read(ctx context.Context, home *pool, key string) (casstore.Cell, error) {
	l, err := home.link(ctx)
	if err != nil {
		return casstore.Cell{}, err
	}
	// The time is taken before the value: with a later one, a session that was touched in
	// between could be found expired.
	cell := casstore.Cell{Now: time.Now().UnixMilli(), Token: l}
	a, err := s.ask(ctx, l, func(opaque uint64) []byte { return appendGet(nil, key, opaque) })
	switch {
	case err != nil:
		return casstore.Cell{}, err
	case a.code == "VA":
		cell.Found, cell.Data, cell.Version = true, a.data, a.cas
	case a.code != "EN":
		return casstore.Cell{}, fmt.Errorf("memcached %s: %w: %s%s", l.server, errMalformed, a.code, a.text)
	}
	return cell, nil
}

// Swap implements [casstore.Server]. It goes over the connection that the old cell came
// by: a server that has restarted since counts its CAS values anew, and one of them could
// be the old cell's.
func (s *servers) Swap(ctx context.Context, k casstore.Key, old casstore.Cell, n casstore.Value) (casstore.Cell, casstore.Outcome, error) {
	l := old.Token.(*link)
	if len(n.Data)+itemOverhead > l.maxItem {
		return casstore.Cell{}, casstore.Refused, fmt.Errorf("%w: an item of %d bytes, memcached %s takes %d; max_item should say so",
			record.ErrTooLarge, len(n.Data)+itemOverhead, l.server, l.maxItem)
	}
	now := time.Now().UnixMilli()
	if n.Now < old.Expires && now >= old.Expires {
		return casstore.Cell{}, casstore.Lost, nil // it has expired since
	}
	key, ttl := s.key(k), timeToLive(n.Expires, now)
	a, err := s.ask(ctx, l, func(opaque uint64) []byte {
		return appendSet(nil, key, n.Data, ttl, old.Version, !old.Found, opaque)
	})
	switch {
	case errors.Is(err, errNotSent) && ctx.Err() == nil:
		return casstore.Cell{}, casstore.Lost, nil
	case errors.Is(err, errNotSent):
		return casstore.Cell{}, casstore.Refused, err
	case err != nil:
		return casstore.Cell{}, casstore.Unknown, err
	}
	switch a.code {
	case "HD":
		return casstore.Cell{Version: a.cas, Token: l, Now: now}, casstore.Swapped, nil
	case "NS", "EX", "NF":
		return casstore.Cell{}, casstore.Lost, nil
	case "":
		return casstore.Cell{}, casstore.Refused, fmt.Errorf("memcached %s: %w: %s", l.server, record.ErrFull, a.text)
	}
	return casstore.Cell{}, casstore.Unknown, fmt.Errorf("memcached %s: %w: %s", l.server, errMalformed, a.code)
}

// maxRelative is the longest time to live that memcached takes for one: 30 days. What is
// more is a time of day to it, in s since 1970.
const maxRelative = 30 * 24 * 3600

// timeToLive returns when an item may go, for T, in s: soon after it expires. It is
// relative where that is possible, since the server's clock may be another; never 0, which
// is for ever, nor negative, which is at once.
func timeToLive(expires, now int64) int64 {
	const late = 2 // memcached counts in seconds, and may begin in the middle of one
	seconds := max(expires-now, 0)/1000 + late
	if seconds > maxRelative {
		return expires/1000 + late
	}
	return seconds
}

// Traits implements [casstore.Server]. It asks, so that a server that cannot be used is
// noticed at the start.
func (s *servers) Traits(ctx context.Context) (record.Traits, error) {
	errs := make([]error, len(s.all))
	var group sync.WaitGroup
	for i, p := range s.all { // at once: one that is silent must not use up the time
		group.Go(func() { _, errs[i] = p.link(ctx) })
	}
	group.Wait()
	if !slices.Contains(errs, nil) {
		return record.Traits{}, errors.Join(errs...)
	}
	return record.Traits{Name: "memcached", MayEvict: true}, nil
}

// Close implements [casstore.Server].
func (s *servers) Close() error {
	for _, p := range s.all {
		p.close()
	}
	return nil
}

func unavailable(err error) error {
	return fmt.Errorf("memcachedstore: %w: %w", record.ErrUnavailable, err)
}
