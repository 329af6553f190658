package main

import (
	"fmt"
	"math"
	"slices"
)

// figure is one line of the report.
type figure struct {
	what   string
	values []float64 // of the rounds; the median counts
	unit   unit
	bound  bound // zero: shown only
	note   string
	cpu    []float64 // the same by processor time, if values are ratios of rates
	panel  *panel    // of the chart that this figure brings along
	row    *storeRow // of the table of stores, likewise
}

// unit says how a value is printed.
type unit struct {
	suffix string
	digits int // after the point
}

var (
	times       = unit{" ×", 2}
	nanos       = unit{" ns", 0}
	micros      = unit{" µs", 2}
	allocations = unit{" allocations", 1}
	percent     = unit{" %", 1}
	kibibytes   = unit{" KiB", 1}
)

func (u unit) format(v float64) string {
	return fmt.Sprintf("%.*f%s", u.digits, v, u.suffix)
}

// bound is a target: at most or at least so much.
type bound struct {
	least, most float64
}

func atLeast(v float64) bound { return bound{least: v} }
func atMost(v float64) bound  { return bound{most: v} }

// exactly0 is the target of a figure that must be 0.
func exactly0() bound { return bound{most: math.SmallestNonzeroFloat64} }

func (t bound) none() bool { return t == bound{} }

func (t bound) met(v float64) bool {
	if t.most > 0 {
		return v <= t.most
	}
	return v >= t.least
}

// format prints the target in the unit of the figure.
func (t bound) format(u unit) string {
	switch {
	case t.none():
		return ""
	case t == exactly0():
		return "0" + u.suffix
	case t.most > 0:
		return "≤ " + u.trimmed(t.most)
	}
	return "≥ " + u.trimmed(t.least)
}

// trimmed prints as many digits as the value needs.
func (u unit) trimmed(v float64) string {
	return fmt.Sprintf("%g%s", math.Round(v*100)/100, u.suffix)
}

func (f *figure) value() float64 { return median(f.values) }

// spread tells the least and the greatest of several values.
func (f *figure) spread() string {
	if len(f.values) < 2 {
		return ""
	}
	return fmt.Sprintf("%.*f – %.*f", f.unit.digits, slices.Min(f.values), f.unit.digits, slices.Max(f.values))
}

// byCPU is the figure by processor time.
func (f *figure) byCPU() string {
	if len(f.cpu) == 0 {
		return ""
	}
	return f.unit.format(median(f.cpu))
}

func (f *figure) verdict() string {
	switch {
	case f.bound.none():
		return ""
	case f.bound.met(f.value()):
		return "MET"
	}
	return "MISSED"
}

// ratio is a figure of the ratios of two contestants.
func ratio(what string, values, cpu []float64, target bound) figure {
	return figure{what: what, values: values, cpu: cpu, unit: times, bound: target}
}

// single is a figure of one value.
func single(what string, value float64, u unit, target bound) figure {
	return figure{what: what, values: []float64{value}, unit: u, bound: target}
}

func (f figure) noted(note string) figure {
	f.note = note
	return f
}
