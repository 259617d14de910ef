package main

import (
	"context"
	"math/rand/v2"
	"os"
	"time"
)

const (
	heartbeats   = 40                     // while CPU time is measured
	betweenBeats = 250 * time.Millisecond // a Node has one in ten seconds
	quiet        = 10 * time.Second       // with nothing to do
	driftCheck   = 10 * time.Second       // instead of 15 minutes; the program accepts no less
	settling     = 80 * time.Second       // the reads 10 and 75 s after a confirmation are over
	perHour      = 4                      // drift checks at 15 minutes
)

// figures is what is measured of one program.
type figures struct {
	polls        bool
	binary       float64    // bytes
	start, react samples    // seconds to the PUT
	converged    memory     // at rest after the first PUT
	changed      memory     // at rest after all changes
	secure       memory     // as converged, with TLS to the cloud
	secureStart  samples    // as start, with TLS to the cloud
	cpuQuiet     float64    // seconds of CPU per second
	cpuBeat      float64    // seconds of CPU per heartbeat
	calls        [3]float64 // first convergence, change, hour at rest
	beatCalls    float64    // during the heartbeats
}

type memory struct{ resident, anonymous float64 }

// measure starts a program many times, and then changes the annotation of the
// last one's Node many times.
func measure(ctx context.Context, w *world, p program, o options) (*figures, error) {
	f := &figures{polls: p.polls}
	info, err := os.Stat(p.path)
	if err != nil {
		return nil, err
	}
	f.binary = float64(info.Size())
	for range o.starts - 1 {
		started, err := f.launch(ctx, w, p)
		if started != nil {
			err = started.stop(err)
		}
		if err != nil {
			return nil, err
		}
	}
	last, err := f.launch(ctx, w, p)
	if last == nil {
		return nil, err
	}
	if err == nil {
		err = f.live(ctx, w, last, o.changes)
	}
	return f, last.stop(err)
}

// launch starts the program and waits for its PUT and the end of its calls.
func (f *figures) launch(ctx context.Context, w *world, p program, more ...string) (*process, error) {
	w.reset()
	before := w.answered.Load()
	if !p.polls && len(more) == 0 {
		more = []string{"DRIFT_CHECK_INTERVAL=0"}
	}
	started, err := p.start(w, more...)
	if err != nil {
		return nil, err
	}
	at, err := w.awaitPut(ctx)
	if err != nil {
		return started, err
	}
	f.start = append(f.start, at.Sub(started.began).Seconds())
	rest := 50 * time.Millisecond
	if p.polls {
		rest = pollInterval / 2
	}
	if err := w.awaitRest(ctx, rest); err != nil {
		return started, err
	}
	f.calls[0] = float64(w.answered.Load() - before)
	return started, nil
}

// live measures a process that has converged.
func (f *figures) live(ctx context.Context, w *world, p *process, changes int) (err error) {
	if err := f.idle(ctx, w, p); err != nil {
		return err
	}
	if changes == 0 {
		return nil
	}
	if err := f.beat(ctx, w, p); err != nil {
		return err
	}
	before, began := w.answered.Load(), time.Now()
	for range changes {
		if err := f.change(ctx, w); err != nil {
			return err
		}
	}
	f.calls[1] = float64(w.answered.Load()-before) / float64(changes)
	if f.polls { // the one look that sees the change, and what it does
		f.calls[1] += 1 - time.Since(began).Seconds()/pollInterval.Seconds()/float64(changes)
	}
	if err := w.visit(ctx); err != nil {
		return err
	}
	if err := pause(ctx, quiet); err != nil {
		return err
	}
	f.changed.resident, f.changed.anonymous, err = p.memory()
	return err
}

// change moves the Node's subnet and waits for the PUT and what follows it. A
// poll is met at any moment of its interval.
func (f *figures) change(ctx context.Context, w *world) error {
	rest := 10 * time.Millisecond
	if f.polls {
		rest = rand.N(pollInterval)
	}
	moved := w.move()
	at, err := w.awaitPut(ctx)
	if err != nil {
		return err
	}
	f.react = append(f.react, max(at.Sub(moved).Seconds(), 0))
	if f.polls {
		return pause(ctx, rest)
	}
	return w.awaitRest(ctx, rest)
}

// idle measures memory and CPU time with nothing to do.
func (f *figures) idle(ctx context.Context, w *world, p *process) error {
	began, calls := time.Now(), w.answered.Load()
	before, err := p.cpu()
	if err != nil {
		return err
	}
	if err := pause(ctx, quiet); err != nil {
		return err
	}
	after, err := p.cpu()
	if err != nil {
		return err
	}
	f.cpuQuiet = (after - before).Seconds() / time.Since(began).Seconds()
	if f.polls {
		f.calls[2] = float64(w.answered.Load()-calls) / (time.Since(began).Seconds() * pollScale) * 3600
	}
	f.converged.resident, f.converged.anonymous, err = p.memory()
	return err
}

// beat measures CPU time and calls with heartbeats.
func (f *figures) beat(ctx context.Context, w *world, p *process) error {
	began, calls := time.Now(), w.answered.Load()
	before, err := p.cpu()
	if err != nil {
		return err
	}
	for range heartbeats {
		w.kube.Touch(nodeName)
		if err := pause(ctx, betweenBeats); err != nil {
			return err
		}
	}
	after, err := p.cpu()
	f.cpuBeat = max(((after-before).Seconds()-f.cpuQuiet*time.Since(began).Seconds())/heartbeats, 0)
	f.beatCalls = float64(w.answered.Load() - calls)
	return err
}

// cpu is the share of one CPU with a heartbeat every ten seconds, and with a
// poll every minute if the program polls.
func (f *figures) cpu() float64 {
	if f.polls {
		return f.cpuQuiet / pollScale
	}
	return f.cpuQuiet + f.cpuBeat/10
}

// measureSecure measures starts and memory with TLS to the cloud.
func (f *figures) measureSecure(ctx context.Context, w *world, p program, starts int) error {
	w.secure = true
	defer func() { w.secure = false }()
	g, err := measure(ctx, w, p, options{starts: starts})
	if err == nil {
		f.secure, f.secureStart = g.converged, g.start
	}
	return err
}

// measureDrift counts the calls of drift checks, sped up.
func (f *figures) measureDrift(ctx context.Context, w *world, p program) error {
	var first figures // a start as any other
	started, err := first.launch(ctx, w, p, "DRIFT_CHECK_INTERVAL="+driftCheck.String())
	if started == nil {
		return err
	}
	if err == nil {
		err = pause(ctx, settling)
	}
	before, began := w.answered.Load(), time.Now()
	if err == nil {
		err = pause(ctx, 10*driftCheck)
	}
	checks := time.Since(began).Seconds() / driftCheck.Seconds()
	f.calls[2] = float64(w.answered.Load()-before) / checks * perHour
	return started.stop(err)
}
