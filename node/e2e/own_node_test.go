package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"otc-route-manager/node/e2e/controlplane"
)

// TestRightsOnTheOwnNode runs the program with the second set of rules in manifests.yaml alone and
// the token of a pod on its Node.
func TestRightsOnTheOwnNode(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	apply(t, plane, ownNodeRules(t))
	w := newWorker(t, plane, newCloud(t), 1, "10.128.2.0/23")
	newWorker(t, plane, newCloud(t), 2, "10.129.2.0/23") // somebody else's Node
	w.startInPod()
	w.routed(10*time.Second, "10.128.2.0/23")
	w.annotate("10.130.4.0/23")
	w.routed(10*time.Second, "10.130.4.0/23")
	t.Run("EventsShowInDescribeNode", func(t *testing.T) { testEvents(t, w) })
	t.Run("OnlyItsOwnNodeIsRead", func(t *testing.T) { testOwnNode(t, w) })
	t.Run("NothingElseIsAllowed", func(t *testing.T) { testOwnNodeTried(t, w) })
}

// TestOwnNodeRefused: an API server before 1.36, and one without the rules, for Nodes or for Events.
// The cause is reported, and nothing falls back.
func TestOwnNodeRefused(t *testing.T) {
	t.Parallel()
	const cause = "KUBE_OWN_NODE needs Kubernetes 1.36 or later, the rules for it in manifests.yaml"
	for name, c := range map[string]struct {
		flags []string
		rules func(*testing.T) string
		log   string
		works bool
	}{
		"OldAPIServer": {[]string{"--emulated-version=1.35"}, ownNodeRules, "cannot watch node worker-1: ", false},
		"FirstRules":   {nil, readManifests, "cannot watch node worker-1: ", false},
		"NoEvents": {nil, func(t *testing.T) string {
			return strings.ReplaceAll(ownNodeRules(t), `"impersonate-on:associated-node:create"`, `"get"`)
		}, "could not write an Event about node worker-1: ", true},
	} {
		t.Run(name, func(t *testing.T) {
			plane, err := controlplane.Start(t.Context(), controlplane.Config{Programs: programs, Dir: t.TempDir(), APIServer: c.flags})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(plane.Stop)
			install(t, plane)
			apply(t, plane, c.rules(t))
			w := newWorker(t, plane, newCloud(t), 1, "10.128.2.0/23")
			w.startInPod()
			eventually(t, 20*time.Second, func(context.Context) error {
				for line := range strings.Lines(w.Output()) {
					if strings.Contains(line, c.log) && strings.Contains(line, cause) {
						return nil
					}
				}
				return fmt.Errorf("the log has no line with %q and %q", c.log, cause)
			})
			if got, _ := w.cloud.routes(); (len(got) == 1) != c.works {
				t.Errorf("routes %v", got)
			}
			for _, r := range requests(t, plane, fromProgram) {
				if r.Code < 400 && r.As != "system:node:worker-1" {
					t.Errorf("allowed as %q: %v", r.As, r)
				}
			}
		})
	}
}

// ownNodeRules returns manifests.yaml with the second set of rules taken into use instead of the
// first, as its remark says.
func ownNodeRules(t *testing.T) string {
	t.Helper()
	text := readManifests(t)
	for _, first := range []string{"nodes]\n    verbs: [get, list, watch]\n", "events]\n    verbs: [create]\n"} {
		rule := "  - apiGroups: [\"\"]\n    resources: [" + first
		if strings.Count(text, rule) != 1 {
			t.Fatalf("manifests.yaml has %d times\n%s", strings.Count(text, rule), rule)
		}
		text = strings.Replace(text, rule, "", 1)
	}
	second := regexp.MustCompile(`(?m)(^#  - apiGroups.*\n#    resources.*\n)#(    verbs: \["impersonate)`)
	if n := len(second.FindAllString(text, -1)); n != 3 {
		t.Fatalf("manifests.yaml has %d rules of the second set, want 3", n)
	}
	return second.ReplaceAllStringFunc(text, func(rule string) string { return regexp.MustCompile(`(?m)^#`).ReplaceAllString(rule, "") })
}

func apply(t *testing.T, plane *controlplane.ControlPlane, text string) {
	t.Helper()
	if out := plane.Kubectl(t.Context(), text, "apply", "--validate=strict", "-f", "-"); out.Code != 0 {
		t.Fatalf("code %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
}

// startInPod runs the program with KUBE_OWN_NODE and the token of a pod on its Node, as a kubelet
// hands it out.
func (w *worker) startInPod() {
	w.t.Helper()
	ds, err := w.plane.Client().AppsV1().DaemonSets(namespace).Get(w.t.Context(), account, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: w.name}, Spec: ds.Spec.Template.Spec}
	pod.Spec.NodeName = w.name
	if _, err := w.plane.Client().CoreV1().Pods(namespace).Create(w.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	token, err := w.plane.Client().CoreV1().ServiceAccounts(namespace).CreateToken(w.t.Context(), account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: w.name}},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	kubeconfig := w.kubeconfig(w.plane.Address())
	if err := os.WriteFile(w.token, []byte(token.Status.Token), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.launch(nil, binary, kubeconfig, "KUBE_OWN_NODE=true")
	w.t.Cleanup(w.end)
}

// testOwnNodeTried asks with the program's own token.
func testOwnNodeTried(t *testing.T, w *worker) {
	for _, c := range []struct {
		verb, path, as string
		code           int
	}{
		{"GET", "/api/v1/nodes/worker-1", "worker-1", http.StatusOK},
		{"GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dworker-1", "worker-1", http.StatusOK},
		{"GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dworker-1&watch=true&timeoutSeconds=1", "worker-1", http.StatusOK},
		{"GET", "/api/v1/nodes/worker-2", "worker-1", http.StatusForbidden},
		{"GET", "/api/v1/nodes", "worker-1", http.StatusForbidden},
		{"GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dworker-2", "worker-1", http.StatusForbidden},
		{"GET", "/api/v1/namespaces/otc-route-manager/secrets/otc-credentials", "worker-1", http.StatusForbidden},
		{"PATCH", "/api/v1/nodes/worker-1/status", "worker-1", http.StatusForbidden},
		{"GET", "/api/v1/nodes/worker-2", "worker-2", http.StatusForbidden},
		{"GET", "/api/v1/nodes/worker-1", "", http.StatusForbidden},
		{"POST", "/api/v1/namespaces/default/events", "", http.StatusForbidden},
	} {
		cfg := &rest.Config{
			Host: w.plane.URL(), BearerTokenFile: w.token, UserAgent: "e2e-intruder",
			TLSClientConfig: rest.TLSClientConfig{CAFile: w.plane.CACert()},
			ContentConfig:   rest.ContentConfig{GroupVersion: &corev1.SchemeGroupVersion, NegotiatedSerializer: scheme.Codecs.WithoutConversion()},
		}
		if c.as != "" {
			cfg.Impersonate.UserName = "system:node:" + c.as
		}
		client, err := rest.UnversionedRESTClientFor(cfg)
		if err != nil {
			t.Fatal(err)
		}
		code := 0
		client.Verb(c.verb).RequestURI(c.path).SetHeader("Content-Type", contentType(c.verb)).Body([]byte(`{}`)).Do(t.Context()).StatusCode(&code)
		if code != c.code {
			t.Errorf("%s %s as %q: code %d, want %d", c.verb, c.path, c.as, code, c.code)
		}
	}
}
