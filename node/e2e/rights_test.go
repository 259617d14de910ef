package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"otc-route-manager/node/e2e/controlplane"
)

// TestRights runs the program with the rights that manifests.yaml gives its ServiceAccount.
func TestRights(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	w := newWorker(t, plane, newCloud(t), 1, "10.128.2.0/23")
	newWorker(t, plane, newCloud(t), 2, "10.129.2.0/23") // somebody else's Node
	w.start(plane.Address())
	w.routed(10*time.Second, "10.128.2.0/23")
	w.annotate("10.130.4.0/23")
	w.routed(10*time.Second, "10.130.4.0/23")

	t.Run("EventsShowInDescribeNode", func(t *testing.T) { testEvents(t, w) })
	t.Run("OnlyItsOwnNodeIsRead", func(t *testing.T) { testOwnNode(t, w) })
	t.Run("EverythingElseIsRefused", func(t *testing.T) { testRefused(t, plane) })
	t.Run("RefusedWhenTried", func(t *testing.T) { testTried(t, w) })
	t.Run("NoRequestWasForbidden", func(t *testing.T) { noneForbidden(t, plane) })
}

func testEvents(t *testing.T, w *worker) {
	eventually(t, 10*time.Second, func(context.Context) error {
		out := kubectl(t, w.plane, "describe", "node", w.name)
		for _, want := range []string{"RouteConfirmed", "RouteMoved", "10.130.4.0/23"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("kubectl describe node does not show %s:\n%s", want, out)
			}
		}
		return nil
	})
	events, err := w.plane.Client().CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if e.InvolvedObject.Kind == "Node" && (e.Namespace != "default" || e.InvolvedObject.Name != w.name || e.Source.Component != account) {
			t.Errorf("event %s in namespace %s about %s from %s", e.Reason, e.Namespace, e.InvolvedObject.Name, e.Source.Component)
		}
	}
}

// testOwnNode reads from the audit log what the program asked for: nothing but its own Node, by
// a field selector, and Events in "default".
func testOwnNode(t *testing.T, w *worker) {
	selector := "metadata.name=" + w.name
	watched := false
	for _, r := range requests(t, w.plane, fromProgram) {
		own := r.URL.Query().Get("fieldSelector") == selector
		switch {
		case r.User != user:
			t.Errorf("%v as %s, want %s", r, r.User, user)
		case r.Resource == "nodes" && (r.Verb == "list" || r.Verb == "watch") && own:
			watched = watched || r.Verb == "watch" && r.Code == http.StatusOK
		case r.Resource == "nodes" && r.Verb == "get" && r.URL.Path == "/api/v1/nodes/"+w.name:
		case r.Resource == "events" && strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/default/events"):
		default:
			t.Errorf("asked for more than %s and its Events: %v", selector, r)
		}
	}
	if !watched {
		t.Errorf("no watch with fieldSelector=%s in the audit log", selector)
	}
}

// testRefused asks the API server of each verb on each resource that it has, in three namespaces
// and for the whole cluster, whether the ServiceAccount may. What it may must be exactly this.
func testRefused(t *testing.T, plane *controlplane.ControlPlane) {
	want := []string{
		"cluster get nodes", "cluster list nodes", "cluster watch nodes",
		"default create events",
		// What every account may: ask who it is and what it may.
		"cluster create selfsubjectaccessreviews.authorization.k8s.io",
		"cluster create selfsubjectreviews.authentication.k8s.io",
		"cluster create selfsubjectrulesreviews.authorization.k8s.io",
	}
	slices.Sort(want)
	var got []string
	asked := 0
	for group, resources := range resourcesOf(t, plane) {
		for _, resource := range resources {
			allowed, n := allowedOf(t, plane, group, resource)
			got, asked = append(got, allowed...), asked+n
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the ServiceAccount may\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	t.Logf("%d questions asked", asked)
}

// resourcesOf returns the names of all resources, subresources too, by API group.
func resourcesOf(t *testing.T, plane *controlplane.ControlPlane) map[string][]string {
	t.Helper()
	_, lists, err := plane.Client().Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]map[string]bool{}
	for _, list := range lists {
		group, _, found := strings.Cut(list.GroupVersion, "/")
		if !found {
			group = ""
		}
		if seen[group] == nil {
			seen[group] = map[string]bool{}
		}
		for _, r := range list.APIResources {
			seen[group][r.Name] = true
		}
	}
	all := map[string][]string{}
	for group, names := range seen {
		all[group] = slices.Collect(maps.Keys(names))
	}
	return all
}

// allowedOf returns what the ServiceAccount may do with one resource, as lines "where verb what".
// A right for the whole cluster is not named again for each namespace.
func allowedOf(t *testing.T, plane *controlplane.ControlPlane, group, resource string) (allowed []string, asked int) {
	t.Helper()
	name, sub, _ := strings.Cut(resource, "/")
	for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
		for _, ns := range []string{"", "default", namespace, "kube-system"} {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:   user,
				Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: ns, Verb: verb, Group: group, Resource: name, Subresource: sub},
			}}
			got, err := plane.Client().AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			asked++
			if !got.Status.Allowed {
				continue
			}
			allowed = append(allowed, strings.TrimSuffix(cmp.Or(ns, "cluster")+" "+verb+" "+resource+"."+group, "."))
			if ns == "" {
				break
			}
		}
	}
	return allowed, asked
}

// testTried tries a few of the refused things with the program's own token.
func testTried(t *testing.T, w *worker) {
	cfg := &rest.Config{
		Host: w.plane.URL(), BearerTokenFile: w.token, UserAgent: "e2e-intruder",
		TLSClientConfig: rest.TLSClientConfig{CAFile: w.plane.CACert()},
		ContentConfig:   rest.ContentConfig{GroupVersion: &corev1.SchemeGroupVersion, NegotiatedSerializer: scheme.Codecs.WithoutConversion()},
	}
	client, err := rest.UnversionedRESTClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ verb, path, body string }{
		{"GET", "/api/v1/namespaces/otc-route-manager/secrets/otc-credentials", ""},
		{"GET", "/api/v1/namespaces/otc-route-manager/configmaps", ""},
		{"PATCH", "/api/v1/nodes/" + w.name, `{"metadata":{"labels":{"a":"b"}}}`},
		{"PATCH", "/api/v1/nodes/" + w.name + "/status", `{"metadata":{"annotations":{"a":"b"}}}`},
		{"DELETE", "/api/v1/nodes/" + w.name, ""},
		{"GET", "/api/v1/namespaces/default/events", ""},
		{"POST", "/api/v1/namespaces/kube-system/events", `{}`},
		{"GET", "/api/v1/pods", ""},
	} {
		code := 0
		client.Verb(c.verb).AbsPath(c.path).SetHeader("Content-Type", contentType(c.verb)).Body([]byte(c.body)).
			Do(t.Context()).StatusCode(&code)
		if code != http.StatusForbidden {
			t.Errorf("%s %s: code %d, want 403", c.verb, c.path, code)
		}
	}
}

func contentType(verb string) string {
	if verb == "PATCH" {
		return "application/merge-patch+json"
	}
	return "application/json"
}
