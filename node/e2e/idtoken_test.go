package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/e2e/controlplane"
	"otc-route-manager/otc/otctest"
)

const provider = "e2e-cluster"

// A tokenWorker is a worker whose program logs in with a token of its ServiceAccount, from the
// volume of manifests.yaml.
type tokenWorker struct {
	*worker
	volume *corev1.ServiceAccountTokenProjection
	file   string
	env    []string // beside that of every worker
}

// TestIDToken runs the program without any secret of the cloud. Its ID tokens come from the real API
// server, what is entered in IAM from that server's own discovery documents. Whatever does not fit
// is refused and reported with its cure, and healed without a restart.
func TestIDToken(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	w := newTokenWorker(t, plane, 1)
	w.refused("no file yet", "could not log in: iam id token login: OS_ID_TOKEN_FILE: stat "+w.file+": no such file", func() {})
	w.refused("unknown provider", "HTTP 404 IAM.0004…no such identity provider (OS_IDENTITY_PROVIDER)", func() { w.mountToken(account, w.volume.Audience) })
	w.enter()
	w.routed(time.Minute, "10.128.2.0/23")
	w.healed("10.131.2.0/23", "another audience", "HTTP 401…audience not its client ID…audience [vault]", func() { w.mountToken(account, "vault") },
		func() { w.mountToken(account, w.volume.Audience) })
	w.healed("10.131.4.0/23", "another account", "HTTP 401…subject in no mapping rule…subject system:serviceaccount:"+namespace+":other", func() {
		other := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
		if _, err := plane.Client().CoreV1().ServiceAccounts(namespace).Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.mountToken("other", w.volume.Audience)
		w.check("HTTP 401…subject system:serviceaccount:" + namespace + ":other")
	}, func() { w.mountToken(account, w.volume.Audience) })

	w = newTokenWorker(t, plane, 2) // rejected tokens are replaced twice in 15 minutes
	w.mountToken(account, w.volume.Audience)
	w.enter()
	w.routed(time.Minute, "10.128.2.0/23")
	w.healed("10.131.6.0/23", "expired", "the ID token ended at…was not replaced", func() { w.write(w.expired(w.token())) },
		func() { w.mountToken(account, w.volume.Audience) })
	w.healed("10.131.8.0/23", "rotation of the signing key", "HTTP 401…signing keys not the cluster's (after a rotation", func() {
		if err := plane.RotateServiceAccountKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.mountToken(account, w.volume.Audience)
	}, w.enter)
	w.check("✅ login: by ID token with identity provider " + provider)
}

// newTokenWorker starts the program as the DaemonSet does, without a Secret, and without an ID token
// so far.
func newTokenWorker(t *testing.T, plane *controlplane.ControlPlane, number int) *tokenWorker {
	t.Helper()
	w := &tokenWorker{worker: newWorker(t, plane, newCloud(t), number, "10.128.2.0/23")}
	w.volume = w.projection()
	w.file = filepath.Join(w.folder(), w.volume.Path)
	w.env = []string{w.kubeconfig(plane.Address()), "OS_IDENTITY_PROVIDER=" + provider, "OS_ID_TOKEN_FILE=" + w.file, "OS_PROJECT_NAME=" + otctest.Project}
	for _, name := range []string{"OS_USERNAME", "OS_PASSWORD", "OS_DOMAIN_NAME", "OS_PROJECT_NAME"} {
		w.env = append(w.env, name+"_FILE="+filepath.Join(w.folder(), "no-such-secret", name))
	}
	w.launch(nil, binary, w.env...)
	t.Cleanup(w.end)
	t.Cleanup(func() {
		for _, r := range w.cloud.Requests() {
			if r.Op == otctest.OpLogin && (r.Path != "/v3.0/OS-AUTH/id-token/tokens" || strings.Contains(string(r.Body), "password")) {
				t.Errorf("%s: a login by %s", w.name, r.Path)
			}
		}
	})
	return w
}

// projection returns the volume's source of ServiceAccount tokens.
func (w *tokenWorker) projection() *corev1.ServiceAccountTokenProjection {
	w.t.Helper()
	for _, v := range daemonSet(w.t, w.plane).Spec.Template.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				return s.ServiceAccountToken
			}
		}
	}
	w.t.Fatal("the DaemonSet has no projected ServiceAccount token")
	return nil
}

