// Package controlplane runs a real Kubernetes control plane on loopback for tests: etcd,
// kube-apiserver with TLS, RBAC, Pod Security and an audit log, and on request the controller
// manager, the scheduler and kwok, which plays the kubelets. [Build] compiles the programs from
// their Go modules, [Start] starts them.
//
// It is no cluster: no container ever runs. The program under test runs as an ordinary process.
package controlplane

import (
	"context"
	_ "embed"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

//go:embed audit.yaml
var auditPolicy []byte

// Config says what to start.
type Config struct {
	Programs    Programs
	Dir         string   // keys, data, logs and kubeconfigs; made if missing, left by Stop
	APIServer   []string // more flags of kube-apiserver
	Controllers bool     // also the controller manager and the scheduler
	Kubelets    bool     // also kwok, which keeps every Node Ready and every scheduled Pod Running
	KwokConfig  string   // more of kwok's configuration (YAML documents), such as where logs lie
	PodProgram  string   // a program that kubectl exec finds in the root folder, by its own name
}

// A ControlPlane is running until Stop. Its ports stay the same for life, so that an API server
// which is killed and started again is found by those who knew it.
type ControlPlane struct {
	cfg       Config
	etcdPort  int
	apiPort   int
	kwokPort  int
	etcd      *Process
	apiServer *Process
	others    []*Process
	client    *kubernetes.Clientset
	starts    []start
}

// A start is a time in which the API server listened but was not ready.
type start struct{ begin, ready time.Time }

// Start starts a control plane and returns when it answers. On an error nothing is left running.
func Start(ctx context.Context, cfg Config) (*ControlPlane, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := &ControlPlane{cfg: cfg}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context) error {
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.startEtcd(ctx); err != nil {
		return err
	}
	if err := c.StartAPIServer(ctx); err != nil {
		return err
	}
	if c.cfg.Controllers {
		if err := c.startControllers(ctx); err != nil {
			return err
		}
	}
	if c.cfg.Kubelets {
		return c.startKwok()
	}
	return nil
}

// prepare makes ports, keys, the admin's kubeconfig and client.
func (c *ControlPlane) prepare() error {
	ports, err := FreePorts(3)
	if err != nil {
		return err
	}
	c.etcdPort, c.apiPort, c.kwokPort = ports[0], ports[1], ports[2]
	if err := newPKI(c.file("pki")); err != nil {
		return err
	}
	if err := os.WriteFile(c.file("audit.yaml"), auditPolicy, 0o644); err != nil {
		return err
	}
	if err := c.writeAdminKubeconfig(); err != nil {
		return err
	}
	c.client, err = c.newClient()
	return err
}

func (c *ControlPlane) newClient() (*kubernetes.Clientset, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	cfg.QPS = -1 // no limit: a test's 200 Nodes are not to wait
	cfg.UserAgent = "e2e"
	return kubernetes.NewForConfig(cfg)
}

// Client returns a client with all rights, without a rate limit. Its user agent is "e2e".
func (c *ControlPlane) Client() kubernetes.Interface { return c.client }

// URL returns the API server's address.
func (c *ControlPlane) URL() string { return "https://" + c.Address() }

// Address returns the API server's host and port.
func (c *ControlPlane) Address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.apiPort))
}

// Programs returns the folder of the programs.
func (c *ControlPlane) Programs() Programs { return c.cfg.Programs }

// CACert returns the file with the certificate of the API server's authority.
func (c *ControlPlane) CACert() string { return c.file("pki/ca.crt") }

func (c *ControlPlane) file(name string) string { return filepath.Join(c.cfg.Dir, name) }

// KillAPIServer ends the API server as a power cut would. The data stays.
func (c *ControlPlane) KillAPIServer() { c.apiServer.Kill() }

// Starting reports whether the API server was not ready at that time. Until it has read the roles
// it forbids everything.
func (c *ControlPlane) Starting(at time.Time) bool {
	return slices.ContainsFunc(c.starts, func(s start) bool { return at.After(s.begin) && at.Before(s.ready) })
}

// Stop ends all programs, the ones that need the others first.
func (c *ControlPlane) Stop() {
	for _, p := range c.others {
		p.Kill()
	}
	for _, p := range []*Process{c.apiServer, c.etcd} {
		if p != nil {
			p.Kill()
		}
	}
}

// apiReady reports whether the API server serves what a client needs first.
func (c *ControlPlane) apiReady(ctx context.Context) error {
	if _, err := c.client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return err
	}
	_, err := c.client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
	return err
}

// controllersReady reports whether the controller manager works: it makes this account.
func (c *ControlPlane) controllersReady(ctx context.Context) error {
	_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	return err
}

// FreePorts returns n ports that nothing listens on, below those that the kernel hands out by
// itself, so that they stay free while a server is down.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range 100 * n {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer l.Close() // not before all are found: none is found twice
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("too few free ports between 20000 and 31999")
}
