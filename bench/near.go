package main

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
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
		"The sites are those of “Requests over Redis”. The foreign writes are those of one connection of redis-benchmark, which " +
		"waits for each answer, so that Redis tells of each write by itself; only the caching process's time counts. Django is as in " +
		"“Python”, but with live reads, and all that goes to Redis or comes back is held up for half a millisecond."}

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

// foreignRate is how many writes of others the near cache is told of, a second.
const foreignRate = 10_000

// foreignWrite writes to one of ARGV[2] sessions, by redis-benchmark's random number and the
// round's, since two rounds may have the same random numbers.
const foreignWrite = `
	local i = (tonumber(ARGV[1]) + 7919 * tonumber(ARGV[3])) % tonumber(ARGV[2])
	local handle = string.sub(redis.sha1hex(tostring(i)), 1, 32)
	return redis.call('HSET', 'pazzo:{' .. handle .. '}', 'theme', '"' .. ARGV[1] .. '"')`

// foreignHandle is the session of the number i in foreignWrite.
func foreignHandle(i int) (h record.Handle) {
	sum := sha1.Sum([]byte(strconv.Itoa(i)))
	copy(h[:], sum[:])
	return h
}

// benchNearTold measures what it costs a process to be told of the writes of others. One
// connection writes at a time, so that the server tells of each by itself.
func benchNearTold(b *bench) ([]figure, error) {
	server, err := b.redis()
	if err != nil {
		return nil, err
	}
	cache, err := b.nearStore(&nearcache.Options{MaxBytes: 4 << 30})
	if err != nil {
		return nil, err
	}
	if err := b.fillNear(cache); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(server.Addr())
	if err != nil {
		return nil, err
	}
	writes := b.sessions / 20
	var shares []float64
	var rate float64
	for round := -1; round < b.pairs; round++ { // the first is not counted
		kept, before, start := cache.Stats().Bytes, ownCPU(), time.Now()
		out, err := exec.CommandContext(b.ctx, "redis-benchmark", "-p", port, "-q", "-c", "1", "-n", strconv.Itoa(writes),
			"-r", strconv.Itoa(b.sessions), "EVAL", foreignWrite, "0", "__rand_int__", strconv.Itoa(b.sessions), strconv.Itoa(round)).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("redis-benchmark: %w\n%s", err, out)
		}
		rate = float64(writes) / time.Since(start).Seconds()
		time.Sleep(100 * time.Millisecond) // for the last word
		each := (ownCPU() - before).Seconds() / float64(writes)
		if cache.Stats().Bytes >= kept {
			return nil, errors.New("no copy was dropped: the cache was told nothing")
		}
		if round >= 0 {
			shares = append(shares, 100*each*foreignRate)
		}
	}
	return []figure{{
		what:   fmt.Sprintf("being told of %s writes of others a second, with %s sessions cached: of one core", thousands(foreignRate), thousands(float64(b.sessions))),
		values: shares, unit: percent, bound: atMost(15),
		note: fmt.Sprintf("measured at %s writes/s", thousands(rate)),
	}}, nil
}

// fillNear creates as many sessions as fill a store, through the cache.
func (b *bench) fillNear(cache *nearcache.Cache) error {
	var next atomic.Int64
	work := func() error {
		for {
			i := int(next.Add(1)) - 1
			if i >= b.sessions {
				return nil
			}
			create := record.Batch{Ops: []record.Op{
				record.Create(record.NewSecret(), record.Expiry{Idle: 36_000_000, Absolute: 36_000_000}), record.Set("theme", `"dark"`),
			}}
			reply, err := cache.Apply(b.ctx, foreignHandle(i), &create)
			if err != nil || reply.Status != record.OK {
				return fmt.Errorf("session %d: %s, %w", i, reply.Status, err)
			}
		}
	}
	failed := make(chan error, inFlight)
	for range inFlight {
		go func() { failed <- work() }()
	}
	var errs []error
	for range inFlight {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// ownCPU is the processor time that this process has taken.
func ownCPU() time.Duration {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0
	}
	return time.Duration(own.Utime.Nano() + own.Stime.Nano())
}

// farAway is how long it takes from the Python processes to Redis, and back.
const farAway = 500 * time.Microsecond

// benchNearPython compares Django's live reads through an agent with a near cache with the
// same straight to Redis, which is a millisecond away from both.
func benchNearPython(b *bench) ([]figure, error) {
	server, err := b.redis()
	if err != nil {
		return nil, err
	}
	address, err := b.distance(server.Addr(), farAway)
	if err != nil {
		return nil, err
	}
	far := "redis://" + address + "/0"
	a, err := b.startAgent("-store", far+"?nearcache=1")
	if err != nil {
		return nil, err
	}
	const straight, near = "straight", "agent with a near cache"
	var sites []*site
	for _, s := range []struct{ name, store string }{{straight, far}, {near, a.url()}} {
		env, err := b.endpoints(s.store)
		if err != nil {
			return nil, err
		}
		made, err := b.gunicorn(s.name, "django_app", "pazzo", append(env, "READS=live"))
		if err != nil {
			return nil, err
		}
		if err := made.fill(append(mixed[:], "sum")); err != nil {
			return nil, err
		}
		sites = append(sites, made)
	}
	var figures []figure
	for _, many := range []struct {
		what    string
		workers int
		target  bound
	}{{"one request at a time", 1, atLeast(3)}, {"64 in flight", inFlight, bound{}}} {
		var contestants []contestant
		for _, s := range sites {
			contestants = append(contestants, contestant{s.name, func(d time.Duration) (sample, error) {
				return s.load(many.workers, []string{"/mix?k=sum"}, d)
			}})
		}
		got, err := b.compare(contestants)
		if err != nil {
			return nil, err
		}
		f := httpFigure(got, "/mix", near, straight, many.target)
		f.what = "Django, live reads, Redis 1 ms away, " + many.what + ": " + f.what
		figures = append(figures, f)
	}
	return figures, nil
}
