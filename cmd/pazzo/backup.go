package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/pazzo-sessions/pazzo/pebblestore"
)

func backupCommand(ctx context.Context, p *program) error {
	var store, to string
	err := p.parse("backup", func(flags *flag.FlagSet) {
		flags.StringVar(&store, "store", "", "`URL` of the store: pebble:///path")
		flags.StringVar(&to, "to", "", "`directory` for the copy, which must not exist or be empty")
	})
	if err != nil {
		return err
	}
	dir, err := pebbleDir(store)
	if err != nil {
		return err
	}
	if to == "" {
		return usageError{"-to is missing: the directory for the copy"}
	}
	if err := pebblestore.Backup(ctx, dir, to); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s has a copy of %s.\n", to, dir)
	return err
}

func restoreCommand(ctx context.Context, p *program) error {
	var store, from string
	err := p.parse("restore", func(flags *flag.FlagSet) {
		flags.StringVar(&from, "from", "", "`directory` that pazzo backup has made")
		flags.StringVar(&store, "store", "", "`URL` of the store to make: pebble:///path, which must not exist or be empty")
	})
	if err != nil {
		return err
	}
	dir, err := pebbleDir(store)
	if err != nil {
		return err
	}
	if from == "" {
		return usageError{"-from is missing: the directory with the copy"}
	}
	if err := pebblestore.Restore(ctx, from, dir); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s has the sessions of %s. Those that ended since then are back.\n", dir, from)
	return err
}

// pebbleDir returns the directory of a store on disk.
func pebbleDir(url string) (string, error) {
	if url == "" {
		return "", usageError{"-store is missing: pebble:///path"}
	}
	dir, _, err := pebblestore.ParseURL(url)
	if err != nil {
		return "", usageError{err.Error()}
	}
	return dir, nil
}
