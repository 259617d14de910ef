package otc

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

const (
	provider = "cluster"
	audience = "otc-route-manager"
	account  = "system:serviceaccount:otc-route-manager:otc-route-manager"
)

// withIDToken makes the world's client log in by ID token, and returns who signs them.
func (w *world) withIDToken() *otctest.TokenIssuer {
	issuer := otctest.NewTokenIssuer("https://kubernetes.default.svc", "ES256")
	w.enter(issuer)
	w.login = Credentials{IdentityProvider: provider, ProjectName: otctest.Project}
	w.user = ""
	w.rotate(issuer.Token(account, audience, 2*time.Hour))
	return issuer
}

// enter enters the issuer in IAM.
func (w *world) enter(i *otctest.TokenIssuer) {
	w.SetIdentityProvider(provider, otctest.IdentityProvider{Issuer: i.URL, ClientID: audience, Keys: i.KeySet(), Subject: account})
}

func TestIDTokenLogin(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*Credentials)
		project string
		catalog func(*otctest.Knobs)
	}{
		{"project by name", func(*Credentials) {}, `{"name":"eu-de_netops"}`, func(*otctest.Knobs) {}},
		{"project by id", func(c *Credentials) { c.ProjectID, c.ProjectName = otctest.ProjectID, "" }, `{"id":"` + otctest.ProjectID + `"}`, func(*otctest.Knobs) {}},
		{"id before name", func(c *Credentials) { c.ProjectID = otctest.ProjectID }, `{"id":"` + otctest.ProjectID + `"}`, func(*otctest.Knobs) {}},
		{"flat catalog", func(*Credentials) {}, `{"name":"eu-de_netops"}`, func(k *otctest.Knobs) { k.FlatCatalog = true }},
		{"no catalog", func(*Credentials) {}, `{"name":"eu-de_netops"}`, func(k *otctest.Knobs) { k.NoCatalog = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.withIDToken()
			tt.change(&w.login)
			w.Set(tt.catalog)
			w.mustRead()
			r := w.Requests()[0]
			if r.Method != "POST" || r.Path != "/v3.0/OS-AUTH/id-token/tokens" || r.Host != "iam.eu-de.otc.t-systems.com" || len(r.Query) != 0 {
				t.Errorf("got %s %s%s?%s", r.Method, r.Host, r.Path, r.Query.Encode())
			}
			if got, want := string(r.Body), `{"auth":{"id_token":{"id":"`+w.password+`"},"scope":{"project":`+tt.project+`}}}`; got != want {
				t.Errorf("got body %s\nwant %s", got, want)
			}
			if got := []string{r.Header.Get("X-Idp-Id"), r.Header.Get("Content-Type"), r.Header.Get("X-Auth-Token")}; got[0] != provider || got[1] != "application/json;charset=utf8" || got[2] != "" {
				t.Errorf("got headers %q", got)
			}
			if got, want := w.Requests()[1].Host, "vpc.eu-de.otc.t-systems.com"; got != want {
				t.Errorf("the table was asked for at %s, want %s", got, want)
			}
		})
	}
}

