package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"otc-route-manager/otc"
)

const credentialsPoll = 30 * time.Second // between two comparisons of refused credentials with the files

// A schedule is when something is done next, and how the last time ended. The zero value: never.
type schedule struct {
	at       time.Time // zero: never
	ended    time.Time // of the last pass; zero: none yet
	failures int       // in a row
	err      error     // of the last pass; nil: it ended well
}

// set makes it due at t; never if t is zero. What failed is forgotten.
func (s *schedule) set(t time.Time) { *s = schedule{at: t, ended: s.ended} }

// failed records a failure. The next pass is due after the back-off, which it returns. Failures
// that only a person can end are counted apart from those that end by themselves.
func (s *schedule) failed(err error, now time.Time) time.Duration {
	if s.err != nil && isHopeless(err) != isHopeless(s.err) {
		s.failures = 0
	}
	wait := backoff(err, s.failures)
	*s = schedule{now.Add(wait), now, s.failures + 1, err}
	return wait
}

func (s *schedule) isDue(now time.Time) bool { return !s.at.IsZero() && !s.at.After(now) }

// isRefused reports whether it waits for other credentials.
func (s *schedule) isRefused() bool {
	_, refused := errors.AsType[*otc.LoginRefusedError](s.err)
	return refused
}

// poll makes it due at once if refused credentials have been replaced, and returns when to come
// back: when it is due, or for the next poll.
func (s *schedule) poll(cloud Cloud, now time.Time) time.Time {
	if !s.isRefused() || s.isDue(now) {
		return s.at
	}
	if cloud.CredentialsChanged() {
		s.at, s.failures = now, 0
		return now
	}
	return sooner(s.at, now.Add(credentialsPoll))
}

// sooner returns the earlier of two times, where the zero time stands for never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// backoff returns how long to wait after err, which so many failures in a row preceded: 1 s to
// 5 min, 1 to 15 min if only a person can help, each a random part between half and all of it;
// what the cloud asked for when it throttles; and the whole pause after a refused login.
func backoff(err error, failures int) time.Duration {
	if refused, ok := errors.AsType[*otc.LoginRefusedError](err); ok {
		return max(time.Until(refused.Until), time.Second)
	}
	first, limit := time.Second, 5*time.Minute
	if isHopeless(err) {
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

// isHopeless reports whether the same attempt fails until a person changes something.
func isHopeless(err error) bool {
	if errors.Is(err, errNoInstance) || errors.Is(err, errOtherVPC) {
		return true
	}
	switch otc.ReactionTo(err) {
	case otc.Permanent, otc.Quota, otc.Relogin:
		return true
	case otc.Rejected: // a single route; several would have been isolated
		e, ok := errors.AsType[*otc.Error](err)
		return !ok || !e.OutdatedRequest
	}
	return false
}

// upTo is a random wait of at most d and at least four fifths of it.
func upTo(d time.Duration) time.Duration { return d*4/5 + rand.N(d/5+1) }

// around is a random wait of d, a fifth more or less.
func around(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }

// until is how long it is until t; 0 if that is past or never.
func until(t time.Time) time.Duration { return max(time.Until(t), 0) }

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
