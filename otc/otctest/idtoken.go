package otctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// An IdentityProvider is an OpenID Connect provider as it is entered in IAM. A login with
// an ID token is answered 404 IAM.0004 if the provider or the project is unknown, 401
// IAM.0001 if the token does not fit, 403 IAM.0003 without a role in the project.
type IdentityProvider struct {
	Issuer   string // its URL
	ClientID string // an ID token's audience
	Keys     string // a JSON Web Key Set (RFC 7517)
	Subject  string // the one that the mapping rule takes
	NoRole   bool   // the user group has no role in any project
}

// SetIdentityProvider adds a provider of the account, or changes the one of that name.
func (s *Server) SetIdentityProvider(name string, p IdentityProvider) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.providers[name] = p
}

// loginIDToken is POST /v3.0/OS-AUTH/id-token/tokens.
func (s *Server) loginIDToken(c *call) answer {
	var body struct {
		Auth struct {
			IDToken struct {
				ID string `json:"id"`
			} `json:"id_token"`
			Scope scope `json:"scope"`
		} `json:"auth"`
	}
	name := c.Header.Get("X-Idp-Id")
	if !strings.HasPrefix(c.Header.Get("Content-Type"), "application/json") || name == "" ||
		json.Unmarshal(c.Body, &body) != nil || body.Auth.IDToken.ID == "" {
		return c.fail(0, http.StatusBadRequest, "IAM.0011", "The request is no login with an ID token.")
	}
	provider, ok := s.providers[name]
	if !ok {
		return c.fail(0, http.StatusNotFound, "IAM.0004", "The identity provider does not exist.")
	}
	subject, err := provider.verify(body.Auth.IDToken.ID, time.Now())
	if err != nil {
		return c.fail(0, http.StatusUnauthorized, "IAM.0001", "The request is not authenticated.")
	}
	p, ok := s.project(body.Auth.Scope)
	switch {
	case !ok:
		return c.fail(0, http.StatusNotFound, "IAM.0004", unknownScope)
	case provider.NoRole:
		return c.fail(0, http.StatusForbidden, "IAM.0003", "Policy doesn't allow it.")
	}
	return s.issue(c, subject, "mapped", p)
}

// verify returns the subject of an ID token that the provider takes (OpenID Connect Core,
// section 3.1.3.7).
func (p IdentityProvider) verify(jwt string, now time.Time) (subject string, err error) {
	var header struct{ Alg, Kid string }
	var claims struct {
		Iss, Sub string
		Aud      any
		Exp, Nbf int64
	}
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 || decodePart(parts[0], &header) != nil || decodePart(parts[1], &claims) != nil {
		return "", fmt.Errorf("no JSON Web Token")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !p.signed(header.Alg, header.Kid, parts[0]+"."+parts[1], signature) {
		return "", fmt.Errorf("signed by no key of the provider")
	}
	audiences, several := claims.Aud.([]any)
	if !several {
		audiences = []any{claims.Aud}
	}
	switch {
	case claims.Iss != p.Issuer:
		return "", fmt.Errorf("issuer %q", claims.Iss)
	case !slices.Contains(audiences, any(p.ClientID)):
		return "", fmt.Errorf("audience %v", audiences)
	case claims.Exp <= now.Unix() || claims.Nbf > now.Unix():
		return "", fmt.Errorf("valid from %d to %d", claims.Nbf, claims.Exp)
	case claims.Sub != p.Subject:
		return "", fmt.Errorf("subject %q", claims.Sub)
	}
	return claims.Sub, nil
}

func decodePart(part string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// A jsonWebKey is a public key (RFC 7518, section 6).
type jsonWebKey struct {
	Kty string `json:"kty"`
	Kid string `json:"kid,omitempty"`
	Alg string `json:"alg,omitempty"`
	Use string `json:"use,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	Crv string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
}

// signed reports whether a key of the provider has signed text. The key decides which
// algorithm that is, and the token must name the same.
func (p IdentityProvider) signed(alg, kid, text string, signature []byte) bool {
	var set struct{ Keys []jsonWebKey }
	if json.Unmarshal([]byte(p.Keys), &set) != nil {
		return false
	}
	sum := sha256.Sum256([]byte(text))
	return slices.ContainsFunc(set.Keys, func(k jsonWebKey) bool {
		if k.Kid != kid {
			return false
		}
		switch {
		case k.Kty == "RSA" && alg == "RS256":
			key := &rsa.PublicKey{N: number(k.N), E: int(number(k.E).Int64())}
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
		case k.Kty == "EC" && k.Crv == "P-256" && alg == "ES256" && len(signature) == 64:
			r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
			point := append(append([]byte{4}, number(k.X).FillBytes(make([]byte, 32))...), number(k.Y).FillBytes(make([]byte, 32))...)
			key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
			return err == nil && ecdsa.Verify(key, sum[:], r, s)
		}
		return false
	})
}

// number decodes an unsigned one; 0 if it is none.
func number(s string) *big.Int {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return new(big.Int)
	}
	return new(big.Int).SetBytes(b)
}
