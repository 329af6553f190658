package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// contest is a set of figures that are measured together.
type contest struct {
	section *section
	name    string // for -only
	run     func(*bench) ([]figure, error)
}

// section groups contests in the report.
type section struct {
	title string
	about string
}

var (
	storeSection = &section{"Calls of Redis",
		"64 goroutines, one session, all calls through rueidis: raw ones as it comes, but for its cache, and with a context that " +
			"can be cancelled, as a request's can. “Store” is `redisstore.Store.Apply` beside the raw command, which is what " +
			"the targets are about; “session” is the same through package pazzo, on a session that the request has opened " +
			"before. With redisstore's options rueidis waits 20 µs for more to send along, on one connection; the last line of " +
			"each shows what that does for the raw command."}
	httpSection = &section{"Requests over Redis",
		"A net/http server and the load generator in one process, 64 requests in flight with one cookie on kept-alive " +
			"connections. The same app for all; each library as its documentation sets it up, with a pool that holds a " +
			"connection for each request in flight."}
	memoryHTTPSection = &section{"Requests over memory", "The same with each library's store in memory."}
	lostSection       = &section{"Lost updates",
		"Increments that were acknowledged, against what the session holds afterwards: `/inc` on 8 counters of one session."}
	agentSection = &section{"The agent",
		"`redisstore.Store.Apply` through `pazzo agent` with its sessions in memory, on a Unix socket, beside the same through " +
			"Redis over TCP on the loopback."}
	pythonSection = &section{"Python",
		"Django and Flask under gunicorn (2 processes of 32 threads), 64 requests in flight with one cookie. Pazzo in " +
			"`request` mode; beside it Django's cache sessions and Flask-Session, both on Redis."}
	memorySection = &section{"In memory, without HTTP",
		"memstore beside scs's. A request verifies its token, opens the session, reads one of three small fields and adds " +
			"to it; scs loads, gets, puts and commits. One goroutine goes through 256 sessions of a tenth as many as fill the " +
			"stores for the figures below it."}
)

// contests are all there are, in the order of the report. The ones that fill the
// memory come last.
var contests = []contest{
	{storeSection, "store/read", benchStoreRead},
	{storeSection, "store/write", benchStoreWrite},
	{storeSection, "store/batch", benchStoreBatch},
	{httpSection, "http/inc", benchInc},
	{httpSection, "http/get", benchGet},
	{httpSection, "http/mix", benchMix},
	{nearSection, "near/hit", benchNearHit},
	{nearSection, "near/http", benchNearHTTP},
	{nearSection, "near/memory", benchNearMemory},
	{nearSection, "near/told", benchNearTold},
	{nearSection, "near/python", benchNearPython},
	{memoryHTTPSection, "http-memory/inc", benchMemoryInc},
	{memoryHTTPSection, "http-memory/get", benchMemoryGet},
	{frameworkSection, "frameworks/session", benchFrameworks},
	{frameworkSection, "frameworks/fiber", benchFiber},
	{postgresSection, "http-postgres/inc", benchPostgresInc},
	{postgresSection, "http-postgres/many", benchPostgresMany},
	{postgresSection, "postgres/rows", benchPostgresRows},
	{memcachedSection, "memcached/add", benchMemcached},
	{pebbleSection, "pebble/writes", benchPebbleWrites},
	{pebbleSection, "pebble/reads", benchPebbleReads},
	{pebbleSection, "pebble/many", benchPebbleMany},
	{storesSection, "stores/table", benchStores},
	{lostSection, "lost/redis", benchLostRedis},
	{lostSection, "lost/memory", benchLostMemory},
	{agentSection, "agent/calls", benchAgent},
	{agentSection, "agent/idle", benchIdle},
	{pythonSection, "python/access", benchPythonAccess},
	{pythonSection, "python/django", benchPython("Django", "django_app", "Django's cache sessions", "cache", atLeast(1), atLeast(1.1))},
	{pythonSection, "python/flask", benchPython("Flask", "flask_app", "Flask-Session", "flask-session", atLeast(1.1), atLeast(1.1))},
	{nodeSection, "node/express", benchNode},
	{memorySection, "memory/request", benchMemoryRequest},
	{memorySection, "memory/heap", benchMemoryHeap},
	{memorySection, "memory/expiry", benchMemoryExpiry},
}

