package node

import (
	"errors"
	"math/rand/v2"
	"time"

	"otc-route-manager/otc"
)

// A retry is the clock of something that may fail.
type retry struct {
	failures int
	due      time.Time // zero: nothing is due
}

// failed plans the next attempt after err and returns how long that is away.
func (b *retry) failed(err error) time.Duration {
	wait := backoff(err, b.failures)
	b.failures++
	b.due = time.Now().Add(wait)
	return wait
}

// backoff is how long to wait after err, which was preceded by so many failures
// in a row: 1 s to 5 min, 1 to 15 min if only a person can help, each a random
// part between half and all of it; what the cloud asked for when it throttles;
// and the whole pause after a refused login.
func backoff(err error, failures int) time.Duration {
	if refused, ok := errors.AsType[*otc.LoginRefusedError](err); ok {
		return time.Until(refused.Until)
	}
	first, limit := time.Second, 5*time.Minute
	if hopeless(err) {
		first, limit = time.Minute, 15*time.Minute
	}
	full := min(first<<min(failures, 16), limit)
	wait := full/2 + rand.N(full/2)
	e, ok := errors.AsType[*otc.Error](err)
	if ok && e.RetryAfter > 0 {
		wait = max(wait, e.RetryAfter+rand.N(10*time.Second))
	}
	if ok && e.Reaction == otc.Throttled {
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
	e, ok := errors.AsType[*otc.Error](err)
	if !ok {
		return errors.Is(err, otc.ErrGuard)
	}
	if _, refused := errors.AsType[refusedError](err); refused {
		return !e.Stale
	}
	return e.Reaction == otc.Permanent || e.Reaction == otc.Quota || e.Reaction == otc.Relogin
}
