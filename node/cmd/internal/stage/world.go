// Package stage runs the real program between a fake cloud and a fake
// Kubernetes API, for those who show it to people: the demo, and the check of the
// status page. It is no test helper: what goes wrong is an error that tells the
// program's last lines.
package stage

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node"
	"otc-route-manager/node/nodetest"
	"otc-route-manager/otc/otctest"
)

// The worker Node and the instance behind it. Every value is invented.
const (
	NodeName   = "worker-1"
	NodeIP     = "10.20.0.11"
	InstanceID = "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26"

	IdentityProvider = "demo-cluster"
	Account          = "system:serviceaccount:otc-route-manager:otc-route-manager"
)

// Patience is how long anything that should come at once may take.
const Patience = 30 * time.Second

// A World is everything around one program, on loopback sockets.
type World struct {
	Cloud    *otctest.Server
	CloudURL string
	Kube     *nodetest.Server
	KubeURL  string
	Pages    string // where the program serves its pages, without the path
	front    *httptest.Server
	dir      string   // holds the kubeconfig
	port     string   // METRICS_PORT
	login    []string // settings
}

// NewWorld returns a World whose cloud has the worker's instance and whose API
// server has no Node yet. [World.Close] ends it.
func NewWorld() (*World, error) {
	w := &World{Cloud: otctest.New(), Kube: nodetest.New(), port: freePort()}
	w.Pages = "http://localhost:" + w.port
	w.login = []string{"OS_DOMAIN_NAME=" + otctest.Account, "OS_USERNAME=" + otctest.User, "OS_PASSWORD=" + otctest.Password}
	w.Cloud.AddServer(otctest.Instance{ID: InstanceID, Name: NodeName, Fixed: []string{NodeIP}})
	w.front = httptest.NewServer(w.Cloud)
	w.CloudURL = w.front.URL
	w.Kube.Start()
	w.KubeURL = w.Kube.Config().Host
	var err error
	if w.dir, err = os.MkdirTemp("", "otc-route-manager-"); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: stage\n"+
		"contexts: [{name: stage, context: {cluster: stage}}]\nclusters: [{name: stage, cluster: {server: %q}}]\n", w.KubeURL)
	return w, os.WriteFile(w.kubeconfig(), []byte(config), 0o600)
}

// Close ends the fake cloud and the fake Kubernetes API, and removes what they left on disk.
func (w *World) Close() {
	w.Kube.Close()
	w.front.CloseClientConnections()
	w.front.Close()
	_ = os.RemoveAll(w.dir) // a temporary folder
}

func (w *World) kubeconfig() string { return filepath.Join(w.dir, "kubeconfig") }

// freePort returns 8080, or any other port if that one is taken.
func freePort() string {
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		l, err = net.Listen("tcp", ":0")
	}
	if err != nil {
		return "8080" // the program will tell what is wrong with it
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// Environment is what the program needs, and more; what is named twice counts as
// more says.
func (w *World) Environment(more ...string) []string {
	return append([]string{
		"OS_AUTH_URL=" + w.CloudURL + "/v3", "OS_REGION_NAME=eu-de",
		"OS_PROJECT_NAME=" + otctest.Project,
		"ROUTE_TABLE_ID=" + otctest.TableID, "CLUSTER_CIDR=10.128.0.0/14",
		"NODE_NAME=" + NodeName, "KUBECONFIG=" + w.kubeconfig(),
		"METRICS_PORT=" + w.port, "STARTUP_JITTER=0",
	}, slices.Concat(w.login, more)...)
}

// LogInByIDToken has the program log in with the token of a ServiceAccount, whose issuer
// is entered in IAM, and with no password.
func (w *World) LogInByIDToken() error {
	const audience = "otc-route-manager"
	issuer := otctest.NewTokenIssuer("https://kubernetes.default.svc", "RS256")
	w.Cloud.SetIdentityProvider(IdentityProvider, otctest.IdentityProvider{Issuer: issuer.URL, ClientID: audience, Keys: issuer.KeySet(), Subject: Account})
	file := filepath.Join(w.dir, "id-token")
	w.login = []string{"OS_IDENTITY_PROVIDER=" + IdentityProvider, "OS_ID_TOKEN_FILE=" + file}
	return os.WriteFile(file, []byte(issuer.Token(Account, audience, 2*time.Hour)), 0o600)
}

// Worker returns the worker's Node as it is before OVN-Kubernetes has seen it.
func Worker() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: NodeName, Labels: map[string]string{"node-role.kubernetes.io/worker": ""}},
		Spec:       corev1.NodeSpec{ProviderID: "openstack:///" + InstanceID},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: NodeIP}}},
	}
}

// Annotate gives the Node pod subnets, as OVN-Kubernetes does.
func (w *World) Annotate(subnets ...string) {
	w.Kube.Annotate(NodeName, node.SubnetsAnnotation, `{"default":["`+strings.Join(subnets, `","`)+`"]}`)
}

// Fetch gets one of the program's pages; status 0 means no answer.
func (w *World) Fetch(path string) (status int, body string) {
	client := http.Client{Timeout: Patience}
	resp, err := client.Get(w.Pages + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body) // cut short, it fails the check
	return resp.StatusCode, strings.TrimSpace(string(b))
}

// Metric returns the value of a series as /metrics shows it; "" if it is not there.
func (w *World) Metric(series string) string {
	_, body := w.Fetch("/metrics")
	_, after, _ := strings.Cut(body, "\n"+series+" ")
	value, _, _ := strings.Cut(after, "\n")
	return value
}
