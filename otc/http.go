package otc

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	attemptTimeout = 20 * time.Second // from the name look-up to the end of the answer's body; nothing within has a smaller limit
	callTimeout    = 60 * time.Second // all attempts of one call and the waits between them
)

// A transport makes calls. It is the transport of each attempt below go-retryablehttp.
type transport struct {
	base      http.RoundTripper
	userAgent string
	observer  Observer
	log       *slog.Logger
	client    *retryablehttp.Client // repeats attempts
}

func newTransport(cfg *Config, log *slog.Logger) *transport {
	t := &transport{base: cfg.Transport, userAgent: cfg.UserAgent, observer: cfg.Observer, log: log}
	t.client = &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport: t,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse // a redirect would carry the token elsewhere
			},
		},
		Logger:       debugLogger{log},
		RetryMax:     maxRetries,
		CheckRetry:   t.checkRetry,
		Backoff:      backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	return t
}

// A call is one request of ours, and the last attempt with the answer to it.
type call struct {
	service, operation string
	method, url        string
	body               []byte
	header             http.Header            // beside the usual
	encode             func() ([]byte, error) // makes the body, last thing before it is sent; nil: there is none, or it is made
	notAfter           time.Time              // without a connection by then it must not be sent; zero: whenever
	token              Secret                 // of the session; a login has none
	decodeStream       func(stream) error     // takes a success as it arrives, in each attempt anew; nil: decode it later
	deadline           time.Time
	attempts           int
	last               attempt
}

// An attempt is a request on the wire and what came back, as far as it came.
type attempt struct {
	began  time.Time
	dial   *dial
	status int // 0: nothing came
	header http.Header
	body   []byte // nil if it was decoded as it arrived
	err    *Error // nil: success
}

// callKey is the context's key of the call that an attempt belongs to.
type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// send makes the call and fills in its answer. Errors are of type *Error.
func (t *transport) send(ctx context.Context, k *call) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, callKey{}, k), callTimeout)
	defer cancel()
	k.deadline, _ = ctx.Deadline()
	k.attempts, k.last = 0, attempt{}
	req, err := t.request(ctx, k)
	if err != nil {
		return &Error{Service: k.service, Operation: k.operation, NotSent: true, Err: err}
	}
	resp, err := t.client.Do(req)
	if resp != nil {
		_ = resp.Body.Close()
	}
	if k.last.err != nil {
		return k.last.err
	}
	if err != nil { // ended before the first attempt did
		return &Error{Service: k.service, Operation: k.operation, NotSent: true, Err: unwrapURL(err), Reaction: Transient}
	}
	return nil
}

func (t *transport) request(ctx context.Context, k *call) (*retryablehttp.Request, error) {
	var body any // an untyped nil: no body at all
	if k.body != nil {
		body = k.body
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, k.method, k.url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json;charset=utf8")
	}
	if t.userAgent != "" {
		req.Header.Set("User-Agent", t.userAgent)
	}
	maps.Copy(req.Header, k.header)
	if k.service != "iam" {
		req.Header.Set("X-Auth-Token", k.token.Reveal())
	}
	return req, nil
}

// RoundTrip makes one attempt, reads the answer and judges it. Whatever came of it is
// in the call: what it returns is for go-retryablehttp, and never an error.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	k := callOf(r.Context())
	ctx, cancel := context.WithTimeout(r.Context(), attemptTimeout)
	defer cancel()
	a := attempt{began: time.Now(), dial: &dial{}}
	ctx, cancel = a.dial.watch(ctx, k.notAfter)
	defer cancel()
	k.last = a
	k.attempts++
	r = r.WithContext(ctx)
	r.GetBody = nil // or package http may send the body again by itself
	resp, err := t.base.RoundTrip(r)
	if err == nil {
		err = k.receive(resp)
	}
	if err != nil && context.Cause(ctx) == ErrTooOld {
		err = ErrTooOld
	}
	k.last.err = k.judge(err)
	t.observe(k, err)
	return &http.Response{StatusCode: k.last.status, Body: http.NoBody, Request: r}, nil
}

// CloseIdleConnections is what go-retryablehttp asks for after a failed call.
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// observe reports an attempt: its status, or "error" if no whole answer came.
func (t *transport) observe(k *call, err error) {
	code := "error"
	if err == nil {
		code = fmt.Sprint(k.last.status)
	}
	t.observer.Request(k.service, k.operation, code, time.Since(k.last.began))
	if e := k.last.err; e != nil {
		t.log.Debug("OTC call failed", "service", k.service, "operation", k.operation,
			"err", e, "reaction", e.Reaction.String(), "request_id", e.RequestID)
	}
}

// debugLogger lowers go-retryablehttp's error lines: a failed attempt is not yet a
// failed call, and a failed call is reported by its caller.
type debugLogger struct{ *slog.Logger }

func (l debugLogger) Error(msg string, kv ...any) { l.Debug(msg, kv...) }

// noObserver is the Observer of a client that has none.
type noObserver struct{}

func (noObserver) Request(string, string, string, time.Duration) {}
func (noObserver) Retry(string)                                  {}
func (noObserver) TokenExpiry(time.Time)                         {}
