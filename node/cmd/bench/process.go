package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pollInterval is how often the baseline looks: a 240th of the minute that
// such loops wait, so that 200 changes do not take hours.
const (
	pollInterval = 250 * time.Millisecond
	pollScale    = 240
)

// A program can be started.
type program struct {
	path  string
	polls bool // the baseline
}

// A process is a started program.
type process struct {
	cmd    *exec.Cmd
	began  time.Time
	output bytes.Buffer
}

func (p program) start(w *world, more ...string) (*process, error) {
	if p.polls {
		more = append(more, "POLL_INTERVAL="+pollInterval.String())
	} else {
		more = append(more, "GOGC=50", "GOMAXPROCS=1") // as in manifests.yaml
	}
	started := &process{cmd: exec.Command(p.path)}
	started.cmd.Env = w.environment(more...)
	started.cmd.Stdout, started.cmd.Stderr = &started.output, &started.output
	started.began = time.Now()
	return started, started.cmd.Start()
}

// stop ends the process. What it said is part of the error if cause is one.
func (p *process) stop(cause error) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	err := errors.Join(cause, p.cmd.Wait())
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", p.cmd.Path, err, p.output.String())
	}
	return nil
}

// memory returns resident and anonymous bytes.
func (p *process) memory() (resident, anonymous float64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		kB, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "Rss:":
			resident = kB * 1024
		case "Anonymous:":
			anonymous = kB * 1024
		}
	}
	return resident, anonymous, err
}

// cpu returns the time that all threads together have run.
func (p *process) cpu() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	var total time.Duration
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		nanoseconds, _, _ := strings.Cut(string(data), " ")
		n, err := strconv.ParseInt(nanoseconds, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		total += time.Duration(n)
	}
	return total, err
}

// build compiles a main package, stripped as the program is, and returns where
// it is.
func build(ctx context.Context, folder, dir string) (string, error) {
	path := filepath.Join(dir, "baseline")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", path, ".")
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build in %s: %w: %s", folder, err, bytes.TrimSpace(out))
	}
	return path, nil
}

// machine says what this runs on.
func machine() string {
	model := "unknown CPU"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(data), "model name"); ok {
			line, _, _ := strings.Cut(after, "\n")
			model = strings.Trim(line, "\t :")
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%s, %d CPUs, %s/%s, %s, load %s", model, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), strings.Join(strings.Fields(string(load))[:1], ""))
}
