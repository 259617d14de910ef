package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	component   = "otc-route-manager" // who reports the Events
	maxEvent    = 1000                // bytes of an Event's message; the API server takes 1024
	eventExpiry = 20 * time.Second    // one attempt to write an Event
)

// Event queues an Event about the Node. If many are waiting it is dropped:
// Events are for people, and nothing may wait for them.
func (k *Kube) Event(warning bool, reason, message string) {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	if len(message) > maxEvent {
		message = strings.ToValidUTF8(message[:maxEvent-3], "") + "..."
	}
	now := metav1.Now()
	event := &corev1.Event{
		// Events about objects without a namespace live in "default".
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("%s.%x", k.name[:min(len(k.name), 230)], now.UnixNano())},
		// kubelet names the Node as its UID too, and kubectl describe looks for that.
		InvolvedObject:      corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: k.name, UID: types.UID(k.name)},
		Type:                kind,
		Reason:              reason,
		Message:             message,
		Source:              corev1.EventSource{Component: component, Host: k.name},
		ReportingController: component,
		ReportingInstance:   k.name,
		FirstTimestamp:      now,
		LastTimestamp:       now,
		Count:               1,
	}
	select {
	case k.events <- event:
	default:
		k.log.Debug("Event dropped", "reason", reason)
	}
}

// WriteEvents sends queued Events until ctx ends. One that the API server does
// not take is lost.
func (k *Kube) WriteEvents(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-k.events:
			attempt, cancel := context.WithTimeout(ctx, eventExpiry)
			err := k.rest.Post().Namespace(event.Namespace).Resource("events").Body(event).Do(attempt).Error()
			cancel()
			if err != nil {
				k.log.Debug("Event not written", "reason", event.Reason, "err", err)
			}
		}
	}
}
