package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// samples are measurements of the same thing.
type samples []float64

// at returns the value that a share of the samples does not exceed (nearest
// rank), not a number if there are none.
func (s samples) at(share float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(int(math.Ceil(share*float64(len(sorted))))-1, 0)]
}

// spread is min, p50, p99 and max in a unit.
func (s samples) spread(unit func(float64) string) string {
	var parts []string
	for _, share := range []float64{0, .5, .99, 1} {
		parts = append(parts, unit(s.at(share)))
	}
	return strings.Join(parts, " / ")
}

// A row is one line of the table. A bar of zero is none; a baseline that is not
// a number is not there.
type row struct {
	name      string
	unit      func(float64) string
	got, base float64
	bar, aim  float64
	note      string // after the value
}

func (r row) met() bool { return r.bar == 0 || r.got <= r.bar }

func (r row) String() string {
	verdict := ""
	switch {
	case r.bar == 0:
	case !r.met():
		verdict = "missed"
	case r.got <= r.aim:
		verdict = "aim"
	default:
		verdict = "bar"
	}
	bar, base, ratio := "", "–", ""
	if r.bar != 0 {
		bar = r.unit(r.bar) + " (" + r.unit(r.aim) + ")"
	}
	if !math.IsNaN(r.base) {
		base = r.unit(r.base)
		if r.got > 0 && r.base > 0 {
			ratio = fmt.Sprintf("%.3g", r.base/r.got)
		}
	}
	return fmt.Sprintf("| %s | %s%s | %s | %s | %s | %s |", r.name, r.unit(r.got), r.note, bar, verdict, base, ratio)
}

// rows compares what was measured with the bars. base may be nil.
func rows(ours, base *figures, m micro) []row {
	nan := math.NaN()
	if base == nil {
		base = &figures{binary: nan, converged: memory{nan, nan}, changed: memory{nan, nan}, cpuQuiet: nan, calls: [3]float64{nan, nan, nan}}
	}
	react := make(samples, len(base.react))
	for i, wait := range base.react {
		react[i] = wait * pollScale
	}
	all := []row{
		{"stripped binary", megabytes, ours.binary, base.binary, 18e6, 15e6, ""},
		{"resident memory at rest, converged", megabytes, ours.converged.resident, base.converged.resident, 20e6, 16e6, ""},
		{"… of it anonymous", megabytes, ours.converged.anonymous, base.converged.anonymous, 5e6, 3e6, ""},
		{fmt.Sprintf("resident memory at rest, after %d changes", len(ours.react)), megabytes, ours.changed.resident, base.changed.resident, 22e6, 18e6, ""},
		{"… of it anonymous", megabytes, ours.changed.anonymous, base.changed.anonymous, 7e6, 4.5e6, ""},
		{"… converged, with TLS to the cloud", megabytes, ours.secure.resident, nan, 0, 0, " (anonymous " + megabytes(ours.secure.anonymous) + ")"},
		{"CPU at rest, a heartbeat in 10 s, per second", milliseconds, ours.cpu(), base.cpu(), 1e-3, .2e-3,
			fmt.Sprintf(" (%s + %s per heartbeat)", milliseconds(ours.cpuQuiet), milliseconds(ours.cpuBeat))},
		{"process start → first PUT, p50", milliseconds, ours.start.at(.5), base.start.at(.5), .1, .025, " (" + ours.start.spread(milliseconds) + ")"},
		{"… with TLS to the cloud", milliseconds, ours.secureStart.at(.5), nan, 0, 0, " (" + ours.secureStart.spread(milliseconds) + ")"},
		{"annotation written → PUT, p50", milliseconds, ours.react.at(.5), react.at(.5), 5e-3, .6e-3, " (" + ours.react.spread(milliseconds) + ")"},
		{"annotation written → PUT, p99", milliseconds, ours.react.at(.99), react.at(.99), 15e-3, 2e-3, ""},
		{"OTC calls, first convergence", count, ours.calls[0], base.calls[0], 5, 5, ""},
		{"OTC calls, a change", count, ours.calls[1], base.calls[1], 3, 3, ""},
		// Jitter makes 20 checks a second apart 18 or 22.
		{"OTC calls at rest per hour, drift checks on", count, math.Round(ours.calls[2]), base.calls[2], 4, 4, ""},
		{"OTC calls at rest, drift checks off", count, ours.beatCalls, nan, 0, 0, ""},
	}
	if m.time > 0 {
		all = append(all,
			row{"work per Node event without news", microseconds, m.time, nan, 20e-6, 5e-6, ""},
			row{"… allocations", count, m.allocations, nan, 20, 5, ""})
	}
	return all
}

// printTable writes the rows as Markdown and reports whether each bar is met.
func printTable(w io.Writer, rows []row) bool {
	fmt.Fprintln(w, "\n| What | Measured (min / p50 / p99 / max) | Bar (aim) | Met | Polling baseline | Ratio |\n|---|---|---|---|---|---|")
	met := true
	for _, r := range rows {
		fmt.Fprintln(w, r)
		met = met && r.met()
	}
	fmt.Fprintf(w, "\nLoopback, a Node of 25 kB, %d routes in the table; TLS to Kubernetes. CPU time: %d heartbeats %v apart after %v of silence. Drift checks every %v instead of\n"+
		"15m, counted for 15m. The baseline polls every %v; its waits, CPU time and calls at rest are counted for one minute (× %d).\n",
		others+1, heartbeats, betweenBeats, quiet, driftCheck, pollInterval, pollScale)
	return met
}

func megabytes(v float64) string    { return fmt.Sprintf("%.1f MB", v/1e6) }
func milliseconds(v float64) string { return fmt.Sprintf("%.3g ms", v*1e3) }
func microseconds(v float64) string { return fmt.Sprintf("%.2g µs", v*1e6) }
func count(v float64) string        { return fmt.Sprintf("%.3g", v) }
