package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"otc-route-manager/metrics/status"
	"otc-route-manager/node"
	"otc-route-manager/node/config"
	"otc-route-manager/node/nodetest"
	"otc-route-manager/otc/otctest"
)

const (
	nodeName = "worker-1"
	nodeIP   = "10.20.0.11"
	serverID = "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26"
	deadline = 20 * time.Second
)

// A syncBuffer is an io.Writer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A world is the program's surroundings on loopback sockets.
type world struct {
	t     *testing.T
	cloud *otctest.Server
	kube  *nodetest.Server
	env   map[string]string
	log   syncBuffer
	out   syncBuffer
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, cloud: otctest.New(), kube: nodetest.New()}
	w.cloud.AddServer(otctest.Instance{ID: serverID, Name: nodeName, Fixed: []string{nodeIP}})
	front := httptest.NewServer(w.cloud)
	t.Cleanup(front.Close)
	w.kube.Start()
	t.Cleanup(w.kube.Close)
	w.env = map[string]string{
		"OS_AUTH_URL": front.URL + "/v3", "OS_REGION_NAME": "eu-de", "OS_DOMAIN_NAME": otctest.Account,
		"OS_PROJECT_NAME": otctest.Project, "OS_USERNAME": otctest.User, "OS_PASSWORD": otctest.Password,
		"ROUTE_TABLE_ID": otctest.TableID, "CLUSTER_CIDR": "10.128.0.0/14", "NODE_NAME": nodeName,
		"METRICS_PORT": freePort(t), "STARTUP_JITTER": "0",
	}
	w.kubeconfig(w.kube.Config().Host)
	return w
}

// kubeconfig makes the program look for the API server there.
func (w *world) kubeconfig(server string) {
	w.env["KUBECONFIG"] = filepath.Join(w.t.TempDir(), "kubeconfig")
	write(w.t, w.env["KUBECONFIG"], fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: t\ncontexts: [{name: t, context: {cluster: t}}]\n"+
		"clusters: [{name: t, cluster: {server: %q}}]\n", server))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func (w *world) getenv(name string) string { return w.env[name] }

// annotated puts the Node with these pod subnets.
func (w *world) annotated(value string) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName, Annotations: map[string]string{node.SubnetsAnnotation: value}}}
	n.Spec.ProviderID = "openstack:///" + serverID
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeIP}}
	w.kube.Put(n)
}

// start runs the program; the returned function asks it to stop and returns its
// exit code.
func (w *world) start(args ...string) (stop func() int) {
	ctx, cancel := context.WithCancel(w.t.Context())
	code := make(chan int, 1)
	go func() { code <- run(ctx, args, w.getenv, &w.out, &w.log) }()
	return func() int {
		cancel()
		select {
		case c := <-code:
			return c
		case <-time.After(deadline):
			w.t.Fatal("the program has not ended")
			return -1
		}
	}
}

// await waits until cond holds.
func (w *world) await(what string, cond func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(deadline); !cond(); {
		select {
		case <-tick.C:
		case <-end:
			w.t.Fatalf("waited in vain for %s; log:\n%s", what, w.log.String())
		}
	}
}

