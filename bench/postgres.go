package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"time"

	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/lib/pq"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
)

var postgresSection = &section{"Requests over PostgreSQL",
	"As over Redis, on a server with its defaults, so that a commit is on the disk when it returns. Ten connections for each, " +
		"which is our default; with pgxpool's own of four scs is slower. “Many sessions” are 64, one for each request in flight: " +
		"there our store has nothing to group. The last lines are pgstore's alone, on random ones of many sessions beside few."}

const (
	nameSCSPgx = "scs, pgxstore"
	nameSCSPq  = "scs, postgresstore"
)

// scsTable is the one that the documentation of scs's stores asks for.
const scsTable = `CREATE TABLE sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL);
	CREATE INDEX sessions_expiry_idx ON sessions (expiry)`

// apart is a bench for one contest, which ends what it has started: a server with millions
// of rows would be in the way of those after it.
func (b *bench) apart() *bench {
	return &bench{ctx: b.ctx, pairs: b.pairs, slice: b.slice, sessions: b.sessions}
}

// postgresURL starts a server with the tables of all.
func (b *bench) postgresURL() (string, error) {
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	server, err := pgtest.Run(ctx, "fsync=on")
	if err != nil {
		return "", err
	}
	b.onClose(func() { server.Close() })
	b.children = append(b.children, server.Pid())
	url := server.URL() + "?sslmode=disable"
	_, err = pgstore.Migrate(ctx, url, nil)
	return url, err
}

// onPostgres starts the sites that keep their sessions in PostgreSQL.
func (b *bench) onPostgres() ([]*site, error) {
	url, err := b.postgresURL()
	if err != nil {
		return nil, err
	}
	live, err := b.pazzoOnPostgres(url)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(b.ctx, fmt.Sprintf("%s&pool_max_conns=%d", url, pgstore.DefaultMaxConns))
	if err != nil {
		return nil, err
	}
	b.onClose(pool.Close)
	if _, err := pool.Exec(b.ctx, scsTable); err != nil {
		return nil, err
	}
	db, err := sql.Open("postgres", url)
	if err != nil {
		return nil, err
	}
	b.onClose(func() { db.Close() })
	db.SetMaxOpenConns(pgstore.DefaultMaxConns)
	db.SetMaxIdleConns(pgstore.DefaultMaxConns)
	overPgx, overPq := scs.New(), scs.New()
	overPgx.Store = pgxstore.NewWithCleanupInterval(pool, 0)
	overPq.Store = postgresstore.NewWithCleanupInterval(db, 0)
	var sites []*site
	for _, one := range []struct {
		name string
		app  http.Handler
	}{{namePazzo, pazzoApp(live)}, {nameSCSPgx, scsApp(overPgx)}, {nameSCSPq, scsApp(overPq)}} {
		s, err := b.serve(one.name, one.app)
		if err != nil {
			return nil, err
		}
		if err := s.fill(counters[:]); err != nil {
			return nil, err
		}
		sites = append(sites, s)
	}
	return sites, nil
}

func (b *bench) pazzoOnPostgres(url string) (*pazzo.Manager, error) {
	store, err := pgstore.Open(b.ctx, url, &pgstore.Options{Timeout: storeTimeout})
	if err != nil {
		return nil, err
	}
	b.onClose(func() { store.Close() })
	return newPazzo(store, pazzo.Live)
}

func benchPostgresInc(b *bench) ([]figure, error) {
	b = b.apart()
	defer b.close()
	sites, err := b.onPostgres()
	if err != nil {
		return nil, err
	}
	names := []string{namePazzo, nameSCSPgx, nameSCSPq}
	got, err := b.race(sites, names, incPaths())
	if err != nil {
		return nil, err
	}
	figures := []figure{
		httpFigure(got, "/inc", namePazzo, nameSCSPgx, atLeast(1.2)),
		httpFigure(got, "/inc", namePazzo, nameSCSPq, atLeast(1.8)),
	}
	for _, s := range sites {
		acked, kept, err := b.count(s, inFlight)
		if err != nil {
			return nil, err
		}
		f := single(fmt.Sprintf("increments lost by %s, 64 in flight", s.name), 100*float64(acked-kept)/float64(acked), percent, bound{})
		if s.name == namePazzo {
			f.bound = exactly0()
		}
		figures = append(figures, f.noted(fmt.Sprintf("%s acknowledged, %s kept", thousands(float64(acked)), thousands(float64(kept)))))
	}
	return figures, nil
}

func benchPostgresMany(b *bench) ([]figure, error) {
	b = b.apart()
	defer b.close()
	sites, err := b.onPostgres()
	if err != nil {
		return nil, err
	}
	var contestants []contestant
	for _, s := range sites {
		cookies, err := s.cookies(inFlight)
		if err != nil {
			return nil, err
		}
		contestants = append(contestants, contestant{s.name, func(d time.Duration) (sample, error) { return s.loadEach(cookies, "/inc?k=c0", d) }})
	}
	got, err := b.compare(contestants)
	if err != nil {
		return nil, err
	}
	return []figure{
		httpFigure(got, "/inc, many sessions", namePazzo, nameSCSPgx, atLeast(1.2)),
		httpFigure(got, "/inc, many sessions", namePazzo, nameSCSPq, atLeast(1.8)),
	}, nil
}

// cookies makes n sessions.
func (s *site) cookies(n int) (list []string, err error) {
	for range n {
		s.cookie = ""
		if err := s.fill(counters[:]); err != nil {
			return nil, err
		}
		list = append(list, s.cookie)
	}
	return list, nil
}

// loadEach is load with a session for each connection.
func (s *site) loadEach(cookies []string, path string, d time.Duration) (sample, error) {
	requests := make([][]byte, len(cookies))
	for i, cookie := range cookies {
		s.cookie = cookie
		requests[i] = s.request(path)
	}
	got, err := parallel(len(cookies), d, func(worker int) func() error {
		return func() error {
			_, _, err := s.conns[worker].roundTrip(requests[worker], false)
			return err
		}
	})
	if err != nil {
		return got, fmt.Errorf("%s: %w", s.name, err)
	}
	return got, nil
}