// enter enters the cluster in IAM as it is now.
func (w *tokenWorker) enter() {
	w.t.Helper()
	rest := w.plane.Client().Discovery().RESTClient()
	document, err := rest.Get().AbsPath("/.well-known/openid-configuration").DoRaw(w.t.Context())
	keys, err2 := rest.Get().AbsPath("/openid/v1/jwks").DoRaw(w.t.Context())
	var discovery struct{ Issuer string }
	if err := errors.Join(err, err2, json.Unmarshal(document, &discovery)); err != nil {
		w.t.Fatal(err)
	}
	w.cloud.SetIdentityProvider(provider, otctest.IdentityProvider{Issuer: discovery.Issuer, ClientID: w.volume.Audience, Keys: string(keys), Subject: user})
}

// mountToken writes a fresh token of the API server into the file, as the kubelet does.
func (w *tokenWorker) mountToken(account, audience string) {
	w.t.Helper()
	token, err := w.plane.IDToken(w.t.Context(), namespace, account, audience, *w.volume.ExpirationSeconds)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(token)
}

func (w *tokenWorker) write(token string) {
	w.t.Helper()
	if err := errors.Join(os.WriteFile(w.file+".new", []byte(token), 0o600), os.Rename(w.file+".new", w.file)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *tokenWorker) token() string {
	w.t.Helper()
	token, err := os.ReadFile(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(token)
}

// expired returns the token as it would be if it had ended an hour ago, signed by the cluster's key.
func (w *tokenWorker) expired(token string) string {
	w.t.Helper()
	text, err := os.ReadFile(w.plane.ServiceAccountKey())
	if err != nil {
		w.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParseECPrivateKey(block.Bytes)
	parts := strings.Split(token, ".")
	payload, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	var claims map[string]any
	if err := errors.Join(err, err2, json.Unmarshal(payload, &claims)); err != nil {
		w.t.Fatal(err)
	}
	claims["exp"] = time.Now().Add(-time.Hour).Unix()
	payload, _ = json.Marshal(claims) // it was JSON
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		w.t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// healed spoils the login while a new token is needed, and then corrects it.
func (w *tokenWorker) healed(subnet, name, says string, spoil, correct func()) {
	w.t.Helper()
	w.refused(name, says, func() {
		spoil()
		w.cloud.RevokeTokens()
		w.annotate(subnet)
	})
	correct()
	w.routed(time.Minute, subnet)
	w.t.Logf("%s: refused, reported and healed", name)
}

// refused waits until the Event about the Node and the log have all parts of says, with "…" between.
func (w *tokenWorker) refused(name, says string, spoil func()) {
	w.t.Helper()
	spoil()
	eventually(w.t, time.Minute, func(ctx context.Context) error {
		events, err := w.plane.Client().CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		seen := w.Output()
		for _, e := range events.Items {
			if e.InvolvedObject.Name == w.name && e.Reason == "RouteFailed" && hasParts(e.Message, says) && hasParts(seen, says) {
				return nil
			}
		}
		return fmt.Errorf("%s: no Event and log line with %q; the log:\n%s", name, says, seen)
	})
	if out := w.Output(); strings.Contains(out, "five") || w.tokenIn(out) {
		w.t.Errorf("%s: the log speaks of lockout or shows the token:\n%s", name, out)
	}
}

// tokenIn reports whether a text holds the token, or its signature.
func (w *tokenWorker) tokenIn(text string) bool {
	token, err := os.ReadFile(w.file)
	return err == nil && strings.Contains(text, string(token)[strings.LastIndexByte(string(token), '.')+1:])
}

// check runs -check, which prints all parts of says and nothing of a lockout.
func (w *tokenWorker) check(says string) {
	w.t.Helper()
	out := controlplane.Run(w.t.Context(), append(w.bare(), w.env...), "", binary, "-check")
	if !hasParts(out.Stdout, says) || strings.Contains(out.Stdout, "lock") && !strings.Contains(out.Stdout, "clock") || w.tokenIn(out.Stdout) {
		w.t.Errorf("-check: want %q:\n%s%s", says, out.Stdout, out.Stderr)
	}
}

// bare is the environment without user, password, account and project.
func (w *tokenWorker) bare() (env []string) {
	for _, e := range w.environment() {
		name, _, _ := strings.Cut(e, "=")
		switch name {
		case "OS_USERNAME", "OS_PASSWORD", "OS_DOMAIN_NAME", "OS_PROJECT_NAME":
		default:
			env = append(env, e)
		}
	}
	return env
}

func hasParts(text, parts string) bool {
	for part := range strings.SplitSeq(parts, "…") {
		_, rest, ok := strings.Cut(text, part)
		if !ok {
			return false
		}
		text = rest
	}
	return true
}
