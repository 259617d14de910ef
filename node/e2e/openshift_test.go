package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/e2e/controlplane"
)

// TestOpenShift checks what of OpenShift's security context constraints can be checked without
// OpenShift: the pod fits nonroot-v2, its ServiceAccount may use that one and no wider one, and
// everybody's restricted-v2 would not do.
func TestOpenShift(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	template := daemonSet(t, plane).Spec.Template

	t.Run("PodFitsNonrootV2", func(t *testing.T) {
		if bad := nonrootV2(template.Spec); len(bad) != 0 {
			t.Errorf("refused: %s", strings.Join(bad, "; "))
		}
		if got := template.Annotations["openshift.io/required-scc"]; got != "nonroot-v2" {
			t.Errorf("openshift.io/required-scc is %q, want nonroot-v2", got)
		}
	})
	t.Run("NonrootV2RefusesMore", func(t *testing.T) { testNonrootV2(t, template.Spec) })
	t.Run("RestrictedV2WouldRefuse", func(t *testing.T) {
		const low, high = 1000650000, 1000659999 // such as OpenShift gives a namespace
		if uid := template.Spec.SecurityContext.RunAsUser; uid == nil || *uid >= low && *uid <= high {
			t.Errorf("runAsUser %v: then the binding to nonroot-v2 would not be needed", uid)
		}
	})
	t.Run("AccountMayUseIt", func(t *testing.T) { testMayUse(t, plane) })
}

// nonrootV2 says what OpenShift's constraint nonroot-v2 would find wrong with a pod: no
// privileges, no part of the host, all capabilities dropped (NET_BIND_SERVICE may come back), any
// user but root, the runtime's seccomp profile, and volumes that hold no part of the host.
// fsGroup and supplementary groups are free.
func nonrootV2(p corev1.PodSpec) (bad []string) {
	if p.HostNetwork || p.HostPID || p.HostIPC {
		bad = append(bad, "namespaces of the host")
	}
	pod := p.SecurityContext
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	if pod.SELinuxOptions != nil {
		bad = append(bad, "an SELinux context of its own")
	}
	if len(pod.Sysctls) != 0 {
		bad = append(bad, "sysctls")
	}
	for _, v := range p.Volumes {
		s := v.VolumeSource
		if s.ConfigMap == nil && s.CSI == nil && s.DownwardAPI == nil && s.EmptyDir == nil && s.Ephemeral == nil &&
			s.PersistentVolumeClaim == nil && s.Projected == nil && s.Secret == nil {
			bad = append(bad, "volume "+v.Name)
		}
	}
	for _, c := range slices.Concat(p.InitContainers, p.Containers) {
		for _, b := range containerNonrootV2(pod, c) {
			bad = append(bad, fmt.Sprintf("container %s: %s", c.Name, b))
		}
	}
	return bad
}

func containerNonrootV2(pod *corev1.PodSecurityContext, c corev1.Container) (bad []string) {
	s := c.SecurityContext
	if s == nil {
		s = &corev1.SecurityContext{}
	}
	for _, port := range c.Ports {
		if port.HostPort != 0 {
			bad = append(bad, fmt.Sprint("host port ", port.HostPort))
		}
	}
	if s.Privileged != nil && *s.Privileged {
		bad = append(bad, "privileged")
	}
	if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
		bad = append(bad, "privilege escalation")
	}
	if s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") ||
		slices.ContainsFunc(s.Capabilities.Add, func(c corev1.Capability) bool { return c != "NET_BIND_SERVICE" }) {
		bad = append(bad, "capabilities")
	}
	if profile := either(s.SeccompProfile, pod.SeccompProfile); profile == nil || profile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		bad = append(bad, "seccomp profile")
	}
	nonRoot, uid := either(s.RunAsNonRoot, pod.RunAsNonRoot), either(s.RunAsUser, pod.RunAsUser)
	if uid != nil && *uid == 0 || uid == nil && (nonRoot == nil || !*nonRoot) {
		bad = append(bad, "root")
	}
	return bad
}

// either returns the container's value, or the pod's where the container has none.
func either[T any](container, pod *T) *T {
	if container != nil {
		return container
	}
	return pod
}

// testNonrootV2 spoils the pod in each way the constraint forbids.
func testNonrootV2(t *testing.T, spec corev1.PodSpec) {
	yes, root := true, int64(0)
	for want, spoil := range map[string]func(p *corev1.PodSpec, c *corev1.SecurityContext){
		"namespaces of the host": func(p *corev1.PodSpec, _ *corev1.SecurityContext) { p.HostNetwork = true },
		"an SELinux context of its own": func(p *corev1.PodSpec, _ *corev1.SecurityContext) {
			p.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{}
		},
		"sysctls": func(p *corev1.PodSpec, _ *corev1.SecurityContext) { p.SecurityContext.Sysctls = []corev1.Sysctl{{}} },
		"volume host": func(p *corev1.PodSpec, _ *corev1.SecurityContext) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}})
		},
		"host port 80":         func(p *corev1.PodSpec, _ *corev1.SecurityContext) { p.Containers[0].Ports[0].HostPort = 80 },
		"privileged":           func(_ *corev1.PodSpec, c *corev1.SecurityContext) { c.Privileged = &yes },
		"privilege escalation": func(_ *corev1.PodSpec, c *corev1.SecurityContext) { c.AllowPrivilegeEscalation = nil },
		"capabilities": func(_ *corev1.PodSpec, c *corev1.SecurityContext) {
			c.Capabilities.Add = []corev1.Capability{"NET_ADMIN"}
		},
		"seccomp profile": func(p *corev1.PodSpec, _ *corev1.SecurityContext) { p.SecurityContext.SeccompProfile = nil },
		"root":            func(_ *corev1.PodSpec, c *corev1.SecurityContext) { c.RunAsUser = &root },
	} {
		p := spec.DeepCopy()
		spoil(p, p.Containers[0].SecurityContext)
		if bad := nonrootV2(*p); len(bad) != 1 || !strings.HasSuffix(bad[0], want) {
			t.Errorf("got %q, want %q alone", bad, want)
		}
	}
}

// testMayUse makes the ClusterRole that OpenShift has for the constraint: with it the binding in
// manifests.yaml must give our ServiceAccount, and nobody else, the use of it.
func testMayUse(t *testing.T, plane *controlplane.ControlPlane) {
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "system:openshift:scc:nonroot-v2"},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"security.openshift.io"}, Resources: []string{"securitycontextconstraints"},
			ResourceNames: []string{"nonroot-v2"}, Verbs: []string{"use"}}},
	}
	if _, err := plane.Client().RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who, constraint, where string
		want                   bool
	}{
		{user, "nonroot-v2", namespace, true},
		{user, "nonroot-v2", "default", false},
		{user, "privileged", namespace, false},
		{"system:serviceaccount:" + namespace + ":default", "nonroot-v2", namespace, false},
	} {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: c.who, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: "use", Group: "security.openshift.io", Resource: "securitycontextconstraints", Name: c.constraint, Namespace: c.where}}}
		eventually(t, 10*time.Second, func(ctx context.Context) error { // the authorizer hears of a new role a moment later
			got, err := plane.Client().AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err == nil && got.Status.Allowed != c.want {
				err = fmt.Errorf("may %s use %s in %s: got %v, want %v", c.who, c.constraint, c.where, got.Status.Allowed, c.want)
			}
			return err
		})
	}
}
