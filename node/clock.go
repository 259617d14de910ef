package node

import (
	"errors"
	"math/rand/v2"
	"time"

	"otc-route-manager/otc"
)

// A clock says when something is done next. The zero value: never. Nothing else
// in this package sets a due time.
type clock struct {
	due      time.Time // zero: nothing is due
	failures int       // in a row
	err      error     // of the last attempt
}

// start makes it due at t, as something new; never if t is zero.
func (c *clock) start(t time.Time) { *c = clock{due: t} }

// again makes it due after d; what failed is still known.
func (c *clock) again(d time.Duration) { c.due, c.failures = time.Now().Add(d), 0 }

// failed notes a failure and when the next attempt is due.
func (c *clock) failed(err error, due time.Time) {
	*c = clock{due: due, failures: c.failures + 1, err: err}
}

// backOff notes a failure and plans the next attempt, and returns how long that
// is away.
func (c *clock) backOff(err error) time.Duration {
	wait := c.pause(err)
	c.failed(err, time.Now().Add(wait))
	return wait
}

// pause returns how long to wait after err. What only a person can end counts anew
// after failures that pass by themselves, and the other way round.
func (c *clock) pause(err error) time.Duration {
	if c.err != nil && hopeless(err) != hopeless(c.err) {
		c.failures = 0
	}
	return backoff(err, c.failures)
}

// stop plans nothing and forgets what failed.
func (c *clock) stop() { *c = clock{} }

// isDue reports whether it is time.
func (c *clock) isDue() bool { return !c.due.IsZero() && !c.due.After(time.Now()) }

// isRefused reports whether it waits for better credentials.
func (c *clock) isRefused() bool {
	_, refused := errors.AsType[*otc.LoginRefusedError](c.err)
	return refused
}

// earliest returns when the first of the clocks is due; the zero time if none is.
func earliest(clocks []*clock) (first time.Time) {
	for _, c := range clocks {
		first = sooner(first, c.due)
	}
	return first
}

// sooner returns the earlier of two times, where the zero time stands for never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// backoff is how long to wait after err, which was preceded by so many failures
// in a row: 1 s to 5 min, 1 to 15 min if only a person can help, each a random
// part between half and all of it; what the cloud asked for when it throttles;
// and the whole pause after a refused login.
func backoff(err error, failures int) time.Duration {
	if refused, ok := errors.AsType[*otc.LoginRefusedError](err); ok {
		return max(time.Until(refused.Until), time.Second)
	}
	first, limit := time.Second, 5*time.Minute
	if hopeless(err) {
		first, limit = time.Minute, 15*time.Minute
	}
	full := min(first<<min(failures, 16), limit)
	wait := full/2 + rand.N(full/2)
	if asked := otc.RetryAfter(err); asked > 0 {
		wait = max(wait, asked+rand.N(10*time.Second))
	}
	if otc.ReactionTo(err) == otc.Throttled {
		wait = max(wait, 10*time.Second+rand.N(50*time.Second))
	}
	return wait
}

// hopeless reports whether the same attempt fails until somebody changes
// something.
func hopeless(err error) bool {
	if errors.Is(err, ErrNoInstance) || errors.Is(err, errOtherVPC) {
		return true
	}
	switch otc.ReactionTo(err) {
	case otc.Permanent, otc.Quota, otc.Relogin:
		return true
	case otc.Rejected: // a single route; several would have been isolated
		e, ok := errors.AsType[*otc.Error](err)
		return !ok || !e.Stale
	}
	return false
}

// spread is a random wait of at most d and at least four fifths of it.
func spread(d time.Duration) time.Duration { return d*4/5 + rand.N(d/5+1) }

// around is a random wait of d, a fifth more or less.
func around(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }
