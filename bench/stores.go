package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pazzo-sessions/pazzo/memcachedstore"
	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/pebblestore"
	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/record"
)

var storesSection = &section{"The stores side by side",
	"Calls of `Apply` on random ones of many sessions of three small fields: a read of one field, and an addition to one. 64 in " +
		"flight, and one alone. The servers run beside the bench, with their defaults: Redis writes nothing to the disk then, " +
		"PostgreSQL and Pebble every write before it returns. `docs/stores.md` has this as a table."}

// storeRow is a line of the table in docs/stores.md.
type storeRow struct {
	name, promise     string
	reads, writes     float64 // a second, 64 in flight
	readLone, addLone float64 // µs
	space             float64 // bytes per session
	on                string  // which the space is of
}

// measured is a store with its sessions.
type measured struct {
	storeRow
	apply   applier
	handles []record.Handle
	total   func() (bytes float64, err error) // what the sessions take
}

// benchStores measures every store in one run.
func benchStores(b *bench) ([]figure, error) {
	b = b.apart()
	defer b.close()
	var all []*measured
	for _, open := range []func(*bench) (*measured, error){memoryMeasured, pebbleMeasured, redisMeasured, memcachedMeasured, postgresMeasured} {
		m, err := open(b)
		if err != nil {
			return nil, err
		}
		if err := m.fill(b, b.sessions/10); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		all = append(all, m)
	}
	var contestants []contestant
	for _, m := range all {
		for _, one := range []struct {
			what    string
			op      record.Op
			workers int
		}{
			{"reads", record.Get("theme"), inFlight}, {"writes", record.Add("visits", 1), inFlight},
			{"lone read", record.Get("theme"), 1}, {"lone write", record.Add("visits", 1), 1},
		} {
			contestants = append(contestants, contestant{m.name + " " + one.what, func(d time.Duration) (sample, error) {
				return parallel(one.workers, d, m.calls(b, one.op))
			}})
		}
	}
	got, err := b.compare(contestants)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, m := range all {
		figures = append(figures, m.figures(got)...)
	}
	return figures, nil
}

// calls returns a worker's calls on random sessions.
func (m *measured) calls(b *bench, op record.Op) func(int) func() error {
	return func(int) func() error {
		batch := &record.Batch{Ops: []record.Op{op}}
		return func() error { return must(m.apply(b.ctx, m.handles[rand.IntN(len(m.handles))], batch)) }
	}
}

// fill makes n sessions, and finds out what they take.
func (m *measured) fill(b *bench, n int) error {
	m.handles = make([]record.Handle, n)
	before, err := m.total()
	if err != nil {
		return err
	}
	var next atomic.Int64
	_, err = parallel(inFlight, time.Hour, func(int) func() error {
		return func() error {
			i := int(next.Add(1)) - 1
			if i >= n {
				return errEnough
			}
			m.handles[i] = record.NewHandle()
			return must(m.apply(b.ctx, m.handles[i], threeFields(time.Hour)))
		}
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	after, err := m.total()
	m.space = (after - before) / float64(n)
	return err
}

// figures are the store's lines of the report. The last brings the row along.
func (m *measured) figures(got results) []figure {
	rates := func(what string) (list []float64) {
		for _, r := range got[m.name+" "+what] {
			list = append(list, r.rate)
		}
		return list
	}
	micro := func(what string) (list []float64) {
		for _, rate := range rates(what) {
			list = append(list, 1e6/rate)
		}
		return list
	}
	m.reads, m.writes = got.rate(m.name+" reads"), got.rate(m.name+" writes")
	m.readLone, m.addLone = median(micro("lone read")), median(micro("lone write"))
	row := m.storeRow
	return []figure{
		{what: m.name + ": reads", values: rates("reads"), unit: perSecond},
		{what: m.name + ": writes", values: rates("writes"), unit: perSecond},
		{what: m.name + ": a read alone", values: micro("lone read"), unit: micros},
		{what: m.name + ": a write alone", values: micro("lone write"), unit: micros},
		{what: m.name + ": bytes of " + m.on + " for each session", values: []float64{m.space}, unit: unit{"", 0}, row: &row},
	}
}

func memoryMeasured(b *bench) (*measured, error) {
	store := memstore.New(nil)
	b.onClose(func() { store.Close() })
	m := &measured{storeRow: storeRow{name: "memory", on: "memory", promise: "until the process ends"}, apply: store.Apply}
	m.total = func() (float64, error) {
		runtime.KeepAlive(m)
		return float64(liveHeap()), nil
	}
	return m, nil
}

func pebbleMeasured(b *bench) (*measured, error) {
	dir, err := b.folder()
	if err != nil {
		return nil, err
	}
	store, err := pebblestore.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	b.onClose(func() { store.Close() })
	m := &measured{storeRow: storeRow{name: "Pebble", on: "disk", promise: "survives the machine"}, apply: store.Apply}
	// What is in the log is not in the tables yet. A backup is of both, and has no more.
	m.total = func() (float64, error) {
		to := filepath.Join(dir, "..", filepath.Base(dir)+"-copy")
		defer os.RemoveAll(to)
		if err := pebblestore.Backup(b.ctx, dir, to); err != nil {
			return 0, err
		}
		return bytesIn(to)
	}
	return m, nil
}

// bytesIn is how large the files in a directory are.
func bytesIn(dir string) (total float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += float64(info.Size())
		}
		return err
	})
	return total, err
}

