package e2e

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/e2e/controlplane"
)

// Names in manifests.yaml.
const (
	namespace = "otc-route-manager"
	account   = "otc-route-manager"
	user      = "system:serviceaccount:" + namespace + ":" + account
	manifests = "../../manifests.yaml"
)

// startPlane starts a control plane for one test. When the test ends, the whole audit log may
// hold no request of the program that was forbidden.
func startPlane(t *testing.T, cfg controlplane.Config) *controlplane.ControlPlane {
	t.Helper()
	cfg.Programs = programs
	cfg.Dir = filepath.Join(scratch, strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	plane, err := controlplane.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		noneForbidden(t, plane)
		plane.Stop()
	})
	return plane
}

// noneForbidden reads the whole audit log. An API server that is not ready has not read the roles
// yet; what it forbids then does not count.
func noneForbidden(t *testing.T, plane *controlplane.ControlPlane) {
	t.Helper()
	for _, r := range requests(t, plane, func(r controlplane.Request) bool {
		return r.Code == http.StatusForbidden && fromProgram(r) && !plane.Starting(r.Time)
	}) {
		t.Errorf("forbidden to %s: %v", r.User, r)
	}
}

func fromProgram(r controlplane.Request) bool {
	return strings.HasPrefix(r.UserAgent, "otc-route-manager/")
}

// requests returns the entries of the audit log that match.
func requests(t *testing.T, plane *controlplane.ControlPlane, match func(controlplane.Request) bool) []controlplane.Request {
	t.Helper()
	all, err := plane.Requests()
	if err != nil {
		t.Fatal(err)
	}
	var found []controlplane.Request
	for _, r := range all {
		if match(r) {
			found = append(found, r)
		}
	}
	return found
}

// kubectl runs kubectl with all rights and expects success.
func kubectl(t *testing.T, plane *controlplane.ControlPlane, args ...string) string {
	t.Helper()
	out := plane.Kubectl(t.Context(), "", args...)
	if out.Code != 0 {
		t.Fatalf("kubectl %s: code %d\n%s%s", strings.Join(args, " "), out.Code, out.Stdout, out.Stderr)
	}
	return out.Stdout
}

// install applies manifests.yaml as it is, with the CRDs that it needs.
func install(t *testing.T, plane *controlplane.ControlPlane) {
	t.Helper()
	for _, crd := range []string{controlplane.ServiceMonitorCRD, controlplane.PrometheusRuleCRD} {
		kubectl(t, plane, "apply", "--server-side", "-f", programs.Path(crd))
	}
	kubectl(t, plane, "wait", "--for=condition=established", "crd", "--all")
	kubectl(t, plane, "apply", "-f", manifests)
}

// eventually calls check every 20 ms until it returns nil; after the timeout the test fails with
// what it said last.
func eventually(t *testing.T, timeout time.Duration, check func(context.Context) error) {
	t.Helper()
	eventuallyEvery(t, 20*time.Millisecond, timeout, check)
}

func eventuallyEvery(t *testing.T, interval, timeout time.Duration, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("after %v: %v", timeout, errors.Join(last, err))
		}
		last = err
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// createNode creates a Node, status and all, as a kubelet does.
func createNode(t *testing.T, plane *controlplane.ControlPlane, n *corev1.Node) {
	t.Helper()
	n.Status.Addresses = append(n.Status.Addresses,
		corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.Name},
		corev1.NodeAddress{Type: corev1.NodeInternalDNS, Address: controlplane.KubeletHost})
	if _, err := plane.Client().CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
