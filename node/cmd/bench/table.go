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

// A row is one line of the table. A bar or a baseline that is not a number is not
// there.
type row struct {
	name      string
	unit      func(float64) string
	got, base float64
	bar, aim  float64
	note      string // after the value
	timed     bool   // what else the machine does counts
}

func (r row) met() bool { return !(r.got > r.bar) }

// busy is the row on a machine that is so many times slower than alone.
func (r row) busy(slower float64) row {
	if r.timed {
		r.bar, r.aim = r.bar*slower, r.aim*slower
	}
	return r
}

func (r row) String() string {
	verdict := ""
	switch {
	case math.IsNaN(r.bar):
	case !r.met():
		verdict = "missed"
	case r.got <= r.aim:
		verdict = "aim"
	default:
		verdict = "bar"
	}
	base, ratio := "–", ""
	if !math.IsNaN(r.base) {
		base = r.unit(r.base)
		if r.got > 0 && r.base > 0 {
			ratio = fmt.Sprintf("%.3g", r.base/r.got)
		}
	}
	return fmt.Sprintf("| %s | %s%s | %s | %s | %s | %s |", r.name, r.unit(r.got), r.note, r.limits(), verdict, base, ratio)
}

// limits is the bar and the aim.
func (r row) limits() string {
	if math.IsNaN(r.bar) {
		return ""
	}
	return r.unit(r.bar) + " (" + r.unit(r.aim) + ")"
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
		{"stripped binary", megabytes, ours.binary, base.binary, 22.5e6, 15e6, "", false},
		{"resident memory at rest, converged", megabytes, ours.converged.resident, base.converged.resident, 23e6, 16e6, "", false},
		{"… of it anonymous, converged", megabytes, ours.converged.anonymous, base.converged.anonymous, 5e6, 3e6, "", false},
		{fmt.Sprintf("resident memory at rest, after %d changes", len(ours.react)), megabytes, ours.changed.resident, base.changed.resident, 25e6, 18e6, "", false},
		{"… of it anonymous, after the changes", megabytes, ours.changed.anonymous, base.changed.anonymous, 7e6, 4.5e6, "", false},
		{"… converged, with TLS to the cloud", megabytes, ours.secure.resident, nan, nan, nan, " (anonymous " + megabytes(ours.secure.anonymous) + ")", false},
		{"CPU at rest, a heartbeat in 10 s, per second", milliseconds, ours.cpu(), base.cpu(), 1e-3, .2e-3,
			fmt.Sprintf(" (%s + %s per heartbeat)", milliseconds(ours.cpuQuiet), milliseconds(ours.cpuBeat)), true},
		{"process start → first PUT, p50", milliseconds, ours.start.at(.5), base.start.at(.5), .1, .025, " (" + ours.start.spread(milliseconds) + ")", true},
		{"… with TLS to the cloud", milliseconds, ours.secureStart.at(.5), nan, nan, nan, " (" + ours.secureStart.spread(milliseconds) + ")", true},
		{"annotation written → PUT, p50", milliseconds, ours.react.at(.5), react.at(.5), 5e-3, .6e-3, " (" + ours.react.spread(milliseconds) + ")", true},
		{"annotation written → PUT, p99", milliseconds, ours.react.at(.99), react.at(.99), 15e-3, 2e-3, "", true},
		{"OTC calls, first convergence", count, ours.calls[0], base.calls[0], 5, 5, "", false},
		{"OTC calls, a change", count, ours.calls[1], base.calls[1], 3, 3, "", false},
		// Jitter makes 10 checks 9 or 11.
		{"OTC calls at rest per hour, drift checks on", count, math.Round(ours.calls[2]), base.calls[2], 4, 4, "", false},
		{"OTC calls at rest, drift checks off", count, ours.beatCalls, nan, 0, 0, "", false},
	}
	if m.time > 0 {
		all = append(all,
			row{"work per Node event without news", microseconds, m.time, nan, 20e-6, 5e-6, "", true},
			row{"… allocations", count, m.allocations, nan, 20, 5, "", false})
	}
	return all
}

// printTable writes the rows as Markdown and reports whether each bar is met. The
// bars are those of a machine that does nothing else: on one that is so many
// times slower, the rows that are a matter of time have more room.
func printTable(w io.Writer, rows []row, slower float64) bool {
	fmt.Fprintln(w, "\n| What | Measured (min / p50 / p99 / max) | Bar (aim) | Met | Polling baseline | Ratio |\n|---|---|---|---|---|---|")
	met := true
	for _, r := range rows {
		fmt.Fprintln(w, r)
		met = met && r.busy(slower).met()
	}
	fmt.Fprintf(w, "\nLoopback, a Node of 25 kB, %d routes in the table; TLS to Kubernetes. CPU time: %d heartbeats %v apart after %v of silence. Drift checks every %v instead of\n"+
		"15m, counted for 15m. The baseline polls every %v; its waits, CPU time and calls at rest are counted for one minute (× %d).\n",
		others+1, heartbeats, betweenBeats, quiet, driftCheck, pollInterval, pollScale)
	return met
}

func megabytes(v float64) string { return fmt.Sprintf("%.1f MB", v/1e6) }
func milliseconds(v float64) string {
	if v >= 1 {
		return fmt.Sprintf("%.3g s", v)
	}
	return fmt.Sprintf("%.3g ms", v*1e3)
}
func microseconds(v float64) string { return fmt.Sprintf("%.2g µs", v*1e6) }
func count(v float64) string        { return fmt.Sprintf("%.3g", v) }
