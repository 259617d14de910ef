package node

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	passTimeout = 5 * time.Minute  // one pass, however many calls it takes
	gracePeriod = 10 * time.Second // what a pass is left with once it is superseded; more than its pauses
	stuckAfter  = 10 * time.Minute // a runner that has not moved for this long is not alive
)

// A runner runs one job in one goroutine, whenever it is due or has been woken. Use newRunner.
type runner struct {
	woken chan struct{} // holds one value from wake until the job begins

	mu        sync.Mutex
	began     time.Time // of the pass in progress; zero: none
	due       time.Time // of the next pass; zero: none
	cancel    func()    // ends the pass in progress; nil: none
	graceOver *time.Timer
}

func newRunner() runner { return runner{woken: make(chan struct{}, 1)} }

// run calls job until ctx ends. Job returns when it is due again; the zero time: not until it
// is woken.
func (r *runner) run(ctx context.Context, job func(context.Context) time.Time) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.woken:
		case <-timer.C:
		}
		pass := r.begin(ctx)
		next := job(pass)
		r.end(next)
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// wake makes the job run now, and ends a pass in progress after the grace period: what hangs must
// not hold up what has superseded it.
func (r *runner) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.woken <- struct{}{}:
	default:
	}
	if r.cancel != nil && r.graceOver == nil {
		r.graceOver = time.AfterFunc(gracePeriod, r.cancel)
	}
}

// begin returns the context of a pass.
func (r *runner) begin(ctx context.Context) context.Context {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began, r.due, r.cancel = time.Now(), time.Time{}, cancel
	return ctx
}

// end ends the pass that began last.
func (r *runner) end(next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel()
	if r.graceOver != nil {
		r.graceOver.Stop()
	}
	r.began, r.due, r.cancel, r.graceOver = time.Time{}, next, nil, nil
}

// alive returns an error if a pass that began has not ended for ten minutes, or one that is due
// has not begun for as long. Waiting for the cloud, a login or a conflict's end is no failure (R10).
func (r *runner) alive() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.began.IsZero() && time.Since(r.began) > stuckAfter:
		return errors.New("a pass began at " + stamp(r.began) + " and has not ended")
	case !r.due.IsZero() && time.Since(r.due) > stuckAfter:
		return errors.New("a pass was due at " + stamp(r.due) + " and has not begun")
	}
	return nil
}
