package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	_ "modernc.org/sqlite"

	"github.com/pazzo-sessions/pazzo/pebblestore"
	"github.com/pazzo-sessions/pazzo/record"
)

var pebbleSection = &section{"On disk",
	"pebblestore beside stores of the same records on bbolt and SQLite (WAL, synchronous=FULL), written the straightforward way: " +
		"a transaction that reads the session, applies the batch and writes it back. Every write is on the disk when it returns. " +
		"64 in flight, each on a session of its own."}

const (
	nameBbolt  = "bbolt"
	nameSQLite = "SQLite"
)

var (
	perSecond = unit{" /s", 0}
	seconds   = unit{" s", 2}
	millis    = unit{" ms", 2}
)

// folder returns a directory that is removed when the bench closes.
func (b *bench) folder() (string, error) {
	dir, err := os.MkdirTemp("", "pazzo-bench-")
	if err == nil {
		b.onClose(func() { os.RemoveAll(dir) })
	}
	return dir, err
}

// applier is what the contestants do with a session.
type applier func(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error)

func (b *bench) pebble(opts *pebblestore.Options) (*pebblestore.Store, error) {
	dir, err := b.folder()
	if err != nil {
		return nil, err
	}
	store, err := pebblestore.Open(dir, opts)
	if err == nil {
		b.onClose(func() { store.Close() })
	}
	return store, err
}

// bbolt is a store on bbolt.
func (b *bench) bbolt() (applier, error) {
	dir, err := b.folder()
	if err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(dir, "sessions"), 0o600, nil)
	if err != nil {
		return nil, err
	}
	b.onClose(func() { db.Close() })
	name := []byte("sessions")
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(name)
		return err
	})
	return func(_ context.Context, h record.Handle, batch *record.Batch) (reply record.Reply, err error) {
		err = db.Update(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket(name)
			var value []byte
			if reply, value, err = applied(string(bucket.Get(h[:])), batch); err != nil {
				return err
			}
			return bucket.Put(h[:], value)
		})
		return reply, err
	}, err
}

// applied applies a batch to an encoded record.
func applied(text string, batch *record.Batch) (record.Reply, []byte, error) {
	var r record.Record
	if err := r.Decode(text); err != nil {
		return record.Reply{}, nil, err
	}
	reply, _ := r.Apply(batch, time.Now().UnixMilli())
	return reply, r.Append(nil), nil
}

// sqlite is a store on SQLite. One connection writes: more would only wait for one
// another.
func (b *bench) sqlite() (applier, error) {
	dir, err := b.folder()
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sessions")+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	b.onClose(func() { db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE sessions (handle BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"); err != nil {
		return nil, err
	}
	read, err := db.Prepare("SELECT value FROM sessions WHERE handle = ?")
	if err != nil {
		return nil, err
	}
	write, err := db.Prepare("INSERT INTO sessions VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, h record.Handle, batch *record.Batch) (record.Reply, error) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return record.Reply{}, err
		}
		defer tx.Rollback()
		var text string
		if err := tx.StmtContext(ctx, read).QueryRowContext(ctx, h[:]).Scan(&text); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return record.Reply{}, err
		}
		reply, value, err := applied(text, batch)
		if err != nil {
			return record.Reply{}, err
		}
		if _, err := tx.StmtContext(ctx, write).ExecContext(ctx, h[:], value); err != nil {
			return record.Reply{}, err
		}
		return reply, tx.Commit()
	}, nil
}

// must turns anything but OK into an error.
func must(reply record.Reply, err error) error {
	if err == nil && reply.Status != record.OK {
		err = fmt.Errorf("status %v", reply.Status)
	}
	return err
}

// threeFields makes a session that ends after a time without activity.
func threeFields(idle time.Duration) *record.Batch {
	batch := &record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), record.Expiry{Idle: idle.Milliseconds(), Absolute: 24 * 3600e3})}}
	for _, f := range three {
		batch.Ops = append(batch.Ops, record.Set(f.name, f.text))
	}
	return batch
}

// workers gives each worker a session of its own and returns its calls.
func (b *bench) workers(apply applier, n int, op record.Op) (func(int) func() error, error) {
	handles := make([]record.Handle, n)
	for i := range handles {
		handles[i] = record.NewHandle()
		if err := must(apply(b.ctx, handles[i], threeFields(time.Hour))); err != nil {
			return nil, err
		}
	}
	return func(i int) func() error {
		batch := &record.Batch{Ops: []record.Op{op}}
		return func() error { return must(apply(b.ctx, handles[i], batch)) }
	}, nil
}

func benchPebbleWrites(b *bench) ([]figure, error) {
	store, err := b.pebble(nil)
	if err != nil {
		return nil, err
	}
	onBbolt, err := b.bbolt()
	if err != nil {
		return nil, err
	}
	onSQLite, err := b.sqlite()
	if err != nil {
		return nil, err
	}
	var contestants []contestant
	for _, c := range []struct {
		name  string
		apply applier
	}{{namePazzo, store.Apply}, {nameBbolt, onBbolt}, {nameSQLite, onSQLite}} {
		calls, err := b.workers(c.apply, inFlight, record.Add("visits", 1))
		if err != nil {
			return nil, err
		}
		contestants = append(contestants, contestant{c.name, func(d time.Duration) (sample, error) { return parallel(inFlight, d, calls) }})
	}
	got, err := b.compare(contestants)
	if err != nil {
		return nil, err
	}
	beside := func(peer string, target bound) figure {
		wall, cpu := got.faster(namePazzo, peer)
		return ratio("durable writes, beside "+peer, wall, cpu, target).
			noted(fmt.Sprintf("%s and %s a second", thousands(got.rate(namePazzo)), thousands(got.rate(peer))))
	}
	return []figure{beside(nameBbolt, atLeast(5)), beside(nameSQLite, atLeast(3))}, nil
}

