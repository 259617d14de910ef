package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"otc-route-manager/node/e2e/controlplane"
)

const noServiceMonitor = `no matches for kind "ServiceMonitor" in version "monitoring.coreos.com/v1"`

// TestManifests applies manifests.yaml with real kubectl, as a user does: first without, then
// with the ServiceMonitor's CRD.
func TestManifests(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{Controllers: true, Kubelets: true})
	newWorker(t, plane, newCloud(t), 1, "10.128.2.0/23")

	t.Run("WithoutServiceMonitorCRD", func(t *testing.T) { testWithoutCRD(t, plane) })
	t.Run("WithServiceMonitorCRD", func(t *testing.T) { testWithCRD(t, plane) })
	t.Run("StrictlyValid", func(t *testing.T) { testStrict(t, plane) })
	t.Run("RemarksTakenIntoUse", func(t *testing.T) { testRemarks(t, plane) })
	t.Run("Rollout", func(t *testing.T) { testRollout(t, daemonSet(t, plane)) })
	t.Run("RestrictedNamespaceAdmitsThePods", func(t *testing.T) { testRestricted(t, plane) })
	t.Run("RestrictedNamespaceRefusesLess", func(t *testing.T) { testLess(t, plane) })
}

// testWithoutCRD: all but the ServiceMonitor is there, and the exit code is 1, the first time and
// the second.
func testWithoutCRD(t *testing.T, plane *controlplane.ControlPlane) {
	for _, want := range []string{"created", "unchanged"} {
		out := plane.Kubectl(t.Context(), "", "apply", "-f", manifests)
		if out.Code != 1 || !strings.Contains(out.Stderr, noServiceMonitor) || strings.Count(out.Stderr, "error: ") != 1 {
			t.Errorf("code %d, want 1 and one complaint about the ServiceMonitor:\n%s", out.Code, out.Stderr)
		}
		applied(t, out.Stdout, want, documents(t)-1)
	}
}

func testWithCRD(t *testing.T, plane *controlplane.ControlPlane) {
	kubectl(t, plane, "apply", "--server-side", "-f", programs.Path(controlplane.ServiceMonitorCRD))
	kubectl(t, plane, "wait", "--for=condition=established", "crd", "--all")
	first := plane.Kubectl(t.Context(), "", "apply", "-f", manifests)
	if first.Code != 0 || !strings.Contains(first.Stdout, "servicemonitor.monitoring.coreos.com/otc-route-manager created") {
		t.Errorf("code %d\n%s%s", first.Code, first.Stdout, first.Stderr)
	}
	second := plane.Kubectl(t.Context(), "", "apply", "-f", manifests)
	if second.Code != 0 {
		t.Errorf("second apply: code %d\n%s", second.Code, second.Stderr)
	}
	applied(t, second.Stdout, "unchanged", documents(t))
}

// documents counts the objects in manifests.yaml.
func documents(t *testing.T) int {
	t.Helper()
	return strings.Count(readManifests(t), "\nkind: ")
}

func readManifests(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(manifests)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// applied checks that kubectl said the same word about each of n objects.
func applied(t *testing.T, stdout, word string, n int) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) != n || slices.ContainsFunc(lines, func(l string) bool { return !strings.HasSuffix(l, " "+word) }) {
		t.Errorf("want %d objects %s, got %d:\n%s", n, word, len(lines), stdout)
	}
}

// testStrict has the API server check every field by its schema, the ServiceMonitor's too.
func testStrict(t *testing.T, plane *controlplane.ControlPlane) {
	out := plane.Kubectl(t.Context(), "", "apply", "--dry-run=server", "--validate=strict", "-f", manifests)
	if out.Code != 0 {
		t.Errorf("code %d\n%s", out.Code, out.Stderr)
	}
	if strings.Contains(out.Stderr, "would violate PodSecurity") {
		t.Errorf("kubectl warns:\n%s", out.Stderr)
	}
}

// testRemarks takes the # off what the file has as remarks only, as a user does, and applies that;
// the file as it comes, applied after it, must take nothing back.
func testRemarks(t *testing.T, plane *controlplane.ControlPlane) {
	edited := regexp.MustCompile(`(?m)^#(\S|  )`).ReplaceAllString(strings.ReplaceAll(readManifests(t), "\n##", "\n# #"), "$1")
	edited = strings.ReplaceAll(edited, "cidr: REPLACE", "cidr: 10.20.0.0/24")
	out := plane.Kubectl(t.Context(), edited, "apply", "--validate=strict", "-f", "-")
	for _, want := range []string{"secret/otc-credentials", "configmap/otc-route-manager-config", "networkpolicy.networking.k8s.io/otc-route-manager"} {
		if out.Code != 0 || !strings.Contains(out.Stdout, want+" created") {
			t.Errorf("code %d, want %s created\n%s%s", out.Code, want, out.Stdout, out.Stderr)
		}
	}
	stored := func() string {
		return kubectl(t, plane, "-n", namespace, "get", "secret/"+secretName, "configmap/"+configName, "-o", "jsonpath={.items[*].data}")
	}
	before := stored()
	kubectl(t, plane, "apply", "-f", manifests)
	if after := stored(); after != before || !strings.Contains(before, "CLUSTER_CIDR") {
		t.Errorf("the file as it comes turned\n%s\ninto\n%s", before, after)
	}
}

