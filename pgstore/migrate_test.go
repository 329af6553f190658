package pgstore

import (
	"errors"
	"sync"
	"testing"

	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
)

func TestMigrate(t *testing.T) {
	server := pgtest.Start(t)
	if _, err := Open(t.Context(), server.URL(), nil); !errors.Is(err, ErrSchema) {
		t.Errorf("without tables: %v", err)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 4 { // at once
		group.Go(func() {
			m, err := Migrate(t.Context(), server.URL(), nil)
			if err != nil || m.To != SchemaVersion {
				t.Errorf("%+v, %v", m, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if m.From == 0 {
				made++
			}
		})
	}
	group.Wait()
	if made != 1 {
		t.Errorf("%d of 4 made the tables", made)
	}
	x := create(t, open(t, server.URL(), Options{}), hour, record.Set("a", "1"))
	if m, err := Migrate(t.Context(), server.URL(), nil); err != nil || m != (Migration{SchemaVersion, SchemaVersion}) {
		t.Errorf("again: %+v, %v", m, err)
	}
	if x.get("a") != "1" {
		t.Error("the session was changed")
	}
}

func TestNewerTablesAreRefused(t *testing.T) {
	server := migrated(t)
	exec(t, connect(t, server.URL()), "INSERT INTO pazzo.migrations (version) VALUES ($1)", SchemaVersion+1)
	if _, err := Open(t.Context(), server.URL(), nil); !errors.Is(err, ErrSchema) {
		t.Errorf("Open: %v", err)
	}
	if _, err := Migrate(t.Context(), server.URL(), nil); !errors.Is(err, ErrSchema) {
		t.Errorf("Migrate: %v", err)
	}
	exec(t, connect(t, server.URL()), "DELETE FROM pazzo.migrations")
	if _, err := Open(t.Context(), server.URL(), nil); !errors.Is(err, ErrSchema) {
		t.Errorf("older tables: %v", err)
	}
}

// The app's role can do what it must, and nothing to the tables themselves.
func TestRole(t *testing.T) {
	server := pgtest.Start(t)
	conn := connect(t, server.URL())
	exec(t, conn, `CREATE ROLE "order" LOGIN`)
	if _, err := Migrate(t.Context(), server.URL(), &MigrateOptions{Role: "order"}); err != nil {
		t.Fatal(err)
	}
	url := "postgres://order@" + server.Addr() + "/postgres"
	create(t, open(t, url, Options{}), hour).ok(record.Set("a", "1"))
	if _, err := connect(t, url).Exec(t.Context(), "DROP TABLE pazzo.sessions"); err == nil {
		t.Error("the app may drop the table")
	}
	if _, err := Migrate(t.Context(), url, &MigrateOptions{Unlogged: On}); !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("the app may change the tables: %v", err)
	}
}

func TestSchemasAreApart(t *testing.T) {
	server := migrated(t)
	if _, err := Migrate(t.Context(), server.URL()+"?schema=user", nil); err != nil {
		t.Fatal(err)
	}
	x := create(t, open(t, server.URL(), Options{}), hour)
	reply, err := open(t, server.URL(), Options{Schema: "user"}).Apply(t.Context(), x.handle, &record.Batch{})
	if err != nil || reply.Status != record.Absent {
		t.Errorf("%q, %v", reply.Status, err)
	}
}
