package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

// kubelet is what kwok is to do with a pod's log, port and exec.
const kubelet = `
apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterLogs
metadata: {name: all}
spec: {logs: [{logsFile: %q, follow: true}]}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterPortForward
metadata: {name: all}
spec: {forwards: [{ports: [8080], target: {address: 127.0.0.1, port: %d}}]}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterExec
metadata: {name: all}
spec: {execs: [{local: {envs: [%s]}}]}
`

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
	var envs []string
	for _, e := range append(w.environment(), "KUBECONFIG="+filepath.Join(w.folder(), "kubeconfig")) {
		name, value, _ := strings.Cut(e, "=")
		envs = append(envs, fmt.Sprintf("{name: %s, value: %q}", name, value))
	}
	w.plane = startPlane(t, controlplane.Config{
		Controllers: true, Kubelets: true, PodProgram: binary,
		KwokConfig: fmt.Sprintf(kubelet, filepath.Join(w.folder(), "pod.log"), w.port, strings.Join(envs, ", ")),
	})
	w.create("10.128.2.0/23")
	m.plane, m.worker = w.plane, w
	m.env = w.plane.Env("OTC_VPC_ENDPOINT="+w.cloud.url, "OTC_ECS_ENDPOINT="+w.cloud.url)
	i := slices.IndexFunc(m.env, func(e string) bool { return strings.HasPrefix(e, "PATH="+string(programs)) })
	m.env[i] = "PATH=" + filepath.Dir(m.shell) + ":" + strings.TrimPrefix(m.env[i], "PATH=")
	return m
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
		{"OS_DOMAIN_NAME", otctest.Account},
		{"OS_PROJECT_NAME", otctest.Project},
		{"OS_USERNAME", otctest.User},
		{"OS_PASSWORD", otctest.Password},
		{"ROUTE_TABLE_ID", otctest.TableID},
		{"CLUSTER_CIDR", "10.128.0.0/14"},
	}
}
