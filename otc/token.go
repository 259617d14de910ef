package otc

import (
	"cmp"
	"context"
	"crypto/hmac"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	renewBefore = 5 * time.Minute  // a token is replaced this long before its end at the latest
	renewPause  = 5 * time.Minute  // after a renewal that failed
	loginPause  = 15 * time.Minute // after a refused login; IAM's default lock time
	lostPause   = 15 * time.Second // after a login without an answer
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
	dead    string      // the operation that was refused with this token; "": none
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

// A pair is a keyed hash of a user name and a password.
type pair [sha256.Size]byte

// An authenticator logs in as rarely as possible: five failures within 15 minutes
// lock the user (IAM, login authentication policy), whichever process they come from.
type authenticator struct {
	cfg    *Config
	sender *sender
	key    []byte // of the hashes, random per process

	gate    chan struct{} // holds one value while somebody uses the fields below
	current *session
	refused map[pair]*LoginRefusedError // of the last 15 to 18 minutes
	failed  bool                        // the last login was refused
	lost    *Error                      // the last login, if it got no answer
	retryAt time.Time                   // not before then after such a one
}

func newAuthenticator(cfg *Config, s *sender) *authenticator {
	key := make([]byte, sha256.Size)
	_, _ = cryptorand.Read(key) // never fails
	return &authenticator{cfg: cfg, sender: s, key: key, gate: make(chan struct{}, 1), refused: map[pair]*LoginRefusedError{}}
}

// lock enters the section that at most one goroutine is in: login is precious.
func (a *authenticator) lock(ctx context.Context) error {
	select {
	case a.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *authenticator) unlock() { <-a.gate }

// session returns the current token or logs in for one. stale is a session that
// the operation was refused with, or nil. No session and no error mean that a new
// login is not due: the refused token is itself the answer to a 401, and did not
// help.
func (a *authenticator) session(ctx context.Context, stale *session, operation string) (*session, error) {
	if err := a.lock(ctx); err != nil {
		return nil, err
	}
	defer a.unlock()
	cur := a.current
	switch {
	case cur == nil:
		return a.renew(ctx, "")
	case cur == stale && cur.futile():
		return nil, nil
	case cur == stale:
		cur.dead = operation
	}
	if cur.dead != "" {
		return a.renew(ctx, cur.dead)
	}
	if time.Now().Before(cur.renewAt) {
		return cur, cur.fault
	}
	next, err := a.renew(ctx, "")
	if err != nil && next == nil && time.Now().Before(cur.expires) { // the old one has some time left
		cur.renewAt = time.Now().Add(renewPause + rand.N(renewPause))
		return cur, cur.fault
	}
	return next, err
}

// futile reports whether logging in again is no answer to a 401: the login before
// was one already, and did not help.
func (s *session) futile() bool {
	return s.cause != "" && !s.cured.Load() && time.Since(s.began) < loginPause
}

// renew logs in; cause is the operation that was refused with the token before.
func (a *authenticator) renew(ctx context.Context, cause string) (*session, error) {
	next, err := a.login(ctx, cause != "")
	if err != nil {
		return nil, err
	}
	next.cause = cause
	a.current = next
	a.sender.observer.TokenExpiry(next.expires)
	return next, next.fault
}

// changed reports whether the credentials are others than those that IAM has
// refused, after a refusal. It sends nothing.
func (a *authenticator) changed() bool {
	a.gate <- struct{}{}
	defer a.unlock()
	if !a.failed {
		return false
	}
	user, password, err := a.credentials()
	return err == nil && a.refusal(a.hash(user, password)) == nil
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

// hash makes a pair of credentials: what was refused is not kept as text.
func (a *authenticator) hash(user string, password Secret) pair {
	h := hmac.New(sha256.New, a.key)
	fmt.Fprintf(h, "%d %s%s", len(user), user, password.Reveal())
	return pair(h.Sum(nil))
}

// refusal returns how a pair was refused, as long as that counts, or nil.
func (a *authenticator) refusal(p pair) *LoginRefusedError {
	maps.DeleteFunc(a.refused, func(_ pair, r *LoginRefusedError) bool { return !time.Now().Before(r.Until) })
	return a.refused[p]
}

// login asks IAM for a token, unless it has refused these credentials of late or
// has left the last login without an answer just now. replaces tells that a token
// was refused.
func (a *authenticator) login(ctx context.Context, replaces bool) (*session, error) {
	user, password, err := a.credentials()
	if err != nil {
		return nil, err
	}
	p := a.hash(user, password)
	if r := a.refusal(p); r != nil {
		return nil, r
	}
	if wait := time.Until(a.retryAt); wait > 0 {
		again := *a.lost
		again.RetryAfter = wait
		return nil, &again
	}
	if replaces {
		a.sender.observer.Retry("relogin")
	}
	s, err := a.postToken(ctx, user, password)
	return s, a.note(p, err)
}

// note remembers how a login ended.
func (a *authenticator) note(p pair, err error) error {
	a.failed, a.lost, a.retryAt = false, nil, time.Time{}
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return err
	case e.Reaction == LoginRefused:
		a.failed = true
		a.refused[p] = &LoginRefusedError{Err: e, Until: time.Now().Add(loginPause + rand.N(loginPause/5))}
		return a.refused[p]
	case e.Status == 0 && e.Reaction == Transient && !neverSent(e.Err): // it may have counted as a failure
		e.RetryAfter = lostPause + rand.N(lostPause/3)
		a.lost, a.retryAt = e, time.Now().Add(e.RetryAfter)
	}
	return err
}

// neverSent reports whether there was not even a connection.
func neverSent(err error) bool {
	op, dial := errors.AsType[*net.OpError](err)
	_, dns := errors.AsType[*net.DNSError](err)
	return dns || dial && (op.Op == "dial" || op.Op == "proxyconnect")
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
	token := k.answer.header.Get("X-Subject-Token")
	if err := k.decode(&wire); err != nil || token == "" {
		return nil, k.malformed(errors.New("the answer to the login holds no token"))
	}
	project := cmp.Or(wire.Token.Project.ID, a.cfg.ProjectID)
	if project == "" {
		return nil, &Error{Service: k.service, Operation: k.operation, Err: errors.New("the token belongs to no project"),
			Reaction: Permanent, Cure: "check OS_PROJECT_NAME"}
	}
	s := &session{token: NewSecret(token), project: project, base: map[string]string{}, began: time.Now()}
	s.expires, s.renewAt = lifetime(s.began, wire.Token.IssuedAt, wire.Token.ExpiresAt)
	if s.fault = s.locate(a.cfg, wire.Token.Catalog); s.fault != nil {
		s.renewAt = s.began.Add(min(loginPause, s.renewAt.Sub(s.began))) // another token may bring another catalog
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
