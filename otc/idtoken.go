package otc

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	clockSkew = 2 * time.Minute // an ID token that ended less than this ago by our clock is sent
	maxClaim  = 100             // bytes of a claim in an error
)

// claims are what an ID token says of itself (RFC 7519, section 4.1). Nothing here
// verifies them: IAM does.
type claims struct {
	Issuer   string  `json:"iss"`
	Subject  string  `json:"sub"`
	Audience any     `json:"aud"` // a text or several
	Expires  float64 `json:"exp"` // seconds since 1970; 0: not said
}

// claims reads those of the ID token.
func (c Credentials) claims() (claims, error) {
	var v claims
	parts := strings.Split(c.Secret.Reveal(), ".")
	if len(parts) != 3 {
		return v, errors.New("it has no three parts")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &v) != nil {
		return v, errors.New("its second part is not a JSON object in base64url")
	}
	return v, nil
}

// checkIDToken returns why IAM cannot take the ID token.
func (c Credentials) checkIDToken() error {
	if c.Secret.Reveal() == "" {
		return errors.New("the file with the ID token is empty")
	}
	v, err := c.claims()
	if err != nil {
		return fmt.Errorf("the ID token is no JSON Web Token: %w", err)
	}
	end := time.Unix(int64(v.Expires), 0)
	if v.Expires != 0 && time.Since(end) > clockSkew {
		return fmt.Errorf("the ID token ended at %s and was not replaced, or the clock is wrong", end.UTC().Format(time.RFC3339))
	}
	return nil
}

// explain adds to a refusal of an ID token what it says of itself, which has to be what
// is entered in IAM. The signature is left out.
func (c Credentials) explain(err error) error {
	e, ok := errors.AsType[*Error](err)
	if ok && c.IdentityProvider != "" && e.Reaction == LoginRefused {
		v, _ := c.claims() // it was checked before it was sent
		e.Cure += fmt.Sprintf("; sent to provider %s: issuer %s, audience %s, subject %s",
			short(c.IdentityProvider), short(v.Issuer), short(v.Audience), short(v.Subject))
	}
	return err
}

// short returns a claim as far as an Event has room for it.
func short(claim any) string {
	s := clip(fmt.Sprint(claim))
	if len(s) > maxClaim {
		s = strings.ToValidUTF8(s[:maxClaim-3], "") + "..."
	}
	return s
}

// idTokenBody holds the project's id or its name, not both.
func (c Credentials) idTokenBody() []byte {
	type project struct {
		ID   string `json:"id,omitempty"`
		Name string `json:"name,omitempty"`
	}
	var body struct {
		Auth struct {
			IDToken struct {
				ID string `json:"id"`
			} `json:"id_token"`
			Scope struct {
				Project project `json:"project"`
			} `json:"scope"`
		} `json:"auth"`
	}
	body.Auth.IDToken.ID = c.Secret.Reveal()
	body.Auth.Scope.Project = project{ID: c.ProjectID}
	if c.ProjectID == "" {
		body.Auth.Scope.Project.Name = c.ProjectName
	}
	return mustEncode(body)
}
