package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/e2e/controlplane"
	"otc-route-manager/otc/otctest"
)

// loginRefused deploys with a wrong password: deploy says why no pod gets ready, and nothing that it
// says, nor make check, leads to one more login.
func loginRefused(t *testing.T, m *maker) {
	m.worker.cloud.Reset()
	m.worker.launch(nil, binary, m.worker.kubeconfig(m.plane.Address()), "OS_PASSWORD=an-old-one")
	defer m.worker.Kill()
	eventually(t, 10*time.Second, func(context.Context) error {
		if m.worker.cloud.Count(otctest.OpLogin) == 0 {
			return errors.New("no login yet")
		}
		return nil
	})
	mistakes(t, m, []mistake{
		{"deploy IMAGE_NAME=never-ready IMAGE_TAG=1 TIMEOUT=3s", "worker-1  no      no        login refused", "make check"},
		{"restart TIMEOUT=2s", "correct user or password: make create-secrets", "make check"},
		{"check", "; not tried again: the running pod was refused just now; five failures lock the user", "✅ login"},
	})
	if n := m.worker.cloud.Count(otctest.OpLogin); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	m.ok(t, "", "deploy")
}

// status shows a line for each Node, the bad one first, and what the program wrote about its Node.
func status(t *testing.T, m *maker) {
	m.worker.routed(10*time.Second, "10.128.2.0/23")
	other := &worker{t: t, plane: m.plane, cloud: m.worker.cloud}
	other.number(2)
	other.create("10.128.4.0/23")
	defer m.deleteNodes(t, other.name)
	m.podsRun(t, 2)
	pod := strings.TrimSpace(kubectl(t, m.plane, "-n", namespace, "get", "pods", "--field-selector", "spec.nodeName="+other.name, "-o", "name"))
	kubectl(t, m.plane, "-n", namespace, "patch", pod, "--subresource=status", "-p",
		`{"status":{"containerStatuses":[{"name":"otc-route-manager","state":{"waiting":{"reason":"CrashLoopBackOff"},"running":null},"lastState":{"terminated":{"exitCode":1}}}]}}`)
	want := "NODE      READY   IN SYNC   REASON\n" +
		"worker-2  no      no        pod Running, CrashLoopBackOff, ended with exit code 1\n" +
		"worker-1  yes     yes       all routes are confirmed\n" +
		"1 of 2 nodes in sync\n"
	eventually(t, 10*time.Second, func(context.Context) error {
		out := m.ok(t, "", "status")
		if !strings.Contains(out, want) || !strings.Contains(out, "RouteConfirmed") {
			return fmt.Errorf("make status shows\n%s\nwant in it\n%s", out, want)
		}
		return nil
	})
}

// statusOf200 asks 201 pods, in seconds.
func statusOf200(t *testing.T, m *maker) {
	var names []string
	for i := range 200 {
		n := m.worker.node("")
		n.Name, n.Spec.ProviderID, n.Annotations = fmt.Sprintf("many-%d", i), "", nil
		names = append(names, n.Name)
		createNode(t, m.plane, n)
	}
	defer m.deleteNodes(t, names...)
	m.podsRun(t, 201)
	began := time.Now()
	if out := m.ok(t, "", "status"); !strings.Contains(out, "201 of 201 nodes in sync") {
		t.Errorf("make status shows\n%s", out)
	}
	t.Logf("make status took %v", time.Since(began))
}

// podsRun waits until so many pods run.
func (m *maker) podsRun(t *testing.T, n int) {
	t.Helper()
	eventually(t, time.Minute, func(ctx context.Context) error {
		pods, err := m.plane.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err == nil && len(pods.Items) != n {
			err = fmt.Errorf("%d pods run, want %d", len(pods.Items), n)
		}
		return err
	})
}

