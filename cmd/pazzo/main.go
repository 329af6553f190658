// Command pazzo has what goes with package pazzo: an agent that serves sessions to
// other languages, a demo of what concurrent requests do to a session, and a maker
// of secret keys. `pazzo help` says more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// program is what a command is given.
type program struct {
	args   []string // after the command's name
	env    func(string) string
	stdout io.Writer
	stderr io.Writer
}

// command is a word after `pazzo`.
type command struct {
	name    string
	usage   string // its arguments, for help
	summary string
	run     func(context.Context, *program) error
}

// commands returns all of them, in the order of the help.
func commands() []command {
	return []command{
		{"agent", "[-store URL] [-socket path] [-listen host:port] [-config file] …", "serve sessions to programs in any language, over the protocol of Redis", agentCommand},
		{"demo", "[-addr host:port] [-store URL]", "serve a page that shows what concurrent requests do to a session", demoCommand},
		{"migrate", "[-store URL] [-role name] [-unlogged]", "make or upgrade the tables of sessions in PostgreSQL", migrateCommand},
		{"backup", "-store pebble:///path -to directory", "copy a store on disk, which may be in use", backupCommand},
		{"restore", "-from directory -store pebble:///path", "make a store on disk of such a copy", restoreCommand},
		{"secret", "", "print a fresh secret key", secretCommand},
		{"version", "", "print the version", versionCommand},
		{"help", "", "print this", helpCommand},
	}
}

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// run does what args say and returns the exit code.
func run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) int {
	p := &program{env: env, stdout: stdout, stderr: stderr}
	if len(args) == 0 {
		printHelp(stderr)
		return exitUsage
	}
	name := args[0]
	p.args = args[1:]
	if name == "-h" || name == "-help" || name == "--help" {
		name = "help"
	}
	for _, c := range commands() {
		if c.name == name {
			return p.report(name, c.run(ctx, p))
		}
	}
	fmt.Fprintf(stderr, "pazzo: unknown command %q: `pazzo help` lists them\n", name)
	return exitUsage
}

// report prints a command's error and returns the exit code.
func (p *program) report(name string, err error) int {
	var usage usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(p.stderr, "pazzo %s: %v: `pazzo help` shows the usage\n", name, err)
		return exitUsage
	}
	fmt.Fprintf(p.stderr, "pazzo %s: %v\n", name, err)
	return exitFailed
}

// parse reads the flags that define sets up. There are no other arguments.
func (p *program) parse(name string, define func(*flag.FlagSet)) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if define != nil {
		define(flags)
	}
	err := flags.Parse(p.args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		printCommand(p.stdout, name)
		flags.SetOutput(p.stdout)
		flags.PrintDefaults()
		return err
	case err != nil:
		return usageError{err.Error()}
	case flags.NArg() > 0:
		return usageError{fmt.Sprintf("unexpected argument %q", flags.Arg(0))}
	}
	return nil
}