// get fetches one of the program's pages.
func (w *world) get(path string) (int, string) {
	resp, err := http.Get("http://127.0.0.1:" + w.env["METRICS_PORT"] + path)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func (w *world) ready() bool { code, _ := w.get("/health?ready=1"); return code == http.StatusOK }

func (w *world) ops() (ops []string) {
	for _, r := range w.cloud.Requests() {
		ops = append(ops, r.Op)
	}
	return ops
}

func TestTheWholeProgram(t *testing.T) {
	w := newWorld(t)
	foreign := []otctest.Route{
		{Type: "nat", Destination: "0.0.0.0/0", NextHop: "e27d5c80-9f1b-4a36-8d4e-61b3f0c9a752"},
		{Type: "ecs", Destination: "10.129.0.0/23", NextHop: "c81f3b60-7d25-49ea-b6f4-0a9e2d5c7138", Description: "by hand"},
	}
	w.cloud.SetRoutes(otctest.TableID, foreign...)
	w.annotated(`{"default":["10.128.4.0/23"]}`)
	stop := w.start()
	w.await("ready", w.ready)

	want := []string{"login", "server.get", "table.get", "table.update", "table.get"}
	if got := w.ops(); !slices.Equal(got, want) {
		t.Errorf("calls: got %v, want %v", got, want)
	}
	if got := w.cloud.Requests()[0].Header.Get("User-Agent"); got != "otc-route-manager/dev" {
		t.Errorf("User-Agent: got %q", got)
	}
	own := otctest.Route{Type: "ecs", Destination: "10.128.4.0/23", NextHop: serverID, Description: "otc-route-manager: worker-1"}
	if got := w.cloud.Routes(otctest.TableID); !slices.Equal(got, append(foreign, own)) {
		t.Errorf("table: got %v, want the foreign routes and %v", got, own)
	}
	if code, body := w.get("/health"); code != http.StatusOK {
		t.Errorf("/health: %d %s", code, body)
	}
	for _, series := range []string{"route_manager_in_sync 1", `route_manager_otc_requests_total{code="201",operation="login",service="iam"} 1`} {
		if _, body := w.get("/metrics"); !strings.Contains(body, "\n"+series+"\n") {
			t.Errorf("/metrics does not say %s", series)
		}
	}
	if _, body := w.get("/"); !strings.Contains(body, "10.128.4.0/23") || !strings.Contains(body, "10.128.0.0/14") || strings.Contains(body, otctest.Password) {
		t.Error("the status page lacks the subnet or a setting, or shows the password")
	}
	w.await("the Event", func() bool { return len(w.kube.Events()) == 1 })
	if e := w.kube.Events()[0]; e.Reason != "RouteConfirmed" || e.Message != "route 10.128.4.0/23 → worker-1 confirmed" {
		t.Errorf("Event: got %s %q", e.Reason, e.Message)
	}
	if code := stop(); code != config.ExitOK {
		t.Errorf("exit code: got %d, want 0", code)
	}
	if !strings.Contains(w.log.String(), "\n✅ Success: route 10.128.4.0/23 → worker-1 confirmed time=") {
		t.Errorf("log:\n%s", w.log.String())
	}
	if got := w.cloud.Routes(otctest.TableID); !slices.Contains(got, own) {
		t.Error("the route is gone after the program has stopped")
	}
}

// TestCheckExits: -check logs in once, writes nothing, and says by its exit code
// whether all is well. It prints to standard output, and logs nothing.
func TestCheckExits(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*world)
		code int
		last string
	}{
		{"all well", func(*world) {}, config.ExitOK, "✅ change: route table " + otctest.TableID + " would get: add 10.128.4.0/23 → " + serverID +
			"\nℹ️ proof: from a client in the VPC, curl http://POD_IP:PORT/health answers ok once the routes are there and security groups let it in\n"},
		{"wrong password", func(w *world) { w.cloud.SetPassword("another") }, config.ExitFailure, "✅ annotation: pod subnets 10.128.4.0/23\n"},
		{"restricted account", func(w *world) { w.cloud.Set(func(k *otctest.Knobs) { k.Restricted = true }) }, config.ExitFailure,
			"❌ route table " + otctest.TableID + `: vpc get route table: HTTP 401 VPC.0005 "The account is restricted.": the account is restricted, frozen or in arrears: see the OTC console (request id ID)` + "\n" +
				`ℹ️ subnet and source/destination check: unknown: vpc list ports: HTTP 401 VPC.0005 "The account is restricted.": the account is restricted, frozen or in arrears: see the OTC console (request id ID)` + "\n"},
		{"no configuration", func(w *world) { w.env["CLUSTER_CIDR"] = "" }, config.ExitConfiguration,
			"❌ configuration: CLUSTER_CIDR is missing: want the cluster network, for example 10.128.0.0/14 (several: comma separated); make create-configmap sets it\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.cloud.AddServer(otctest.Instance{ID: serverID, Name: nodeName, Fixed: []string{nodeIP}, AllowedPairs: []string{otctest.CheckOff}})
			w.annotated(`{"default":["10.128.4.0/23"]}`)
			tt.set(w)
			if code := run(t.Context(), []string{"-check"}, w.getenv, &w.out, &w.log); code != tt.code {
				t.Errorf("exit code: got %d, want %d", code, tt.code)
			}
			out := strings.Replace(w.out.String(), ":"+w.env["METRICS_PORT"]+"/", ":PORT/", 1)
			out = regexp.MustCompile(`request id [0-9a-f]+`).ReplaceAllString(out, "request id ID")
			if !strings.HasSuffix(out, tt.last) || strings.Contains(out, "❌") != (tt.code != config.ExitOK) {
				t.Errorf("printed\n%s", out)
			}
			if w.log.String() != "" || w.cloud.Count(otctest.OpLogin) > 1 || w.cloud.Count(otctest.OpTableUpdate) > 0 {
				t.Errorf("logged %q; calls: %v", w.log.String(), w.ops())
			}
		})
	}
}

// TestR7WrongPassword: one login, logged, not ready, alive. -check in a pod does not send
// what the program there has been refused. Elsewhere it does, whatever listens on that
// port: make setup beside make port-forward tries what has just been corrected.
func TestR7WrongPassword(t *testing.T) {
	w := newWorld(t)
	w.env["OS_PASSWORD"] = "not-the-real-one"
	w.annotated(`{"default":["10.128.4.0/23"]}`)
	stop := w.start()
	w.await("the refusal", func() bool {
		_, b := w.get("/health?status=1")
		return strings.Contains(b, `"login_refused":"iam login: HTTP 401`)
	})
	if code, _ := w.get("/health"); code != http.StatusOK {
		t.Errorf("/health: got %d, want 200", code)
	}
	if code, b := w.get("/health?ready=1"); code != http.StatusServiceUnavailable || !strings.Contains(b, "OS_PASSWORD") {
		t.Errorf("/health?ready=1: got %d %s", code, b)
	}
	cfg, _ := config.Read(w.getenv)
	for _, tt := range []struct {
		host   string
		logins int
	}{{"192.0.2.1", 1}, {"", 2}} {
		w.env["KUBERNETES_SERVICE_HOST"] = tt.host
		var out bytes.Buffer
		code := check(t.Context(), cfg, w.getenv, &out, slog.New(slog.DiscardHandler))
		n, untried := w.cloud.Count(otctest.OpLogin), strings.Contains(out.String(), "; not tried again: ")
		if code != config.ExitFailure || n != tt.logins || untried != (n == 1) || !strings.Contains(out.String(), "\n❌ login: HTTP 401: ") {
			t.Errorf("host %q: exit code %d, %d logins, printed\n%s", tt.host, code, n, &out)
		}
	}
	stop()
	if log := w.log.String(); !strings.Contains(log, "❌ Error: could not log in: iam login: HTTP 401") || strings.Contains(log, "not-the-real-one") {
		t.Errorf("the refusal is not logged, or the password is; log:\n%s", log)
	}
}

// TestRunningPodStatus: what the program in this pod answers, and soon nothing if that
// is another one, or hangs. TestR7WrongPassword has our own.
func TestRunningPodStatus(t *testing.T) {
	for name, answer := range map[string]string{
		"another program": "HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"login_refused\":\"no\",",
		"one that hangs":  "",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
				t.Cleanup(func() { conn.Close() })
				io.WriteString(conn, answer)
			}
		}()
		start := time.Now()
		if got := runningPodStatus(l.Addr().(*net.TCPAddr).Port); got != (status.Summary{}) || time.Since(start) > 10*time.Second {
			t.Errorf("%s: got %+v after %v, want nothing after 2 s", name, got, time.Since(start))
		}
	}
	if got := runningPodStatus(1); got != (status.Summary{}) {
		t.Errorf("nobody listens: got %+v", got)
	}
}

