// Package otc is a small REST client for Open Telekom Cloud: a project-scoped
// IAM token, VPC route tables and ECS servers. It knows nothing of Kubernetes and
// nothing of what the routes are for, except that it refuses to touch a
// destination outside [Config.Allowed].
package otc

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// The operations as error texts and metrics name them.
const (
	opLogin        = "login"
	opIDTokenLogin = "id_token_login"
	opTable        = "get_route_table"
	opUpdateTable  = "update_route_table"
	opServer       = "get_server"
	opServers      = "list_servers"
	opPorts        = "list_ports"
	opQuotas       = "list_quotas"
)

// Config is what a Client needs to know. The first four fields are required.
type Config struct {
	AuthURL     string                         // IAM v3 URL without a trailing slash: https://host/v3
	Credentials func() (Credentials, error)    // asked for at each login
	Region      string                         // chooses the catalog's endpoints
	Allowed     []netip.Prefix                 // destinations must lie strictly inside one of these (see UpdateRoutes)
	VPCEndpoint string                         // overrides the catalog
	ECSEndpoint string                         // overrides the catalog
	RootCAs     func() (*x509.CertPool, error) // read again when a certificate is not trusted; nil: the system's
	UserAgent   string                         // "": Go's
	Transport   http.RoundTripper              // nil: a pooled transport with the timeouts of this package
	Observer    Observer                       // nil: nothing is counted
	OneLogin    bool                           // a refused token is not replaced
}

// An Observer is called for every attempt on the wire. Its methods may be called
// from several goroutines.
type Observer interface {
	Request(service, operation, code string, took time.Duration) // code: HTTP status, or "error" if no whole answer came
	Retry(reason string)                                         // connection, throttled, server_error, transient, relogin
	TokenExpiry(t time.Time)
}

// A Client calls IAM, VPC and ECS with one user's token for one project. It is
// safe for concurrent use.
type Client struct {
	cfg       Config
	transport *transport
	auth      *authenticator
}

// New returns a Client; it sends nothing yet. A nil log discards.
func New(cfg Config, log *slog.Logger) *Client {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Transport == nil {
		cfg.Transport = newTrustTransport(cfg.RootCAs)
	}
	if cfg.Observer == nil {
		cfg.Observer = noObserver{}
	}
	c := &Client{cfg: cfg, transport: newTransport(&cfg, log)}
	c.auth = newAuthenticator(&c.cfg, c.transport)
	return c
}

// Login makes sure that there is a token and returns its project id, its end and
// the base URLs in use by service.
func (c *Client) Login(ctx context.Context) (project string, expires time.Time, base map[string]string, err error) {
	s, err := c.auth.session(ctx, nil)
	if err != nil {
		return "", time.Time{}, nil, err
	}
	return s.project, s.expires, s.base, nil
}

// CredentialsChanged is for a caller whose login was refused: it reports whether the
// credentials, as they are now, were not refused of late. It sends nothing.
func (c *Client) CredentialsChanged() bool { return c.auth.changed() }

// do sends a call with a token to path below the service's base URL and decodes
// the answer into result, if that is not nil. A refused token is replaced once.
func (c *Client) do(ctx context.Context, k *call, path string, result any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := c.auth.session(ctx, nil)
	if err != nil {
		return err
	}
	err = c.sendAs(ctx, s, k, path)
	if err != nil && ReactionTo(err) == Relogin && !c.cfg.OneLogin {
		fresh, loginErr := c.auth.session(ctx, s)
		switch {
		case loginErr != nil:
			return loginErr
		case fresh != nil:
			err = c.sendAs(ctx, fresh, k, path)
		}
	}
	if err != nil || result == nil {
		return err
	}
	return k.decode(result)
}

// sendAs sends the call with the session's token. The body is made now, not before a
// login that may take a while.
func (c *Client) sendAs(ctx context.Context, s *session, k *call, path string) (err error) {
	if k.encode != nil {
		if k.body, err = k.encode(); err != nil {
			return err
		}
	}
	k.url = s.base[k.service] + path
	if k.service == "vpc" && strings.HasPrefix(path, "/v2.0/") { // Neutron's paths name no project
		k.url = strings.TrimSuffix(s.base["vpc"], "/v1/"+s.project) + path
	}
	k.token = s.token
	return c.transport.send(ctx, k)
}
