package redisstore

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

const inFlight = 64

// BenchmarkRatios prints what a batch costs beside raw commands through rueidis as
// it comes, at 64 calls in flight: the median of interleaved rounds.
func BenchmarkRatios(b *testing.B) {
	s, client := benchStore(b)
	cases := benchCases(b, s, client)
	const rounds = 7
	for range rounds {
		for i := range cases {
			cases[i].took = append(cases[i].took, spread(b, 20_000, cases[i].call))
		}
	}
	ns := map[string]float64{}
	for i := range cases {
		ns[cases[i].name] = float64(median(cases[i].took).Nanoseconds())
		b.Logf("%-9s %6.2f µs", cases[i].name, ns[cases[i].name]/1000)
	}
	b.ReportMetric(ns["set"]/ns["raw HSET"], "set/HSET")
	b.ReportMetric(ns["3 sets"]/ns["raw HSET"]/3, "sets/3HSET")
	b.ReportMetric(ns["add"]/ns["raw HSET"], "add/HSET")
	b.ReportMetric(ns["get"]/ns["raw HGET"], "get/HGET")
	b.ReportMetric(0, "ns/op")
}

// benchCase is a call to measure.
type benchCase struct {
	name         string
	call         func() error
	took, within []time.Duration // for each call, of several rounds
}

func benchCases(b *testing.B, s *Store, client rueidis.Client) []benchCase {
	ctx := context.Background()
	h, secret := record.NewHandle(), record.NewSecret()
	create := record.Batch{Ops: []record.Op{
		record.Create(secret, record.Expiry{Idle: 3600e3, Absolute: 36000e3}),
		record.Set("name", `"somebody"`), record.Set("count", "1"), record.Set("cart", "[1,2,3]"),
	}}
	if reply, err := s.Apply(ctx, h, &create); err != nil || reply.Status != record.OK {
		b.Fatal(reply.Status, err)
	}
	access := record.Access{Mode: record.Open, Generation: 1, Secret: secret}
	apply := func(ops ...record.Op) func() error {
		batch := record.Batch{Access: access, Ops: ops}
		return func() error {
			_, err := s.Apply(ctx, h, &batch)
			return err
		}
	}
	raw := func(build func() rueidis.Completed) func() error {
		return func() error { return client.Do(ctx, build()).Error() }
	}
	return []benchCase{
		{name: "raw HSET", call: raw(func() rueidis.Completed {
			return client.B().Hset().Key("raw").FieldValue().FieldValue("count", "2").Build()
		})},
		{name: "raw HGET", call: raw(func() rueidis.Completed { return client.B().Hget().Key("raw").Field("count").Build() })},
		{name: "set", call: apply(record.Set("count", "2"))},
		{name: "3 sets", call: apply(record.Set("count", "2"), record.Set("name", `"else"`), record.Set("cart", "[1]"))},
		{name: "add", call: apply(record.Add("count", 1))},
		{name: "get", call: apply(record.Get("count"))},
	}
}

// BenchmarkServer prints what a call costs the server, by its own account: the time
// within the command, and all CPU time of its thread, which a busy machine leaves
// alone.
func BenchmarkServer(b *testing.B) {
	s, client := benchStore(b)
	cases := benchCases(b, s, client)
	const rounds, n = 5, 20_000
	for i := range cases {
		c := &cases[i]
		for range rounds {
			client.Do(b.Context(), client.B().ConfigResetstat().Build())
			before := cpuTime(b, client)
			spread(b, n, c.call)
			c.took = append(c.took, (cpuTime(b, client)-before)/n)
			c.within = append(c.within, within(b, client))
		}
		b.Logf("%-9s %5.2f µs in the command, %5.2f µs of CPU", c.name, micros(slices.Min(c.within)), micros(slices.Min(c.took)))
	}
	b.ReportMetric(0, "ns/op")
}

// cpuTime returns the CPU time of the server's main thread.
func cpuTime(b *testing.B, client rueidis.Client) time.Duration {
	info := infoOf(b, client, "cpu")
	var total float64
	for _, name := range []string{"used_cpu_user_main_thread:", "used_cpu_sys_main_thread:"} {
		_, rest, _ := strings.Cut(info, name)
		value, _, _ := strings.Cut(rest, "\r")
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil {
			b.Fatal(err)
		}
		total += seconds
	}
	return time.Duration(total * float64(time.Second))
}

// within returns the time for each call of the command called most since the
// statistics were reset, without those that a script calls.
func within(b *testing.B, client rueidis.Client) time.Duration {
	stats := infoOf(b, client, "commandstats")
	for _, name := range []string{"evalsha", "hset", "hget", "hmget"} {
		if _, rest, found := strings.Cut(stats, "cmdstat_"+name+":"); found {
			_, rest, _ = strings.Cut(rest, "usec_per_call=")
			value, _, _ := strings.Cut(rest, ",")
			us, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			return time.Duration(us * float64(time.Microsecond))
		}
	}
	b.Fatal("no statistics")
	return 0
}

func infoOf(b *testing.B, client rueidis.Client, section string) string {
	text, err := client.Do(b.Context(), client.B().Info().Section(section).Build()).ToString()
	if err != nil {
		b.Fatal(err)
	}
	return text
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// spread makes n calls, inFlight at a time, and returns the time for each.
func spread(b *testing.B, n int, call func() error) time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	for range inFlight {
		wg.Go(func() {
			for range n / inFlight {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start) / time.Duration(n)
}

func median(d []time.Duration) time.Duration {
	for i := range d {
		for j := range i {
			if d[j] > d[i] {
				d[i], d[j] = d[j], d[i]
			}
		}
	}
	return d[len(d)/2]
}

// benchStore returns a store, and a client with rueidis' own defaults.
func benchStore(b *testing.B) (*Store, rueidis.Client) {
	server := redistest.Start(b)
	s := open(b, server.URL(), 10*time.Second)
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: s.option.InitAddress, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	return s, client
}
