package nodetest_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/nodetest"
)

func event(namespace, name string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: namespace},
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: "n1", UID: "n1"},
		Reason:         "RouteConfirmed",
		Count:          1,
	}
}

func TestEvents(t *testing.T) {
	for _, accept := range []string{protobuf, json} {
		s := start(t)
		rc := client(t, s, accept)
		create := func(namespace string, e *corev1.Event) string {
			return errorLine(rc.Post().Namespace(namespace).Resource("events").Body(e).Do(t.Context()).Error())
		}
		generated := event("default", "")
		generated.GenerateName = "n1."
		modern := event("kube-system", "modern")
		modern.EventTime = metav1.NewMicroTime(time.Unix(1, 0))
		for _, tt := range []struct {
			name, namespace string
			event           *corev1.Event
			want            string
		}{
			{"stored", "default", event("default", "n1.1"), "<nil>"},
			{"namespace from the path", "default", event("", "n1.2"), "<nil>"},
			{"generated name", "default", generated, "<nil>"},
			{"twice", "default", event("default", "n1.1"), "409 AlreadyExists"},
			{"no name", "default", event("default", ""), "422 Invalid"},
			{"a Node's Event elsewhere", "otc-route-manager", event("", "n1.3"), "422 Invalid"},
			{"another namespace than the path", "default", event("other", "n1.3"), "400 BadRequest"},
			{"eventTime without reporter", "kube-system", modern, "422 Invalid"},
		} {
			if got := create(tt.namespace, tt.event); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
			}
		}
		if got := eventNames(s); !slices.Equal(got, []string{"n1.1", "n1.2", "n1.00003"}) {
			t.Errorf("stored %v", got)
		}
	}
}

func eventNames(s *nodetest.Server) (names []string) {
	for _, e := range s.Events() {
		names = append(names, e.Name)
	}
	return names
}
