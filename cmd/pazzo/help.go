package main

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
)

func helpCommand(_ context.Context, p *program) error {
	if err := p.parse("help", nil); err != nil {
		return err
	}
	printHelp(p.stdout)
	return nil
}

func printHelp(w io.Writer) {
	fmt.Fprint(w, "Pazzo: web sessions that lose nothing when requests run at the same time.\n\nUsage:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %s\n      %s\n", synopsis(c), c.summary)
	}
	fmt.Fprint(w, "\n`pazzo COMMAND -h` lists the flags of a command.\n")
}

// printCommand prints what the help says of one command.
func printCommand(w io.Writer, name string) {
	for _, c := range commands() {
		if c.name == name {
			fmt.Fprintf(w, "Usage: %s\n  %s\n", synopsis(c), c.summary)
		}
	}
}

func synopsis(c command) string { return strings.TrimSpace("pazzo " + c.name + " " + c.usage) }

func versionCommand(_ context.Context, p *program) error {
	if err := p.parse("version", nil); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, version(debug.ReadBuildInfo()))
	return nil
}

// version says what was built: the module's version, or the commit of a checkout.
func version(info *debug.BuildInfo, ok bool) string {
	if !ok {
		return "pazzo (unknown version)"
	}
	number := info.Main.Version
	if number == "" || number == "(devel)" {
		number = "(checkout)"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				number = s.Value
			}
		}
	}
	return "pazzo " + number + " " + info.GoVersion
}
