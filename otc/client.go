// Package otc is a small REST client for Open Telekom Cloud: a project-scoped
// IAM token, VPC route tables and ECS servers. It knows nothing of Kubernetes and
// nothing of what the routes are for, except that it refuses to touch a
// destination outside [Config.Allowed].
package otc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	connectTimeout = 5 * time.Second
	attemptTimeout = 20 * time.Second
	callTimeout    = 60 * time.Second // all attempts of one call and the waits between them
	maxRetries     = 5
	maxBody        = 1 << 20 // bytes of an answer that are read
)

// The operations as error texts and metrics name them.
const (
	opLogin       = "login"
	opTable       = "get_route_table"
	opUpdateTable = "update_route_table"
	opServer      = "get_server"
	opServers     = "list_servers"
	opPorts       = "list_ports"
)

// Config is what a Client needs to know. The first six fields are required,
// ProjectName or ProjectID is enough.
type Config struct {
	AuthURL     string                         // IAM v3 URL without a trailing slash: https://host/v3
	Credentials func() (string, Secret, error) // user name and password, asked for at each login
	DomainName  string                         // the account, "OTC000…"
	ProjectName string                         // for example "eu-de_cluster"
	ProjectID   string                         // 32 hex digits; goes before ProjectName
	Region      string                         // chooses the catalog's endpoints
	Allowed     []netip.Prefix                 // destinations must lie strictly inside one of these (see UpdateRoutes)
	VPCEndpoint string                         // overrides the catalog
	ECSEndpoint string                         // overrides the catalog
	RootCAs     *x509.CertPool                 // nil: the system's
	UserAgent   string                         // "": Go's
	Transport   http.RoundTripper              // nil: a pooled transport with the timeouts of this package
	Observer    Observer                       // nil: nobody counts
	OneLogin    bool                           // a refused token is not replaced
}

// An Observer is told of every attempt on the wire. Its methods may be called
// from several goroutines.
type Observer interface {
	Request(service, operation, code string, took time.Duration) // code: HTTP status or "error"
	Retry(reason string)                                         // connection, throttled, transient, relogin
	TokenExpiry(t time.Time)
}

// A Client calls IAM, VPC and ECS with one user's token for one project. It is
// safe for concurrent use.
type Client struct {
	cfg  Config
	http *retryablehttp.Client
	log  *slog.Logger

	gate    chan struct{} // holds one value while somebody uses the fields below
	current *session
	refused *refusal
}

// New returns a Client; it sends nothing yet. A nil log discards.
func New(cfg Config, log *slog.Logger) *Client {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Transport == nil {
		cfg.Transport = transport(cfg.RootCAs)
	}
	c := &Client{cfg: cfg, log: log, gate: make(chan struct{}, 1)}
	c.http = &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport: cfg.Transport,
			Timeout:   attemptTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse // a redirect would carry the token elsewhere
			},
		},
		Logger:         quiet{log},
		RetryMax:       maxRetries,
		RequestLogHook: func(_ retryablehttp.Logger, r *http.Request, n int) { callOf(r.Context()).begin(n) },
		CheckRetry:     c.checkRetry,
		Backoff:        backoff,
		ErrorHandler:   retryablehttp.PassthroughErrorHandler,
	}
	return c
}

func transport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: connectTimeout,
		ForceAttemptHTTP2:   true,
		MaxIdleConns:        4,
		IdleConnTimeout:     90 * time.Second,
	}
}

// quiet lowers go-retryablehttp's error lines: a failed attempt is not yet a
// failed call, and a failed call is reported by whoever made it.
type quiet struct{ *slog.Logger }

func (q quiet) Error(msg string, kv ...any) { q.Debug(msg, kv...) }

// A call is one request of ours, with its retries, and the answer to it.
type call struct {
	service, operation string
	method, url        string
	body               []byte
	secrets            []Secret // must not come back in an error

	retries int       // so far
	started time.Time // of the attempt on the wire
	header  http.Header
	answer  []byte
	err     *Error // of the last attempt
	reason  string // of the last retry
}

