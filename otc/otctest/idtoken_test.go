package otctest

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A login with an ID token is verified as OpenID Connect asks, and refused with the
// documented codes.
func TestLoginIDToken(t *testing.T) {
	const issuer, client, subject = "https://kubernetes.default.svc", "otc-route-manager", "system:serviceaccount:otc-route-manager:otc-route-manager"
	for _, algorithm := range []string{"RS256", "ES256"} {
		ours, other := NewTokenIssuer(issuer, algorithm), NewTokenIssuer(issuer, algorithm)
		good := ours.Token(subject, client, time.Hour)
		head, rest, _ := strings.Cut(good, ".")
		payload, signature, _ := strings.Cut(rest, ".")
		sign := func(changes map[string]any) string {
			claims := map[string]any{"iss": issuer, "sub": subject, "aud": client, "exp": time.Now().Add(time.Hour).Unix()}
			for name, v := range changes {
				claims[name] = v
			}
			return ours.Sign(claims)
		}
		forged := strings.Split(sign(map[string]any{"sub": "x"}), ".")
		unsigned := encodePart([]byte(`{"alg":"none","kid":"`+ours.public.Kid+`"}`)) + "." + payload + "."
		elsewhere, misnamed := *ours, *ours
		elsewhere.URL += "/"
		misnamed.public.Alg = "HS256"
		const scope = `{"project":{"name":"` + Project + `"}}`
		for _, tt := range []struct {
			name, token, scope, provider string
			change                       func(*IdentityProvider)
			status                       int
			want                         string
		}{
			{"good", good, scope, "cluster", nil, 201, `"methods":["mapped"]`},
			{"project by id", good, `{"project":{"id":"` + ProjectID + `"}}`, "cluster", nil, 201, ProjectID},
			{"audience as text", sign(nil), scope, "cluster", nil, 201, ProjectID},
			{"audience of several", sign(map[string]any{"aud": []string{"x", client}}), scope, "cluster", nil, 201, ProjectID},
			{"two keys", good, scope, "cluster", func(p *IdentityProvider) {
				p.Keys = strings.Replace(other.KeySet(), `"keys":[`, `"keys":[`+strings.Trim(strings.TrimPrefix(ours.KeySet(), `{"keys":`), "[]}")+"},", 1)
			}, 201, ProjectID},
			{"no scope", good, `{}`, "cluster", nil, 201, `"domain"`},
			{"unknown project", good, `{"project":{"name":"x"}}`, "cluster", nil, 404, "IAM.0004"},
			{"unknown provider", good, scope, "elsewhere", nil, 404, "IAM.0004"},
			{"no provider", good, scope, "", nil, 400, "IAM.0011"},
			{"no token", "", scope, "cluster", nil, 400, "IAM.0011"},
			{"no role", good, scope, "cluster", func(p *IdentityProvider) { p.NoRole = true }, 403, "IAM.0003"},
			{"keys before a rotation", good, scope, "cluster", func(p *IdentityProvider) { p.Keys = other.KeySet() }, 401, "IAM.0001"},
			{"no keys", good, scope, "cluster", func(p *IdentityProvider) { p.Keys = "" }, 401, "IAM.0001"},
			{"another issuer's URL", elsewhere.Token(subject, client, time.Hour), scope, "cluster", nil, 401, "IAM.0001"},
			{"another audience", ours.Token(subject, "x", time.Hour), scope, "cluster", nil, 401, "IAM.0001"},
			{"no audience", sign(map[string]any{"aud": nil}), scope, "cluster", nil, 401, "IAM.0001"},
			{"another account", ours.Token(subject+"x", client, time.Hour), scope, "cluster", nil, 401, "IAM.0001"},
			{"ended", ours.Token(subject, client, -time.Second), scope, "cluster", nil, 401, "IAM.0001"},
			{"no end", sign(map[string]any{"exp": 0}), scope, "cluster", nil, 401, "IAM.0001"},
			{"not yet valid", sign(map[string]any{"nbf": time.Now().Add(time.Minute).Unix()}), scope, "cluster", nil, 401, "IAM.0001"},
			{"another algorithm", misnamed.Token(subject, client, time.Hour), scope, "cluster", nil, 401, "IAM.0001"},
			{"not signed", unsigned, scope, "cluster", nil, 401, "IAM.0001"},
			{"the signature of another token", head + "." + payload + "." + signature[:len(signature)-8] + "AAAAAAAA", scope, "cluster", nil, 401, "IAM.0001"},
			{"signed for other claims", forged[0] + "." + payload + "." + forged[2], scope, "cluster", nil, 401, "IAM.0001"},
			{"garbled", "a.b.c", scope, "cluster", nil, 401, "IAM.0001"},
		} {
			b := &bed{Server: New(), t: t, ctx: t.Context()}
			p := IdentityProvider{Issuer: issuer, ClientID: client, Keys: ours.KeySet(), Subject: subject}
			if tt.change != nil {
				tt.change(&p)
			}
			b.SetIdentityProvider("cluster", p)
			r, err := http.NewRequest(http.MethodPost, iam+"/v3.0/OS-AUTH/id-token/tokens",
				strings.NewReader(`{"auth":{"id_token":{"id":"`+tt.token+`"},"scope":`+tt.scope+`}}`))
			must(err)
			r.Header.Set("Content-Type", "application/json;charset=utf8")
			r.Header.Set("X-Idp-Id", tt.provider)
			resp, err := b.RoundTrip(r)
			must(err)
			text := make([]byte, 64<<10)
			n, _ := resp.Body.Read(text)
			if resp.StatusCode != tt.status || !strings.Contains(string(text[:n]), tt.want) || strings.Contains(string(text[:n]), "catalog") != (tt.status == 201) {
				t.Errorf("%s, %s: got %d %s; want %d, %q", algorithm, tt.name, resp.StatusCode, text[:n], tt.status, tt.want)
			}
		}
	}
}
