package node

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestCutProtobuf: a message that ends too early is an error wherever it is cut,
// or what is left of it is a message.
func TestCutProtobuf(t *testing.T) {
	data, err := smallNode().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for i := range data {
		if (&Node{}).Unmarshal(data[:i]) == nil {
			whole++
		}
	}
	if whole != 3 { // nothing, metadata, metadata and spec
		t.Errorf("%d cuts of %d bytes are taken for a Node", whole, len(data))
	}
	for name, bad := range map[string]string{"a group": "\x0b\x0c", "no number": "\x08\xff", "an endless number": strings.Repeat("\xff", 11), "an endless size": "\x0a" + strings.Repeat("\xff", 9) + "\x01"} {
		if err := (&Node{}).Unmarshal([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "protobuf: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// FuzzNodeFromProtobuf: on what both can read, this decoder and the generated one
// of k8s.io/api agree.
func FuzzNodeFromProtobuf(f *testing.F) {
	data, err := smallNode().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("\x0a\x04\x0a\x02n1\x12\x03\x1a\x01p\x1a\x07\x2a\x05\x0a\x01t\x12\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got Node
		var want corev1.Node
		if got.Unmarshal(data) != nil || want.Unmarshal(data) != nil {
			return
		}
		if got.Name != want.Name || got.UID != want.UID || got.ResourceVersion != want.ResourceVersion ||
			!reflect.DeepEqual(got.Labels, want.Labels) || !reflect.DeepEqual(got.Annotations, want.Annotations) ||
			got.Spec.ProviderID != want.Spec.ProviderID || got.Status.NodeInfo.SystemUUID != want.Status.NodeInfo.SystemUUID || len(got.Status.Addresses) != len(want.Status.Addresses) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for i, a := range want.Status.Addresses {
			if got.Status.Addresses[i] != (NodeAddress{string(a.Type), a.Address}) {
				t.Errorf("got %v, want %v", got.Status.Addresses[i], a)
			}
		}
	})
}

// smallNode has one field of each kind.
func smallNode() *corev1.Node {
	n := worker("worker-1", `{"default":["10.128.4.0/23"]}`)
	n.Generation, n.Spec.Unschedulable, n.Spec.PodCIDRs = 300, true, []string{"10.1.0.0/24"}
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: "worker-1"})
	n.ManagedFields = append(n.ManagedFields, metav1.ManagedFieldsEntry{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1("{}")})
	return n
}
