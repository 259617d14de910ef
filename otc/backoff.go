package otc

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	retryBase   = 500 * time.Millisecond // the first wait lies between 0 and this
	retryCap    = 10 * time.Second
	throttleMin = 10 * time.Second // waits after throttling without Retry-After
	throttleMax = 60 * time.Second
)

// again decides whether the failed attempt is repeated by this layer.
func (k *call) again(ctx context.Context) bool {
	switch {
	case k.retries == maxRetries || !k.fits(ctx):
		return false
	case k.method == http.MethodPut: // it may not fit what the cloud has by then
		return false
	case k.err.Reaction == Throttled:
		k.reason = "throttled"
	case k.method != http.MethodGet || k.err.Reaction != Transient:
		return false
	case k.err.Status == 0:
		k.reason = "connection"
	case k.err.Status >= 500:
		k.reason = "server_error"
	default:
		k.reason = "transient"
	}
	return true
}

// fits reports whether the wait that the answer calls for leaves time for one
// more attempt within the call.
func (k *call) fits(ctx context.Context) bool {
	wait := k.err.RetryAfter
	if wait == 0 && k.err.Reaction == Throttled {
		wait = throttleMin
	}
	deadline, ok := ctx.Deadline()
	return !ok || wait == 0 || time.Until(deadline) > wait+connectTimeout
}

// backoff returns the wait before the next attempt: what Retry-After says, else
// after throttling 10 to 60 s as far as the call's time goes, else full jitter
// under an exponential cap.
func backoff(_, _ time.Duration, attempt int, resp *http.Response) time.Duration {
	if resp == nil {
		return jitter(attempt)
	}
	ctx := resp.Request.Context()
	k := callOf(ctx)
	switch {
	case k.err.RetryAfter > 0:
		return k.err.RetryAfter
	case k.err.Reaction != Throttled:
		return jitter(attempt)
	}
	limit := throttleMax
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-connectTimeout)
	}
	return throttleMin + rand.N(max(limit-throttleMin, 1))
}

func jitter(attempt int) time.Duration {
	return rand.N(min(retryBase<<min(attempt, 10), retryCap))
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