// rotated is a world with routes where the password has changed in the cloud, the file
// that it is read from holds something else, and the next call needs a login.
func rotated(t *testing.T, content string) (w *world, file string, stop func() int) {
	w = newWorld(t)
	file = filepath.Join(t.TempDir(), "OS_PASSWORD")
	write(t, file, otctest.Password+"\n")
	delete(w.env, "OS_PASSWORD")
	w.env["OS_PASSWORD_FILE"] = file
	w.annotated(`{"default":["10.128.4.0/23"]}`)
	stop = w.start()
	w.await("ready", w.ready)
	w.cloud.SetPassword("another-invented-password")
	write(t, file, content)
	w.cloud.RevokeTokens()
	w.kube.Annotate(nodeName, node.SubnetsAnnotation, `{"default":["10.128.6.0/23"]}`)
	return w, file, stop
}

// TestRotation: the next login uses the new password, without a restart and without
// a refusal.
func TestRotation(t *testing.T) {
	w, _, stop := rotated(t, "another-invented-password\n")
	w.await("the move", func() bool {
		return slices.ContainsFunc(w.cloud.Routes(otctest.TableID), func(r otctest.Route) bool { return r.Destination == "10.128.6.0/23" })
	})
	w.await("ready again", w.ready)
	stop()
	for _, r := range w.cloud.Requests() {
		if r.Op == otctest.OpLogin && r.Status != http.StatusCreated {
			t.Errorf("a login was answered %d", r.Status)
		}
	}
	if n := w.cloud.Count(otctest.OpLogin); n != 2 || strings.Contains(w.log.String(), "❌") {
		t.Errorf("%d logins, want 2; log:\n%s", n, w.log.String())
	}
}

// TestUnusableRotation: what the start would refuse is refused when the file is
// read again. Nothing is sent with it, and the way out is logged.
func TestUnusableRotation(t *testing.T) {
	w, file, stop := rotated(t, "your-password\n")
	why := "OS_PASSWORD in " + file + " is still the placeholder your-password"
	w.await("the reason", func() bool { _, b := w.get("/health?ready=1"); return strings.Contains(b, why) })
	stop()
	if n := w.cloud.Count(otctest.OpLogin); n != 1 || !strings.Contains(w.log.String(), why) {
		t.Errorf("%d logins, want the one before the change; log:\n%s", n, w.log.String())
	}
}

// A stuck is a log whose reader takes the first line and then stops.
type stuck struct {
	lines atomic.Int32
	ended <-chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	if s.lines.Add(1) > 1 {
		<-s.ended
	}
	return len(p), nil
}

// TestLogReaderStops: routes, pages and the end of the program do not wait for whoever
// reads the log.
func TestLogReaderStops(t *testing.T) {
	w := newWorld(t)
	w.env["LOG_LEVEL"] = "debug"
	w.annotated(`{"default":["10.128.4.0/23"]}`)
	ctx, stop := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- run(ctx, nil, w.getenv, io.Discard, &stuck{ended: t.Context().Done()}) }()
	w.await("ready", w.ready)
	w.kube.Annotate(nodeName, node.SubnetsAnnotation, `{"default":["10.128.6.0/23"]}`)
	w.await("the other route", func() bool {
		_, page := w.get("/")
		return strings.Contains(page, "route 10.128.6.0/23 → worker-1 confirmed")
	})
	stop()
	select {
	case c := <-code:
		if c != config.ExitOK {
			t.Errorf("exit code: got %d, want 0", c)
		}
	case <-time.After(deadline):
		t.Error("the program has not ended")
	}
}