// deleteNodes deletes Nodes and waits until their pods are gone.
func (m *maker) deleteNodes(t *testing.T, names ...string) {
	for _, name := range names {
		if err := m.plane.Client().CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
	kubectl(t, m.plane, "-n", namespace, "delete", "pods", "--all", "--force", "--wait=false")
	m.podsRun(t, 1)
}

// noEligibleNode: that no pod is to run is no success.
func noEligibleNode(t *testing.T, m *maker) {
	kubectl(t, m.plane, "label", "node", m.worker.name, roleWorker+"-", roleControlPlane+"=")
	mistakes(t, m, []mistake{{"restart TIMEOUT=10s", "no pod runs: no Linux node has the label", "every pod is ready"}})
	kubectl(t, m.plane, "label", "node", m.worker.name, roleWorker+"=", roleControlPlane+"-")
	m.podsRun(t, 1)
}

func restart(t *testing.T, m *maker) {
	before := podNames(t, m.plane)
	m.ok(t, "", "restart")
	after := podNames(t, m.plane)
	if len(after) != 1 || slices.Equal(after, before) {
		t.Errorf("pods %v, were %v, want one new one", after, before)
	}
}

func podNames(t *testing.T, plane *controlplane.ControlPlane) []string {
	t.Helper()
	pods, err := plane.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// logs follows the log of all pods, and of the pod on one Node. The program's output becomes the
// pod's log in the form that a container runtime writes.
func logs(t *testing.T, m *maker) {
	var log strings.Builder
	for line := range strings.Lines(m.worker.Output()) {
		fmt.Fprintf(&log, "%s stdout F %s", time.Now().Format(time.RFC3339Nano), line)
	}
	if err := os.WriteFile(filepath.Join(m.worker.folder(), "pod.log"), []byte(log.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"logs"}, {"logs", "NODE=" + m.worker.name}} {
		running := m.background(t, args...)
		eventually(t, 10*time.Second, func(context.Context) error {
			if !strings.Contains(running.Output(), "✅ Success: route 10.128.2.0/23 → worker-1 confirmed") {
				return fmt.Errorf("make %s shows\n%s", strings.Join(args, " "), running.Output())
			}
			return nil
		})
	}
	m.asked(t, "/log", "follow=true")
}

// background starts a target that does not end by itself.
func (m *maker) background(t *testing.T, args ...string) *controlplane.Process {
	t.Helper()
	name := strings.Join(args, "-")
	p, err := controlplane.StartProcess(filepath.Dir(m.dir), name, m.env, "make", m.arguments(args)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop) // make hands the signal on to kubectl
	return p
}

// asked fails unless the API server was asked for something of a pod of ours, with this in the
// query.
func (m *maker) asked(t *testing.T, subresource, query string) {
	t.Helper()
	if len(requests(t, m.plane, func(r controlplane.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/"+namespace+"/pods/otc-route-manager-") &&
			strings.HasSuffix(r.URL.Path, subresource) && strings.Contains(r.URL.RawQuery, query) && r.Code < 300
	})) == 0 {
		t.Errorf("no request for %s?%s in the audit log", subresource, query)
	}
}

// portForward reads the real program's metrics through kubectl, API server and kwok.
func portForward(t *testing.T, m *maker) {
	port := freePorts(t, 1)[0]
	running := m.background(t, "port-forward", fmt.Sprint("PORT=", port))
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		text, err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
		if err != nil || !strings.Contains(text, "\nroute_manager_in_sync 1\n") {
			return fmt.Errorf("%v\n%s\n%s", err, running.Output(), text)
		}
		return nil
	})
	m.asked(t, "/portforward", "")
}

// get reads a page.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return string(text), err
}

// check runs the program once more where kubectl exec would run it.
func check(t *testing.T, m *maker) {
	m.worker.cloud.Reset()
	out := m.ok(t, "", "check")
	if !strings.Contains(out, "tried in the pod on worker-1; another: make check NODE=") || !strings.Contains(out, "✅") || strings.Contains(out, "❌") {
		t.Errorf("make check says\n%s", out)
	}
	if logins, writes := m.worker.cloud.Count(otctest.OpLogin), m.worker.cloud.Count(otctest.OpTableUpdate); logins != 1 || writes != 0 {
		t.Errorf("%d logins and %d writes, want 1 and 0", logins, writes)
	}
	m.asked(t, "/exec", "command=%2Fotc-route-manager&command=-check")
}

