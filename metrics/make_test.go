package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"text/template"

	"otc-route-manager/metrics/status"
)

// A fakePod is what Kubernetes and the pod itself report.
type fakePod struct {
	node, container string // the container's status in JSON
	health          *status.Status
}

const fakeKubectl = "FAKE_KUBECTL"

// TestMain is kubectl, too, for the scripts in .make: it knows the pods of the file that
// the variable names.
func TestMain(m *testing.M) {
	if file := os.Getenv(fakeKubectl); file != "" {
		if err := kubectl(file, os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// kubectl prints the health that a pod answers through the API server, or evaluates a
// go-template for all pods or for one.
func kubectl(file string, args []string) error {
	var world struct {
		Pods   map[string]any
		Health map[string]string
	}
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &world)
	}
	if err != nil {
		return err
	}
	var object any
	pod := ""
	switch args = args[2:]; { // behind -n NAMESPACE
	case args[1] == "--raw":
		_, pod, _ = strings.Cut(args[2], "/pods/")
		pod, _, _ = strings.Cut(pod, "/proxy/health?status=1")
		fmt.Print(world.Health[pod])
		return nil
	case args[1] == "pods":
		var items []any
		for _, item := range world.Pods {
			items = append(items, item)
		}
		object = map[string]any{"items": items}
	case args[1] == "pod":
		object = world.Pods[args[2]]
	}
	_, text, _ := strings.Cut(args[len(args)-1], "go-template=")
	t, err := template.New("").Parse(text)
	if err != nil {
		return err
	}
	return t.Execute(os.Stdout, object)
}

// nodes runs .make/nodes between pods named after their Nodes.
func nodes(t *testing.T, pods []fakePod, args ...string) string {
	t.Helper()
	items, health := map[string]any{}, map[string]string{}
	for _, p := range pods {
		name := "pod-" + p.node
		items[name] = json.RawMessage(`{"metadata":{"name":"` + name + `"},"spec":{"nodeName":"` + p.node + `"},"status":{"phase":"Running","containerStatuses":[` + p.container + `]}}`)
		health[name] = "Error from server (ServiceUnavailable): the server is currently unable to handle the request\n"
		if p.health != nil {
			health[name] = body(t, ask(handler(*p.health, nil), "GET", "/health?status=1"))
		}
	}
	file := t.TempDir() + "/pods.json"
	data, err := json.Marshal(map[string]any{"Pods": items, "Health": health})
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	self, selfErr := os.Executable()
	if err != nil || selfErr != nil {
		t.Fatal(err, selfErr)
	}
	script := exec.CommandContext(t.Context(), "sh", append([]string{".make/nodes"}, args...)...)
	script.Dir = ".."
	script.Env = append(os.Environ(), "KUBECTL="+self, "NAMESPACE=team-a", fakeKubectl+"="+file)
	out, err := script.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// TestNodes: what make status and make deploy advise follows from values: the exit code,
// the reason that Kubernetes gives for waiting, a member of the pod's answer.
func TestNodes(t *testing.T) {
	const running = `{"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}`
	ended := func(code int, message string) string {
		return fmt.Sprintf(`{"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":%d,"message":%q}}}`, code, message)
	}
	reason := func(ready, inSync bool, text string) *status.Status {
		return &status.Status{Ready: ready, InSync: inSync, Reasons: []status.Reason{{Text: text}}}
	}
	refused := reason(false, false, "login refused: iam login: HTTP 401")
	refused.LoginRefused = "iam login: HTTP 401"
	const login, image, arch, exit2 = "correct user or password", "no such image", "PLATFORM=linux/amd64,linux/arm64", "make setup corrects it"
	for _, tt := range []struct {
		name   string
		pod    fakePod
		line   string // of the node
		advice string
	}{
		{"in sync", fakePod{"w", running, reason(true, true, "all routes are confirmed")}, "w     yes     yes       all routes are confirmed", ""},
		{"restarted before", fakePod{"w", `{"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}},"lastState":{"terminated":{"exitCode":2}}}`, reason(true, true, "fine")}, "w     yes     yes       fine", ""},
		{"drifted", fakePod{"w", running, reason(true, false, `name \ "q" <b> ","reason":"x`)}, `w     yes     no        name \ "q" <b> ","reason":"x`, ""},
		{"in sync, not ready", fakePod{"w", running, reason(false, true, "unready")}, "w     no      yes       unready", ""},
		{"no answer", fakePod{"w", running, nil}, "w     ?       ?         no answer: Error from server (ServiceUnavailable): the server is currently unable to handle the request", ""},
		{"login refused", fakePod{"w", running, refused}, "w     no      no        login refused: iam login: HTTP 401", login},
		{"refused by a proxy", fakePod{"w", running, reason(false, false, "no login: iam login: Forbidden: check the way to IAM: DNS, proxy, firewall")}, "w     no      no        no login: iam login: Forbidden: check the way to IAM: DNS, proxy, firewall", ""},
		{"DNS", fakePod{"w", running, reason(false, false, "no login: iam login: dial tcp: lookup iam.example: no such host, exit code 2, ErrImagePull")}, "w     no      no        no login: iam login: dial tcp: lookup iam.example: no such host, exit code 2, ErrImagePull", ""},
		{"no permission", fakePod{"w", running, reason(false, false, `no login: iam login: HTTP 403 IAM.0082: "login_refused":"x",`)}, `w     no      no        no login: iam login: HTTP 403 IAM.0082: "login_refused":"x",`, ""},
		{"configuration", fakePod{"w", ended(2, "one\n❌ Error: configuration: DRY_RUN: \"x\" is 'no' boolean\n"), nil},
			`w     no      no        pod Running, CrashLoopBackOff, ended with exit code 2: ❌ Error: configuration: DRY_RUN: "x" is 'no' boolean`, exit2},
		{"has just ended", fakePod{"w", `{"state":{"terminated":{"exitCode":2,"message":"why"}}}`, nil}, "w     no      no        pod Running, ended with exit code 2: why", exit2},
		{"exit code 12", fakePod{"w", ended(12, ""), nil}, "w     no      no        pod Running, CrashLoopBackOff, ended with exit code 12", ""},
		{"killed", fakePod{"w", ended(137, ""), nil}, "w     no      no        pod Running, CrashLoopBackOff, ended with exit code 137", ""},
		{"architecture", fakePod{"w", ended(1, "exec /otc-route-manager: exec format error\n"), nil},
			"w     no      no        pod Running, CrashLoopBackOff, ended with exit code 1: exec /otc-route-manager: exec format error", arch},
		{"somebody else's words", fakePod{"w", ended(1, "❌ Error: the proxy says exec /bin/x: exec format error, sorry"), nil},
			"w     no      no        pod Running, CrashLoopBackOff, ended with exit code 1: ❌ Error: the proxy says exec /bin/x: exec format error, sorry", ""},
		{"image", fakePod{"w", `{"state":{"waiting":{"reason":"ImagePullBackOff"}}}`, nil}, "w     no      no        pod Running, ImagePullBackOff", image},
		{"being created", fakePod{"w", `{"state":{"waiting":{"reason":"ContainerCreating"}}}`, nil}, "w     no      no        pod Running, ContainerCreating", ""},
	} {
		out := nodes(t, []fakePod{tt.pod})
		if !strings.Contains(out, "\n"+tt.line+"\n") {
			t.Errorf("%s: got\n%swant the line\n%s", tt.name, out, tt.line)
		}
		for _, advice := range []string{login, image, arch, exit2} {
			if got, want := strings.Contains(out, advice), advice == tt.advice; got != want {
				t.Errorf("%s: %q is advised: %v, want %v, in\n%s", tt.name, advice, got, want, out)
			}
		}
	}
}

// TestNodesAreSorted: the bad ones first; make deploy shows twenty of those that are not
// ready and no other, with advice from all.
func TestNodesAreSorted(t *testing.T) {
	const running = `{"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}`
	pods := []fakePod{{"good", running, &status.Status{Ready: true, InSync: true}}, {"drifted", running, &status.Status{Ready: true}}}
	for i := range 25 {
		pods = append(pods, fakePod{fmt.Sprintf("bad-%02d", i), running, &status.Status{}})
	}
	pods[len(pods)-1].health.LoginRefused = "why"
	out := nodes(t, pods)
	if head, tail := "bad-00   no      no        not ready\nbad-01", "\ndrifted  yes     no        ready\ngood     yes     yes       ready\n1 of 27 nodes in sync\n"; !strings.Contains(out, head) || !strings.Contains(out, tail) {
		t.Errorf("got\n%swant %q and %q", out, head, tail)
	}
	out = nodes(t, pods, "-unready")
	if n := strings.Count(out, "not ready\n"); n != 20 || strings.Contains(out, "drifted") || strings.Contains(out, "bad-20") || !strings.Contains(out, "correct user or password") {
		t.Errorf("got %d lines in\n%swant 20 and the advice", n, out)
	}
}
