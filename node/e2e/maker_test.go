package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/e2e/controlplane"
	"otc-route-manager/otc/otctest"
)

// A maker runs make in a copy of the project, with dash as the shell and all rights.
type maker struct {
	plane  *controlplane.ControlPlane
	worker *worker
	dir    string // the copy
	shell  string // dash, by the name of sh
	env    []string
}

// kubelet is what kwok is to do with a pod's log, port and exec, and how a pod stands: all pods have
// the address of this machine, where the real program listens, and an image may be one that never
// gets ready.
const kubelet = `
apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterLogs
metadata: {name: all}
spec: {logs: [{logsFile: %q, follow: true}]}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterPortForward
metadata: {name: all}
spec: {forwards: [{ports: [%[2]d], target: {address: 127.0.0.1, port: %[2]d}}]}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterExec
metadata: {name: all}
spec: {execs: [{local: {envs: [%[3]s]}}]}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-here}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
      - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
      - {key: .status.phase, operator: In, values: [Pending]}
  weight: 1000
  next:
    statusTemplate: |
      {{ $c := index .spec.containers 0 }}{{ $odd := or (eq $c.image "no-image:1") (eq $c.image "exit-2:1") }}
      {{ $ready := not (or $odd (eq $c.image "never-ready:1")) }}
      phase: Running
      podIP: %[4]s
      podIPs: [{ip: %[4]s}]
      conditions: [{type: Ready, status: "{{ if $ready }}True{{ else }}False{{ end }}", lastTransitionTime: {{ Now | Quote }}}]
      containerStatuses:
        - image: {{ $c.image | Quote }}
          name: {{ $c.name | Quote }}
          ready: {{ $ready }}
          restartCount: 0
          {{ if eq $c.image "no-image:1" }}
          state: {waiting: {reason: ErrImagePull}}
          {{ else if $odd }}
          state: {waiting: {reason: CrashLoopBackOff}}
          lastState: {terminated: {exitCode: 2, reason: Error}}
          {{ else }}
          state: {running: {startedAt: {{ Now | Quote }}}}
          {{ end }}
`

// address returns one of this machine that the API server may connect to for a client.
func address(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Fatal("this machine has no address but loopback ones")
	return ""
}

func newMaker(t *testing.T) *maker {
	t.Helper()
	dir := filepath.Join(scratch, t.Name())
	m := &maker{dir: filepath.Join(dir, "project"), shell: filepath.Join(dir, "bin", "sh")}
	copyProject(t, m.dir)
	dash, err := exec.LookPath("dash")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(m.shell), 0o755), os.Symlink(dash, m.shell)); err != nil {
		t.Fatal(err)
	}
	w := &worker{t: t, cloud: newCloud(t), port: freePorts(t, 1)[0]}
	w.number(1)
	m.listenOn(t, w.port)
	var envs []string
	for _, e := range append(w.environment(), "KUBECONFIG="+filepath.Join(w.folder(), "kubeconfig"), "KUBERNETES_SERVICE_HOST=192.0.2.1") {
		name, value, _ := strings.Cut(e, "=")
		envs = append(envs, fmt.Sprintf("{name: %s, value: %q}", name, value))
	}
	w.plane = startPlane(t, controlplane.Config{
		Controllers: true, Kubelets: true, PodProgram: binary,
		KwokConfig: fmt.Sprintf(kubelet, filepath.Join(w.folder(), "pod.log"), w.port, strings.Join(envs, ", "), address(t)),
	})
	w.create("10.128.2.0/23")
	createNode(t, w.plane, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "master", Labels: map[string]string{"kubernetes.io/os": "linux", roleControlPlane: ""}}})
	m.plane, m.worker = w.plane, w
	m.env = w.plane.Env("OTC_VPC_ENDPOINT="+w.cloud.url, "OTC_ECS_ENDPOINT="+w.cloud.url)
	i := slices.IndexFunc(m.env, func(e string) bool { return strings.HasPrefix(e, "PATH="+string(programs)) })
	m.env[i] = "PATH=" + filepath.Dir(m.shell) + ":" + strings.TrimPrefix(m.env[i], "PATH=")
	return m
}

// listenOn changes the port of the DaemonSet's container.
func (m *maker) listenOn(t *testing.T, port int) {
	t.Helper()
	path := filepath.Join(m.dir, "manifests.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.ReplaceAll(string(text), "containerPort: 8080", fmt.Sprint("containerPort: ", port))
	if err := os.WriteFile(path, []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}
}

// copyProject copies the tree without its history and these tests.
func copyProject(t *testing.T, to string) {
	t.Helper()
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", ".cache", "node/e2e", "vendor", "dist"}, path):
			return fs.SkipDir
		case path == ".git" || path == "otc-route-manager": // of a worktree; what somebody has built
			return nil
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		}
		text, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), text, 0o755)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// make runs a target to its end.
func (m *maker) make(t *testing.T, stdin string, args ...string) controlplane.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out := controlplane.Run(ctx, m.env, stdin, "make", m.arguments(args)...)
	if strings.Contains(out.Stdout+out.Stderr, otctest.Password) {
		t.Errorf("make %s shows the password:\n%s%s", args[0], out.Stdout, out.Stderr)
	}
	return out
}

// arguments has make's recipes run by dash; so do the scripts that they start with "sh", by the
// path in env.
func (m *maker) arguments(args []string) []string {
	return append([]string{"--no-print-directory", "-C", m.dir, "SHELL=" + m.shell}, args...)
}

// ok runs a target that must succeed and returns all that it said.
func (m *maker) ok(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out := m.make(t, stdin, args...)
	if out.Code != 0 {
		t.Fatalf("make %s: code %d\n%s%s", strings.Join(args, " "), out.Code, out.Stdout, out.Stderr)
	}
	return out.Stdout + out.Stderr
}

// with returns a maker with more in its environment.
func (m *maker) with(env ...string) *maker {
	other := *m
	other.env = append(slices.Clone(m.env), env...)
	return &other
}

// stored returns what the Secret and the ConfigMap hold.
func (m *maker) stored(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	secret, err := m.plane.Client().CoreV1().Secrets(namespace).Get(t.Context(), secretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range secret.Data {
		all[k] = string(v)
	}
	config, err := m.plane.Client().CoreV1().ConfigMaps(namespace).Get(t.Context(), configName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, config.Data)
	return all
}

// values are the right answers, in the order in which setup asks.
func (m *maker) values() [][2]string {
	return [][2]string{
		{"OS_REGION_NAME", "eu-de"},
		{"OS_AUTH_URL", m.worker.cloud.url + "/v3"},
		{"OS_IDENTITY_PROVIDER", ""}, // none: by password
		{"OS_DOMAIN_NAME", otctest.Account},
		{"OS_PROJECT_NAME", otctest.Project},
		{"OS_USERNAME", otctest.User},
		{"OS_PASSWORD", otctest.Password},
		{"ROUTE_TABLE_ID", otctest.TableID},
		{"CLUSTER_CIDR", "10.128.0.0/14"},
	}
}