func benchPebbleReads(b *bench) ([]figure, error) {
	store, err := b.pebble(nil)
	if err != nil {
		return nil, err
	}
	const warm = 10_000
	calls, err := b.workers(store.Apply, warm, record.Get("theme"))
	if err != nil {
		return nil, err
	}
	n := runtime.GOMAXPROCS(0)
	readers := func(reader int) func() error {
		var each []func() error
		for i := reader; i < warm; i += n {
			each = append(each, calls(i))
		}
		turn := 0
		return func() error {
			turn++
			return each[turn%len(each)]()
		}
	}
	got, err := b.compare([]contestant{{namePazzo, func(d time.Duration) (sample, error) { return parallel(n, d, readers) }}})
	if err != nil {
		return nil, err
	}
	f := figure{what: fmt.Sprintf("reads of a field by %d goroutines, of %s sessions in memory", n, thousands(warm)), unit: perSecond, bound: atLeast(500_000)}
	for _, r := range got[namePazzo] {
		f.values = append(f.values, r.rate)
	}
	return []figure{f}, nil
}

// benchPebbleMany fills a store with sessions that end at one moment, opens it anew,
// and reads others while those are reclaimed.
func benchPebbleMany(b *bench) ([]figure, error) {
	dir, err := b.folder()
	if err != nil {
		return nil, err
	}
	stay, moment, err := b.fillPebble(dir)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	store, err := pebblestore.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	opening := time.Since(began)
	if time.Until(moment) < 0 {
		return nil, errBusy
	}
	idle, err := latencies(b.ctx, store, stay, func() bool { return time.Now().After(moment) })
	if err != nil {
		return nil, err
	}
	n := int64(b.sessions)
	swept, err := latencies(b.ctx, store, stay, func() bool { return store.Stats().Reclaimed >= n })
	if err != nil {
		return nil, err
	}
	took := time.Since(moment)
	count := thousands(float64(n))
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	at := func(list []time.Duration, share int) time.Duration { return list[(len(list)-1)*share/1000] }
	return []figure{
		single("opening "+count+" sessions", opening.Seconds(), seconds, atMost(2)),
		single("the longest read while "+count+" expired sessions are reclaimed", ms(at(swept, 1000)), millis, atMost(20)).
			noted(fmt.Sprintf("idle %.1f ms; p99.9 %.2f ms, idle %.2f ms; reclaimed in %.0f s",
				ms(at(idle, 1000)), ms(at(swept, 999)), ms(at(idle, 999)), took.Seconds())),
	}, nil
}

// fillPebble makes the sessions that end, and some that stay.
func (b *bench) fillPebble(dir string) (stay []record.Handle, moment time.Time, err error) {
	store, err := pebblestore.Open(dir, &pebblestore.Options{LoseUpTo: time.Second})
	if err != nil {
		return nil, moment, err
	}
	defer store.Close()
	for range 1000 {
		h := record.NewHandle()
		stay = append(stay, h)
		if err := must(store.Apply(b.ctx, h, threeFields(time.Hour))); err != nil {
			return nil, moment, err
		}
	}
	end := func(n int, moment time.Time) error {
		var left atomic.Int64
		left.Store(int64(n))
		_, err := parallel(inFlight, time.Hour, func(int) func() error {
			return func() error {
				if left.Add(-1) < 0 {
					return errEnough
				}
				idle := time.Until(moment)
				if idle <= 0 {
					return errBusy
				}
				return must(store.Apply(b.ctx, record.NewHandle(), threeFields(idle)))
			}
		})
		if errors.Is(err, errEnough) {
			err = nil
		}
		return err
	}
	// Ten times as long as it takes, so that the store is open again before that.
	moment = time.Now().Add(5*time.Second + time.Duration(b.sessions)*100*time.Microsecond)
	return stay, moment, end(b.sessions, moment)
}

var errEnough = errors.New("there are enough sessions")

// latencies reads sessions with a goroutine for each processor, a millisecond apart,
// until it is over, and returns how long each took, sorted.
func latencies(ctx context.Context, store *pebblestore.Store, handles []record.Handle, over func() bool) ([]time.Duration, error) {
	var (
		mu    sync.Mutex
		all   []time.Duration
		first error
		wg    sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			var taken []time.Duration
			var err error
			batch := &record.Batch{Ops: []record.Op{record.Get("theme")}}
			for err == nil && !over() {
				began := time.Now()
				err = must(store.Apply(ctx, handles[rand.IntN(len(handles))], batch))
				taken = append(taken, time.Since(began))
				time.Sleep(time.Millisecond)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, taken...)
			if err != nil {
				first = err
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	if first == nil && len(all) == 0 {
		first = errBusy
	}
	return all, first
}
