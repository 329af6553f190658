package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
)

const (
	nameNear    = "Pazzo, near cache"
	nameDoCache = "rueidis DoCache"
)

var nearSection = &section{"The near cache",
	"`nearcache` in front of redisstore. A hit is a typed field of a session that the request has opened; opening verifies " +
		"the token and reads one field. Beside it `DoCache` of rueidis, its own cache in the process, for one field of a hash. " +
		"The sites are those of “Requests over Redis”."}

// nearStore puts a near cache in front of a store of its own.
func (b *bench) nearStore(opts *nearcache.Options) (*nearcache.Cache, error) {
	store, err := b.redisStore()
	if err != nil {
		return nil, err
	}
	cache, err := nearcache.New(store, opts)
	if err == nil {
		b.onClose(func() { cache.Close() })
	}
	return cache, err
}

func benchNearHit(b *bench) ([]figure, error) {
	cache, err := b.nearStore(nil)
	if err != nil {
		return nil, err
	}
	m, err := newPazzo(cache, pazzo.Live)
	if err != nil {
		return nil, err
	}
	token, err := pazzoSession(b.ctx, m)
	if err != nil {
		return nil, err
	}
	s, err := m.Acquire(token)
	if err != nil {
		return nil, err
	}
	ctx := pazzo.NewContext(context.Background(), s)
	hit := func() error { _, _, err := theme.Get(ctx); return err }
	background := context.Background()
	open := func() error {
		s, err := m.Acquire(token)
		if err != nil {
			return err
		}
		_, _, err = theme.Get(pazzo.NewContext(background, s))
		return err
	}
	if err := untilHit(cache, hit); err != nil {
		return nil, err
	}
	doCache, err := b.doCache()
	if err != nil {
		return nil, err
	}
	run := func(call func() error) func(time.Duration) (sample, error) {
		return func(d time.Duration) (sample, error) { return serial(d, call) }
	}
	const opening = "open"
	got, err := b.compare([]contestant{{nameNear, run(hit)}, {nameDoCache, run(doCache)}, {opening, run(open)}})
	if err != nil {
		return nil, err
	}
	allocs, err := allocated(hit)
	if err != nil {
		return nil, err
	}
	var nanoseconds, opens []float64
	for i := range got[nameNear] {
		nanoseconds = append(nanoseconds, 1e9/got[nameNear][i].rate)
		opens = append(opens, 1e6/got[opening][i].rate)
	}
	wall, cpu := got.times(nameNear, nameDoCache)
	return []figure{
		{what: "a hit: one typed field of an opened session", values: nanoseconds, unit: nanos, bound: atMost(60)},
		single("the same: allocations", allocs, allocations, exactly0()),
		ratio("the same, beside rueidis' DoCache", wall, cpu, atMost(0.4)).
			noted(fmt.Sprintf("DoCache: %.0f ns", 1e9/got.rate(nameDoCache))),
		{what: "open a session by its token and read a field, with a hit", values: opens, unit: micros, bound: atMost(1.2)},
	}, nil
}

// untilHit repeats a read until the cache answers it.
func untilHit(cache *nearcache.Cache, read func() error) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		before := cache.Stats().Hits
		if err := read(); err != nil {
			return err
		}
		if cache.Stats().Hits > before {
			return nil
		}
	}
	return fmt.Errorf("the near cache has no hits")
}

// doCache returns a read of one field by rueidis' own cache.
func (b *bench) doCache() (func() error, error) {
	server, err := b.redis()
	if err != nil {
		return nil, err
	}
	client, err := b.rawClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}})
	if err != nil {
		return nil, err
	}
	const key = "near:raw"
	if err := client.Do(b.ctx, client.B().Hset().Key(key).FieldValue().FieldValue("theme", `"dark"`).Build()).Error(); err != nil {
		return nil, err
	}
	background := context.Background()
	return func() error {
		_, err := client.DoCache(background, client.B().Hget().Key(key).Field("theme").Cache(), time.Hour).ToString()
		return err
	}, nil
}

func benchNearHTTP(b *bench) ([]figure, error) {
	fields := append(mixed[:], "sum")
	sites, err := b.onRedis(fields)
	if err != nil {
		return nil, err
	}
	cache, err := b.nearStore(nil)
	if err != nil {
		return nil, err
	}
	m, err := newPazzo(cache, pazzo.Live)
	if err != nil {
		return nil, err
	}
	near, err := b.serve(nameNear, pazzoApp(m))
	if err != nil {
		return nil, err
	}
	if err := near.fill(fields); err != nil {
		return nil, err
	}
	sites = append(sites, near)
	get, err := b.race(sites, []string{nameNear, nameSCS, nameBare}, []string{"/get?k=f0", "/get?k=f3"})
	if err != nil {
		return nil, err
	}
	mix, err := b.race(sites, []string{nameNear, nameSCS}, []string{"/mix?k=sum"})
	if err != nil {
		return nil, err
	}
	return []figure{
		httpFigure(get, "/get", nameNear, nameBare, atLeast(0.85)),
		httpFigure(get, "/get", nameNear, nameSCS, atLeast(1.7)).drawn(panelOf("/get, near cache", get, nameNear, nameSCS, nameBare)),
		httpFigure(mix, "/mix", nameNear, nameSCS, atLeast(1.5)),
	}, nil
}

// cachedSessions is how many sessions of about 1 KiB fill the cache.
const cachedSessions = 100_000

func benchNearMemory(b *bench) ([]figure, error) {
	cache, err := b.nearStore(&nearcache.Options{MaxBytes: 1 << 30})
	if err != nil {
		return nil, err
	}
	before, encoded := heapInUse(), 0
	text := `"` + strings.Repeat("x", 60) + `"`
	for i := range min(cachedSessions, b.sessions) {
		secret := record.NewSecret()
		create := record.Batch{Ops: []record.Op{record.Create(secret, record.Expiry{Idle: 3_600_000, Absolute: 3_600_000})}}
		for j := range 12 {
			create.Ops = append(create.Ops, record.Set(fmt.Sprintf("field-%02d", j), text))
		}
		reply, err := cache.Apply(b.ctx, record.NewHandle(), &create)
		if err != nil || reply.Status != record.OK {
			return nil, fmt.Errorf("session %d: %s, %w", i, reply.Status, err)
		}
		encoded += record.MetaSize + reply.Size
	}
	used := heapInUse() - before
	runtime.KeepAlive(cache)
	return []figure{single("heap of 100,000 cached sessions of 1 KiB, beside their size", float64(used)/float64(encoded), times, atMost(1.5))}, nil
}

// heapInUse returns the bytes of live objects.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
