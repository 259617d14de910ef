package controlplane

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"os"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const kubeconfig = `apiVersion: v1
kind: Config
current-context: e2e
contexts: [{name: e2e, context: {cluster: e2e, user: me}}]
clusters: [{name: e2e, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: me, user: {%s}}]
`

// Kubeconfig returns the file of a kubeconfig with all rights.
func (c *ControlPlane) Kubeconfig() string { return c.file("admin.kubeconfig") }

func (c *ControlPlane) writeAdminKubeconfig() error {
	user := fmt.Sprintf("client-certificate: %q, client-key: %q", c.file("pki/admin.crt"), c.file("pki/admin.key"))
	text := fmt.Sprintf(kubeconfig, c.URL(), c.CACert(), user)
	return os.WriteFile(c.Kubeconfig(), []byte(text), 0o600)
}

// TokenKubeconfig writes a kubeconfig to path that reads its bearer token from tokenFile, as a
// pod does, and talks to the API server at address, which may be a proxy in front of it.
func (c *ControlPlane) TokenKubeconfig(path, address, tokenFile string) error {
	text := fmt.Sprintf(kubeconfig, "https://"+address, c.CACert(), fmt.Sprintf("tokenFile: %q", tokenFile))
	return os.WriteFile(path, []byte(text), 0o600)
}

// Token asks the API server for a token of a ServiceAccount, as a kubelet does for a pod. A
// token that is bound to a Secret (its name, or "") dies with it.
func (c *ControlPlane) Token(ctx context.Context, namespace, account, secret string) (string, error) {
	req := &authenticationv1.TokenRequest{}
	if secret != "" {
		req.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: secret}
	}
	return c.requestToken(ctx, namespace, account, req)
}

// IDToken asks the API server for a token of a ServiceAccount for one audience, as a kubelet does
// for a projected volume. 10 minutes is the shortest life.
func (c *ControlPlane) IDToken(ctx context.Context, namespace, account, audience string, seconds int64) (string, error) {
	return c.requestToken(ctx, namespace, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds}})
}

func (c *ControlPlane) requestToken(ctx context.Context, namespace, account string, req *authenticationv1.TokenRequest) (string, error) {
	got, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, req, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return got.Status.Token, nil
}

// ServiceAccountKey returns the file of the key that signs ServiceAccount tokens.
func (c *ControlPlane) ServiceAccountKey() string { return c.file("pki/sa.key") }

// RotateServiceAccountKey starts the API server again with another key for ServiceAccount tokens,
// an RSA one. It still knows the key before.
func (c *ControlPlane) RotateServiceAccountKey(ctx context.Context) error {
	before := c.file("pki/sa.before.key")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	c.KillAPIServer()
	if err := os.Rename(c.ServiceAccountKey(), before); err != nil {
		return err
	}
	if err := writePEM(c.ServiceAccountKey(), "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)); err != nil {
		return err
	}
	c.cfg.APIServer = append(c.cfg.APIServer, "--service-account-key-file", before)
	return c.StartAPIServer(ctx)
}
