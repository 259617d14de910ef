package otc

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	maxRetries  = 5
	retryBase   = 500 * time.Millisecond // the first wait lies between 0 and this
	retryCap    = 10 * time.Second
	throttleMin = 10 * time.Second // waits after throttling without Retry-After
	throttleMax = 60 * time.Second
)

// checkRetry decides whether this layer sends the request again, and counts it.
func (x *exchange) checkRetry(ctx context.Context, _ *http.Response, _ error) (bool, error) {
	if x.err == nil || ctx.Err() != nil || !x.again() {
		return false, nil
	}
	x.observer.Retry(x.err.reason())
	return true, nil
}

// again is true for a GET after a transient failure and for anything but a PUT
// after throttling, if the wait fits.
func (x *exchange) again() bool {
	switch {
	case x.attempts > maxRetries || !x.fits():
		return false
	case x.method == http.MethodPut: // it may not fit what the cloud has by then
		return false
	}
	return x.err.Reaction == Throttled || x.err.Reaction == Transient && x.method == http.MethodGet
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

// fits reports whether the wait that the answer calls for leaves time for one
// more attempt within the call.
func (x *exchange) fits() bool {
	wait := x.err.RetryAfter
	if wait == 0 && x.err.Reaction == Throttled {
		wait = throttleMin
	}
	return wait == 0 || x.left() > wait
}

// left is the time within the call after which a wait leaves none for an attempt.
func (x *exchange) left() time.Duration { return time.Until(x.deadline) - connectTimeout }

// backoff returns the wait before the next attempt: what Retry-After says, else
// after throttling 10 to 60 s as far as the call's time goes, else full jitter
// under an exponential cap.
func (x *exchange) backoff(_, _ time.Duration, retries int, _ *http.Response) time.Duration {
	switch {
	case x.err.RetryAfter > 0:
		return x.err.RetryAfter
	case x.err.Reaction != Throttled:
		return jitter(retries)
	}
	return throttleMin + rand.N(max(min(throttleMax, x.left())-throttleMin, 1))
}

func jitter(retries int) time.Duration {
	return rand.N(min(retryBase<<min(retries, 10), retryCap))
}

// retryAfter reads a Retry-After header, seconds or an HTTP date (RFC 9110
// §10.2.3); 0 if there is none or it makes no sense. At most one hour.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 3600)) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil && date.After(now) {
		return min(date.Sub(now), time.Hour)
	}
	return 0
}
