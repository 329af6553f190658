package main

import (
	"context"
	"crypto/md5"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/record"
)

// rows are a store with many sessions that are alike. Session i has the MD5 of i for a
// handle.
type rows struct {
	name   string
	count  int
	store  *pgstore.Store
	secret record.Secret
}

// fillRows makes a store in a schema of its own, with count sessions.
func (b *bench) fillRows(url, schema string, count int) (*rows, error) {
	ours := url + "&schema=" + schema
	if _, err := pgstore.Migrate(b.ctx, ours, nil); err != nil {
		return nil, err
	}
	store, err := pgstore.Open(b.ctx, ours, &pgstore.Options{Timeout: storeTimeout})
	if err != nil {
		return nil, err
	}
	b.onClose(func() { store.Close() })
	r := &rows{name: schema, count: count, store: store, secret: record.NewSecret()}
	var session record.Record
	batch := &record.Batch{Ops: []record.Op{record.Create(r.secret, record.Expiry{Idle: 36000e3, Absolute: 36000e3})}}
	for _, f := range three {
		batch.Ops = append(batch.Ops, record.Set(f.name, f.text))
	}
	session.Apply(batch, time.Now().UnixMilli())
	conn, err := pgx.Connect(b.ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(b.ctx))
	_, err = conn.Exec(b.ctx, "INSERT INTO "+schema+`.sessions SELECT 'pazzo:'::bytea || decode(md5(i::text), 'hex'), i, $1, $2
		FROM generate_series(0, $3::int - 1) i`, session.Expires(), session.Append(nil), count)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(b.ctx, "VACUUM ANALYZE "+schema+".sessions")
	return r, err
}

// work has workers read a field of random sessions, or add to one.
func (r *rows) work(d time.Duration, op record.Op) (sample, error) {
	return parallel(inFlight, d, func(int) func() error {
		batch := &record.Batch{Access: record.Access{Mode: record.Open, Generation: 1, Secret: r.secret}, Ops: []record.Op{op}}
		return func() error {
			h := record.Handle(md5.Sum([]byte(strconv.Itoa(rand.IntN(r.count)))))
			reply, err := r.store.Apply(context.Background(), h, batch)
			if err == nil && reply.Status != record.OK {
				err = fmt.Errorf("status %v", reply.Status)
			}
			return err
		}
	})
}

// benchPostgresRows compares calls on many sessions with those on few.
func benchPostgresRows(b *bench) (figures []figure, err error) {
	b = b.apart()
	defer b.close()
	url, err := b.postgresURL()
	if err != nil {
		return nil, err
	}
	few, err := b.fillRows(url, "few", 10_000)
	if err != nil {
		return nil, err
	}
	many, err := b.fillRows(url, "many", 5*b.sessions)
	if err != nil {
		return nil, err
	}
	for _, one := range []struct {
		what string
		op   record.Op
	}{{"a read", record.Get("theme")}, {"a write", record.Set("theme", `"light"`)}} {
		got, err := b.compare([]contestant{
			{few.name, func(d time.Duration) (sample, error) { return few.work(d, one.op) }},
			{many.name, func(d time.Duration) (sample, error) { return many.work(d, one.op) }},
		})
		if err != nil {
			return nil, err
		}
		wall, cpu := got.times(many.name, few.name)
		figures = append(figures, ratio(fmt.Sprintf("%s with %s sessions, beside one with %s", one.what, thousands(float64(many.count)), thousands(float64(few.count))),
			wall, cpu, bound{}).noted(fmt.Sprintf("%.0f µs each, 64 at a time", 1e6/got.rate(many.name))))
	}
	return figures, nil
}