// asProgram makes the test binary the program.
const asProgram = "OTC_ROUTE_MANAGER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Args = os.Args[:1]
		main()
	}
	os.Exit(m.Run())
}

// process starts the program as one of its own, with more settings.
func (w *world) process(stderr io.Writer, more ...string) *exec.Cmd {
	program := exec.CommandContext(w.t.Context(), os.Args[0])
	program.Env = append(more, asProgram+"=1")
	for name, value := range w.env {
		program.Env = append(program.Env, name+"="+value)
	}
	program.Stderr = stderr
	if err := program.Start(); err != nil {
		w.t.Fatal(err)
	}
	return program
}

// terminate asks a process to stop, and fails the test unless it ends well.
func (w *world) terminate(program *exec.Cmd) {
	if err := errors.Join(program.Process.Signal(syscall.SIGTERM), program.Wait()); err != nil {
		w.t.Errorf("the program ended with %v", err)
	}
}

// TestLogReaderGone: it does not end the program, as SIGPIPE would.
func TestLogReaderGone(t *testing.T) {
	w := newWorld(t)
	reader, log, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	program := w.process(log)
	if err := errors.Join(log.Close(), reader.Close()); err != nil {
		t.Fatal(err)
	}
	w.annotated(`{"default":["10.128.4.0/23"]}`)
	w.await("ready", w.ready)
	w.terminate(program)
}

// TestAPIServerThroughProxy: what a proxy refuses is not the API server's word, and the
// proxy is named with the two settings that decide about it.
func TestAPIServerThroughProxy(t *testing.T) {
	w := newWorld(t)
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusForbidden) }))
	defer proxy.Close()
	address := strings.TrimPrefix(proxy.URL, "http://")
	w.kubeconfig("https://kube.example:6443")
	program := w.process(&w.log, "HTTPS_PROXY=http://somebody:unspoken@"+address)
	want := "❌ Error: cannot watch node worker-1: proxy " + address + " answers CONNECT with HTTP 403: requests to the API server go through " + address +
		", the proxy of HTTPS_PROXY: add kube.example to NO_PROXY, or check that proxy; "
	w.await("the cause", func() bool { return strings.Contains(w.log.String(), want) })
	w.terminate(program)
	if strings.Contains(w.log.String(), "unspoken") {
		t.Errorf("the proxy's password is logged:\n%s", w.log.String())
	}
}

// TestBadSettings: all problems are logged at once, and nothing is sent.
func TestBadSettings(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"⚠️ Warning: configuration: OS_PASSWORD begins |❌ Error: configuration: DRY_RUN: |❌ Error: configuration: LOG_FORMAT: |❌ Error: configuration: 2 problems, nothing was sent ": {
			"OS_PASSWORD": " blank", "DRY_RUN": "perhaps", "LOG_FORMAT": "xml"},
		"❌ Error: configuration: NODE_NAME is missing: |❌ Error: configuration: 1 problem, nothing was sent ": {"NODE_NAME": ""},
	} {
		w := newWorld(t)
		maps.Copy(w.env, env)
		code := run(t.Context(), nil, w.getenv, io.Discard, &w.log)
		lines := slices.Collect(strings.Lines(w.log.String()))
		if code != config.ExitConfiguration || len(w.ops()) > 0 || !slices.EqualFunc(lines, strings.Split(want, "|"), strings.HasPrefix) {
			t.Errorf("exit code %d, calls %v, log %q; want %q", code, w.ops(), lines, want)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		out  string
		err  string
	}{
		{[]string{"-version"}, config.ExitOK, "otc-route-manager dev (commit unknown, go", ""},
		{[]string{"-h"}, config.ExitOK, "", "\n  DRIFT_CHECK_INTERVAL  15m       how often "},
		{[]string{"-check-config"}, config.ExitConfiguration, "OS_AUTH_URL is missing: want the IAM URL", ""},
		{[]string{"-check-config", "secret"}, config.ExitConfiguration, "OS_USERNAME is missing: want the service user's name", ""},
		{[]string{"-check-config", "DRY_RUN", "LOG_LEVEL"}, config.ExitOK, "", ""},
		{[]string{"-check-config", "-nonsense"}, config.ExitConfiguration, "", "-nonsense\n"},
		{[]string{"check"}, config.ExitConfiguration, "", "unknown argument \"check\"\n"},
	} {
		var out, err bytes.Buffer
		code := run(t.Context(), tt.args, func(string) string { return "" }, &out, &err)
		if code != tt.code || !strings.HasPrefix(out.String(), tt.out) || !strings.Contains(err.String(), tt.err) {
			t.Errorf("%v: got %d, %q and %q, want %d, %q and %q", tt.args, code, &out, &err, tt.code, tt.out, tt.err)
		}
	}
}

