package otc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

const (
	renewBefore     = 5 * time.Minute  // a token is replaced this long before its end at the latest
	loginPause      = 15 * time.Minute // after a refused login: IAM's default lock time
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

// A refusal is a pair of user and password that IAM has refused.
type refusal struct {
	user     string
	password Secret
	err      *LoginRefusedError
}

// An authenticator logs in as rarely as possible: five failures within 15 minutes
// lock the user (IAM, login authentication policy), whichever process they come from.
type authenticator struct {
	cfg    *Config
	sender *sender

	lock       chan struct{} // holds one value while a goroutine uses the fields below
	current    *session
	replaced   []time.Time // when a login replaced a rejected token, within loginPause
	refused    []refusal   // of the last 15 to 18 minutes
	failed     bool        // the last login was refused
	unanswered *Error      // the last login, if it got no answer
	retryAt    time.Time   // no login before then, after such a one
}

func newAuthenticator(cfg *Config, s *sender) *authenticator {
	return &authenticator{cfg: cfg, sender: s, lock: make(chan struct{}, 1)}
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
			a.sender.log.Warn("the token was not renewed; the present one serves until its end",
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
	a.sender.observer.TokenExpiry(next.expires)
	return next, next.catalogErr
}

// changed reports whether the last login was refused and the credentials are others
// by now. It sends nothing.
func (a *authenticator) changed() bool {
	a.lock <- struct{}{}
	defer func() { <-a.lock }()
	if !a.failed {
		return false
	}
	user, password, err := a.credentials()
	return err == nil && a.refusal(user, password) == nil
}

// credentials returns what a login may be tried with.
func (a *authenticator) credentials() (string, Secret, error) {
	user, password, err := a.cfg.Credentials()
	if err == nil && (user == "" || password.Reveal() == "") {
		err = errors.New("the user name or the password is empty")
	}
	if err != nil {
		return "", Secret{}, &Error{Service: "iam", Operation: opLogin, Err: err, Reaction: Permanent, Cure: cureSecret}
	}
	return user, password, nil
}

// refusal returns how a pair was refused, as long as that counts, or nil.
func (a *authenticator) refusal(user string, password Secret) *LoginRefusedError {
	a.refused = slices.DeleteFunc(a.refused, func(r refusal) bool { return !time.Now().Before(r.err.Until) })
	for _, r := range a.refused {
		if r.user == user && r.password.Equal(password) {
			return r.err
		}
	}
	return nil
}

// login asks IAM for a token, unless it has just refused these credentials or left
// the last login without an answer. replaces says that a token was rejected.
func (a *authenticator) login(ctx context.Context, replaces bool) (*session, error) {
	user, password, err := a.credentials()
	if err != nil {
		return nil, err
	}
	if r := a.refusal(user, password); r != nil {
		return nil, r
	}
	if wait := time.Until(a.retryAt); wait > 0 {
		again := *a.unanswered
		again.RetryAfter = wait
		return nil, &again
	}
	if replaces {
		a.sender.observer.Retry("relogin")
	}
	s, err := a.postToken(ctx, user, password)
	return s, a.remember(user, password, err)
}

// remember keeps how a login ended.
func (a *authenticator) remember(user string, password Secret, err error) error {
	a.failed, a.unanswered, a.retryAt = false, nil, time.Time{}
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return err
	case e.Reaction == LoginRefused:
		a.failed = true
		r := &LoginRefusedError{Err: e, Until: time.Now().Add(loginPause + rand.N(loginPause/5))}
		a.refused = append(a.refused, refusal{user, password, r})
		return r
	case e.Status == 0 && e.Reaction == Transient && !e.NotSent: // it may have counted as a failure
		e.RetryAfter = unansweredPause + rand.N(unansweredPause/3)
		a.unanswered, a.retryAt = e, time.Now().Add(e.RetryAfter)
	}
	return err
}

// postToken is POST /v3/auth/tokens: 201, the token in X-Subject-Token, its
// project, end and catalog in the body.
func (a *authenticator) postToken(ctx context.Context, user string, password Secret) (*session, error) {
	k := &call{
		service: "iam", operation: opLogin, method: http.MethodPost,
		url: a.cfg.AuthURL + "/auth/tokens", body: loginBody(a.cfg, user, password),
		secrets: []Secret{password},
	}
	if err := a.sender.send(ctx, k); err != nil {
		return nil, err
	}
	var wire struct {
		Token struct {
			ExpiresAt string         `json:"expires_at"`
			IssuedAt  string         `json:"issued_at"`
			Catalog   []catalogEntry `json:"catalog"`
			Project   struct {
				ID string `json:"id"`
			} `json:"project"`
		} `json:"token"`
	}
	token := k.last.header.Get("X-Subject-Token")
	if err := k.decode(&wire); err != nil || token == "" {
		return nil, k.malformed(errors.New("the answer to the login holds no token"))
	}
	project := cmp.Or(wire.Token.Project.ID, a.cfg.ProjectID)
	if project == "" {
		return nil, &Error{Service: k.service, Operation: k.operation, Err: errors.New("the token belongs to no project"),
			Reaction: Permanent, Cure: "check OS_PROJECT_NAME"}
	}
	s := &session{token: NewSecret(token), project: project, base: map[string]string{}}
	s.expires, s.renewAt = lifetime(time.Now(), wire.Token.IssuedAt, wire.Token.ExpiresAt)
	if s.catalogErr = s.locate(a.cfg, wire.Token.Catalog); s.catalogErr != nil { // another token may bring another catalog
		s.renewAt = time.Now().Add(min(loginPause, time.Until(s.renewAt)))
	}
	return s, nil
}

// locate fills in the base URLs.
func (s *session) locate(cfg *Config, catalog []catalogEntry) error {
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
// clock: at a random moment of its second half, so that a fleet that has started
// together does not log in together, and 5 minutes before its end at the latest. A
// token without a readable end lasts the documented 24 hours, and none lasts longer.
func lifetime(now time.Time, issuedAt, expiresAt string) (expires, renewAt time.Time) {
	expires, err := time.Parse(time.RFC3339, expiresAt)
	issued, errIssued := time.Parse(time.RFC3339, issuedAt)
	if errIssued == nil && now.Sub(issued).Abs() > time.Minute {
		expires = now.Add(expires.Sub(issued)) // the clocks disagree
	}
	if day := now.Add(24 * time.Hour); err != nil || !expires.After(now) || expires.After(day) {
		expires = day
	}
	half := expires.Sub(now) / 2
	return expires, now.Add(half + rand.N(max(half-renewBefore, 1)))
}

// loginBody is the password method with a project scope (IAM API, obtaining a
// user token through password authentication). The domain beside the project's
// name is what the provider's own SDK sends.
func loginBody(cfg *Config, user string, password Secret) []byte {
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
