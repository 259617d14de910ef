package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"otc-route-manager/node/e2e/controlplane"
)

// inPod runs a program as a kubelet would: the ServiceAccount's files lie where client-go looks
// for them, in a mount namespace of its own. $0 is the folder with the files.
const inPod = `mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io &&
ln -s "$0" /run/secrets/kubernetes.io/serviceaccount && exec "$@"`

// TestTokenRotatedInCluster runs the program without a kubeconfig, as in a pod: token, authority
// and the API server's address come from where a kubelet puts them. Then its token ends: client-go
// reads the file once a minute, and waits up to a minute between two tries.
func TestTokenRotatedInCluster(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	w := newWorker(t, plane, newCloud(t), 1, "10.128.2.0/23")
	p := newProxy(t, plane.Address())
	w.startInCluster(p.address())
	w.routed(10*time.Second, "10.128.2.0/23")
	tokenRotated(t, w, p)
	w.annotate("10.131.6.0/23")
	w.routed(150*time.Second, "10.131.6.0/23")
}

func (w *worker) startInCluster(address string) {
	w.t.Helper()
	pod := filepath.Join(w.folder(), "serviceaccount")
	if err := os.MkdirAll(pod, 0o755); err != nil {
		w.t.Fatal(err)
	}
	ca, err := os.ReadFile(w.plane.CACert())
	if err != nil {
		w.t.Fatal(err)
	}
	for name, text := range map[string]string{"ca.crt": string(ca), "namespace": namespace} {
		if err := os.WriteFile(filepath.Join(pod, name), []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	w.token = filepath.Join(pod, "token")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: w.name}} // the token lives as long as this
	if _, err := w.plane.Client().CoreV1().Secrets(namespace).Create(w.t.Context(), secret, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.writeToken(secret.Name)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		w.t.Fatal(err)
	}
	command := append(controlplane.Unshare(), "sh", "-c", inPod, pod, binary)
	w.launch(command[1:], command[0], "KUBERNETES_SERVICE_HOST="+host, "KUBERNETES_SERVICE_PORT="+port, "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	w.t.Cleanup(w.end)
}

// tokenRotated lets the program's token die while the watch goes on, puts another one where the
// program reads it, and then cuts the connection: the old token is refused from then on.
func tokenRotated(t *testing.T, w *worker, p *proxy) {
	old, err := os.ReadFile(w.token)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.plane.Client().CoreV1().Secrets(namespace).Delete(t.Context(), w.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func(ctx context.Context) error { return refused(ctx, w.plane, string(old)) })
	w.writeToken("")
	p.cut()
	eventually(t, recovery, func(context.Context) error {
		if requests(t, w.plane, func(r controlplane.Request) bool { return fromProgram(r) && r.Code == http.StatusUnauthorized }) == nil {
			return errors.New("the program did not use the old token once more")
		}
		return nil
	})
}

// refused reports whether the API server no longer knows a token.
func refused(ctx context.Context, plane *controlplane.ControlPlane, token string) error {
	cfg := &rest.Config{Host: plane.URL(), BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAFile: plane.CACert()}}
	transport, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, plane.URL()+"/api/v1/nodes", nil)
	if err != nil {
		return err
	}
	resp, err := transport.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("the old token is answered with %s", resp.Status)
	}
	return nil
}
