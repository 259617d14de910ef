package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	component     = "otc-route-manager" // who reports the Events
	maxEvent      = 1000                // bytes of an Event's message; the API server takes 1024
	eventTimeout  = 15 * time.Second    // the first attempt to write an Event; each further one has twice as long
	eventPause    = 5 * time.Second     // between two attempts
	eventAttempts = 3
)

// Events is a queue of Events about a Node.
type Events struct {
	node  string
	queue chan *corev1.Event
}

// NewEvents returns an empty queue. Kube's WriteEvents writes what is put into it.
func NewEvents(nodeName string) *Events {
	return &Events{nodeName, make(chan *corev1.Event, 32)}
}

// Event queues an Event about the Node. If many are waiting it is dropped:
// Events are for people, and nothing may wait for them.
func (q *Events) Event(warning bool, reason, message string) {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	if len(message) > maxEvent {
		message = strings.ToValidUTF8(message[:maxEvent-3], "") + "..."
	}
	now := metav1.Now()
	e := &corev1.Event{
		// Events about objects without a namespace live in "default".
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("%s.%x", q.node[:min(len(q.node), 230)], now.UnixNano())},
		// kubelet names the Node as its UID too, and kubectl describe looks for that.
		InvolvedObject:      corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: q.node, UID: types.UID(q.node)},
		Type:                kind,
		Reason:              reason,
		Message:             message,
		Source:              corev1.EventSource{Component: component, Host: q.node},
		ReportingController: component,
		ReportingInstance:   q.node,
		FirstTimestamp:      now,
		LastTimestamp:       now,
		Count:               1,
	}
	select {
	case q.queue <- e:
	default:
	}
}

// WriteEvents sends queued Events until ctx ends. One that the API server does
// not take, tried for two minutes at most, is dropped, and that is recorded.
func (k *Kube) WriteEvents(ctx context.Context, q *Events) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-q.queue:
			if err := k.write(ctx, e); err != nil && ctx.Err() == nil {
				k.eventDropped(err)
			}
		}
	}
}

// eventDropped records that an Event is dropped. The state is the reason alone: the
// error names the Event, so that each would be news.
func (k *Kube) eventDropped(err error) {
	rights := k.rights(hintEvents)
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok && status.ErrStatus.Details != nil && status.ErrStatus.Details.Name != "" {
		rights = hintAdmission // a missing right is noticed before the Event is read
	}
	text := fmt.Sprintf("could not write an Event about node %s: %v: %s", k.name, err, k.hint(err, rights))
	k.rec.record("events", string(apierrors.ReasonForError(err)), failing, "", text)
}

// write sends one Event, again after a failure on the way or in the API server.
// Its name makes sure that it is there once.
func (k *Kube) write(ctx context.Context, e *corev1.Event) (err error) {
	timeout := eventTimeout
	for range eventAttempts {
		attempt, cancel := context.WithTimeout(ctx, timeout)
		err = fromAPIServer(k.rest.Post().Namespace(e.Namespace).Resource("events").Body(e).MaxRetries(0).Do(attempt).Error())
		cancel()
		switch apierrors.ReasonForError(err) {
		case metav1.StatusReasonAlreadyExists:
			return nil
		case metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonNotFound:
			return err
		}
		if err == nil || wait(ctx, eventPause) != nil {
			return err
		}
		timeout *= 2 // a slow API server is waited for
	}
	return err
}
