package otc

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	renewBefore     = 5 * time.Minute  // a token is replaced this long before its end at the latest
	minRenewal      = time.Minute      // after a login, however short the token lives
	loginPause      = 15 * time.Minute // after a refused login: IAM's default lock time
	minIDTokenPause = 40 * time.Second // after a refused ID token: half to all of it, doubled each time
	maxIDTokenPause = 5 * time.Minute  // at most
	absentPause     = 30 * time.Second // while there is nothing to log in with
	maxReplaced     = 2                // rejected tokens that are replaced within loginPause
	unansweredPause = 15 * time.Second // after a login without an answer
)

// A session is a token and what came with it.
type session struct {
	token      Secret
	project    string
	expires    time.Time
	renewAt    time.Time
	base       map[string]string // service → base URL ending in the project id
	catalogErr error             // the catalog lacks an endpoint: the token is of no use
	rejected   bool              // by a service, before its end
}

// A LoginRefusedError says that there is no login before Until, unless the credentials
// change: IAM refused them, or there are none that could be sent (Err.Status 0).
type LoginRefusedError struct {
	Err   *Error
	Until time.Time
}

// Error is the refusal's text, without the time.
func (e *LoginRefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the refusal.
func (e *LoginRefusedError) Unwrap() error { return e.Err }

// A refusal is what a login was refused with.
type refusal struct {
	sent Credentials
	err  *LoginRefusedError
}

// An authenticator logs in as rarely as possible: five failures within 15 minutes
// lock the user (IAM, login authentication policy), whichever process they come from.
type authenticator struct {
	cfg       *Config
	transport *transport

	lock       chan struct{} // holds one value while a goroutine uses the fields below
	current    *session
	replaced   []time.Time // when a login replaced a rejected token, within loginPause
	refused    []refusal   // that still count
	inARow     int         // refused ID tokens since the last success
	unanswered *Error      // the last login, if it got no answer
	retryAt    time.Time   // no login before then, after such a one
}

func newAuthenticator(cfg *Config, t *transport) *authenticator {
	return &authenticator{cfg: cfg, transport: t, lock: make(chan struct{}, 1)}
}

// session returns the current token or logs in for one. rejected is the session
// whose token a service has just rejected, or nil. No session and no error mean
// that its token must not be replaced yet.
func (a *authenticator) session(ctx context.Context, rejected *session) (*session, error) {
	select {
	case a.lock <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-a.lock }()
	cur := a.current
	if cur != nil && cur == rejected {
		if !a.mayReplace() {
			return nil, nil
		}
		cur.rejected = true
	}
	if cur != nil && !cur.rejected && time.Now().Before(cur.renewAt) {
		return cur, cur.catalogErr
	}
	return a.renew(ctx)
}

// mayReplace reports whether a rejected token may be replaced: twice in 15 minutes.
// A service that rejects every token would else cause a login per call.
func (a *authenticator) mayReplace() bool {
	a.replaced = slices.DeleteFunc(a.replaced, func(t time.Time) bool { return time.Since(t) >= loginPause })
	return len(a.replaced) < maxReplaced
}

// renew logs in. A current token that still serves is kept if that fails, or if the
// new one is of no use; the next try follows after half of what is left of its life,
// 5 minutes at least, but at its end at the latest.
func (a *authenticator) renew(ctx context.Context) (*session, error) {
	cur := a.current
	next, err := a.login(ctx, cur != nil && cur.rejected)
	if cur != nil && !cur.rejected && cur.catalogErr == nil && time.Now().Before(cur.expires) {
		if err == nil {
			err = next.catalogErr
		}
		if err != nil {
			left := time.Until(cur.expires)
			cur.renewAt = time.Now().Add(min(max(left/2, renewBefore), left))
			a.transport.log.Warn("the token was not renewed; the present one serves until its end",
				"end", cur.expires.UTC().Format(time.RFC3339), "next_attempt", time.Until(cur.renewAt).Round(time.Second), "err", err)
			return cur, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if cur != nil && cur.rejected {
		a.replaced = append(a.replaced, time.Now())
	}
	a.current = next
	a.transport.observer.TokenExpiry(next.expires)
	return next, next.catalogErr
}

// changed reports whether the credentials, as they are now, may be sent: IAM has not
// refused them of late. It sends nothing.
func (a *authenticator) changed() bool {
	a.lock <- struct{}{}
	defer func() { <-a.lock }()
	c, err := a.credentials()
	return err == nil && a.refusal(c) == nil
}

// credentials returns what a login may be tried with.
func (a *authenticator) credentials() (Credentials, error) {
	c, err := a.cfg.Credentials()
	if err == nil {
		err = c.check()
	}
	if err != nil {
		e := &Error{Service: "iam", Operation: c.operation(), Err: err, Reaction: LoginRefused, Hint: hintSecret}
		if c.IdentityProvider != "" {
			e.Hint = hintIDToken
		}
		return c, &LoginRefusedError{Err: e, Until: time.Now().Add(absentPause)}
	}
	return c, nil
}

// refusal returns how credentials were refused, as long as that counts, or nil.
func (a *authenticator) refusal(c Credentials) *LoginRefusedError {
	a.refused = slices.DeleteFunc(a.refused, func(r refusal) bool { return !time.Now().Before(r.err.Until) })
	for _, r := range a.refused {
		if r.sent.equal(c) {
			return r.err
		}
	}
	return nil
}

// login asks IAM for a token, unless it has just refused these credentials or left
// the last login without an answer. replaces says that a token was rejected.
func (a *authenticator) login(ctx context.Context, replaces bool) (*session, error) {
	c, err := a.credentials()
	if err != nil {
		return nil, err
	}
	if r := a.refusal(c); r != nil {
		return nil, r
	}
	if wait := time.Until(a.retryAt); wait > 0 {
		again := *a.unanswered
		again.RetryAfter = wait
		return nil, &again
	}
	if replaces {
		a.transport.observer.Retry("relogin")
	}
	s, err := a.postToken(ctx, c)
	return s, a.remember(c, err)
}

// remember keeps how a login ended.
func (a *authenticator) remember(c Credentials, err error) error {
	a.unanswered, a.retryAt = nil, time.Time{}
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		a.inARow = 0
		return err
	case e.Reaction == LoginRefused:
		r := &LoginRefusedError{Err: e, Until: time.Now().Add(a.pause(c))}
		a.refused = append(a.refused, refusal{c, r})
		return r
	case e.Status == 0 && e.Reaction == Transient && !e.NotSent: // it may have counted as a failure
		e.RetryAfter = unansweredPause + rand.N(unansweredPause/3)
		a.unanswered, a.retryAt = e, time.Now().Add(e.RetryAfter)
	}
	return err
}

// pause returns how long refused credentials are not sent again. A password waits until
// IAM has forgotten the failure. An ID token has no user that could be locked: it is
// tried again soon, so that a correction in IAM is found.
func (a *authenticator) pause(c Credentials) time.Duration {
	if c.IdentityProvider == "" {
		return loginPause + rand.N(loginPause/5)
	}
	d := min(minIDTokenPause<<min(a.inARow, 10), maxIDTokenPause)
	a.inARow++
	return d/2 + rand.N(d/2)
}