func TestPortInUse(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", ":"+w.env["METRICS_PORT"])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if code := run(t.Context(), nil, w.getenv, io.Discard, &w.log); code != config.ExitFailure || !strings.Contains(w.log.String(), "❌ Error: METRICS_PORT: ") {
		t.Errorf("got %d and %s", code, w.log.String())
	}
}

// TestWalls: otc and metrics import no other package of ours, and node only otc. What
// node shows on the status page, and how it logs, are leaves.
func TestWalls(t *testing.T) {
	const leaf, logs = "otc-route-manager/metrics/status", "otc-route-manager/node/logging"
	for folder, may := range map[string][]string{"otc": nil, "metrics": {leaf}, "metrics/status": nil, "node/logging": nil, "node": {leaf, logs, "otc-route-manager/otc"}} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", folder, files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				path, _ := strconv.Unquote(i.Path.Value)
				foreign := strings.HasPrefix(path, "otc-route-manager") || folder != "node" && strings.HasPrefix(path, "k8s.io/")
				if foreign && !slices.Contains(may, path) {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
	}
}

// TestDaemonSet: uid 1001, in no group of the files, can read its credentials; and what
// the program wrote last is shown when it has ended. Go and client-go have other defaults
// than it was measured with.
func TestDaemonSet(t *testing.T) {
	manifests, err := os.Open("manifests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer manifests.Close()
	var ds appsv1.DaemonSet
	for d := yaml.NewYAMLOrJSONDecoder(manifests, 4096); err == nil && ds.Kind != "DaemonSet"; {
		ds = appsv1.DaemonSet{}
		err = d.Decode(&ds)
	}
	if err != nil {
		t.Fatal(err)
	}
	pod, mounted := ds.Spec.Template.Spec, 0
	for _, v := range pod.Volumes {
		var mode *int32
		switch {
		case v.Secret != nil:
			mode = v.Secret.DefaultMode
		case v.Projected != nil:
			mode = v.Projected.DefaultMode
		default:
			continue
		}
		mounted++
		if mode != nil && *mode&0o004 == 0 && pod.SecurityContext.FSGroup == nil {
			t.Errorf("volume %s: mode %o and no fsGroup, want one that uid %d can read", v.Name, *mode, *pod.SecurityContext.RunAsUser)
		}
	}
	env := map[string]string{}
	for _, e := range pod.Containers[0].Env {
		env[e.Name] = e.Value
	}
	for name, want := range map[string]string{"GOGC": "50", "GOMAXPROCS": "1", "HTTP2_READ_IDLE_TIMEOUT_SECONDS": "10", "HTTP2_PING_TIMEOUT_SECONDS": "5"} {
		if env[name] != want {
			t.Errorf("%s is %q, want %s", name, env[name], want)
		}
	}
	if policy := pod.Containers[0].TerminationMessagePolicy; mounted == 0 || policy != corev1.TerminationMessageFallbackToLogsOnError {
		t.Errorf("%d volumes with credentials, termination message %q; want one, and the log's end", mounted, policy)
	}
}
