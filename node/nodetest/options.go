package nodetest

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// listOptions are the checked query parameters of a list or watch.
type listOptions struct {
	selector    fields.Selector
	version     uint64 // 0: any
	initial     bool   // a watch that begins with what is there
	initialDone bool   // the end of that is marked by a bookmark
	bookmarks   bool
	timeout     time.Duration // 0: none
}

// options reads a list's or watch's query the way the API server does (API
// concepts, "Semantics for watch"): a watch without a version, or from version
// 0, begins with what is there.
func (s *Server) options(req Request) (listOptions, error) {
	var in metav1.ListOptions
	if err := s.params.DecodeParameters(req.Query, corev1.SchemeGroupVersion, &in); err != nil {
		return listOptions{}, apierrors.NewBadRequest(err.Error())
	}
	if err := s.validate(in); err != nil {
		return listOptions{}, err
	}
	out := listOptions{bookmarks: in.AllowWatchBookmarks}
	var err error
	if out.selector, err = parseSelector(in); err != nil {
		return listOptions{}, err
	}
	if in.ResourceVersion != "" {
		if out.version, err = strconv.ParseUint(in.ResourceVersion, 10, 64); err != nil {
			return listOptions{}, apierrors.NewBadRequest("invalid resourceVersion: " + err.Error())
		}
	}
	if in.TimeoutSeconds != nil {
		out.timeout = time.Duration(*in.TimeoutSeconds) * time.Second
	}
	out.initialDone = in.SendInitialEvents != nil && *in.SendInitialEvents
	out.initial = out.initialDone || in.SendInitialEvents == nil && out.version == 0
	return out, nil
}

// validate refuses what the API server's validation of list options refuses, as
// far as sendInitialEvents and resourceVersionMatch are concerned.
func (s *Server) validate(in metav1.ListOptions) error {
	s.mu.Lock()
	noStream := s.noStream
	s.mu.Unlock()
	var errs field.ErrorList
	initial, match := field.NewPath("sendInitialEvents"), field.NewPath("resourceVersionMatch")
	asked := in.SendInitialEvents != nil
	if asked && !in.Watch {
		errs = append(errs, field.Forbidden(initial, "sendInitialEvents is forbidden for list"))
	}
	if asked && in.Watch && noStream {
		errs = append(errs, field.Forbidden(initial, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"))
	}
	if asked && in.Watch && in.ResourceVersionMatch != metav1.ResourceVersionMatchNotOlderThan {
		errs = append(errs, field.Forbidden(match, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
	}
	if !asked && in.Watch && in.ResourceVersionMatch != "" {
		errs = append(errs, field.Forbidden(match, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
	}
	if !in.Watch && in.ResourceVersionMatch != "" && in.ResourceVersion == "" {
		errs = append(errs, field.Forbidden(match, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "ListOptions"}, "", errs)
}

// parseSelector refuses what it cannot honour: a selector that is ignored would
// make a wrong client look right.
func parseSelector(in metav1.ListOptions) (fields.Selector, error) {
	if in.LabelSelector != "" {
		return nil, apierrors.NewBadRequest("nodetest knows no label selectors")
	}
	sel, err := fields.ParseSelector(in.FieldSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	for _, r := range sel.Requirements() {
		if !slices.Contains([]string{"metadata.name", "spec.unschedulable"}, r.Field) {
			return nil, apierrors.NewBadRequest("field label not supported: " + r.Field)
		}
	}
	return sel, nil
}

// tooLarge is the answer to a version that was never given out, as after a
// restored backup: clients ask again without a version.
func tooLarge(asked, have uint64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, have), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{
		{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"},
	}
	return err
}
