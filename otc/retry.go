package otc

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	maxRetries   = 5
	retryBase    = 500 * time.Millisecond // the first wait lies between 0 and this
	retryCap     = 10 * time.Second
	usualAttempt = 5 * time.Second  // what a wait has to leave of the call's time
	throttleMin  = 10 * time.Second // waits after throttling without Retry-After
	throttleMax  = 60 * time.Second

	maxRetryAfter = 5 * time.Minute // no single answer makes anything wait longer
)

// checkRetry decides whether this layer sends the request again, and counts it.
func (t *transport) checkRetry(ctx context.Context, _ *http.Response, _ error) (bool, error) {
	k := callOf(ctx)
	if k.last.err == nil || ctx.Err() != nil || !k.shouldRetry() {
		return false, nil
	}
	t.observer.Retry(k.last.err.reason())
	return true, nil
}

// shouldRetry is true for a GET after a transient failure and for anything but a PUT
// after throttling, if the wait fits.
func (k *call) shouldRetry() bool {
	switch e := k.last.err; {
	case k.attempts > maxRetries || !k.fitsDeadline():
		return false
	case k.method == http.MethodPut: // it may not fit what the cloud has by then
		return false
	default:
		return e.Reaction == Throttled || e.Reaction == Transient && k.method == http.MethodGet
	}
}

// reason is the label that a retry after e is counted under.
func (e *Error) reason() string {
	switch {
	case e.Reaction == Throttled:
		return "throttled"
	case e.Status == 0:
		return "connection"
	case e.Status >= 500:
		return "server_error"
	}
	return "transient"
}

// fitsDeadline reports whether the wait that the answer calls for leaves time for one
// more attempt within the call.
func (k *call) fitsDeadline() bool {
	wait := k.last.err.RetryAfter
	if wait == 0 && k.last.err.Reaction == Throttled {
		wait = throttleMin
	}
	return wait == 0 || k.remaining() > wait
}

// remaining is the time within the call after which a wait leaves none for an attempt.
func (k *call) remaining() time.Duration { return time.Until(k.deadline) - usualAttempt }

// backoff returns the wait before the next attempt: what Retry-After says, else
// after throttling 10 to 60 s as far as the call's time goes, else full jitter
// under an exponential cap.
func backoff(_, _ time.Duration, retries int, resp *http.Response) time.Duration {
	k := callOf(resp.Request.Context())
	switch e := k.last.err; {
	case e.RetryAfter > 0:
		return e.RetryAfter
	case e.Reaction != Throttled:
		return jitter(retries)
	}
	return throttleMin + rand.N(max(min(throttleMax, k.remaining())-throttleMin, 1))
}

func jitter(retries int) time.Duration {
	return rand.N(min(retryBase<<min(retries, 10), retryCap))
}

// retryAfter reads a Retry-After header, seconds or an HTTP date (RFC 9110 §10.2.3),
// as far as one answer may make us wait; 0 if there is none or it makes no sense. A
// date is read by the clock of the answer's author.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	}
	if there, err := http.ParseTime(header.Get("Date")); err == nil {
		now = there
	}
	if date, err := http.ParseTime(value); err == nil && date.After(now) {
		return min(date.Sub(now), maxRetryAfter)
	}
	return 0
}
