package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"otc-route-manager/node/e2e/controlplane"
	"otc-route-manager/otc/otctest"
)

const subnetsAnnotation = "k8s.ovn.org/node-subnets"

// A cloud is otctest on a loopback port.
type cloud struct {
	*otctest.Server
	url string
}

// foreign are routes that are none of ours; no test may find them changed.
func foreign() []otctest.Route {
	return []otctest.Route{
		{Type: "nat", Destination: "0.0.0.0/0", NextHop: "f3a1c2de-5b64-4c7d-9e80-1a2b3c4d5e6f", Description: "to the world"},
		{Type: "peering", Destination: "10.40.0.0/16", NextHop: "0a9b8c7d-6e5f-4a3b-8c2d-1e0f9a8b7c6d", Description: ""},
		{Type: "ecs", Destination: "192.168.77.0/24", NextHop: "77777777-1111-4222-8333-444444444444", Description: "appliance, do not touch"},
	}
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{Server: otctest.New()}
	c.SetRoutes(otctest.TableID, foreign()...)
	s := httptest.NewServer(c.Server)
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

// routes returns what the table holds beside the foreign routes, which must all be there.
func (c *cloud) routes() ([]otctest.Route, error) {
	all := c.Routes(otctest.TableID)
	for _, f := range foreign() {
		i := slices.Index(all, f)
		if i < 0 {
			return nil, fmt.Errorf("the foreign route %v is not as it was: %v", f, all)
		}
		all = slices.Delete(all, i, i+1)
	}
	return all, nil
}

// want fails unless the table holds exactly this one route beside the foreign ones.
func (c *cloud) want(destination, nextHop string) func(context.Context) error {
	return func(context.Context) error {
		got, err := c.routes()
		if err != nil {
			return err
		}
		if len(got) != 1 || got[0].Destination != destination || got[0].NextHop != nextHop || got[0].Type != "ecs" {
			return fmt.Errorf("routes %v, want %s → %s alone", got, destination, nextHop)
		}
		return nil
	}
}

// A worker is a Node, the instance behind it and the program that runs for it.
type worker struct {
	*controlplane.Process
	t     *testing.T
	plane *controlplane.ControlPlane
	cloud *cloud
	name  string
	id    string // of the instance
	ip    string
	token string // the file with the program's bearer token
	port  int    // of /metrics
	quiet bool   // do not show what it printed
}

// newWorker adds an instance to the cloud and a Node for it to the cluster, annotated with a pod
// subnet. number (1 to 250) makes name, id and address.
func newWorker(t *testing.T, plane *controlplane.ControlPlane, c *cloud, number int, subnet string) *worker {
	t.Helper()
	w := &worker{t: t, plane: plane, cloud: c}
	w.number(number)
	w.create(subnet)
	return w
}

func (w *worker) number(n int) {
	w.name = fmt.Sprintf("worker-%d", n)
	w.id = fmt.Sprintf("1c0ffee0-2222-4333-8444-%012d", n)
	w.ip = fmt.Sprintf("10.20.0.%d", n)
}

// create makes instance and Node.
func (w *worker) create(subnet string) {
	w.t.Helper()
	w.cloud.AddServer(otctest.Instance{ID: w.id, Name: w.name, Fixed: []string{w.ip}, AllowedPairs: []string{otctest.CheckOff}})
	createNode(w.t, w.plane, w.node(subnet))
}

func (w *worker) node(subnet string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        w.name,
			Labels:      map[string]string{"kubernetes.io/os": "linux", "node-role.kubernetes.io/worker": ""},
			Annotations: map[string]string{subnetsAnnotation: `{"default":["` + subnet + `"]}`},
		},
		Spec:   corev1.NodeSpec{ProviderID: "openstack:///" + w.id},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: w.ip}}},
	}
}

