package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/config/configtest"
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
		{"NotInstalled", func(t *testing.T, m *maker) { mistakes(t, m, notInstalled) }},
		{"SetupRefusesWrongAnswers", setupRefuses},
		{"Setup", setup},
		{"SetupRefusesWhatTheProgramRefuses", refusesBad},
		{"Change", change},
		{"Deploy", deploy},
		{"DeployAgain", deployAgain},
		{"SetupIDToken", setupIDToken},
		{"DeployKeepsAppliedSecret", deployKeepsApplied},
		{"ApplyAgain", applyAgain},
		{"Installed", func(t *testing.T, m *maker) { mistakes(t, m, installed) }},
		{"LoginRefused", loginRefused},
		{"Status", status},
		{"Restart", restart},
		{"Logs", logs},
		{"PortForward", portForward},
		{"Check", check},
		{"StatusOf200Nodes", statusOf200},
		{"NoEligibleNode", noEligibleNode},
		{"Undeploy", undeploy},
		{"ForeignNamespace", foreignNamespace},
	} {
		if target.name == "Status" { // from here on the program runs, as in a pod
			m.worker.launch(nil, binary, m.worker.kubeconfig(m.plane.Address()))
			t.Cleanup(m.worker.Kill)
		}
		if !t.Run(target.name, func(t *testing.T) { target.test(t, m) }) {
			break // what follows builds on it
		}
	}
}

// A mistake is what people do, and what make must say to it, and must not.
type mistake struct {
	make string // what is typed
	says string
	not  string
}

var notInstalled = []mistake{
	{"status", "not installed: make deploy", ""},
	{"check", "not installed: make deploy", ""},
	{"logs", "not installed: make deploy", ""},
	{"port-forward", "not installed: make deploy", ""},
	{"restart", "not installed: make deploy", ""},
	{"deploy NAMESPACE=kube-system", "NAMESPACE=kube-system belongs to the cluster", ""},
	{"deploy NAMESPACE=Team_A", "'Team_A' is not a name of a namespace", ""},
	{"setup KUBECTL=nope", "nope is not installed", ""},
	{"deploy KUBECTL=nope", "nope is not installed", ""},
	{"status KUBECTL=nope", "nope is not installed", ""},
	{"check KUBECTL=nope", "nope is not installed", ""},
	{"logs KUBECTL=nope", "nope is not installed", ""},
	{"port-forward KUBECTL=nope", "nope is not installed", ""},
	{"restart KUBECTL=nope", "nope is not installed", ""},
	{"undeploy KUBECTL=nope", "nope is not installed", ""},
	{"docker-build DOCKER=nope", "DOCKER=podman", ""},
	{"docker-push DOCKER=nope REGISTRY=r.example.com/t", "DOCKER=podman", ""},
	{"-C .. -f project/Makefile status", "make -C", ""},
	{"docker-push", "Where to?", ""},
	{"create-secrets GO=nope", "there is none. Install Go", ""},
}

var installed = []mistake{
	{"check NODE=nope", "there is no node nope", ""},
	{"logs NODE=nope", "there is no node nope", ""},
	{"port-forward NODE=nope", "there is no node nope", ""},
	{"check NODE=master", "no pod on node master", ""},
	{"deploy NAMESPACE=elsewhere", "it is installed in namespace otc-route-manager", ""},
	{"deploy IMAGE_NAME=no-image IMAGE_TAG=1 TIMEOUT=2s", "make docker-build docker-push", "make check"},
	{"deploy IMAGE_NAME=no-image IMAGE_TAG=1 TIMEOUT=2s", "worker-1  no      no        pod Running, ErrImagePull", "a setting is wrong"},
	{"deploy IMAGE_NAME=exit-2 IMAGE_TAG=1 TIMEOUT=2s", "exit code 2: a setting is missing or wrong", "rollout undo"},
	{"restart TIMEOUT=2s", "ended with exit code 2", "rollout undo"},
	{"check", "no pod runs in namespace otc-route-manager: make status shows why", "tried in"}, // their phase is Running all the same
}

// mistakes makes each of them, from the project's folder; none may succeed.
func mistakes(t *testing.T, m *maker, all []mistake) {
	for _, row := range all {
		out := m.make(t, "", strings.Fields(row.make)...)
		said := out.Stdout + out.Stderr
		if out.Code == 0 || !strings.Contains(said, row.says) || row.not != "" && strings.Contains(said, row.not) {
			t.Errorf("make %s: code %d, want %q said and %q not:\n%s", row.make, out.Code, row.says, row.not, said)
		}
	}
}

