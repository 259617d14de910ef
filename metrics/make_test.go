package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

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

// A fakeCluster is what kubectl finds.
type fakeCluster struct {
	Pods       map[string]json.RawMessage
	Health     map[string]string // of a pod, as it answers through the API server
	DaemonSets []json.RawMessage // one after the other, again and again
	CRDs       string            // "": the API server does not answer
}

// kubectl prints the health of a pod, or evaluates a go-template for an object, or for
// all pods. A rollout never ends.
func kubectl(file string, args []string) error {
	var c fakeCluster
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return err
	}
	args = slices.DeleteFunc(args[2:], func(arg string) bool { return strings.HasPrefix(arg, "--request-timeout=") }) // behind -n NAMESPACE
	var object any
	switch verb, kind, name := args[0], args[1], args[2]; {
	case verb == "rollout":
		return errors.New("error: timed out waiting for the condition")
	case kind == "--raw":
		_, pod, _ := strings.Cut(name, "/pods/")
		pod, _, _ = strings.Cut(pod, "/proxy/health?status=1")
		fmt.Print(c.Health[pod])
		return nil
	case kind == "events":
		return nil
	case kind == "customresourcedefinition" && c.CRDs == "":
		return errors.New("Unable to connect to the server: dial tcp: i/o timeout")
	case kind == "customresourcedefinition":
		if strings.Contains(c.CRDs, name) {
			fmt.Println("customresourcedefinition.apiextensions.k8s.io/" + name)
		}
		return nil
	case kind == "pods":
		object = map[string]any{"items": slices.Collect(maps.Values(c.Pods))}
	case kind == "pod":
		object = c.Pods[name]
	case kind == "daemonset":
		calls, _ := os.ReadFile(file + ".calls") // none before the first
		object = c.DaemonSets[len(calls)%len(c.DaemonSets)]
		_ = os.WriteFile(file+".calls", append(calls, '.'), 0o600)
	}
	return evaluate(args[len(args)-1], object)
}

// evaluate prints what a go-template, or one jsonpath, makes of an object.
func evaluate(output string, object any) error {
	data, err := json.Marshal(object)
	if err == nil {
		err = json.Unmarshal(data, &object)
	}
	if err != nil {
		return err
	}
	kind, text, _ := strings.Cut(output, "=")
	if kind == "jsonpath" { // a path of members; of a list nothing is needed
		text = "{" + strings.ReplaceAll(text, "[*]", "") + "}"
		if strings.Contains(output, "[*]") || strings.Contains(output, "{range") {
			return nil
		}
	}
	t, err := template.New("").Parse(text)
	if err != nil {
		return err
	}
	return t.Execute(os.Stdout, object)
}

// cluster returns the cluster with these pods, named after their Nodes.
func cluster(t *testing.T, pods []fakePod) fakeCluster {
	t.Helper()
	c := fakeCluster{Pods: map[string]json.RawMessage{}, Health: map[string]string{}}
	for _, p := range pods {
		name := "pod-" + p.node
		c.Pods[name] = json.RawMessage(`{"metadata":{"name":"` + name + `"},"spec":{"nodeName":"` + p.node + `"},"status":{"phase":"Running","containerStatuses":[` + p.container + `]}}`)
		c.Health[name] = "Error from server (ServiceUnavailable): the server is currently unable to handle the request\n"
		if p.health != nil {
			c.Health[name] = body(t, ask(handler(*p.health, nil), "GET", "/health?status=1"))
		}
	}
	return c
}

// script runs a line of shell in the project's folder with the cluster's kubectl.
func (c fakeCluster) script(t *testing.T, line string) (out string, err error) {
	t.Helper()
	file := t.TempDir() + "/cluster.json"
	data, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	self, selfErr := os.Executable()
	if err != nil || selfErr != nil {
		t.Fatal(err, selfErr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	script := exec.CommandContext(ctx, "sh", "-c", line)
	script.Dir = ".."
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	script.Cancel = func() error { return syscall.Kill(-script.Process.Pid, syscall.SIGKILL) }
	script.Env = append(os.Environ(), "KUBECTL="+self, "NAMESPACE=team-a", "TIMEOUT=1s", fakeKubectl+"="+file)
	text, err := script.CombinedOutput()
	if ctx.Err() != nil {
		t.Errorf("%s does not end:\n%.2000s", line, text)
	}
	return string(text), err
}

// nodes runs .make/nodes.
func nodes(t *testing.T, pods []fakePod, args ...string) string {
	t.Helper()
	out, err := cluster(t, pods).script(t, "sh .make/nodes "+strings.Join(args, " "))
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

// TestWait: a rollout that makes progress is waited for; pods that flap make none.
func TestWait(t *testing.T) {
	daemonSet := func(updated, available int) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"status":{"desiredNumberScheduled":4,"currentNumberScheduled":4,"updatedNumberScheduled":%d,"numberAvailable":%d}}`, updated, available))
	}
	for name, tt := range map[string]struct {
		states []json.RawMessage
		waits  int
	}{
		"nothing moves":      {[]json.RawMessage{daemonSet(1, 3)}, 1},
		"one more each time": {[]json.RawMessage{daemonSet(1, 3), daemonSet(2, 3), daemonSet(3, 3), daemonSet(3, 3)}, 3},
		"one pod flaps":      {[]json.RawMessage{daemonSet(1, 3), daemonSet(1, 2), daemonSet(1, 3), daemonSet(1, 2)}, 1},
		"flaps later":        {[]json.RawMessage{daemonSet(1, 2), daemonSet(1, 3), daemonSet(1, 2), daemonSet(1, 3)}, 2},
		"nothing is there":   {[]json.RawMessage{json.RawMessage(`{"status":{"desiredNumberScheduled":4,"currentNumberScheduled":4}}`)}, 1},
	} {
		c := cluster(t, nil)
		c.DaemonSets = tt.states
		out, err := c.script(t, "sh .make/wait")
		if waits := strings.Count(out, "timed out waiting"); err == nil || waits != tt.waits || !strings.Contains(out, "none became ready within 1s") {
			t.Errorf("%s: waited %d times, %v, want %d and a failure, in\n%s", name, waits, err, tt.waits, out)
		}
	}
}

// TestAbsentKinds: a cluster that does not answer does not lack a kind.
func TestAbsentKinds(t *testing.T) {
	const monitors, rules = "servicemonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com"
	for crds, want := range map[string]string{
		"none": " ServiceMonitor PrometheusRule", monitors: " PrometheusRule", monitors + rules: "",
		"": "❌ cannot read customresourcedefinition " + monitors + "\n",
	} {
		out, err := fakeCluster{CRDs: crds}.script(t, `set -eu; . .make/lib.sh; absent=$(absent_kinds); printf "%s" "$absent"`)
		out = strings.TrimPrefix(out, "Unable to connect to the server: dial tcp: i/o timeout\n")
		if out != want || (err != nil) != (crds == "") {
			t.Errorf("%q: got %q, %v, want %q", crds, out, err, want)
		}
	}
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
		const guide = "   what to do: metrics/TROUBLESHOOTING.md\n"
		if got, want := strings.Contains(out, guide), !strings.Contains(tt.line, "yes     yes"); got != want {
			t.Errorf("%s: the document is named: %v, want %v, in\n%s", tt.name, got, want, out)
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