// Whatever IAM finds wrong with an ID token is said with the token's own words, but
// never its signature, tried again ever more slowly, and works once it is corrected.
func TestIDTokenRefused(t *testing.T) {
	long := strings.Repeat("long/", 60)
	shorter := 0 // pauses than the longest
	for _, tt := range []struct {
		name   string
		spoil  func(w *world, i *otctest.TokenIssuer)
		status int
		says   string // parts of the error, with … between them
	}{
		{"unknown provider", func(w *world, _ *otctest.TokenIssuer) { w.login.IdentityProvider = "elsewhere" }, 404,
			"no such identity provider (OS_IDENTITY_PROVIDER)…provider elsewhere"},
		{"no role", func(w *world, i *otctest.TokenIssuer) {
			w.SetIdentityProvider(provider, otctest.IdentityProvider{Issuer: i.URL, ClientID: audience, Keys: i.KeySet(), Subject: account, NoRole: true})
		}, 403, "user group of the mapping rule a role in the project"},
		{"keys before a rotation", func(w *world, i *otctest.TokenIssuer) { w.enter(otctest.NewTokenIssuer(i.URL, "RS256")) }, 401,
			"signing keys not the cluster's (after a rotation enter them anew"},
		{"another audience", func(w *world, i *otctest.TokenIssuer) { w.rotate(i.Token(account, "vault", time.Hour)) }, 401,
			"the audience not its client ID…issuer https://kubernetes.default.svc, audience [vault], subject " + account},
		{"another account", func(w *world, i *otctest.TokenIssuer) {
			w.rotate(i.Token("system:serviceaccount:x:y", audience, time.Hour))
		}, 401,
			"the subject in no mapping rule…subject system:serviceaccount:x:y"},
		{"another issuer", func(w *world, i *otctest.TokenIssuer) {
			i.URL = "https://x.test"
			w.rotate(i.Token(account, audience, time.Hour))
		}, 401,
			"the issuer is not the provider's URL…issuer https://x.test,"},
		{"long claims", func(w *world, i *otctest.TokenIssuer) {
			i.URL += "/" + long
			w.rotate(i.Token(long, long, time.Hour))
		}, 401, "issuer https://kubernetes.default.svc/long…..., audience [long…..., subject long/"},
		{"no such API", func(w *world, _ *otctest.TokenIssuer) {
			w.Fail(otctest.Fault{Op: otctest.OpLogin, Times: -1, Status: 404, Code: "APIGW.0101"})
		}, 404, "check OS_AUTH_URL"},
		{"bad request", func(w *world, _ *otctest.TokenIssuer) {
			w.Fail(otctest.Fault{Op: otctest.OpLogin, Times: -1, Status: 400, Code: "IAM.0011"})
		}, 400, "check OS_IDENTITY_PROVIDER and OS_PROJECT_ID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				issuer := w.withIDToken()
				right, sound := w.password, *issuer
				tt.spoil(w, issuer)
				err := w.read()
				e := asError(t, err)
				refused, ok := errors.AsType[*LoginRefusedError](err)
				if !ok || e.Status != tt.status || e.Operation != "id_token_login" {
					t.Fatalf("got %v, want a refused login, %d", err, tt.status)
				}
				for part := range strings.SplitSeq(tt.says, "…") {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("got %v, want %q in it", err, part)
					}
				}
				if text := err.Error(); len("could not log in: "+text) > 1024 || strings.Contains(text, "password") || strings.Contains(text, "lock the user") {
					t.Errorf("got %d bytes: %s", len(text), text)
				}
				wantSilence(t, err.Error()+w.log.String(), "the error or the log", w.password)
				for i, most := range []time.Duration{40, 80, 160, 300, 300, 300, 300} {
					if time.Until(refused.Until) < most*time.Second {
						shorter++
					}
					if wait := time.Until(refused.Until); wait < most*time.Second/2 || wait > most*time.Second {
						t.Errorf("pause %d is %v, want %d s at most and half of it at least", i, wait, most)
					}
					pass(time.Until(refused.Until) - time.Second)
					_ = w.read()
					w.wantCalls(otctest.OpLogin, i+1)
					pass(time.Second)
					refused, _ = errors.AsType[*LoginRefusedError](w.read())
					w.wantCalls(otctest.OpLogin, i+2)
				}
				w.Heal()
				w.login.IdentityProvider = provider
				w.enter(&sound)
				if w.password == right { // corrected in IAM: found within 5 minutes
					if pass(5 * time.Minute); !w.client.CredentialsChanged() {
						t.Error("nobody is told to try again")
					}
				} else { // corrected here: at once
					w.rotate(sound.Token(account, audience, time.Hour))
					if !w.client.CredentialsChanged() {
						t.Error("another token is not seen")
					}
				}
				w.mustRead()
				w.rotate(issuer.Token("nobody", audience, time.Hour))
				w.RevokeTokens()
				refused, _ = errors.AsType[*LoginRefusedError](w.read())
				if wait := time.Until(refused.Until); wait > 40*time.Second {
					t.Errorf("after a success the pause is %v again", wait)
				}
			})
		})
	}
	if shorter == 0 {
		t.Error("all pauses are the longest: a fleet comes back at once")
	}
}

// A file that holds no ID token yet, or only one that IAM cannot take, is waited for;
// nothing is sent with it.
func TestIDTokenNotThere(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		issuer := w.withIDToken()
		for _, tt := range []struct{ name, token, says string }{
			{"empty", "", "the file holds no JSON Web Token (0 bytes)"},
			{"no token", "not-a-token", "the file holds no JSON Web Token (11 bytes)"},
			{"no JSON", "a.b.c", "the file holds no JSON Web Token (5 bytes)"},
			{"ended", issuer.Token(account, audience, -3*time.Minute), "ended at " + time.Now().UTC().Add(-3*time.Minute).Format(time.RFC3339)},
		} {
			w.rotate(tt.token)
			err := w.read()
			refused, ok := errors.AsType[*LoginRefusedError](err)
			if !ok || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "the kubelet writes the ID token into its file") || refused.Err.Status != 0 {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.says)
			}
			if w.client.CredentialsChanged() {
				t.Errorf("%s: changed", tt.name)
			}
		}
		w.wantCalls("", 0)
		w.rotate(issuer.Token(account, audience, -time.Minute)) // by our clock
		if !w.client.CredentialsChanged() {
			t.Error("the token that came is not seen")
		}
		if err := w.read(); !strings.Contains(err.Error(), "or a clock is wrong") {
			t.Errorf("ended a minute ago: got %v, want IAM's word", err)
		}
		w.wantCalls("", 1)
		w.rotate(issuer.Token(account, audience, time.Hour))
		w.mustRead()
	})
}

// From the answer on it is the login by password: a rejected token is replaced, and the
// file's present token sent.
func TestIDTokenLoginAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		issuer := w.withIDToken()
		w.mustRead()
		pass(time.Hour)
		w.rotate(issuer.Token(account, audience, 2*time.Hour))
		w.RevokeTokens()
		w.mustRead()
		w.Fail(otctest.Fault{Op: otctest.OpLogin, Reset: true})
		w.RevokeTokens()
		if e := asError(t, w.read()); e.RetryAfter < 15*time.Second || e.Status != 0 || strings.Contains(e.Hint, "issuer") {
			t.Errorf("got %v, want a pause after a login without an answer", e)
		}
		w.wantCalls(otctest.OpLogin, 3)
		if got := w.count.seen["iam id_token_login 201"]; got != 2 {
			t.Errorf("got %v, want two logins counted under their name", w.count)
		}
		if !strings.Contains(string(w.Requests()[3].Body), w.password) {
			t.Error("the second login did not send the file's new token")
		}
	})
}

// R9: neither a refusal that repeats the token nor the log shows it.
func TestR9IDToken(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.withIDToken()
		w.Fail(otctest.Fault{Op: otctest.OpLogin, Times: -1, Status: http.StatusUnauthorized, Echo: func(r otctest.Request) string { return string(r.Body) }})
		w.wantNothingShown(w.read(), w.password)
	})
}
