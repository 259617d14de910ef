package node

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFactsOf(t *testing.T) {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "worker-1", UID: "uid-1", Annotations: map[string]string{SubnetsAnnotation: "x", "other": "y"}},
		Spec:       corev1.NodeSpec{ProviderID: "openstack:///" + ecsID(1)},
		Status: corev1.NodeStatus{
			NodeInfo: corev1.NodeSystemInfo{SystemUUID: "S"},
			Addresses: []corev1.NodeAddress{{Type: "Hostname", Address: "worker-1"}, {Type: "InternalIP", Address: "fd00::b"},
				{Type: "ExternalIP", Address: "192.0.2.7"}, {Type: "InternalIP", Address: "10.20.0.11"}, {Type: "InternalIP", Address: "?"}},
		},
	}
	got := fmt.Sprintf("%+v", factsOf(n))
	want := "{UID:uid-1 Worker:true Annotated:true Annotation:x ProviderID:openstack:///" + ecsID(1) + " SystemUUID:S Addresses:[10.20.0.11 fd00::b]}"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWorkerRule(t *testing.T) {
	const w, c, m = labelWorker, labelControlPlane, labelMaster
	for _, tt := range []struct {
		name   string
		labels []string
		want   bool
	}{
		{"kubeadm worker", nil, true},
		{"OpenShift worker", []string{w}, true},
		{"kubeadm control plane", []string{c}, false},
		{"old master", []string{m}, false},
		{"OpenShift master", []string{c, m}, false},
		{"schedulable control plane", []string{w, c}, true},
		{"schedulable master", []string{w, m}, true},
		{"compact cluster", []string{w, c, m}, true},
		{"infra node without the worker label", []string{"node-role.kubernetes.io/infra"}, true},
	} {
		for _, value := range []string{"", "true", "false"} { // only the key counts
			labels := map[string]string{"kubernetes.io/os": "linux"}
			for _, key := range tt.labels {
				labels[key] = value
			}
			if got := factsOf(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: labels}}).Worker; got != tt.want {
				t.Errorf("%s, value %q: got %v, want %v", tt.name, value, got, tt.want)
			}
		}
	}
}

func TestProviderID(t *testing.T) {
	const id, upper = "a4c70001-2b6d-4f80-93ae-5d1c00000001", "A4C70001-2B6D-4F80-93AE-5D1C00000001"
	for _, tt := range []struct{ providerID, want string }{
		{"openstack:///" + id, id},
		{"openstack://eu-de/" + id, id},
		{"huaweicloud://" + id, id},
		{id, id},
		{"openstack:///" + upper, id},
		{upper, id},
		{"", ""},
		{"openstack://" + id, ""}, // one slash short: that would be a region
		{"openstack:////" + id, ""},
		{"openstack://eu-de/x/" + id, ""},
		{"openstack:///" + id + "/", ""},
		{"openstack:///", ""},
		{"huaweicloud:///" + id, ""},
		{"aws:///eu-central-1a/i-0123456789abcdef0", ""},
		{"vsphere://" + id, ""},
		{"kind://docker/kind/" + id, ""},
		{"/" + id, ""},
		{id + " ", ""},
		{"openstack:///not-a-uuid", ""},
		{"a4c700012b6d4f8093ae5d1c00000001", ""},
	} {
		if got := (Facts{ProviderID: tt.providerID}).providerInstance(); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.providerID, got, tt.want)
		}
	}
}

func TestSystemUUID(t *testing.T) {
	for _, tt := range []struct{ uuid, want string }{
		{"A4C70001-2B6D-4F80-93AE-5D1C00000001", "a4c70001-2b6d-4f80-93ae-5d1c00000001"},
		{"a4c70001-2b6d-4f80-93ae-5d1c00000001", "a4c70001-2b6d-4f80-93ae-5d1c00000001"},
		{"", ""},
		{"Not Settable", ""},
	} {
		if got := (Facts{SystemUUID: tt.uuid}).systemInstance(); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.uuid, got, tt.want)
		}
	}
}
