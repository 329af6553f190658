package main

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
)

const inFlight = 64

// callers are the ways to the same Redis that the store contests compare.
type callers struct {
	ctx    context.Context
	raw    rueidis.Client // as rueidis comes, but without its cache
	tuned  rueidis.Client // with redisstore's options
	key    string         // of the raw hash, as long as a session's
	store  *redisstore.Store
	handle record.Handle
	access record.Access
	pazzo  *pazzo.Manager
	token  string
}

var three = [...]struct{ name, text string }{{"visits", "41"}, {"theme", `"dark"`}, {"locale", `"en-GB"`}}

func (b *bench) callers() (*callers, error) {
	server, err := b.redis()
	if err != nil {
		return nil, err
	}
	c := &callers{ctx: b.ctx, key: "raw:{00112233445566778899aabbccddeeff}", handle: record.NewHandle()}
	if c.store, err = b.redisStore(); err != nil {
		return nil, err
	}
	options := rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true}
	if c.raw, err = b.rawClient(options); err != nil {
		return nil, err
	}
	// What redisstore.Open chooses (connect, in its url.go).
	options.ForceSingleClient = true
	options.DisableRetry = true
	options.AlwaysPipelining = true
	options.PipelineMultiplex = -1
	options.MaxFlushDelay = 20 * time.Microsecond
	options.ConnWriteTimeout = storeTimeout
	if c.tuned, err = b.rawClient(options); err != nil {
		return nil, err
	}
	return c, c.fill()
}

func (b *bench) rawClient(options rueidis.ClientOption) (rueidis.Client, error) {
	client, err := rueidis.NewClient(options)
	if err == nil {
		b.onClose(client.Close)
	}
	return client, err
}

// fill makes the raw hash and the same as a session.
func (c *callers) fill() error {
	for _, f := range three {
		if err := c.hset(c.raw, f.name, f.text); err != nil {
			return err
		}
	}
	err := c.fillStore()
	if err != nil {
		return err
	}
	if c.pazzo, err = newPazzo(c.store, pazzo.Live); err != nil {
		return err
	}
	s, err := c.pazzo.Acquire("")
	if err != nil {
		return err
	}
	ctx := pazzo.NewContext(c.ctx, s)
	if err := setThree(ctx); err != nil {
		return err
	}
	c.token = s.Token()
	return nil
}

// fillStore makes the session with the fields.
func (c *callers) fillStore() error {
	secret := record.NewSecret()
	batch := &record.Batch{Ops: []record.Op{record.Create(secret, record.Expiry{Idle: 3600e3, Absolute: 36000e3})}}
	for _, f := range three {
		batch.Ops = append(batch.Ops, record.Set(f.name, f.text))
	}
	if reply, err := c.store.Apply(c.ctx, c.handle, batch); err != nil || reply.Status != record.OK {
		return fmt.Errorf("create: %v, %w", reply.Status, err)
	}
	c.access = record.Access{Mode: record.Open, Generation: 1, Secret: secret}
	return nil
}

func setThree(ctx context.Context) error {
	return pazzo.Atomically(ctx, func(ctx context.Context) error {
		for _, f := range three {
			if err := pazzo.FromContext(ctx).Set(ctx, f.name, jsonText(f.text)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *callers) hget(client rueidis.Client, name string) error {
	return client.Do(c.ctx, client.B().Hget().Key(c.key).Field(name).Build()).Error()
}

func (c *callers) hset(client rueidis.Client, name, text string) error {
	return client.Do(c.ctx, client.B().Hset().Key(c.key).FieldValue().FieldValue(name, text).Build()).Error()
}

// batch returns a worker's calls of the store with ops.
func (c *callers) batch(ops ...record.Op) func(int) func() error {
	return func(int) func() error {
		batch := &record.Batch{Access: c.access, Ops: ops}
		return func() error {
			reply, err := c.store.Apply(c.ctx, c.handle, batch)
			if err == nil && reply.Status != record.OK {
				err = fmt.Errorf("status %v", reply.Status)
			}
			return err
		}
	}
}

// session returns a worker's calls in a session that it has opened.
func (c *callers) session(call func(ctx context.Context) error) func(int) func() error {
	return func(int) func() error {
		s, err := c.pazzo.Acquire(c.token)
		if err != nil {
			return func() error { return err }
		}
		ctx := pazzo.NewContext(c.ctx, s)
		if _, err := visits.Get(ctx); err != nil {
			return func() error { return err }
		}
		return func() error { return call(ctx) }
	}
}

func (b *bench) storeContest(what, beside string, target bound, raw func(*callers, rueidis.Client) error, ops []record.Op, call func(context.Context) error) ([]figure, error) {
	c, err := b.callers()
	if err != nil {
		return nil, err
	}
	run := func(worker func(int) func() error) func(time.Duration) (sample, error) {
		return func(d time.Duration) (sample, error) { return parallel(inFlight, d, worker) }
	}
	got, err := b.compare([]contestant{
		{"raw", run(func(int) func() error { return func() error { return raw(c, c.raw) } })},
		{"tuned", run(func(int) func() error { return func() error { return raw(c, c.tuned) } })},
		{"store", run(c.batch(ops...))},
		{"session", run(c.session(call))},
	})
	if err != nil {
		return nil, err
	}
	beside = what + ", beside " + beside
	compared := func(name, a, b string, target bound) figure {
		wall, cpu := got.times(a, b)
		return ratio(name, wall, cpu, target).noted(fmt.Sprintf("raw: %.1f µs each", 1e6/got.rate(b)))
	}
	return []figure{
		compared("store: "+beside, "store", "raw", target),
		compared("session: "+beside, "session", "raw", bound{}),
		compared("store: "+beside+" with redisstore's options", "store", "tuned", bound{}),
	}, nil
}

func benchStoreRead(b *bench) ([]figure, error) {
	return b.storeContest("one live read of a field", "a raw HGET", atMost(1.2),
		func(c *callers, client rueidis.Client) error { return c.hget(client, "theme") },
		[]record.Op{record.Get("theme")},
		func(ctx context.Context) error {
			_, _, err := theme.Get(ctx)
			return err
		})
}

func benchStoreWrite(b *bench) ([]figure, error) {
	return b.storeContest("one write of a field", "a raw HSET", atMost(1.5),
		func(c *callers, client rueidis.Client) error { return c.hset(client, "theme", `"dark"`) },
		[]record.Op{record.Set("theme", `"dark"`)},
		func(ctx context.Context) error { return theme.Set(ctx, "dark") })
}

func benchStoreBatch(b *bench) ([]figure, error) {
	var ops []record.Op
	for _, f := range three {
		ops = append(ops, record.Set(f.name, f.text))
	}
	return b.storeContest("a batch of three writes", "three raw HSETs", atMost(0.6),
		func(c *callers, client rueidis.Client) error {
			for _, f := range three {
				if err := c.hset(client, f.name, f.text); err != nil {
					return err
				}
			}
			return nil
		}, ops, setThree)
}
