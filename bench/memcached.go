package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/pazzo-sessions/pazzo/memcachedstore"
	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/record"
)

var memcachedSection = &section{"Calls of memcached",
	"64 goroutines, each adding 1 to a field: `memcachedstore.Store.Apply`, and beside it a get and a cas of a blob of the same " +
		"length by gomemcache, with a connection for each goroutine, again and again until the cas is stored."}

// memcachedSessions are sessions in memcached, and blobs of the same length.
type memcachedSessions struct {
	ctx     context.Context
	store   *memcachedstore.Store
	peer    *memcache.Client
	handles []record.Handle
	secret  record.Secret
}

func (b *bench) memcachedSessions(n int) (*memcachedSessions, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	server, err := memcachedtest.Run(ctx)
	if err != nil {
		return nil, err
	}
	b.onClose(func() { server.Kill() })
	b.children = append(b.children, server.Pid())
	s := &memcachedSessions{ctx: b.ctx, secret: record.NewSecret()}
	if s.store, err = memcachedstore.Open(ctx, server.URL(), &memcachedstore.Options{Timeout: storeTimeout}); err != nil {
		return nil, err
	}
	b.onClose(func() { s.store.Close() })
	s.peer = memcache.New(server.Addr())
	s.peer.MaxIdleConns, s.peer.Timeout = inFlight, storeTimeout
	b.onClose(func() { s.peer.Close() })
	for range n {
		if err := s.create(ctx, server); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// create makes a session, and a copy of its item for the peer.
func (s *memcachedSessions) create(ctx context.Context, server *memcachedtest.Server) error {
	h := record.NewHandle()
	batch := &record.Batch{Ops: []record.Op{record.Create(s.secret, record.Expiry{Idle: 3600e3, Absolute: 36000e3}), record.Set("visits", "1000000")}}
	for _, f := range three {
		if f.name != "visits" {
			batch.Ops = append(batch.Ops, record.Set(f.name, f.text))
		}
	}
	if reply, err := s.store.Apply(ctx, h, batch); err != nil || reply.Status != record.OK {
		return fmt.Errorf("create: %v, %w", reply.Status, err)
	}
	item, err := s.peer.Get(memcachedstore.DefaultPrefix + h.String())
	if err != nil {
		return err
	}
	s.handles = append(s.handles, h)
	return s.peer.Set(&memcache.Item{Key: "peer:" + h.String(), Value: item.Value, Expiration: 3600})
}

// add is a worker's calls of our store.
func (s *memcachedSessions) add(worker int) func() error {
	h := s.handles[worker%len(s.handles)]
	batch := &record.Batch{Access: record.Access{Mode: record.Open, Generation: 1, Secret: s.secret}, Ops: []record.Op{record.Add("visits", 1)}}
	return func() error {
		reply, err := s.store.Apply(s.ctx, h, batch)
		if err == nil && reply.Status != record.OK {
			err = fmt.Errorf("status %v", reply.Status)
		}
		return err
	}
}

// getAndCAS is a worker's calls of gomemcache. It changes the blob as little as can be.
func (s *memcachedSessions) getAndCAS(worker int) func() error {
	key := "peer:" + s.handles[worker%len(s.handles)].String()
	n := 0
	return func() error {
		for {
			item, err := s.peer.Get(key)
			if err != nil {
				return err
			}
			n++
			copy(item.Value, strconv.Itoa(n))
			if err = s.peer.CompareAndSwap(item); !errors.Is(err, memcache.ErrCASConflict) {
				return err
			}
		}
	}
}

func benchMemcached(b *bench) (figures []figure, err error) {
	b = b.apart()
	defer b.close()
	for _, n := range [...]int{inFlight, 1} {
		s, err := b.memcachedSessions(n)
		if err != nil {
			return nil, err
		}
		got, err := b.compare([]contestant{
			{namePazzo, func(d time.Duration) (sample, error) { return parallel(inFlight, d, s.add) }},
			{"gomemcache", func(d time.Duration) (sample, error) { return parallel(inFlight, d, s.getAndCAS) }},
		})
		if err != nil {
			return nil, err
		}
		what := fmt.Sprintf("add 1 in %d sessions: Pazzo beside gomemcache's get and cas", n)
		if n == 1 {
			what = "add 1 in one session: Pazzo beside gomemcache's get and cas"
		}
		wall, cpu := got.faster(namePazzo, "gomemcache")
		figures = append(figures, ratio(what, wall, cpu, atLeast(1)).
			noted(fmt.Sprintf("Pazzo %s, gomemcache %s adds/s", thousands(got.rate(namePazzo)), thousands(got.rate("gomemcache")))))
	}
	return figures, nil
}
