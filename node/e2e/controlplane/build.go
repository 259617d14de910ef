package controlplane

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Programs is a folder that holds the programs of a control plane and the files that belong to
// them.
type Programs string

// Path returns where the named program or file lies.
func (p Programs) Path(name string) string { return filepath.Join(string(p), name) }

// What Build puts beside the programs, by name.
const (
	ServiceMonitorCRD = "monitoring.coreos.com_servicemonitors.yaml" // as the Prometheus operator ships it
	PrometheusRuleCRD = "monitoring.coreos.com_prometheusrules.yaml" // likewise
	kwokStages        = "kwok-stages.yaml"                           // kwok's own rules for Nodes and Pods, without its heartbeat
)

// Build makes what the cache folder lacks and returns that folder. source is the folder of the
// module that names the programs and their versions; out gets a line when a program is begun and
// one when it is done. The cache lies in $E2E_CACHE, else in the user's cache folder, one folder
// for each set of versions; when nothing is missing, Build does nothing.
//
// Two Builds at once do not disturb each other: the second waits for the first.
func Build(ctx context.Context, source string, out io.Writer) (Programs, error) {
	folder, err := cacheFolder(source)
	if err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(folder, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	steps, err := missing(ctx, source, folder)
	if err != nil {
		return "", err
	}
	begin := time.Now()
	for i, s := range steps {
		fmt.Fprintf(out, "e2e: building %s (%d of %d), once, into %s\n", s.name, i+1, len(steps), folder)
		if err := s.build(filepath.Join(folder, s.name)); err != nil {
			return "", fmt.Errorf("build %s: %w", s.name, err)
		}
		fmt.Fprintf(out, "e2e: built %s, %.0f s since the first\n", s.name, time.Since(begin).Seconds())
	}
	return Programs(folder), nil
}

// A step makes one file at the path it is given.
type step struct {
	name  string
	build func(path string) error
}

// missing returns the steps whose file is not in folder.
func missing(ctx context.Context, source, folder string) ([]step, error) {
	version, err := kubernetesVersion(source)
	if err != nil {
		return nil, err
	}
	program := func(pkg string) func(string) error {
		return func(path string) error { return goBuild(ctx, source, version, pkg, path) }
	}
	all := []step{
		{"etcd", program("go.etcd.io/etcd/server/v3")},
		{"kube-apiserver", program("k8s.io/kubernetes/cmd/kube-apiserver")},
		{"kubectl", program("k8s.io/kubernetes/cmd/kubectl")},
		{"kube-controller-manager", program("k8s.io/kubernetes/cmd/kube-controller-manager")},
		{"kube-scheduler", program("k8s.io/kubernetes/cmd/kube-scheduler")},
		{"kwok", program("sigs.k8s.io/kwok/cmd/kwok")},
		{kwokStages, func(path string) error { return copyStages(ctx, source, path) }},
		{ServiceMonitorCRD, func(path string) error { return copyCRD(ctx, path) }},
		{PrometheusRuleCRD, func(path string) error { return copyCRD(ctx, path) }},
	}
	var steps []step
	for _, s := range all {
		if _, err := os.Stat(filepath.Join(folder, s.name)); errors.Is(err, os.ErrNotExist) {
			steps = append(steps, s)
		}
	}
	return steps, nil
}

// goBuild compiles one command, stamped with the version as a release is, so that kubectl and
// the servers report it.
func goBuild(ctx context.Context, source, version, pkg, path string) error {
	part := strings.Split(strings.TrimPrefix(version, "v"), ".")
	flags := "-s -w"
	for _, p := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags += fmt.Sprintf(" -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s", p, version, part[0], part[1])
	}
	temp := path + ".new"
	cmd := exec.CommandContext(ctx, "go", "build", "-C", source, "-trimpath", "-ldflags", flags, "-o", temp, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return os.Rename(temp, path)
}

// copyStages joins the stages that kwok ships in its module. Its heartbeat comes every ten
// minutes and stays out: ours is in kwok.yaml.
func copyStages(ctx context.Context, source, path string) error {
	cmd := exec.CommandContext(ctx, "go", "list", "-C", source, "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok")
	dir, err := cmd.Output()
	if err != nil {
		return err
	}
	var all []byte
	for _, name := range []string{"node/fast/node-initialize", "pod/fast/pod-ready", "pod/fast/pod-complete", "pod/fast/pod-delete"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kustomize/stage", name+".yaml"))
		if err != nil {
			return err
		}
		all = append(append(all, text...), "\n---\n"...)
	}
	return replaceFile(path, all)
}

// copyCRD takes the definition that path ends in from the Prometheus operator's module. Nothing
// of that is compiled, so no go.sum guards it: the checksum here does.
func copyCRD(ctx context.Context, path string) error {
	const (
		module = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
		sum    = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
		folder = "example/prometheus-operator-crd"
	)
	out, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", module).Output()
	if err != nil {
		return fmt.Errorf("download %s: %w", module, err)
	}
	var got struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &got); err != nil {
		return err
	}
	if got.Sum != sum {
		return fmt.Errorf("%s has checksum %s, want %s", module, got.Sum, sum)
	}
	text, err := os.ReadFile(filepath.Join(got.Dir, folder, filepath.Base(path)))
	if err != nil {
		return err
	}
	return replaceFile(path, text)
}

// replaceFile writes a file so that a reader sees all of it or nothing.
func replaceFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// cacheFolder returns the folder for the versions in source, and makes it.
func cacheFolder(source string) (string, error) {
	root := os.Getenv("E2E_CACHE")
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		root = filepath.Join(user, "otc-route-manager", "e2e")
	}
	version, err := kubernetesVersion(source)
	if err != nil {
		return "", err
	}
	sums, err := os.ReadFile(filepath.Join(source, "go.sum"))
	if err != nil {
		return "", err
	}
	folder := filepath.Join(root, fmt.Sprintf("kubernetes-%s-%.4x", version, sha256.Sum256(sums)))
	return folder, os.MkdirAll(folder, 0o755)
}

// kubernetesVersion reads the version that source's go.mod asks for, such as v1.36.3.
func kubernetesVersion(source string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\d+\.\d+\.\d+)\b`).FindSubmatch(mod)
	if found == nil {
		return "", fmt.Errorf("%s/go.mod names no version of k8s.io/kubernetes", source)
	}
	return string(found[1]), nil
}

// lock takes an exclusive lock on a file; it waits for whoever holds it.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
