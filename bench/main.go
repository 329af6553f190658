// Command bench measures Pazzo beside its peers and prints the ratios:
//
//	go run . [-quick] [-only REGEXP] [-pairs N] [-sessions N] [-write]
//
// It starts what it needs, a redis-server from PATH included, does everything in
// this process and ends what it started. What is compared runs in turn, in short
// slices, over and over: each ratio is the median of the ratios of neighbouring
// slices, so that a machine that is busy with other things moves it little.
//
// A target that is missed is printed as MISSED and fails nothing: only an error
// makes the exit status 1.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "short slices and small stores: a rough look in a minute")
	only := flags.String("only", "", "run only the contests whose name matches this `regexp`")
	pairs := flags.Int("pairs", 11, "slices of each contestant")
	sessions := flags.Int("sessions", 1_000_000, "sessions of a large store")
	write := flags.Bool("write", false, "write docs/benchmarks.md, docs/benchmarks.svg and the table in docs/stores.md")
	profile := flags.String("profile", "", "write a CPU profile of the contests that run to this `file`")
	if err := flags.Parse(args); err != nil {
		if err == flag.ErrHelp {
			return nil
		}
		return err
	}
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if *pairs < 1 {
		return fmt.Errorf("-pairs is %d: at least 1 is needed", *pairs)
	}
	if *sessions < 100_000 {
		return fmt.Errorf("-sessions is %d: at least 100000 are needed", *sessions)
	}
	if *write && (*only != "" || *quick || *pairs < 5) {
		return fmt.Errorf("-write needs the whole run, of at least 5 pairs")
	}

	b := &bench{ctx: ctx, pairs: *pairs, slice: 500 * time.Millisecond, sessions: *sessions}
	if *quick {
		b.pairs, b.slice, b.sessions = min(*pairs, 5), 150*time.Millisecond, 100_000
	}
	defer b.close()
	end, err := profileTo(*profile)
	if err != nil {
		return err
	}
	defer end()

	r := report{machine: describeMachine(), began: time.Now(), pairs: b.pairs, slice: b.slice}
	for _, c := range contests {
		if !chosen.MatchString(c.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", c.name)
		figures, err := c.run(b)
		if err != nil {
			r.print(os.Stdout, b.redisVersion)
			return fmt.Errorf("%s: %w", c.name, err)
		}
		r.add(c, figures)
	}
	if len(r.parts) == 0 {
		return fmt.Errorf("no contest matches %q; there are %s", *only, contestNames())
	}
	r.print(os.Stdout, b.redisVersion)
	if *write {
		return r.write("../docs")
	}
	return nil
}
