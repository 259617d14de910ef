package otc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// Credentials are what one login sends: user, password and account, or the ID token of
// an identity provider; and the project that the token is to be for.
type Credentials struct {
	User             string
	Account          string // of the user, "OTC000…"
	IdentityProvider string // its name in IAM; "": login by password
	Secret           Secret // the password, or the ID token
	ProjectName      string // for example "eu-de_cluster"
	ProjectID        string // 32 hex digits; goes before ProjectName
}

// equal reports whether both are the same.
func (c Credentials) equal(o Credentials) bool {
	same := c.Secret.Equal(o.Secret)
	c.Secret, o.Secret = Secret{}, Secret{}
	return same && c == o
}

// operation is what errors and metrics call the login.
func (c Credentials) operation() string {
	if c.IdentityProvider != "" {
		return opIDTokenLogin
	}
	return opLogin
}

// check returns why no login can succeed.
func (c Credentials) check() error {
	switch {
	case c.IdentityProvider != "":
		return c.checkIDToken()
	case c.User == "" || c.Secret.Reveal() == "":
		return errors.New("the user name or the password is empty")
	}
	return nil
}

// object is a JSON object.
type object = map[string]any

// call returns the login. By password: IAM API, obtaining a user token through password
// authentication. By ID token: IAM API, obtaining a token with an OpenID Connect ID token.
func (c Credentials) call(authURL string) *call {
	k := &call{service: "iam", operation: c.operation(), method: http.MethodPost}
	account, project := object{"name": c.Account}, object{"id": c.ProjectID} // the id alone
	if c.ProjectID == "" {
		project = object{"name": c.ProjectName}
	}
	auth := object{"scope": object{"project": project}}
	if c.IdentityProvider != "" {
		k.url = strings.TrimSuffix(authURL, "/v3") + "/v3.0/OS-AUTH/id-token/tokens"
		k.header = http.Header{"X-Idp-Id": {c.IdentityProvider}}
		auth["id_token"] = object{"id": c.Secret.Reveal()}
	} else {
		k.url = authURL + "/auth/tokens"
		user := object{"name": c.User, "password": c.Secret.Reveal(), "domain": account}
		auth["identity"] = object{"methods": []string{"password"}, "password": object{"user": user}}
		if c.ProjectID == "" {
			project["domain"] = account // beside the name, as the provider's own SDK sends it
		}
	}
	k.body, _ = json.Marshal(object{"auth": auth}) // strings always encode
	return k
}

// postToken logs in: 201, the token in X-Subject-Token, its project, end and catalog
// in the body.
func (a *authenticator) postToken(ctx context.Context, c Credentials) (*session, error) {
	k := c.call(a.cfg.AuthURL)
	if err := a.transport.send(ctx, k); err != nil {
		return nil, c.explain(err)
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
	project := cmp.Or(wire.Token.Project.ID, c.ProjectID)
	if !isProject(project) { // it becomes a part of each URL
		return nil, &Error{Service: k.service, Operation: k.operation, Err: errors.New("the token belongs to no project"),
			Reaction: Permanent, Hint: "check OS_PROJECT_NAME or OS_PROJECT_ID"}
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
	for _, service := range []string{"vpc", "ecs"} { // always reported in this order
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
// together does not log in together, and 5 minutes before its end at the latest; but
// a minute after the login at the earliest, or a short life would mean a login per call. A
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
	half := max(expires.Sub(now)/2, minRenewal)
	return expires, now.Add(half + rand.N(max(half-renewBefore, 1)))
}

// isProject reports whether an id can be a project's: 32 hex digits (IAM API), or a UUID.
func isProject(id string) bool {
	return id != "" && len(id) <= maxWord && strings.Trim(id, "0123456789abcdefABCDEF-") == ""
}
