package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/pazzo-sessions/pazzo/pgstore"
)

// migrateTimeout bounds the work, which copies the tables when they become logged or
// unlogged.
const migrateTimeout = time.Hour

// migrateCommand makes the tables of pgstore, or brings them to this version.
func migrateCommand(ctx context.Context, p *program) error {
	url := p.env("PAZZO_STORE")
	var o pgstore.MigrateOptions
	err := p.parse("migrate", func(flags *flag.FlagSet) {
		flags.StringVar(&url, "store", url, "store `URL`, postgres://…; by default that in PAZZO_STORE, where a list of processes does not show its password")
		flags.StringVar(&o.Role, "role", "", "`name` of the role that apps connect as, which is given the rights it needs")
		flags.BoolFunc("unlogged", "make the tables unlogged: quicker, and emptied when the server crashes; =false: logged again; by default as they are", setting(&o.Unlogged))
		flags.BoolFunc("tell", "have the tables tell of changes, as near caches need, which slows writes down; =false: no longer; by default as they do", setting(&o.Tell))
	})
	if err != nil {
		return err
	}
	if url == "" {
		return usageError{"-store or PAZZO_STORE is needed: the URL of a PostgreSQL database"}
	}
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	m, err := pgstore.Migrate(ctx, url, &o)
	if err != nil {
		return err
	}
	switch {
	case m.From == m.To:
		_, err = fmt.Fprintf(p.stdout, "The tables have version %d already.\n", m.To)
	case m.From == 0:
		_, err = fmt.Fprintf(p.stdout, "Made the tables, version %d.\n", m.To)
	default:
		_, err = fmt.Fprintf(p.stdout, "Brought the tables from version %d to %d.\n", m.From, m.To)
	}
	return err
}

// setting reads a flag that keeps what is if it is not given.
func setting(to *pgstore.Setting) func(string) error {
	return func(text string) error {
		on, err := strconv.ParseBool(text)
		*to = pgstore.Off
		if on {
			*to = pgstore.On
		}
		return err
	}
}
