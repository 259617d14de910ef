package otc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	connectTimeout = 5 * time.Second
	attemptTimeout = 20 * time.Second // the answer's body included
	callTimeout    = 60 * time.Second // all attempts of one call and the waits between them
)

// transport speaks HTTP/1.1 only. Over HTTP/2 package http sends a request again
// by itself when its stream is reset, body or not: 7,544 times in 20 s were seen.
func transport(roots *x509.CertPool) *http.Transport {
	var only http.Protocols
	only.SetHTTP1(true)
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		Protocols:           &only,
		DialContext:         (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: connectTimeout,
		MaxIdleConns:        4,
		IdleConnTimeout:     90 * time.Second,
	}
}

// A sender makes calls.
type sender struct {
	transport http.RoundTripper
	userAgent string
	observer  Observer
	log       *slog.Logger
}

// A call is one request of ours and the answer to it.
type call struct {
	service, operation string
	method, url        string
	body               []byte
	encode             func() ([]byte, error)    // makes the body, last thing before it is sent; nil: there is none, or it is made
	secrets            []Secret                  // must not come back in an error
	stream             func(*json.Decoder) error // takes a success as it arrives, in each attempt anew; nil: decode it later
	sent               time.Time                 // the last attempt
	answer             answer
}

// An exchange is a call with its attempts. Below go-retryablehttp it is the
// transport of each attempt, beside it what decides about the next one.
type exchange struct {
	*sender
	*call
	deadline time.Time
	attempts int
	err      *Error // of the last attempt
}

// send makes the call and fills in its answer. Errors are of type *Error.
func (s *sender) send(ctx context.Context, k *call) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := s.request(ctx, k)
	if err != nil {
		return &Error{Service: k.service, Operation: k.operation, Err: err}
	}
	x := &exchange{sender: s, call: k}
	x.deadline, _ = ctx.Deadline()
	resp, err := x.client().Do(req)
	if resp != nil {
		_ = resp.Body.Close()
	}
	if x.err != nil {
		return x.err
	}
	if err != nil { // ended before the first attempt did
		return &Error{Service: k.service, Operation: k.operation, Err: bare(err), Reaction: Transient}
	}
	return nil
}

func (s *sender) request(ctx context.Context, k *call) (*retryablehttp.Request, error) {
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
	if s.userAgent != "" {
		req.Header.Set("User-Agent", s.userAgent)
	}
	if k.operation != opLogin {
		req.Header.Set("X-Auth-Token", k.secrets[0].Reveal())
	}
	return req, nil
}

// client returns what repeats the attempts of this exchange. Connections are
// kept by the transport behind it.
func (x *exchange) client() *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport: x,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse // a redirect would carry the token elsewhere
			},
		},
		Logger:       quiet{x.log},
		RetryMax:     maxRetries,
		CheckRetry:   x.checkRetry,
		Backoff:      x.backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// RoundTrip makes one attempt, reads the answer and judges it.
func (x *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), attemptTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	r.GetBody = nil // or package http may send the body again by itself
	x.sent = time.Now()
	resp, err := x.transport.RoundTrip(r)
	x.answer = answer{}
	if err == nil {
		err = x.receive(resp)
	}
	x.attempts++
	x.err = x.judge(err)
	x.observe(err, time.Since(x.sent))
	if err != nil {
		return nil, x.err.Err
	}
	resp.Body = http.NoBody
	return resp, nil
}

// CloseIdleConnections is what go-retryablehttp asks for after a failed call.
func (x *exchange) CloseIdleConnections() {
	if t, ok := x.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// observe reports the attempt: its status, or "error" if no whole answer came.
func (x *exchange) observe(err error, took time.Duration) {
	code := "error"
	if err == nil {
		code = fmt.Sprint(x.answer.status)
	}
	x.observer.Request(x.service, x.operation, code, took)
	if x.err != nil {
		x.log.Debug("OTC call failed", "service", x.service, "operation", x.operation,
			"err", x.err, "reaction", x.err.Reaction.String(), "request_id", x.err.RequestID)
	}
}

// quiet lowers go-retryablehttp's error lines: a failed attempt is not yet a
// failed call, and a failed call is reported by whoever made it.
type quiet struct{ *slog.Logger }

func (q quiet) Error(msg string, kv ...any) { q.Debug(msg, kv...) }

// nobody is the Observer of a client that has none.
type nobody struct{}

func (nobody) Request(string, string, string, time.Duration) {}
func (nobody) Retry(string)                                  {}
func (nobody) TokenExpiry(time.Time)                         {}
