package node

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	gracePeriod = 10 * time.Second // what a pass is left with after a newer event; more than its pauses
	stuckAfter  = 10 * time.Minute // a worker that has not moved for this long is not alive
)

// A mailbox holds the newest state of the Node that the informer has seen, until
// the worker takes it.
type mailbox struct {
	wake chan struct{} // holds one value while there is an event to take

	mu     sync.Mutex
	facts  *Facts // nil: the Node is not there
	at     time.Time
	known  bool               // facts means something
	fresh  bool               // nobody has taken them
	cancel context.CancelFunc // ends the pass in progress; nil: there is none
	timer  *time.Timer        // runs after a newer event
}

// Observe takes the Node as it is now; nil means that it is not there. An event
// that changes nothing wakes nobody (R8).
func (m *mailbox) Observe(f *Facts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known && f.equal(m.facts) {
		return
	}
	m.facts, m.known, m.fresh, m.at = f, true, true, time.Now()
	m.limit()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// limit lets the pass in progress go on for the grace period: one table that
// hangs must not hold up what the others get next.
func (m *mailbox) limit() {
	if m.fresh && m.cancel != nil && m.timer == nil {
		m.timer = time.AfterFunc(gracePeriod, m.cancel)
	}
}

// take returns the newest state and when it came, and whether nobody took it
// before.
func (m *mailbox) take() (f *Facts, at time.Time, fresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh, m.fresh = m.fresh, false
	return m.facts, m.at, fresh
}

// isStale reports whether there is a newer state than the one last taken.
func (m *mailbox) isStale() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fresh
}

// during returns the context of a pass, which ends the grace period after a newer
// event, and what has to be called when the pass is over.
func (m *mailbox) during(ctx context.Context, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancel = cancel
	m.limit()
	return ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.timer != nil {
			m.timer.Stop()
		}
		m.cancel, m.timer = nil, nil
		cancel()
	}
}

// A pulse says whether the worker moves.
type pulse struct {
	mu    sync.Mutex
	began time.Time // of the pass in progress; zero: none
	due   time.Time // of the next pass; zero: none
}

func (p *pulse) beat(began, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began, p.due = began, due
}

// Alive returns an error if the worker is stuck: a pass that began has not ended
// for ten minutes, or one that is due has not begun for as long. Waiting for the
// cloud, a login or a foreign route to go is life (R10).
func (p *pulse) Alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.began.IsZero() && time.Since(p.began) > stuckAfter:
		return errors.New("an attempt began at " + stamp(p.began) + " and has not ended")
	case !p.due.IsZero() && time.Since(p.due) > stuckAfter:
		return errors.New("an attempt was due at " + stamp(p.due) + " and has not begun")
	}
	return nil
}