func contestNames() string {
	var names []string
	for _, c := range contests {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

// bench holds what contests share. What it starts, close ends.
type bench struct {
	ctx      context.Context
	pairs    int
	slice    time.Duration // of one contestant
	sessions int           // that fill a store

	redisVersion string
	server       *redisServer
	children     []int // processes that the contest has started
	closers      []func()
}

func (b *bench) onClose(f func()) { b.closers = append(b.closers, f) }

func (b *bench) close() {
	for _, f := range slices.Backward(b.closers) {
		f()
	}
	b.closers, b.children = nil, nil
}

// contestant is one of those compared.
type contestant struct {
	name string
	// run works for about d and tells how much it did.
	run func(d time.Duration) (sample, error)
}

// sample is what one slice of work came to.
type sample struct {
	ops  int64
	took time.Duration
}

// results are the contestants' samples, by round.
type results map[string][]result

type result struct {
	rate float64 // operations per second
	cpu  float64 // seconds of processor time per operation
}

// compare runs the contestants in turn, once for each pair, in odd rounds
// backwards, after a short run that is not counted.
func (b *bench) compare(contestants []contestant) (results, error) {
	got := make(results)
	for round := -1; round < b.pairs; round++ {
		slice := b.slice
		if round < 0 {
			slice = min(slice, 200*time.Millisecond)
		}
		order := slices.Clone(contestants)
		if round%2 != 0 {
			slices.Reverse(order)
		}
		for _, c := range order {
			if err := b.ctx.Err(); err != nil {
				return nil, err
			}
			runtime.GC()
			before := b.cpuTime()
			s, err := c.run(slice)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			cpu := b.cpuTime() - before
			if round >= 0 {
				n := float64(s.ops)
				got[c.name] = append(got[c.name], result{n / s.took.Seconds(), cpu.Seconds() / n})
			}
		}
	}
	return got, nil
}

// faster returns how many times as fast as b's a's rate is, round by round, and
// by processor time.
func (r results) faster(a, b string) (ratios, cpu []float64) {
	for i := range r[a] {
		ratios = append(ratios, r[a][i].rate/r[b][i].rate)
		cpu = append(cpu, r[b][i].cpu/r[a][i].cpu)
	}
	return ratios, cpu
}

// times returns how many times as long as one of b's an operation of a's takes.
func (r results) times(a, b string) (ratios, cpu []float64) { return r.faster(b, a) }

// rate is the median of a contestant's rates.
func (r results) rate(name string) float64 {
	var rates []float64
	for _, one := range r[name] {
		rates = append(rates, one.rate)
	}
	return median(rates)
}

// median does not change values.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// parallel has workers repeat their call until d is over, or one fails.
func parallel(workers int, d time.Duration, call func(worker int) func() error) (sample, error) {
	var (
		wg    sync.WaitGroup
		stop  atomic.Bool
		total atomic.Int64
		once  sync.Once
		first error
	)
	calls := make([]func() error, workers)
	for i := range calls {
		calls[i] = call(i)
	}
	start := time.Now()
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	defer timer.Stop()
	for _, call := range calls {
		wg.Go(func() {
			n := int64(0)
			for !stop.Load() {
				if err := call(); err != nil {
					once.Do(func() { first = err })
					stop.Store(true)
					break
				}
				n++
			}
			total.Add(n)
		})
	}
	wg.Wait()
	return sample{total.Load(), time.Since(start)}, first
}

// serial repeats a call until d is over, looking at the clock now and then.
func serial(d time.Duration, call func() error) (sample, error) {
	const between = 256
	n := int64(0)
	start := time.Now()
	for {
		for range between {
			if err := call(); err != nil {
				return sample{}, err
			}
		}
		n += between
		if took := time.Since(start); took >= d {
			return sample{n, took}, nil
		}
	}
}
