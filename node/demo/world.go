package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"otc-route-manager/node/nodetest"
	"otc-route-manager/otc/otctest"
)

// A world is everything around the program.
type world struct {
	cloud    *otctest.Server
	cloudURL string
	kube     *nodetest.Server
	kubeURL  string
	dir      string // holds the kubeconfig
	port     string // METRICS_PORT
	pages    string // the program's pages, without the path
}

func newWorld() (*world, error) {
	w := &world{cloud: otctest.New(), kube: nodetest.New(), port: freePort()}
	w.pages = "http://localhost:" + w.port
	w.cloud.AddServer(otctest.Instance{ID: instanceID, Name: nodeName, Fixed: []string{nodeIP}})
	w.cloud.AddServer(otctest.Instance{ID: otherInstanceID, Name: "worker-2", Fixed: []string{"10.20.0.12"}})
	w.cloud.SetRoutes(otctest.TableID, foreign()...)
	w.cloudURL = httptest.NewServer(w.cloud).URL
	w.kube.Start()
	w.kubeURL = w.kube.Config().Host
	var err error
	if w.dir, err = os.MkdirTemp("", "otc-route-manager-demo-"); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: demo\n"+
		"contexts: [{name: demo, context: {cluster: demo}}]\nclusters: [{name: demo, cluster: {server: %q}}]\n", w.kubeURL)
	return w, os.WriteFile(w.kubeconfig(), []byte(config), 0o600)
}

func (w *world) kubeconfig() string { return filepath.Join(w.dir, "kubeconfig") }

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

// environment is what the program needs, and no more.
func (w *world) environment() []string {
	return []string{
		"OS_AUTH_URL=" + w.cloudURL + "/v3", "OS_REGION_NAME=eu-de",
		"OS_DOMAIN_NAME=" + otctest.Account, "OS_PROJECT_NAME=" + otctest.Project,
		"OS_USERNAME=" + otctest.User, "OS_PASSWORD=" + otctest.Password,
		"ROUTE_TABLE_ID=" + otctest.TableID, "CLUSTER_CIDR=10.128.0.0/14",
		"NODE_NAME=" + nodeName, "KUBECONFIG=" + w.kubeconfig(),
		"METRICS_PORT=" + w.port, "STARTUP_JITTER=0",
	}
}

// fetch gets one of the program's pages; status 0 means no answer.
func (w *world) fetch(path string) (status int, body string) {
	client := http.Client{Timeout: patience}
	resp, err := client.Get(w.pages + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body) // cut short, it fails the check
	return resp.StatusCode, strings.TrimSpace(string(b))
}

// metric returns the value of a series as /metrics shows it; "" if it is not there.
func (w *world) metric(series string) string {
	_, body := w.fetch("/metrics")
	_, after, _ := strings.Cut(body, "\n"+series+" ")
	value, _, _ := strings.Cut(after, "\n")
	return value
}

// routes parts the route table: where the program's own go, and all others.
func (w *world) routes() (own []string, others []otctest.Route) {
	for _, r := range w.cloud.Routes(otctest.TableID) {
		if r.NextHop == instanceID {
			own = append(own, r.Destination)
		} else {
			others = append(others, r)
		}
	}
	return own, others
}
