package main

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/nodetest"
	"otc-route-manager/otc/otctest"
)

// Invented names and numbers.
const (
	nodeName   = "worker-1"
	nodeIP     = "10.20.0.11"
	instanceID = "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26"
	annotation = "k8s.ovn.org/node-subnets"
	others     = 60 // further workers with routes in the table, all before ours
)

// A world is what a program talks to: Kubernetes by TLS and HTTP/2 as in a
// cluster; the cloud by HTTP, or by TLS if secure is set.
type world struct {
	cloud  *otctest.Server
	kube   *nodetest.Server
	urls   map[bool]string // of the cloud, by secure
	secure bool
	dir    string // holds kubeconfig and ca.pem
	port   string

	puts     chan time.Time // when a PUT to the route table arrived
	answered atomic.Int64   // calls to the cloud
	moves    int            // how often move was called
}

func newWorld(dir string) (*world, error) {
	w := &world{cloud: otctest.New(), kube: nodetest.New(), dir: dir, puts: make(chan time.Time, 100)}
	w.cloud.AddServer(otctest.Instance{ID: instanceID, Name: nodeName, Fixed: []string{nodeIP}})
	cloud := http.HandlerFunc(w.serveCloud)
	w.urls = map[bool]string{false: httptest.NewServer(cloud).URL, true: httptest.NewTLSServer(cloud).URL}
	kube := httptest.NewUnstartedServer(w.kube)
	kube.EnableHTTP2 = true
	kube.StartTLS()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: kube.Certificate().Raw}) // the cloud has the same
	config := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: bench\nusers: [{name: bench, user: {token: bench}}]\n"+
		"contexts: [{name: bench, context: {cluster: bench, user: bench}}]\n"+
		"clusters: [{name: bench, cluster: {server: %q, certificate-authority-data: %s}}]\n", kube.URL, base64.StdEncoding.EncodeToString(ca))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w.port = strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	_ = listener.Close()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
		return nil, err
	}
	return w, os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte(config), 0o600)
}

// serveCloud notes when a PUT arrives, before it is read.
func (w *world) serveCloud(rw http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		w.puts <- time.Now()
	}
	w.cloud.ServeHTTP(rw, r)
	w.answered.Add(1)
}

// reset is the world as it was: a full Node, and no route of ours.
func (w *world) reset() {
	var routes []otctest.Route
	for i := range others {
		routes = append(routes, otctest.Route{Type: "ecs", Destination: fmt.Sprintf("10.128.%d.0/23", 2*i),
			NextHop: fmt.Sprintf("b4c7e915-2b6d-4f80-93ae-%012x", i), Description: fmt.Sprintf("otc-route-manager: worker-%d", i+2)})
		w.kube.Put(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("worker-%d", i+2)}})
	}
	w.cloud.SetRoutes(otctest.TableID, routes...)
	w.kube.Put(node())
	w.move()
	for len(w.puts) > 0 {
		<-w.puts
	}
}

// move gives the Node another pod subnet and returns when that was done.
func (w *world) move() time.Time {
	w.moves++
	n := w.moves % 375 // none comes back within a minute
	w.kube.Annotate(nodeName, annotation, fmt.Sprintf(`{"default":["10.%d.%d.0/23"]}`, 129+n/125, n%125*2))
	return time.Now()
}

// environment is what a program needs. More of it goes before the rest. The
// system's roots come from one file, as in the image.
func (w *world) environment(more ...string) []string {
	if w.secure {
		more = append(more, "OS_CACERT="+filepath.Join(w.dir, "ca.pem"), "SSL_CERT_DIR="+filepath.Join(w.dir, "empty"))
	}
	return append(more,
		"OS_AUTH_URL="+w.urls[w.secure]+"/v3", "OS_REGION_NAME=eu-de",
		"OS_DOMAIN_NAME="+otctest.Account, "OS_PROJECT_NAME="+otctest.Project,
		"OS_USERNAME="+otctest.User, "OS_PASSWORD="+otctest.Password,
		"ROUTE_TABLE_ID="+otctest.TableID, "CLUSTER_CIDR=10.128.0.0/14",
		"NODE_NAME="+nodeName, "KUBECONFIG="+filepath.Join(w.dir, "kubeconfig"),
		"METRICS_PORT="+w.port, "STARTUP_JITTER=0", "LOG_LEVEL=warn")
}

// awaitPut returns when the next PUT arrived.
func (w *world) awaitPut(ctx context.Context) (time.Time, error) {
	select {
	case at := <-w.puts:
		return at, nil
	case <-time.After(30 * time.Second):
		return time.Time{}, fmt.Errorf("no PUT within 30 s, calls so far: %d", w.answered.Load())
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// awaitRest returns when the cloud has not been called for a while.
func (w *world) awaitRest(ctx context.Context, while time.Duration) error {
	for last := int64(-1); last != w.answered.Load(); {
		last = w.answered.Load()
		if err := pause(ctx, while); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// visit does what kubelet and Prometheus do.
func (w *world) visit(ctx context.Context) error {
	for _, path := range []string{"/health", "/health?ready=1", "/metrics"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+w.port+path, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
	}
	return nil
}

// node is a Node of about 25 kB, as a cluster has it.
func node() *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: map[string]string{"node-role.kubernetes.io/worker": ""}},
		Spec:       corev1.NodeSpec{ProviderID: "openstack:///" + instanceID},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeIP}}},
	}
	nodetest.Fill(n)
	return n
}