// annotate gives the Node another pod subnet, as OVN-Kubernetes does: by a patch of its status.
func (w *worker) annotate(subnet string) {
	w.t.Helper()
	value, _ := json.Marshal(`{"default":["` + subnet + `"]}`) // a string always encodes
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, subnetsAnnotation, value)
	_, err := w.plane.Client().CoreV1().Nodes().Patch(w.t.Context(), w.name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		w.t.Fatal(err)
	}
}

// routed waits until the table holds the one route of this worker.
func (w *worker) routed(timeout time.Duration, subnet string) {
	w.t.Helper()
	eventually(w.t, timeout, w.cloud.want(subnet, w.id))
}

// start runs the program until the test ends, with a token of its ServiceAccount. It talks to the
// API server at address, which may be a proxy.
func (w *worker) start(address string) {
	w.t.Helper()
	w.launch(nil, binary, w.kubeconfig(address))
	w.t.Cleanup(w.end)
}

// kubeconfig writes a token and a kubeconfig and returns the variable that names it.
func (w *worker) kubeconfig(address string) string {
	w.t.Helper()
	w.token = filepath.Join(w.folder(), "token")
	w.writeToken("")
	path := filepath.Join(w.folder(), "kubeconfig")
	if err := w.plane.TokenKubeconfig(path, address, w.token); err != nil {
		w.t.Fatal(err)
	}
	return "KUBECONFIG=" + path
}

// folder returns a folder for the worker's files.
func (w *worker) folder() string {
	w.t.Helper()
	dir := filepath.Join(scratch, w.t.Name(), w.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// launch starts the program, or a command that becomes it, with the documented environment and
// more. NAME_FILE in more takes the place of NAME.
func (w *worker) launch(args []string, path string, more ...string) {
	w.t.Helper()
	if w.port == 0 {
		w.port = freePorts(w.t, 1)[0]
	}
	env := slices.DeleteFunc(w.environment(), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.ContainsFunc(more, func(m string) bool { return strings.HasPrefix(m, name+"_FILE=") })
	})
	var err error
	w.Process, err = controlplane.StartProcess(w.folder(), w.name, append(env, more...), path, args...)
	if err != nil {
		w.t.Fatal(err)
	}
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports, err := controlplane.FreePorts(n)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

// end stops the program, which must still be running then: no fault may have ended it.
func (w *worker) end() {
	if !w.Running() {
		w.t.Errorf("the program ended by itself, code %d", w.ExitCode())
	}
	w.Stop()
	if code := w.ExitCode(); code != 0 {
		w.t.Errorf("SIGTERM: exit code %d, want 0", code)
	}
	if w.t.Failed() && !w.quiet {
		w.t.Logf("what %s printed:\n%s", w.name, w.Output())
	}
}

func (w *worker) environment() []string {
	return []string{
		"OS_AUTH_URL=" + w.cloud.url + "/v3",
		"OS_USERNAME=" + otctest.User,
		"OS_PASSWORD=" + otctest.Password,
		"OS_DOMAIN_NAME=" + otctest.Account,
		"OS_PROJECT_NAME=" + otctest.Project,
		"OS_REGION_NAME=eu-de",
		"OTC_VPC_ENDPOINT=" + w.cloud.url,
		"OTC_ECS_ENDPOINT=" + w.cloud.url,
		"ROUTE_TABLE_ID=" + otctest.TableID,
		"CLUSTER_CIDR=10.128.0.0/14",
		"NODE_NAME=" + w.name,
		"METRICS_PORT=" + strconv.Itoa(w.port),
		"STARTUP_JITTER=0",
		"HTTP2_READ_IDLE_TIMEOUT_SECONDS=10", "HTTP2_PING_TIMEOUT_SECONDS=5", // as in manifests.yaml
		"LOG_LEVEL=debug",
	}
}

// writeToken puts a fresh token where the program reads it. With a Secret's name, the token dies
// with the Secret.
func (w *worker) writeToken(secret string) {
	w.t.Helper()
	token, err := w.plane.Token(w.t.Context(), namespace, account, secret)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.token+".new", []byte(token), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(w.token+".new", w.token); err != nil {
		w.t.Fatal(err)
	}
}