func (k *call) begin(retries int) { k.retries, k.started = retries, time.Now() }

type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// do sends a call with a token to path below the service's base URL and decodes
// the answer into result, if that is not nil. A refused token is replaced once.
func (c *Client) do(ctx context.Context, k *call, path string, result any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, _, err := c.session(ctx, nil, k.operation)
	if err != nil {
		return err
	}
	err = c.sendAs(ctx, s, k, path)
	if ReactionTo(err) == Relogin && err != nil && !c.cfg.OneLogin {
		fresh, due, renewErr := c.session(ctx, s, k.operation)
		switch {
		case renewErr != nil:
			return renewErr
		case !due:
			return err
		}
		err = c.sendAs(ctx, fresh, k, path)
	}
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(k.answer, result); err != nil {
		return k.malformed(err)
	}
	return nil
}

// sendAs sends the call with the session's token.
func (c *Client) sendAs(ctx context.Context, s *session, k *call, path string) error {
	k.url = s.base[k.service] + path
	if k.service == "vpc" && strings.HasPrefix(path, "/v2.0/") { // Neutron's paths name no project
		k.url = strings.TrimSuffix(s.base["vpc"], "/v1/"+s.project) + path
	}
	k.secrets = []Secret{s.token}
	err := c.send(ctx, k)
	if e, ok := errors.AsType[*Error](err); k.operation == s.cause && (err == nil || ok && e.tookToken()) {
		s.cured.Store(true)
	}
	return err
}

// send makes the call. Errors are of type *Error.
func (c *Client) send(ctx context.Context, k *call) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, callKey{}, k), callTimeout)
	defer cancel()
	var body any // an untyped nil: no body at all
	if k.body != nil {
		body = k.body
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, k.method, k.url, body)
	if err != nil {
		return &Error{Service: k.service, Operation: k.operation, Err: err}
	}
	req.Header.Set("Accept", "application/json")
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json;charset=utf8")
	}
	if c.cfg.UserAgent != "" {
		req.Header.Set("User-Agent", c.cfg.UserAgent)
	}
	if k.operation != opLogin {
		req.Header.Set("X-Auth-Token", k.secrets[0].Reveal())
	}
	k.err, k.answer = nil, nil
	resp, err := c.http.Do(req)
	if resp != nil {
		_ = resp.Body.Close()
	}
	if k.err != nil {
		return k.err
	}
	if err != nil { // ended before the first attempt did
		return &Error{Service: k.service, Operation: k.operation, Err: err, Reaction: Transient}
	}
	return nil
}

// checkRetry reads an attempt's answer, turns what is not success into the
// call's *Error and decides whether this layer sends the request again: a GET
// after a transient failure, anything after throttling, if the wait fits.
func (c *Client) checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	k := callOf(ctx)
	if resp != nil {
		k.header = resp.Header
		k.answer, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
		_ = resp.Body.Close()
		resp.Body = http.NoBody
		resp.Request = (&http.Request{}).WithContext(ctx) // backoff wants the call
	}
	k.err = k.judge(resp, err)
	c.observe(k, resp)
	if k.err == nil {
		return false, nil
	}
	c.log.DebugContext(ctx, "OTC call failed", "service", k.service, "operation", k.operation,
		"err", k.err, "reaction", k.err.Reaction.String(), "request_id", k.err.RequestID)
	if ctx.Err() != nil || !k.again(ctx) {
		return false, nil
	}
	c.retried(k.reason)
	return true, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// observe reports the attempt to the Observer.
func (c *Client) observe(k *call, resp *http.Response) {
	if c.cfg.Observer == nil {
		return
	}
	code := "error"
	if resp != nil {
		code = fmt.Sprint(resp.StatusCode)
	}
	c.cfg.Observer.Request(k.service, k.operation, code, time.Since(k.started))
}

func (c *Client) retried(reason string) {
	if c.cfg.Observer != nil {
		c.cfg.Observer.Retry(reason)
	}
}

func (c *Client) tokenExpiry(t time.Time) {
	if c.cfg.Observer != nil {
		c.cfg.Observer.TokenExpiry(t)
	}
}
