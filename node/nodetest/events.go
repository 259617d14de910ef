package nodetest

import (
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Events returns a copy of every stored Event, oldest first.
func (s *Server) Events() []corev1.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]corev1.Event, len(s.events))
	for i := range s.events {
		s.events[i].DeepCopyInto(&out[i])
	}
	return out
}

func (s *Server) createEvent(w http.ResponseWriter, r *http.Request, req Request, c codec) error {
	var e corev1.Event
	if err := s.decode(r, &e); err != nil {
		return err
	}
	if e.Namespace == "" {
		e.Namespace = req.Namespace
	}
	if e.Namespace != req.Namespace {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if err := s.addEvent(&e); err != nil {
		return err
	}
	return c.write(w, http.StatusCreated, &e)
}

func (s *Server) addEvent(e *corev1.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Name == "" && e.GenerateName != "" {
		e.Name = fmt.Sprintf("%s%05x", e.GenerateName, s.version)
	}
	if err := checkEvent(e); err != nil {
		return err
	}
	if s.event(e.Namespace, e.Name) >= 0 {
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: "events"}, e.Name)
	}
	e.UID = s.uid()
	e.CreationTimestamp = metav1.Now()
	s.version++
	e.ResourceVersion = format(s.version)
	s.events = append(s.events, *e.DeepCopy())
	s.notify()
	return nil
}

// event returns the index of a stored Event, or -1. The caller holds s.mu.
func (s *Server) event(namespace, name string) int {
	return slices.IndexFunc(s.events, func(e corev1.Event) bool {
		return e.Namespace == namespace && e.Name == name
	})
}

// checkEvent refuses what the API server's validation of core/v1 Events refuses:
// an Event without name, and one outside the namespace of the object it is about.
// An object without namespace, such as a Node, has its Events in "default".
func checkEvent(e *corev1.Event) error {
	var errs field.ErrorList
	if e.Name == "" {
		errs = append(errs, field.Required(field.NewPath("metadata", "name"), "name or generateName is required"))
	}
	about := e.InvolvedObject.Namespace
	modern := !e.EventTime.IsZero()
	ok := about == e.Namespace || about == "" && e.Namespace == metav1.NamespaceDefault
	if modern {
		ok = about != "" || e.Namespace == metav1.NamespaceDefault || e.Namespace == metav1.NamespaceSystem
		errs = append(errs, checkModern(e)...)
	}
	if !ok {
		errs = append(errs, field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace"))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Event"}, e.Name, errs)
}

// checkModern holds the members that an Event with eventTime must have.
func checkModern(e *corev1.Event) (errs field.ErrorList) {
	for _, m := range []struct {
		name, value string
		limit       int
		required    bool
	}{
		{"reportingComponent", e.ReportingController, 253, true},
		{"reportingInstance", e.ReportingInstance, 128, true},
		{"action", e.Action, 128, true},
		{"reason", e.Reason, 128, true},
		{"message", e.Message, 1024, false},
	} {
		if m.required && m.value == "" {
			errs = append(errs, field.Required(field.NewPath(m.name), ""))
		}
		if len(m.value) > m.limit {
			errs = append(errs, field.Invalid(field.NewPath(m.name), "", fmt.Sprintf("can have at most %d characters", m.limit)))
		}
	}
	return errs
}
