package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/casstore"
	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
)

// storm has writers add to one session through each of the stores, and checks that
// nothing is lost.
func storm(t *testing.T, stores []*Store, writers, each int) {
	t.Helper()
	x := create(t, stores[0], hour)
	var group sync.WaitGroup
	start := time.Now()
	for i := range writers {
		s := stores[i%len(stores)]
		group.Go(func() {
			for k := range each {
				b := &record.Batch{Ops: []record.Op{record.Add(fmt.Sprint("n", k%8), 1)}}
				if reply, err := s.Apply(context.Background(), x.handle, b); err != nil || reply.Status != record.OK {
					t.Errorf("%q, %v", reply.Status, err)
					return
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d increments in %v", writers*each, time.Since(start).Round(time.Millisecond))
	for k := range 8 {
		if got, want := x.get(fmt.Sprint("n", k)), fmt.Sprint(writers*each/8); got != want {
			t.Errorf("the increments of n%d left %s, want %s", k, got, want)
		}
	}
}

func TestWritersOfOneSessionAreExact(t *testing.T) {
	server := migrated(t)
	t.Run("one process", func(t *testing.T) {
		storm(t, []*Store{open(t, server.URL(), Options{})}, 64, 200)
	})
	t.Run("four processes", func(t *testing.T) {
		var stores []*Store
		for range 4 {
			stores = append(stores, open(t, server.URL(), Options{}))
		}
		storm(t, stores, 64, 104)
	})
	t.Run("PgBouncer", func(t *testing.T) {
		url := pgtest.StartBouncer(t, server).URL() + "?default_query_exec_mode=exec"
		storm(t, []*Store{open(t, url, Options{}), open(t, url, Options{})}, 64, 104)
	})
	t.Run("serializable", func(t *testing.T) {
		url := server.URL() + "?default_transaction_isolation=serializable"
		storm(t, []*Store{open(t, url, Options{}), open(t, url, Options{})}, 64, 48)
	})
}

// The lock keeps others from the row, and gives the row as it is after the wait.
func TestLocked(t *testing.T) {
	server := migrated(t)
	c, err := parse(server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	x := create(t, open(t, server.URL(), Options{}), hour, record.Set("n", "0"))
	s := newServer(poolOf(t, c), c)
	key := casstore.Key{Kind: casstore.Session, ID: string(x.handle[:])}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			outcome, err := s.Locked(t.Context(), key, func(cell casstore.Cell) (casstore.Value, bool) {
				var r record.Record
				if err := r.Decode(cell.Data); err != nil {
					t.Error(err)
				}
				r.Apply(&record.Batch{Ops: []record.Op{record.Add("n", 1)}}, cell.Now)
				time.Sleep(10 * time.Millisecond)
				return casstore.Value{Data: r.Append(nil), Expires: r.Expires(), Now: cell.Now}, true
			})
			if outcome != casstore.Swapped || err != nil {
				t.Errorf("outcome %d, %v", outcome, err)
			}
		})
	}
	group.Wait()
	if got := x.get("n"); got != "8" {
		t.Errorf("8 increments under the lock left %s", got)
	}
}

// A row that was made anew under its key is not taken for the one that was read.
func TestRowMadeAnewIsAnother(t *testing.T) {
	server := migrated(t)
	c, err := parse(server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(poolOf(t, c), c)
	key := casstore.Key{Kind: casstore.User, ID: "u"}
	now := time.Now().UnixMilli()
	value := casstore.Value{Data: []byte("1"), Expires: now + 60_000, Now: now}
	if _, outcome, err := s.Swap(t.Context(), key, casstore.Cell{}, value); outcome != casstore.Swapped {
		t.Fatal(outcome, err)
	}
	old, err := s.Read(t.Context(), key)
	if err != nil || old.Data != "1" {
		t.Fatal(old, err)
	}
	conn := connect(t, server.URL())
	exec(t, conn, "DELETE FROM pazzo.users")
	if _, outcome, _ := s.Swap(t.Context(), key, old, value); outcome != casstore.Lost {
		t.Errorf("a swap of a row that is gone: outcome %d", outcome)
	}
	if _, outcome, err := s.Swap(t.Context(), key, casstore.Cell{}, value); outcome != casstore.Swapped {
		t.Fatal(outcome, err)
	}
	if _, outcome, _ := s.Swap(t.Context(), key, old, value); outcome != casstore.Lost {
		t.Errorf("a swap of the row before: outcome %d", outcome)
	}
	if _, outcome, _ := s.Swap(t.Context(), key, casstore.Cell{}, value); outcome != casstore.Lost {
		t.Errorf("a second insert: outcome %d", outcome)
	}
	// One that has expired meanwhile is not replaced, one that had before is.
	old, _ = s.Read(t.Context(), key)
	exec(t, conn, "UPDATE pazzo.users SET expires = $1", now-1)
	value.Now = now - 1000
	if _, outcome, _ := s.Swap(t.Context(), key, old, value); outcome != casstore.Lost {
		t.Errorf("a swap of a row that has expired since: outcome %d", outcome)
	}
	value.Now = now
	if _, outcome, _ := s.Swap(t.Context(), key, old, value); outcome != casstore.Swapped {
		t.Errorf("a swap of a row known to have expired: outcome %d", outcome)
	}
}

func TestPrefixesAreApart(t *testing.T) {
	server := migrated(t)
	a, b := open(t, server.URL(), Options{}), open(t, server.URL()+"?prefix=b:", Options{Prefix: "c:"})
	x := create(t, a, hour)
	reply, err := b.Apply(t.Context(), x.handle, &record.Batch{})
	if err != nil || reply.Status != record.Absent {
		t.Errorf("%q, %v", reply.Status, err)
	}
	conn := connect(t, server.URL())
	create(t, b, hour)
	if n := one[int](t, conn, "SELECT count(*) FROM pazzo.sessions WHERE substr(key, 1, 2) = 'b:'"); n != 1 {
		t.Errorf("%d rows under the prefix", n)
	}
}

// Two processes delete what has expired, while another holds some rows locked; all other
// rows go, none of them late, and the live ones stay.
func TestSweep(t *testing.T) {
	server := migrated(t)
	conn := connect(t, server.URL())
	now := time.Now().UnixMilli()
	const dead = 3 * sweepRows
	exec(t, conn, `INSERT INTO pazzo.sessions SELECT convert_to('pazzo:' || i, 'UTF8'), i, $1, '' FROM generate_series(1, $2::int) i`, now-1000, dead)
	exec(t, conn, `INSERT INTO pazzo.users SELECT convert_to('pazzo:' || i, 'UTF8'), i, $1, '' FROM generate_series(1, $2::int) i`, now-1000, dead)
	locker := connect(t, server.URL())
	tx, err := locker.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1 FROM pazzo.sessions WHERE version <= 10 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	o := Options{Sweep: 20 * time.Millisecond}
	x := create(t, open(t, server.URL(), o), hour, record.Set("a", "1"))
	open(t, server.URL(), o)
	left := func(want int) {
		t.Helper()
		for end := time.Now().Add(longEnough); ; time.Sleep(10 * time.Millisecond) {
			n := one[int](t, conn, "SELECT (SELECT count(*) FROM pazzo.sessions) + (SELECT count(*) FROM pazzo.users)")
			if n == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d rows are left, want %d", n, want)
			}
		}
	}
	left(1 + 10)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	left(1)
	if x.get("a") != "1" {
		t.Error("the live session was changed")
	}
}

func TestUserIndexByHash(t *testing.T) {
	s := open(t, migrated(t).URL(), Options{})
	h := record.NewHandle()
	step := &record.IndexStep{Kind: record.Refresh, Handle: h, Lifetime: 60_000}
	if _, err := s.ApplyIndex(t.Context(), "ann", step); err != nil {
		t.Fatal(err)
	}
	reply, err := s.ApplyIndexHash(t.Context(), sha("ann"), &record.IndexStep{Kind: record.List})
	if err != nil || len(reply.Entries) != 1 || reply.Entries[0].Handle != h {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestCorruptRowIsLeft(t *testing.T) {
	server := migrated(t)
	x := create(t, open(t, server.URL(), Options{}), hour)
	conn := connect(t, server.URL())
	exec(t, conn, `UPDATE pazzo.sessions SET version = 1, data = '\x0099'`)
	if _, err := x.apply(record.Set("a", "1")); !errors.Is(err, record.ErrLayout) && !errors.Is(err, record.ErrCorrupt) {
		t.Error(err)
	}
	if data := one[[]byte](t, conn, "SELECT data FROM pazzo.sessions"); string(data) != "\x00\x99" {
		t.Errorf("the row is %x now", data)
	}
}
