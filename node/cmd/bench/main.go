// Command bench measures the real program between a fake cloud and a fake
// Kubernetes API, and compares each figure with its bar and with a baseline
// measured in the same run: a loop that polls over the full clientset (folder
// baseline).
//
// It prints the version, the machine and the table of node/SCALE.md, and ends with status 1 if a bar is missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "./otc-route-manager", "the program to measure")
	flag.StringVar(&o.baseline, "baseline", "node/cmd/bench/baseline", "folder of the baseline; empty: none")
	flag.StringVar(&o.micro, "micro", "", "file with the output of go test -bench; empty: none")
	flag.IntVar(&o.starts, "starts", 20, "how often a program is started")
	flag.Float64Var(&o.slower, "slower", 1, "how much slower than alone the machine may be: time may exceed its bars as many times")
	flag.IntVar(&o.changes, "changes", 200, "how often the annotation changes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	met, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || !met {
		os.Exit(1)
	}
}

type options struct {
	bin, baseline, micro string
	starts, changes      int
	slower               float64
}

// run measures both programs and prints the table. It reports whether every bar
// is met.
func run(ctx context.Context, o options) (bool, error) {
	dir, err := os.MkdirTemp("", "otc-route-manager-bench-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	w, err := newWorld(dir)
	if err != nil {
		return false, err
	}
	micro, err := readMicro(o.micro)
	if err != nil {
		return false, err
	}
	ours, err := measureOurs(ctx, w, program{path: o.bin}, o)
	if err != nil {
		return false, err
	}
	base, err := measureBaseline(ctx, w, dir, o)
	if err != nil {
		return false, err
	}
	tested, err := exec.CommandContext(ctx, o.bin, "-version").Output()
	if err != nil {
		return false, fmt.Errorf("%s -version: %w", o.bin, err)
	}
	fmt.Printf("%s, on %s\n", strings.TrimSpace(string(tested)), machine())
	return printTable(os.Stdout, rows(ours, base, micro), o.slower), nil
}

// measureOurs measures the real program, and what the baseline does not have.
func measureOurs(ctx context.Context, w *world, p program, o options) (*figures, error) {
	f, err := measure(ctx, w, p, o)
	if err != nil {
		return nil, err
	}
	if err := f.measureSecure(ctx, w, p, o.starts); err != nil {
		return nil, err
	}
	return f, f.measureDrift(ctx, w, p)
}

// measureBaseline builds and measures the baseline. Without its modules, which
// an air-gapped machine lacks, there is none.
func measureBaseline(ctx context.Context, w *world, dir string, o options) (*figures, error) {
	if o.baseline == "" {
		return nil, nil
	}
	path, err := build(ctx, o.baseline, dir)
	if err != nil {
		fmt.Fprintf(os.Stderr, "no baseline: %v\n", err)
		return nil, nil
	}
	return measure(ctx, w, program{path: path, polls: true}, o)
}
