package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// report is all that was measured.
type report struct {
	machine machine
	began   time.Time
	took    time.Duration
	pairs   int
	slice   time.Duration
	parts   []part
	panels  []*panel
}

// part is a section with its figures.
type part struct {
	section *section
	figures []figure
}

func (r *report) add(c contest, figures []figure) {
	if n := len(r.parts); n == 0 || r.parts[n-1].section != c.section {
		r.parts = append(r.parts, part{section: c.section})
	}
	last := &r.parts[len(r.parts)-1]
	last.figures = append(last.figures, figures...)
	for i := range figures {
		if figures[i].panel != nil {
			r.panels = append(r.panels, figures[i].panel)
		}
	}
}

// counts returns how many targets there are and how many were met.
func (r *report) counts() (targets, met int) {
	for _, p := range r.parts {
		for i := range p.figures {
			switch p.figures[i].verdict() {
			case "MET":
				met++
				targets++
			case "MISSED":
				targets++
			}
		}
	}
	return targets, met
}

// print ends the measuring and shows what there is.
func (r *report) print(w io.Writer, redis string) {
	r.machine.redis, r.took = redis, time.Since(r.began)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range r.parts {
		fmt.Fprintf(table, "\n%s\t\ttarget\t\trange\tby CPU\t\n", p.section.title)
		for i := range p.figures {
			f := &p.figures[i]
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.what, f.unit.format(f.value()), f.bound.format(f.unit),
				f.verdict(), f.spread(), f.byCPU(), f.note)
		}
	}
	table.Flush()
	if busy := r.machine.busy(); busy != "" {
		fmt.Fprintf(w, "\n%s\n", busy)
	}
	targets, met := r.counts()
	fmt.Fprintf(w, "\n%s\n%s, %d pairs of %v, took %v\n%d of %d targets met\n", r.machine,
		r.began.Format(time.DateOnly), r.pairs, r.slice, r.took.Round(time.Second), met, targets)
}

// write makes benchmarks.md and benchmarks.svg in a directory, and the table in stores.md.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "benchmarks.svg"), []byte(r.chart()), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "benchmarks.md"), []byte(r.markdown()), 0o644); err != nil {
		return err
	}
	return r.writeStores(filepath.Join(dir, "stores.md"))
}

func (r *report) markdown() string {
	var b strings.Builder
	targets, met := r.counts()
	fmt.Fprintf(&b, `# Benchmarks

This file and its chart are written by `+"`make bench`"+` (the program in bench/, with -write). Do not edit them.

![Requests per second and lost updates of Pazzo, scs and gorilla/sessions](benchmarks.svg)

Measured on %s: %s. %d of %d targets were met.

The machine runs the servers, the load generator and Redis at once, so absolute figures say little; the ratios are what
counts. What is compared takes turns in slices of %v; a ratio is the median of the ratios of %d neighbouring pairs, and
“range” gives the least and the greatest of them. “CPU” is the same figure by the processor time of this process and those it has started
together, which other programs on the machine disturb less. Peers: scs v2.9.0 with its redisstore (redigo) and its
memstore, both with the gob codec that is their default; gorilla/sessions 1.4.0 with boj/redistore 1.4.1, likewise.
`, r.began.Format(time.DateOnly), r.machine, met, targets, r.slice, r.pairs)
	if busy := r.machine.busy(); busy != "" {
		fmt.Fprintf(&b, "\n**%s**\n", busy)
	}
	for _, p := range r.parts {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", p.section.title, p.section.about)
		b.WriteString("| measured | figure | range | target | | CPU | absolute |\n|---|--:|--:|--:|---|--:|---|\n")
		for i := range p.figures {
			f := &p.figures[i]
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", f.what, bold(f.unit.format(f.value())), f.spread(),
				f.bound.format(f.unit), f.verdict(), f.byCPU(), f.note)
		}
	}
	return b.String()
}

func bold(s string) string { return "**" + s + "**" }
