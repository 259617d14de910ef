package nodetest

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fill adds what a Node in a cluster has besides: labels, annotations, the
// book-keeping of those who wrote them, conditions and images. That is about 25 kB
// of JSON, and nothing of it says anything about pod subnets.
func Fill(n *corev1.Node) {
	labels, annotations := map[string]string{}, map[string]string{}
	maps.Copy(labels, n.Labels)
	maps.Copy(annotations, n.Annotations)
	n.Labels, n.Annotations = labels, annotations
	for i := range 20 {
		n.Labels[fmt.Sprintf("example.com/label-%d", i)] = "value"
		n.Annotations[fmt.Sprintf("example.com/annotation-%d", i)] = strings.Repeat("value ", 20)
	}
	for i := range 5 {
		n.ManagedFields = append(n.ManagedFields, metav1.ManagedFieldsEntry{Manager: fmt.Sprint("manager-", i), Operation: metav1.ManagedFieldsOperationUpdate,
			FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{".":{}` + strings.Repeat(`,"f:example.com/annotation":{}`, 60) + `}}}`)})
	}
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeReady} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: "Reason", Message: "a message"})
	}
	for i := range 50 {
		image := fmt.Sprintf("registry.example.com/team/image-%d", i)
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprintf("%s@sha256:%064x", image, i), image + ":v1.2.3"}, SizeBytes: 1 << 27})
	}
}
