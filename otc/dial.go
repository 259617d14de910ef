package otc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

// newHTTPTransport speaks HTTP/1.1 only. Over HTTP/2 package http sends a request again
// by itself when its stream is reset, body or not: 7,544 times in 20 s were seen. It
// has no limits of its own: the resolver may need 5 s for each dead name server.
func newHTTPTransport(roots *x509.CertPool) *http.Transport {
	var only http.Protocols
	only.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: checkConnect,
		Protocols:              &only,
		DialContext:            (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConns:           4,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxBody, // a token of 60 KB has room
	}
}

// A dial is how far an attempt has come on its way to a connection. Without one,
// nothing was sent.
type dial struct {
	step      atomic.Value // string: what began last
	connected atomic.Bool
}

// watch returns a context for the attempt. Until notAfter there has to be a
// connection, or it ends with ErrTooOld; the zero time sets no limit.
func (d *dial) watch(ctx context.Context, notAfter time.Time) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	late := func() bool { return false }
	if !notAfter.IsZero() {
		late = time.AfterFunc(time.Until(notAfter), func() { end(ErrTooOld) }).Stop
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { d.step.Store("the name look-up") },
		ConnectStart: func(string, string) { d.step.Store("the TCP connection") },
		ConnectDone: func(_, _ string, err error) {
			if err == nil { // without a proxy TLS begins at once
				d.step.Store("the CONNECT request")
			}
		},
		TLSHandshakeStart: func() { d.step.Store("the TLS handshake") },
		GotConn: func(httptrace.GotConnInfo) {
			late()
			d.connected.Store(true)
		},
	}), func() { late(); end(nil) }
}

// explain adds to a failure before there is a connection which step has failed, unless
// err says so itself, or has not ended in the attempt's time.
func (d *dial) explain(err error, took time.Duration) error {
	step, _ := d.step.Load().(string)
	op, socket := errors.AsType[*net.OpError](err)
	_, refused := errors.AsType[*connectError](err)
	switch {
	case step == "" || d.connected.Load() || refused || isBadCertificate(err) || errors.Is(err, ErrTooOld):
		return err
	case took >= attemptTimeout:
		return fmt.Errorf("no connection within %v, %s did not end: %w", attemptTimeout, step, err)
	case socket && op.Op != "read" && op.Op != "write", errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return fmt.Errorf("no connection, %s failed: %w", step, err)
}

// A connectError is a proxy's refusal to connect (RFC 9110 §9.3.6). The endpoint has
// never heard of the request.
type connectError struct {
	proxy  string // host and port
	status int
}

func (e *connectError) Error() string {
	return fmt.Sprintf("proxy %s answers CONNECT with HTTP %d", e.proxy, e.status)
}

func checkConnect(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &connectError{proxy.Host, resp.StatusCode}
}

// reaction to a refused CONNECT: a proxy's own trouble passes, its rules stay.
func (e *connectError) reaction() Reaction {
	if e.status >= 500 {
		return Transient
	}
	return Permanent
}

func (e *connectError) hint() string {
	switch e.status {
	case http.StatusProxyAuthRequired:
		return "check user and password in HTTPS_PROXY"
	case http.StatusForbidden:
		return "the proxy does not let this endpoint through: have it allowed there, or name its host in NO_PROXY"
	}
	return "check the proxy and HTTPS_PROXY, or name the endpoint's host in NO_PROXY"
}

// certificateHint says what has to be done about a certificate that was refused: only
// an unknown authority is cured by OS_CACERT.
func certificateHint(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "if a private CA signs this endpoint, or a proxy on the way, name its PEM file in OS_CACERT"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired && e.Cert != nil {
		if time.Now().Before(e.Cert.NotBefore) {
			return "the endpoint's certificate is not valid yet: is this node's clock right?"
		}
		return "the endpoint's certificate has expired: it has to be renewed, or this node's clock is wrong"
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok && e.Certificate != nil {
		if len(e.Certificate.DNSNames)+len(e.Certificate.IPAddresses) == 0 {
			return "the endpoint's certificate names no host (subject alternative names): its CA has to issue a new one"
		}
		return "the certificate is another host's: check the endpoint's URL, and whether a proxy answers for it"
	}
	return "the endpoint's certificate cannot be used: it has to be replaced"
}
