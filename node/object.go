package node

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// coreV1 is Kubernetes' group without a name.
//
// The three objects below are what we read of its Node and write of its Event.
// Decoding skips all else. The types of k8s.io/api would be the same on the wire,
// but that package refers to each of its types, which makes the binary a fifth
// larger; and a Node's conditions, images and volumes would be decoded, only to be
// dropped.
func coreV1() schema.GroupVersion { return schema.GroupVersion{Version: "v1"} }

// addCoreV1 makes a scheme know the objects, and what list and watch need.
func addCoreV1(scheme *runtime.Scheme) {
	scheme.AddKnownTypeWithName(coreV1().WithKind("Node"), &Node{})
	scheme.AddKnownTypeWithName(coreV1().WithKind("NodeList"), &nodeList{})
	scheme.AddKnownTypeWithName(coreV1().WithKind("Event"), &event{})
	metav1.AddToGroupVersion(scheme, coreV1())
}

// A Node is what is read of a Node.
type Node struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NodeSpec   `json:"spec"`
	Status            NodeStatus `json:"status"`
}

// A NodeSpec says which machine the Node is, if a cloud provider has told.
type NodeSpec struct {
	ProviderID string `json:"providerID"`
}

// A NodeStatus is what kubelet says about its machine.
type NodeStatus struct {
	Addresses []NodeAddress  `json:"addresses"`
	NodeInfo  NodeSystemInfo `json:"nodeInfo"`
}

// A NodeAddress is an address or a host name; the Type says which.
type NodeAddress struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// NodeSystemInfo holds what the machine's firmware says.
type NodeSystemInfo struct {
	SystemUUID string `json:"systemUUID"`
}

// DeepCopyObject makes Node a [runtime.Object].
func (n *Node) DeepCopyObject() runtime.Object {
	c := *n
	c.ObjectMeta = *n.ObjectMeta.DeepCopy()
	c.Status.Addresses = slices.Clone(n.Status.Addresses)
	return &c
}

// A nodeList is what list answers; it holds the one Node or none.
type nodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []Node `json:"items"`
}

func (l *nodeList) DeepCopyObject() runtime.Object {
	c := *l
	c.ListMeta = *l.ListMeta.DeepCopy()
	c.Items = nil
	for i := range l.Items {
		c.Items = append(c.Items, *l.Items[i].DeepCopyObject().(*Node))
	}
	return &c
}

// An event tells people what happened to the Node.
type event struct {
	metav1.TypeMeta     `json:",inline"`
	metav1.ObjectMeta   `json:"metadata"`
	InvolvedObject      eventObject `json:"involvedObject"`
	Type                string      `json:"type"`
	Reason              string      `json:"reason"`
	Message             string      `json:"message"`
	Source              eventSource `json:"source"`
	ReportingController string      `json:"reportingComponent"` // the API's name for it
	ReportingInstance   string      `json:"reportingInstance"`
	FirstTimestamp      metav1.Time `json:"firstTimestamp"`
	LastTimestamp       metav1.Time `json:"lastTimestamp"`
	Count               int         `json:"count"`
}

type eventObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
}

type eventSource struct {
	Component string `json:"component"`
	Host      string `json:"host"`
}

func (e *event) DeepCopyObject() runtime.Object {
	c := *e
	c.ObjectMeta = *e.ObjectMeta.DeepCopy()
	return &c
}