func setupRefuses(t *testing.T, m *maker) {
	answers := ""
	for _, v := range m.values()[:8] {
		answers += v[1] + "\n"
	}
	out := m.make(t, answers+"10.128.0.1/14\n", "setup")
	if out.Code == 0 || !strings.Contains(out.Stdout+out.Stderr, "CLUSTER_CIDR") {
		t.Errorf("code %d with a wrong CLUSTER_CIDR, want an error that names it:\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	foreign := filepath.Join(m.dir, "otc-route-manager") // of another system, it refuses nothing
	if err := os.WriteFile(foreign, []byte("exit 126"), 0o755); err != nil {
		t.Fatal(err)
	}
	mistakes(t, m, []mistake{{"create-secrets GO=nope", "./otc-route-manager does not run here", "OS_DOMAIN_NAME"}})
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	if _, err := m.plane.Client().CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); err == nil {
		t.Error("something was stored")
	}
}

// setup pipes the answers in, a password with a blank too many that Enter drops, and "yes" to the
// offer to try them: one login, no write.
func setup(t *testing.T, m *maker) {
	answers := ""
	for _, v := range m.values() {
		answers += v[1] + "\n"
	}
	answers = strings.Replace(answers, otctest.Password+"\n", otctest.Password+" \n\n", 1)
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

// refusesBad gives setup each value that the program refuses, one of each setting at a time.
func refusesBad(t *testing.T, m *maker) {
	before := m.stored(t)
	rows := map[string][]configtest.Bad{}
	for _, b := range configtest.BadValues() {
		// These are not setup's; without a value it asks.
		if !slices.Contains([]string{"NODE_NAME", "METRICS_PORT", "OS_PROJECT_ID", "HTTPS_PROXY", "NO_PROXY"}, b.Name) && b.Value != "" {
			rows[b.Name] = append(rows[b.Name], b)
		}
	}
	for i := 0; len(rows) > 0; i++ {
		var env []string
		for _, b := range rows {
			env = append(env, b[0].Name+"="+b[0].Value)
		}
		out := m.with(env...).make(t, "", "setup", "GO=none")
		for name, b := range rows {
			if out.Code == 0 || !strings.Contains(out.Stderr, name) || !strings.Contains(out.Stderr, b[0].Says) {
				t.Errorf("%s=%q: code %d, want it named with %q:\n%s", name, b[0].Value, out.Code, b[0].Says, out.Stderr)
			}
			if rows[name] = b[1:]; len(b) == 1 {
				delete(rows, name)
			}
		}
	}
	m.keeps(t, before)
}

// change runs the two halves of setup, most of all from environment variables alone: what is named
// changes, "-" takes it away, the others stay. An endpoint does not survive its region.
func change(t *testing.T, m *maker) {
	original := m.stored(t)
	ca, err := os.ReadFile(m.plane.CACert())
	if err != nil {
		t.Fatal(err)
	}
	bare := *m
	bare.env = slices.DeleteFunc(slices.Clone(m.env), func(e string) bool { return strings.HasPrefix(e, "OTC_") })
	for _, row := range []struct {
		target string
		env    string
		stdin  string
		want   map[string]string // "" takes the key away
	}{
		{"create-secrets", "OS_USERNAME=svc-other", "", map[string]string{"OS_USERNAME": "svc-other"}},
		{"create-secrets", "OS_PASSWORD= a your-word, not to be REPLACEd ", "", map[string]string{"OS_PASSWORD": " a your-word, not to be REPLACEd "}},
		{"create-configmap", "LOG_FORMAT= json\t", "", map[string]string{"LOG_FORMAT": "json"}},
		{"create-configmap", "OS_REGION_NAME=eu-de ", "", nil}, // the same region: its endpoints stay
		{"create-configmap", "DRIFT_REPAIR=true", "", map[string]string{"DRIFT_REPAIR": "true"}},
		{"create-secrets", "OS_CACERT=" + m.plane.CACert(), "", map[string]string{"ca.crt": string(ca), "OS_CACERT": "/var/run/secrets/otc/ca.crt"}},
		{"create-secrets", "OS_CACERT=-", "", map[string]string{"ca.crt": "", "OS_CACERT": ""}},
		{"create-configmap", "LOG_FORMAT=-", "", map[string]string{"LOG_FORMAT": ""}},
		{"create-configmap", "", strings.Repeat("\n", 4+2) + "-\n", map[string]string{"DRIFT_REPAIR": ""}},
		{"create-configmap", "HTTPS_PROXY=http://svc:p%23ss@proxy.example.com:3128", "", map[string]string{"HTTPS_PROXY": "http://svc:p%23ss@proxy.example.com:3128"}},
		{"create-configmap", "NO_PROXY=127.0.0.1,172.30.0.1", "", map[string]string{"NO_PROXY": "127.0.0.1,172.30.0.1"}},
		{"create-configmap", "OS_PROJECT_ID=" + otctest.ProjectID, "", map[string]string{"OS_PROJECT_ID": otctest.ProjectID}},
		{"create-configmap", "HTTPS_PROXY=-", "", map[string]string{"HTTPS_PROXY": ""}},
		{"create-configmap", "NO_PROXY=-", "", map[string]string{"NO_PROXY": ""}},
		{"create-configmap", "OS_PROJECT_ID=-", "", map[string]string{"OS_PROJECT_ID": ""}},
		{"create-configmap", "OS_REGION_NAME=eu-nl", "", map[string]string{"OS_REGION_NAME": "eu-nl",
			"OS_AUTH_URL": "https://iam.eu-nl.otc.t-systems.com/v3", "OTC_VPC_ENDPOINT": "", "OTC_ECS_ENDPOINT": ""}},
	} {
		want := m.stored(t)
		for name, value := range row.want {
			if want[name] = value; value == "" {
				delete(want, name)
			}
		}
		bare.with(row.env).ok(t, row.stdin, row.target)
		if got := m.stored(t); !maps.Equal(got, want) {
			t.Errorf("%s make %s: stored %v, want %v", row.env, row.target, got, want)
		}
	}
	var all []string
	for name, value := range original {
		all = append(all, name+"="+value)
	}
	m.with(all...).ok(t, "n\n", "setup")
	m.keeps(t, original)
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
	if out := m.ok(t, "", "deploy"); strings.Contains(out, "secret") {
		t.Errorf("deploy seems to have changed the Secret:\n%s", out)
	}
	m.keeps(t, before)
	kubectl(t, m.plane, "-n", namespace, "get", "servicemonitor", "otc-route-manager")
	if got := kubectl(t, m.plane, "-n", namespace, "get", "prometheusrule", "-o", "name"); got == "" {
		t.Error("deploy left the alert rules out")
	}
}

// setupIDToken turns to the login by ID token: setup prints what belongs in IAM, tries it, and leaves
// no user in the Secret. With user and password given it turns back.
func setupIDToken(t *testing.T, m *maker) {
	before := m.stored(t)
	keys := kubectl(t, m.plane, "get", "--raw", "/openid/v1/jwks")
	m.worker.cloud.SetIdentityProvider(provider, otctest.IdentityProvider{
		Issuer: "https://kubernetes.default.svc", ClientID: "otc-route-manager", Keys: keys, Subject: user})
	out := m.with("OS_USERNAME=of-a-shell", "OS_IDENTITY_PROVIDER="+provider).ok(t, strings.Repeat("\n", 5)+"y\n", "setup")
	for _, want := range []string{"name " + provider, "identity provider URL: https://kubernetes.default.svc\n", "client ID: otc-route-manager", "signing key: " + keys,
		"attribute sub, any one of: " + user, "✅ login: by ID token with identity provider " + provider} {
		if !strings.Contains(out, want) {
			t.Errorf("setup does not print %q:\n%s", want, out)
		}
	}
	want := maps.Clone(before)
	want["OS_IDENTITY_PROVIDER"] = provider
	for _, name := range []string{"OS_USERNAME", "OS_PASSWORD", "OS_DOMAIN_NAME"} {
		delete(want, name)
	}
	m.keeps(t, want)
	if got := kubectl(t, m.plane, "-n", namespace, "get", "secret", secretName, "-o", "jsonpath={.data}"); strings.Contains(got, "OS_") {
		t.Errorf("the Secret still holds %s", got)
	}
	m.ok(t, "", "deploy")
	m.ok(t, "", "create-secrets")
	m.with("LOG_LEVEL=info").ok(t, "", "create-configmap")
	want["LOG_LEVEL"] = "info"
	m.keeps(t, want)
	all := []string{"LOG_LEVEL=-"}
	for name, value := range before {
		all = append(all, name+"="+value)
	}
	m.with(all...).ok(t, "n\n", "setup")
	m.keeps(t, before)
	if got := kubectl(t, m.plane, "-n", namespace, "get", "configmap", configName, "-o", "jsonpath={.data}"); strings.Contains(got, "OS_PROJECT_NAME") {
		t.Errorf("the project is in both objects: %s", got)
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