// undeploy leaves nothing of ours in the cluster. The namespace stays as long as it holds anything of
// somebody else, of whatever kind, or that cannot be told because an API does not answer.
func undeploy(t *testing.T, m *maker) {
	m.worker.end() // it runs beside the cluster and would miss its rights
	away := `{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1.away.example.com"},"spec":{
		"group":"away.example.com","version":"v1","groupPriorityMinimum":1,"versionPriority":1,"service":{"name":"away","namespace":"default"}}}`
	if out := m.plane.Kubectl(t.Context(), away, "apply", "-f", "-"); out.Code != 0 {
		t.Fatal(out.Stderr)
	}
	if out := m.ok(t, "", "undeploy"); !strings.Contains(out, "because an API does not answer") {
		t.Errorf("undeploy says\n%s", out)
	}
	kubectl(t, m.plane, "delete", "apiservice", "v1.away.example.com")
	theirs := []string{"ConfigMap/theirs", "Secret/theirs", "ServiceMonitor/theirs"}
	kubectl(t, m.plane, "-n", namespace, "create", "configmap", "theirs")
	kubectl(t, m.plane, "-n", namespace, "create", "secret", "generic", "theirs")
	monitor := `{"apiVersion":"monitoring.coreos.com/v1","kind":"ServiceMonitor","metadata":{"name":"theirs"},"spec":{"selector":{},"endpoints":[]}}`
	if out := m.plane.Kubectl(t.Context(), monitor, "-n", namespace, "apply", "-f", "-"); out.Code != 0 {
		t.Fatal(out.Stderr)
	}
	for ; len(theirs) > 0; theirs = theirs[1:] {
		out := m.ok(t, "", "undeploy")
		if !strings.Contains(out, "is kept, because it also contains:\n"+strings.Join(theirs, "\n")+"\n") {
			t.Errorf("undeploy of a namespace with %v says\n%s", theirs, out)
		}
		kubectl(t, m.plane, "-n", namespace, "delete", theirs[0])
	}
	m.ok(t, "", "undeploy")
	if left := ours(t, m.plane); len(left) != 0 {
		t.Errorf("left behind: %s", strings.Join(left, ", "))
	}
	if out := m.make(t, "", "undeploy"); out.Code != 0 {
		t.Errorf("a second undeploy: code %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
}

// foreignNamespace installs into a namespace that somebody else has made: it is used as it is, and
// left as it is.
func foreignNamespace(t *testing.T, m *maker) {
	kubectl(t, m.plane, "create", "namespace", "team-a")
	get := func() string {
		return kubectl(t, m.plane, "get", "namespace", "team-a", "-o", "jsonpath={.metadata.labels}{.metadata.annotations}")
	}
	before := get()
	answers := ""
	for _, v := range m.values() {
		answers += v[1] + "\n"
	}
	m.ok(t, answers+"n\n", "setup", "NAMESPACE=team-a")
	m.ok(t, "", "deploy", "NAMESPACE=team-a")
	m.ok(t, "", "undeploy", "NAMESPACE=team-a")
	if after := get(); after != before {
		t.Errorf("the namespace of somebody else is now\n%s\nwas\n%s", after, before)
	}
	if left := ours(t, m.plane); len(left) != 0 {
		t.Errorf("left behind: %s", strings.Join(left, ", "))
	}
}

// ours lists each object of every kind that has our name or label or lies in our namespace,
// Events aside, which end by themselves.
func ours(t *testing.T, plane *controlplane.ControlPlane) (left []string) {
	t.Helper()
	kinds := strings.Fields(kubectl(t, plane, "api-resources", "--verbs=list", "-o", "name"))
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return strings.HasPrefix(k, "events") })
	columns := "custom-columns=K:.kind,NS:.metadata.namespace,N:.metadata.name,L:.metadata.labels.app\\.kubernetes\\.io/name"
	for line := range strings.Lines(kubectl(t, plane, "get", strings.Join(kinds, ","), "-A", "--no-headers", "-o", columns)) {
		if strings.Contains(line, "otc-") {
			left = append(left, strings.Join(strings.Fields(line), " "))
		}
	}
	return left
}
