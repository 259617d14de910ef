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
func (c Credentials) claims() (v claims, err error) {
	token := c.Secret.Reveal()
	_, rest, _ := strings.Cut(token, ".") // header.payload.signature
	part, _, _ := strings.Cut(rest, ".")
	payload, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || json.Unmarshal(payload, &v) != nil {
		return v, fmt.Errorf("the file holds no JSON Web Token (%d bytes)", len(token))
	}
	return v, nil
}

// checkIDToken returns why IAM cannot take the ID token.
func (c Credentials) checkIDToken() error {
	v, err := c.claims()
	if err != nil {
		return err
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
		e.Hint += fmt.Sprintf("; sent to provider %s: issuer %s, audience %s, subject %s",
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
