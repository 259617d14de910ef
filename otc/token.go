package otc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	renewBefore = 5 * time.Minute  // a token is replaced this long before its end
	loginPause  = 15 * time.Minute // after a refused login; IAM's default lock time
)

// A session is a token and what came with it.
type session struct {
	token   Secret
	project string
	expires time.Time
	renewAt time.Time
	base    map[string]string // service → base URL ending in the project id
	fault   error             // why the token is of no use: its catalog lacks an endpoint
	began   time.Time
	cause   string      // the operation that was refused with the token before; "": none
	cured   atomic.Bool // that operation takes this token
}

// A LoginRefusedError says that IAM refused the credentials. Nothing is sent to
// IAM with the same credentials before Until.
type LoginRefusedError struct {
	Err   *Error
	Until time.Time
}

// Error is the refusal's text, without the time.
func (e *LoginRefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the refusal.
func (e *LoginRefusedError) Unwrap() error { return e.Err }

// refusal remembers with what a login was refused.
type refusal struct {
	user     string
	password Secret
	err      *LoginRefusedError
}

// lock enters the section that at most one goroutine is in: login is precious.
func (c *Client) lock(ctx context.Context) error {
	select {
	case c.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) unlock() { <-c.gate }

// session returns the current token or logs in for one. stale is a session that
// an operation was refused with, or nil. The boolean is false if a new login is
// not due: the refused token is itself the answer to a 401, and did not help.
func (c *Client) session(ctx context.Context, stale *session, operation string) (*session, bool, error) {
	if err := c.lock(ctx); err != nil {
		return nil, false, err
	}
	defer c.unlock()
	cur := c.current
	if cur != nil && cur != stale && time.Now().Before(cur.renewAt) {
		return cur, true, cur.fault
	}
	if stale != nil && cur == stale {
		if stale.cause != "" && !stale.cured.Load() && time.Since(stale.began) < loginPause {
			return nil, false, nil
		}
		c.retried("relogin")
	}
	next, err := c.login(ctx)
	if err != nil {
		if stale == nil && cur != nil && time.Now().Before(cur.expires) {
			return cur, true, cur.fault // IAM is away; the old token has some minutes left
		}
		return nil, true, err
	}
	if stale != nil {
		next.cause = operation
	}
	c.current = next
	c.tokenExpiry(next.expires)
	return next, true, next.fault
}

// CredentialsChanged reports whether the credentials differ from those that the
// last login was refused with. It sends nothing.
func (c *Client) CredentialsChanged() bool {
	c.gate <- struct{}{}
	defer c.unlock()
	if c.refused == nil {
		return false
	}
	user, password, err := c.cfg.Credentials()
	return err == nil && (user != c.refused.user || !password.Equal(c.refused.password))
}

// login asks IAM for a token, unless it refused these credentials of late.
func (c *Client) login(ctx context.Context) (*session, error) {
	user, password, err := c.cfg.Credentials()
	if err != nil {
		return nil, &Error{Service: "iam", Operation: opLogin, Err: err, Reaction: Permanent, Cure: "is Secret otc-credentials there, and mounted?"}
	}
	if r := c.refused; r != nil {
		if r.user == user && r.password.Equal(password) && time.Now().Before(r.err.Until) {
			return nil, r.err
		}
		c.refused = nil
	}
	s, err := c.postToken(ctx, user, password)
	if e, ok := errors.AsType[*Error](err); ok && e.Reaction == LoginRefused {
		pause := loginPause + rand.N(loginPause/5)
		c.refused = &refusal{user, password, &LoginRefusedError{Err: e, Until: time.Now().Add(pause)}}
		return nil, c.refused.err
	}
	return s, err
}

// postToken is POST /v3/auth/tokens: 201, the token in X-Subject-Token, its
// project, end and catalog in the body.
func (c *Client) postToken(ctx context.Context, user string, password Secret) (*session, error) {
	call := &call{
		service: "iam", operation: opLogin, method: http.MethodPost,
		url: c.cfg.AuthURL + "/auth/tokens", body: loginBody(c.cfg, user, password),
		secrets: []Secret{password},
	}
	if err := c.send(ctx, call); err != nil {
		return nil, err
	}
	var answer struct {
		Token struct {
			ExpiresAt string         `json:"expires_at"`
			IssuedAt  string         `json:"issued_at"`
			Catalog   []catalogEntry `json:"catalog"`
			Project   struct {
				ID string `json:"id"`
			} `json:"project"`
		} `json:"token"`
	}
	token := call.header.Get("X-Subject-Token")
	if err := json.Unmarshal(call.answer, &answer); err != nil || token == "" {
		return nil, call.malformed(errors.New("the answer to the login holds no token"))
	}
	project := cmp.Or(answer.Token.Project.ID, c.cfg.ProjectID)
	if project == "" {
		return nil, &Error{Service: call.service, Operation: call.operation, Err: errors.New("the token belongs to no project"),
			Reaction: Permanent, Cure: "check OS_PROJECT_NAME"}
	}
	s := &session{token: NewSecret(token), project: project, base: map[string]string{}, began: time.Now()}
	s.expires, s.renewAt = lifetime(s.began, answer.Token.IssuedAt, answer.Token.ExpiresAt)
	if s.fault = s.locate(c.cfg, answer.Token.Catalog); s.fault != nil {
		s.renewAt = s.began.Add(min(loginPause, s.renewAt.Sub(s.began))) // another token may bring another catalog
	}
	return s, nil
}

// locate fills in the base URLs.
func (s *session) locate(cfg Config, catalog []catalogEntry) error {
	overrides := map[string]string{"vpc": cfg.VPCEndpoint, "ecs": cfg.ECSEndpoint}
	for _, service := range []string{"vpc", "ecs"} { // always the same one is told first
		base, err := endpoint(catalog, service, overrides[service], cfg.Region, s.project)
		if err != nil {
			return &Error{Service: service, Operation: "endpoint", Err: err, Reaction: Permanent}
		}
		s.base[service] = base
	}
	return nil
}

// lifetime returns when a token ends and when to replace it, by this machine's
// clock. A token without a readable end lasts the documented 24 hours, and none
// lasts longer; one that lives shorter than twice the margin is replaced at half
// its life.
func lifetime(now time.Time, issuedAt, expiresAt string) (expires, renewAt time.Time) {
	expires, err := time.Parse(time.RFC3339, expiresAt)
	issued, errIssued := time.Parse(time.RFC3339, issuedAt)
	if errIssued == nil && now.Sub(issued).Abs() > time.Minute {
		expires = now.Add(expires.Sub(issued)) // the clocks disagree
	}
	if day := now.Add(24 * time.Hour); err != nil || !expires.After(now) || expires.After(day) {
		expires = day
	}
	renewAt = expires.Add(-renewBefore)
	if half := now.Add(expires.Sub(now) / 2); renewAt.Before(half) {
		renewAt = half
	}
	return expires, renewAt
}

// loginBody is the password method with a project scope (IAM API, obtaining a
// user token through password authentication). The domain beside the project's
// name is what the provider's own SDK sends.
func loginBody(cfg Config, user string, password Secret) []byte {
	type domain struct {
		Name string `json:"name"`
	}
	type project struct {
		ID     string  `json:"id,omitempty"`
		Name   string  `json:"name,omitempty"`
		Domain *domain `json:"domain,omitempty"`
	}
	var body struct {
		Auth struct {
			Identity struct {
				Methods  []string `json:"methods"`
				Password struct {
					User struct {
						Name     string `json:"name"`
						Password string `json:"password"`
						Domain   domain `json:"domain"`
					} `json:"user"`
				} `json:"password"`
			} `json:"identity"`
			Scope struct {
				Project project `json:"project"`
			} `json:"scope"`
		} `json:"auth"`
	}
	body.Auth.Identity.Methods = []string{"password"}
	u := &body.Auth.Identity.Password.User
	u.Name, u.Password, u.Domain.Name = user, password.Reveal(), cfg.DomainName
	if cfg.ProjectID != "" {
		body.Auth.Scope.Project = project{ID: cfg.ProjectID}
	} else {
		body.Auth.Scope.Project = project{Name: cfg.ProjectName, Domain: &domain{cfg.DomainName}}
	}
	b, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("otc: a struct of strings does not encode: %v", err))
	}
	return b
}
