package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/e2e/controlplane"
)

const (
	roleWorker       = "node-role.kubernetes.io/worker"
	roleControlPlane = "node-role.kubernetes.io/control-plane"
	roleMaster       = "node-role.kubernetes.io/master"
)

// TestSchedule applies manifests.yaml to a cluster with every kind of Node and looks where the
// DaemonSet controller and the scheduler put pods.
func TestSchedule(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{Controllers: true, Kubelets: true})
	noSchedule := func(key string) []corev1.Taint {
		return []corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoSchedule}}
	}
	kinds := []struct {
		name   string
		labels []string // keys; the value is empty, but for the operating system
		taints []corev1.Taint
		pod    bool
	}{
		{"worker", []string{roleWorker}, nil, true},
		{"kubeadm-worker", nil, nil, true},
		{"tainted-worker", []string{roleWorker}, noSchedule("example.com/dedicated"), true},
		{"evicting-worker", nil, []corev1.Taint{{Key: "example.com/gone", Effect: corev1.TaintEffectNoExecute}}, true},
		{"infra", []string{"node-role.kubernetes.io/infra"}, noSchedule("node-role.kubernetes.io/infra"), true},
		{"young-worker", nil, noSchedule("node.cloudprovider.kubernetes.io/uninitialized"), true},
		{"schedulable-master", []string{roleWorker, roleControlPlane, roleMaster}, nil, true},
		{"openshift-master", []string{roleControlPlane, roleMaster}, noSchedule(roleMaster), false},
		{"kubeadm-master", []string{roleControlPlane}, noSchedule(roleControlPlane), false},
		{"untainted-master", []string{roleControlPlane}, nil, false},
		{"old-master", []string{roleMaster}, nil, false},
		{"windows", []string{roleWorker, "os=windows"}, nil, false},
		{"cordoned", []string{roleWorker, "cordoned"}, nil, true},
	}
	var want []string
	for _, k := range kinds {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.name, Labels: map[string]string{"kubernetes.io/os": "linux"}}}
		for _, l := range k.labels {
			n.Labels[l] = ""
		}
		if slices.Contains(k.labels, "os=windows") {
			n.Labels = map[string]string{"kubernetes.io/os": "windows", roleWorker: ""}
		}
		n.Spec.Taints, n.Spec.Unschedulable = k.taints, slices.Contains(k.labels, "cordoned")
		createNode(t, plane, n)
		if k.pod {
			want = append(want, k.name)
		}
	}
	slices.Sort(want)
	install(t, plane)
	eventually(t, 30*time.Second, func(ctx context.Context) error { return podsRunOn(ctx, plane, want) })
}

// podsRunOn fails unless a running pod is on each of these Nodes, and no pod anywhere else; and
// the DaemonSet controller is content with that.
func podsRunOn(ctx context.Context, plane *controlplane.ControlPlane, want []string) error {
	ds, err := plane.Client().AppsV1().DaemonSets(namespace).Get(ctx, account, metav1.GetOptions{})
	if err != nil {
		return err
	}
	pods, err := plane.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var got []string
	for _, p := range pods.Items {
		if p.Status.Phase == corev1.PodRunning {
			got = append(got, p.Spec.NodeName)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || int(ds.Status.DesiredNumberScheduled) != len(want) || len(pods.Items) != len(want) {
		return fmt.Errorf("pods run on\n%s\nwant\n%s\n(%d wanted by the controller, %d pods in all)",
			strings.Join(got, " "), strings.Join(want, " "), ds.Status.DesiredNumberScheduled, len(pods.Items))
	}
	return nil
}
