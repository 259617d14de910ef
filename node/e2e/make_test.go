package e2e

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/e2e/controlplane"
	"otc-route-manager/otc/otctest"
)

const (
	secretName = "otc-credentials"
	configName = "otc-route-manager-config"
)

// TestMake runs each target that talks to a cluster, in the order in which a person would.
// kwok answers for the kubelet: it gives a file as the log, forwards the port to the real
// program, and runs the real program for `kubectl exec`.
func TestMake(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	for _, target := range []struct {
		name string
		test func(*testing.T, *maker)
	}{
		{"SetupRefusesWrongAnswers", setupRefuses},
		{"Setup", setup},
		{"CreateSecretsAndConfigmap", create},
		{"Deploy", deploy},
		{"DeployAgain", deployAgain},
		{"DeployKeepsAppliedSecret", deployKeepsApplied},
		{"ApplyAgain", applyAgain},
		{"Status", status},
		{"Restart", restart},
		{"Logs", logs},
		{"PortForward", portForward},
		{"Check", check},
		{"Undeploy", undeploy},
	} {
		if target.name == "Status" { // from here on the program runs, as in a pod
			m.worker.launch(nil, binary, m.worker.kubeconfig(m.plane.Address()))
			t.Cleanup(m.worker.Kill)
		}
		t.Run(target.name, func(t *testing.T) { target.test(t, m) })
	}
}

func setupRefuses(t *testing.T, m *maker) {
	answers := ""
	for _, v := range m.values()[:7] {
		answers += v[1] + "\n"
	}
	out := m.make(t, answers+"10.128.0.1/14\n", "setup")
	if out.Code == 0 || !strings.Contains(out.Stdout+out.Stderr, "CLUSTER_CIDR") {
		t.Errorf("code %d with a wrong CLUSTER_CIDR, want an error that names it:\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	if _, err := m.plane.Client().CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); err == nil {
		t.Error("something was stored")
	}
}

// setup pipes the answers in, and "yes" to the offer to try them: one login, no write.
func setup(t *testing.T, m *maker) {
	answers := ""
	for _, v := range m.values() {
		answers += v[1] + "\n"
	}
	out := m.ok(t, answers+"y\n", "setup")
	if n := m.worker.cloud.Count(otctest.OpLogin); n != 1 {
		t.Errorf("the check logged in %d times, want once:\n%s", n, out)
	}
	if n := m.worker.cloud.Count(otctest.OpTableUpdate); n != 0 {
		t.Errorf("the check wrote to the route table:\n%s", out)
	}
	got := m.stored(t)
	for _, v := range m.values() {
		if got[v[0]] != v[1] {
			t.Errorf("%s: stored %q, want %q", v[0], got[v[0]], v[1])
		}
	}
}

// create runs the two halves of setup from environment variables alone: one value changes, the
// others stay.
func create(t *testing.T, m *maker) {
	before := m.stored(t)
	given := func(name, value string) *maker {
		other := *m
		other.env = append(slices.Clone(m.env), name+"="+value)
		return &other
	}
	given("OS_USERNAME", "svc-other").ok(t, "", "create-secrets")
	given("LOG_FORMAT", "json").ok(t, "", "create-configmap")
	before["OS_USERNAME"], before["LOG_FORMAT"] = "svc-other", "json"
	if got := m.stored(t); !maps.Equal(got, before) {
		t.Errorf("stored %v, want %v", got, before)
	}
	given("OS_USERNAME", otctest.User).ok(t, "", "create-secrets")
}

// deploy installs where no Prometheus operator is, with an image of ours.
func deploy(t *testing.T, m *maker) {
	before := m.stored(t)
	out := m.ok(t, "", "deploy", "REGISTRY=registry.example.com/team", "IMAGE_NAME=routes", "IMAGE_TAG=1.2.3")
	if !strings.Contains(out, "ServiceMonitor") {
		t.Errorf("deploy does not say that it left the ServiceMonitor out:\n%s", out)
	}
	ds := daemonSet(t, m.plane)
	if got := ds.Spec.Template.Spec.Containers[0].Image; got != "registry.example.com/team/routes:1.2.3" {
		t.Errorf("image %q", got)
	}
	if ds.Status.NumberReady != 1 || ds.Status.DesiredNumberScheduled != 1 {
		t.Errorf("%d of %d pods ready", ds.Status.NumberReady, ds.Status.DesiredNumberScheduled)
	}
	m.keeps(t, before)
}

// keeps fails if a value in the Secret or the ConfigMap is not as it was.
func (m *maker) keeps(t *testing.T, before map[string]string) {
	t.Helper()
	if got := m.stored(t); !maps.Equal(got, before) {
		t.Errorf("credentials and configuration are now\n%v\nwere\n%v", got, before)
	}
}

// deployAgain installs once more, where the Prometheus operator has come by now.
func deployAgain(t *testing.T, m *maker) {
	before := m.stored(t)
	for _, crd := range []string{controlplane.ServiceMonitorCRD, controlplane.PrometheusRuleCRD} {
		kubectl(t, m.plane, "apply", "--server-side", "-f", programs.Path(crd))
	}
	kubectl(t, m.plane, "wait", "--for=condition=established", "crd", "--all")
	m.ok(t, "", "deploy")
	m.keeps(t, before)
	kubectl(t, m.plane, "-n", namespace, "get", "servicemonitor", "otc-route-manager")
	if got := kubectl(t, m.plane, "-n", namespace, "get", "prometheusrule", "-o", "name"); got == "" {
		t.Error("deploy left the alert rules out")
	}
}

// deployKeepsApplied: a Secret that somebody made with kubectl apply is still one that the next
// apply of manifests.yaml, which has no values, would empty.
func deployKeepsApplied(t *testing.T, m *maker) {
	before := m.stored(t)
	kubectl(t, m.plane, "-n", namespace, "delete", "secret", secretName)
	secret := kubectl(t, m.plane, "-n", namespace, "create", "secret", "generic", secretName, "--dry-run=client", "-o", "json",
		"--from-literal=OS_USERNAME="+before["OS_USERNAME"], "--from-literal=OS_PASSWORD="+before["OS_PASSWORD"],
		"--from-literal=OS_DOMAIN_NAME="+before["OS_DOMAIN_NAME"], "--from-literal=OS_PROJECT_NAME="+before["OS_PROJECT_NAME"])
	if out := m.plane.Kubectl(t.Context(), secret, "apply", "-f", "-"); out.Code != 0 {
		t.Fatal(out.Stderr)
	}
	m.ok(t, "", "deploy")
	m.keeps(t, before)
}

func applyAgain(t *testing.T, m *maker) {
	before := m.stored(t)
	kubectl(t, m.plane, "apply", "-f", filepath.Join(m.dir, "manifests.yaml"))
	m.keeps(t, before)
}
