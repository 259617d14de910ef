package node

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// TestObjectsOnTheWire: what Kubernetes' own types write, in JSON and in protobuf,
// ours read; a field with another name or number would be empty.
func TestObjectsOnTheWire(t *testing.T) {
	node := corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "worker-1", UID: "u", ResourceVersion: "7",
			Labels: map[string]string{labelWorker: "", "a": "b"}, Annotations: map[string]string{SubnetsAnnotation: "x", "c": "d"}},
		Spec: corev1.NodeSpec{ProviderID: "p", PodCIDR: "10.0.0.0/24", Unschedulable: true, Taints: []corev1.Taint{{Key: "k"}}},
		Status: corev1.NodeStatus{
			NodeInfo:        corev1.NodeSystemInfo{SystemUUID: "s", MachineID: "m", BootID: "b"},
			Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.20.0.11"}, {Type: corev1.NodeHostName, Address: "worker-1"}},
			Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
		},
	}
	want := Node{
		ObjectMeta: node.ObjectMeta, Spec: NodeSpec{ProviderID: "p"},
		Status: NodeStatus{Addresses: []NodeAddress{{"InternalIP", "10.20.0.11"}, {"Hostname", "worker-1"}}, NodeInfo: NodeSystemInfo{SystemUUID: "s"}},
	}
	list := &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}, ListMeta: metav1.ListMeta{ResourceVersion: "9"}, Items: []corev1.Node{node, {}}}
	decoded(t, list, &nodeList{TypeMeta: list.TypeMeta, ListMeta: list.ListMeta, Items: []Node{want, {}}})
	node.APIVersion, node.Kind = "v1", "Node"
	want.TypeMeta = node.TypeMeta
	decoded(t, &node, &want)
}

// decoded fails unless decoding what object is on the wire gives want, and copying
// want the same again.
func decoded(t *testing.T, object, want runtime.Object) {
	t.Helper()
	for _, media := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		data, decoder := wire(t, object, media)
		if got, _, err := decoder.Decode(data, nil, nil); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", media, got, err, want)
		}
	}
	if c := want.DeepCopyObject(); !reflect.DeepEqual(c, want) || c == want {
		t.Errorf("got copy %+v, want %+v", c, want)
	}
}

// wire returns what Kubernetes' own types write in a media type, and a decoder that
// makes ours of it.
func wire(t testing.TB, object runtime.Object, media string) ([]byte, runtime.Decoder) {
	t.Helper()
	theirs, ours := runtime.NewScheme(), runtime.NewScheme()
	if err := corev1.AddToScheme(theirs); err != nil {
		t.Fatal(err)
	}
	addCoreV1(ours)
	encoder, _ := runtime.SerializerInfoForMediaType(serializer.NewCodecFactory(theirs).SupportedMediaTypes(), media)
	data, err := runtime.Encode(encoder.Serializer, object)
	if err != nil {
		t.Fatal(err)
	}
	return data, serializer.NewCodecFactory(ours).UniversalDeserializer()
}

// TestEventOnTheWire: Kubernetes' own type reads each field of our Event.
func TestEventOnTheWire(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC))
	ours := &event{
		ObjectMeta:     metav1.ObjectMeta{Name: "worker-1.1", Namespace: "default"},
		InvolvedObject: eventObject{APIVersion: "v1", Kind: "Node", Name: "worker-1", UID: "worker-1"},
		Type:           "Warning", Reason: "R", Message: "m", Source: eventSource{Component: "c", Host: "h"},
		ReportingController: "c", ReportingInstance: "i", FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
	data, err := json.Marshal(ours.DeepCopyObject())
	if err != nil {
		t.Fatal(err)
	}
	var got corev1.Event
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	got.FirstTimestamp, got.LastTimestamp = metav1.NewTime(got.FirstTimestamp.UTC()), metav1.NewTime(got.LastTimestamp.UTC())
	want := corev1.Event{
		ObjectMeta:     ours.ObjectMeta,
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: "worker-1", UID: "worker-1"},
		Type:           corev1.EventTypeWarning, Reason: "R", Message: "m", Source: corev1.EventSource{Component: "c", Host: "h"},
		ReportingController: "c", ReportingInstance: "i", FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