// testRollout: five refused logins lock the user, and each new pod logs in; a pod that is healthy is
// not asked before it can be ready.
func testRollout(t *testing.T, ds *appsv1.DaemonSet) {
	if got := ds.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable; got.Type != intstr.Int || got.IntVal < 1 || got.IntVal > 4 {
		t.Errorf("maxUnavailable %v, want a number of at most 4", got)
	}
	if got := ds.Spec.Template.Spec.Containers[0].ReadinessProbe.InitialDelaySeconds; got <= 5 {
		t.Errorf("readiness is asked for after %d s, want more than the longest STARTUP_JITTER that is the default, 5 s", got)
	}
}

// testRestricted looks at the pods: a DaemonSet whose pods are refused is itself created without
// an error.
func testRestricted(t *testing.T, plane *controlplane.ControlPlane) {
	ns, err := plane.Client().CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"enforce", "warn", "audit"} {
		if got := ns.Labels["pod-security.kubernetes.io/"+mode]; got != "restricted" {
			t.Errorf("namespace: %s is %q, want restricted", mode, got)
		}
	}
	eventually(t, 20*time.Second, func(ctx context.Context) error {
		ds, err := plane.Client().AppsV1().DaemonSets(namespace).Get(ctx, account, metav1.GetOptions{})
		if err == nil && (ds.Status.DesiredNumberScheduled == 0 || ds.Status.NumberReady != ds.Status.DesiredNumberScheduled) {
			err = fmt.Errorf("%d of %d pods are ready", ds.Status.NumberReady, ds.Status.DesiredNumberScheduled)
		}
		return err
	})
	pods, err := plane.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		checkPod(t, p.Spec)
	}
}

// checkPod checks what Pod Security does not ask for and we promise all the same.
func checkPod(t *testing.T, p corev1.PodSpec) {
	t.Helper()
	if p.PriorityClassName != "system-node-critical" || p.DNSPolicy != corev1.DNSDefault {
		t.Errorf("priority class %q, DNS policy %q", p.PriorityClassName, p.DNSPolicy)
	}
	for _, v := range p.Volumes {
		if v.Name == "otc-credentials" && (*v.Projected.DefaultMode&0o004 == 0 || !*v.Projected.Sources[0].Secret.Optional) {
			t.Errorf("volume %s: user 1001 cannot read it, or pods wait for the Secret: %v", v.Name, v.Projected)
		}
	}
	for _, c := range p.Containers {
		if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("container %s: the root file system is writable", c.Name)
		}
		if c.Resources.Limits.Memory().IsZero() {
			t.Errorf("container %s: no memory limit", c.Name)
		}
	}
}

// testLess takes one line after the other out of the pod: each time the namespace must refuse it,
// or the test above would prove nothing.
func testLess(t *testing.T, plane *controlplane.ControlPlane) {
	ds := daemonSet(t, plane)
	for name, spoil := range map[string]func(*corev1.PodSpec){
		"host network":         func(p *corev1.PodSpec) { p.HostNetwork = true },
		"root":                 func(p *corev1.PodSpec) { p.SecurityContext.RunAsNonRoot = nil },
		"seccomp":              func(p *corev1.PodSpec) { p.SecurityContext.SeccompProfile = nil },
		"capabilities":         func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Capabilities = nil },
		"privilege escalation": func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil },
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "less-"}, Spec: *ds.Spec.Template.Spec.DeepCopy()}
		pod.Spec.Affinity, pod.Spec.PriorityClassName, pod.Spec.NodeName = nil, "", "nowhere"
		create := func() error {
			_, err := plane.Client().CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{"All"}})
			return err
		}
		if err := create(); err != nil {
			t.Errorf("the pod as it stands: %v", err)
		}
		spoil(&pod.Spec)
		if err := create(); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
			t.Errorf("without %s: got %v, want a refusal", name, err)
		}
	}
}

func daemonSet(t *testing.T, plane *controlplane.ControlPlane) *appsv1.DaemonSet {
	t.Helper()
	ds, err := plane.Client().AppsV1().DaemonSets(namespace).Get(t.Context(), account, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ds
}
