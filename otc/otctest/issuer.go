package otctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// A TokenIssuer signs ID tokens, as a Kubernetes API server does for ServiceAccounts.
type TokenIssuer struct {
	URL string // the issuer in its tokens

	key    crypto.Signer
	public jsonWebKey
}

// NewTokenIssuer returns an issuer with a key of its own for "RS256" or "ES256".
func NewTokenIssuer(url, algorithm string) *TokenIssuer {
	i := &TokenIssuer{URL: url}
	switch algorithm {
	case "RS256":
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		must(err)
		i.key, i.public = key, jsonWebKey{Kty: "RSA", N: encodePart(key.N.Bytes()), E: encodePart([]byte{1, 0, 1})}
	case "ES256":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		point, err := key.PublicKey.Bytes() // 4, x, y
		must(err)
		i.key, i.public = key, jsonWebKey{Kty: "EC", Crv: "P-256", X: encodePart(point[1:33]), Y: encodePart(point[33:])}
	default:
		panic("otctest: no such algorithm: " + algorithm)
	}
	i.public.Alg, i.public.Use = algorithm, "sig"
	i.public.Kid = compactID(i.public.N + i.public.X)
	return i
}

// KeySet returns the public key as a JSON Web Key Set.
func (i *TokenIssuer) KeySet() string {
	return string(encode(map[string]any{"keys": []jsonWebKey{i.public}}))
}

// Token returns an ID token that ends after life.
func (i *TokenIssuer) Token(subject, audience string, life time.Duration) string {
	now := time.Now()
	return i.Sign(map[string]any{"iss": i.URL, "sub": subject, "aud": []string{audience},
		"iat": now.Unix(), "nbf": now.Add(min(life, 0)).Unix(), "exp": now.Add(life).Unix()})
}

// Sign returns an ID token with these claims.
func (i *TokenIssuer) Sign(claims map[string]any) string {
	text := encodePart(encode(map[string]any{"alg": i.public.Alg, "kid": i.public.Kid})) + "." + encodePart(encode(claims))
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	switch key := i.key.(type) {
	case *rsa.PrivateKey:
		s, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		must(err)
		signature = s
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		must(err)
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	return text + "." + encodePart(signature)
}

func encodePart(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encode(v any) []byte {
	b, err := json.Marshal(v)
	must(err)
	return b
}

// must panics: what failed cannot fail.
func must(err error) {
	if err != nil {
		panic(fmt.Sprint("otctest: ", err))
	}
}