func redisMeasured(b *bench) (*measured, error) {
	server, err := b.redis()
	if err != nil {
		return nil, err
	}
	store, err := b.redisStore()
	if err != nil {
		return nil, err
	}
	m := &measured{storeRow: storeRow{name: "Redis", on: "memory", promise: "as its `appendfsync` says; a failover may lose the last writes"}, apply: store.Apply}
	m.total = func() (float64, error) {
		info, err := server.Do(b.ctx, "INFO", "memory")
		return statistic(fmt.Sprint(info), "used_memory:"), err
	}
	return m, nil
}

func memcachedMeasured(b *bench) (*measured, error) {
	server, err := memcachedtest.Run(b.ctx, "-m", "1024")
	if err != nil {
		return nil, err
	}
	b.onClose(func() { server.Kill() })
	store, err := memcachedstore.Open(b.ctx, server.URL(), &memcachedstore.Options{Timeout: storeTimeout})
	if err != nil {
		return nil, err
	}
	b.onClose(func() { store.Close() })
	m := &measured{storeRow: storeRow{name: "memcached", on: "memory", promise: "until it is short of memory, or restarts"}, apply: store.Apply}
	m.total = func() (float64, error) {
		stats, err := server.Ask("stats\r\n")
		return statistic(stats, "STAT bytes "), err
	}
	return m, nil
}

func postgresMeasured(b *bench) (*measured, error) {
	url, err := b.postgresURL()
	if err != nil {
		return nil, err
	}
	store, err := pgstore.Open(b.ctx, url, &pgstore.Options{Timeout: storeTimeout})
	if err != nil {
		return nil, err
	}
	b.onClose(func() { store.Close() })
	m := &measured{storeRow: storeRow{name: "PostgreSQL", on: "disk", promise: "as its `synchronous_commit` says"}, apply: store.Apply}
	m.total = func() (total float64, err error) {
		conn, err := pgx.Connect(b.ctx, url)
		if err != nil {
			return 0, err
		}
		defer conn.Close(b.ctx)
		return total, conn.QueryRow(b.ctx, "SELECT pg_total_relation_size('pazzo.sessions')").Scan(&total)
	}
	return m, nil
}

// statistic reads the number behind a name at the start of a line, or 0.
func statistic(text, name string) float64 {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name); found {
			n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return n
		}
	}
	return 0
}

// The table in docs/stores.md is between these lines.
const (
	storesBegin = "<!-- The table below is written by make bench. -->\n"
	storesEnd   = "<!-- End of what make bench writes. -->\n"
)

// errNoMarkers is returned when a file lacks the lines between which the table is.
var errNoMarkers = errors.New("the lines between which the table of stores is written are missing")

// storesTable puts the table into a text.
func storesTable(text string, rows []*storeRow, about string) (string, error) {
	head, rest, begins := strings.Cut(text, storesBegin)
	_, tail, ends := strings.Cut(rest, storesEnd)
	if !begins || !ends {
		return "", errNoMarkers
	}
	var t strings.Builder
	fmt.Fprintf(&t, "\n%s\n\n| store | reads /s | writes /s | a read alone | a write alone | bytes per session | a write lasts |\n|---|--:|--:|--:|--:|--:|---|\n", about)
	for _, r := range rows {
		fmt.Fprintf(&t, "| %s | %s | %s | %.0f µs | %.0f µs | %.0f, %s | %s |\n",
			r.name, thousands(r.reads), thousands(r.writes), r.readLone, r.addLone, r.space, r.on, r.promise)
	}
	t.WriteString("\n")
	return head + storesBegin + t.String() + storesEnd + tail, nil
}

// writeStores writes the table into a file.
func (r *report) writeStores(file string) error {
	var rows []*storeRow
	for _, p := range r.parts {
		for i := range p.figures {
			if row := p.figures[i].row; row != nil {
				rows = append(rows, row)
			}
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	about := fmt.Sprintf("Measured on %s: %s. %s", r.began.Format(time.DateOnly), r.machine, storesSection.about)
	table, err := storesTable(string(text), rows, about)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(table), 0o644)
}
