package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"
)

func (c *ControlPlane) run(name string, args ...string) (*Process, error) {
	return StartProcess(c.cfg.Dir, name, nil, c.cfg.Programs.Path(name), args...)
}

func (c *ControlPlane) etcdURL() string { return fmt.Sprintf("http://127.0.0.1:%d", c.etcdPort) }

func (c *ControlPlane) startEtcd(ctx context.Context) (err error) {
	c.etcd, err = c.run("etcd",
		"--data-dir", c.file("etcd"),
		"--unsafe-no-fsync",
		"--listen-client-urls", c.etcdURL(),
		"--advertise-client-urls", c.etcdURL(),
		"--listen-peer-urls", "http://127.0.0.1:0",
		"--log-level", "warn")
	if err != nil {
		return err
	}
	return c.etcd.await(ctx, func(ctx context.Context) error {
		_, err := c.askEtcd(ctx, "/v3/maintenance/status", struct{}{})
		return err
	})
}

// StartAPIServer starts the API server, at first or again after KillAPIServer, and returns when
// it answers.
func (c *ControlPlane) StartAPIServer(ctx context.Context) (err error) {
	c.apiServer, err = c.run("kube-apiserver", append(slices.Clip(c.cfg.APIServer),
		"--etcd-servers", c.etcdURL(),
		"--bind-address", "127.0.0.1",
		"--secure-port", fmt.Sprint(c.apiPort),
		"--advertise-address", "192.0.2.1", // the kubernetes Service needs one that is not loopback
		"--endpoint-reconciler-type", "none",
		"--service-cluster-ip-range", "10.96.0.0/16",
		"--tls-cert-file", c.file("pki/apiserver.crt"),
		"--tls-private-key-file", c.file("pki/apiserver.key"),
		"--client-ca-file", c.CACert(),
		"--kubelet-certificate-authority", c.CACert(),
		"--kubelet-client-certificate", c.file("pki/kubelet-client.crt"),
		"--kubelet-client-key", c.file("pki/kubelet-client.key"),
		"--kubelet-preferred-address-types", "InternalDNS", // see KubeletHost
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-signing-key-file", c.file("pki/sa.key"),
		"--service-account-key-file", c.file("pki/sa.key"),
		"--authorization-mode", "Node,RBAC",
		"--enable-admission-plugins", "NodeRestriction", // PodSecurity is on by default
		"--allow-privileged",
		"--audit-policy-file", c.file("audit.yaml"),
		"--audit-log-path", c.file("audit.log"),
		"--audit-log-maxsize", "10000", // MB: one file
		"--profiling=false")...)
	if err != nil {
		return err
	}
	begin := time.Now()
	defer func() { c.starts = append(c.starts, start{begin, time.Now()}) }()
	return c.apiServer.await(ctx, c.apiReady)
}

func (c *ControlPlane) startControllers(ctx context.Context) error {
	manager, err := c.run("kube-controller-manager",
		"--kubeconfig", c.Kubeconfig(),
		"--use-service-account-credentials",
		"--service-account-private-key-file", c.file("pki/sa.key"),
		"--root-ca-file", c.CACert(),
		"--leader-elect=false",
		"--secure-port", "0",
		"--kube-api-qps", "1000", "--kube-api-burst", "1000", // with the default of 20 it takes 5 s to start
		"--profiling=false")
	if err != nil {
		return err
	}
	c.others = append(c.others, manager)
	scheduler, err := c.run("kube-scheduler",
		"--kubeconfig", c.Kubeconfig(),
		"--leader-elect=false",
		"--secure-port", "0",
		"--kube-api-qps", "1000", "--kube-api-burst", "1000",
		"--profiling=false")
	if err != nil {
		return err
	}
	c.others = append(c.others, scheduler)
	return manager.await(ctx, c.controllersReady)
}

// KillEtcd ends etcd as a power cut would. The API server should be gone before.
func (c *ControlPlane) KillEtcd() { c.etcd.Kill() }

// StartEtcd starts etcd again after KillEtcd.
func (c *ControlPlane) StartEtcd(ctx context.Context) error { return c.startEtcd(ctx) }

// SaveEtcd keeps a copy of etcd's data, while etcd is down.
func (c *ControlPlane) SaveEtcd() error {
	return os.CopyFS(c.file("etcd.saved"), os.DirFS(c.file("etcd")))
}

// RestoreEtcd puts what SaveEtcd has kept in the place of etcd's data, while etcd is down: all
// that was written since is undone, resource versions too.
func (c *ControlPlane) RestoreEtcd() error {
	if err := os.RemoveAll(c.file("etcd")); err != nil {
		return err
	}
	return os.Rename(c.file("etcd.saved"), c.file("etcd"))
}

// Compact makes etcd forget every version but the present one, so that a watch can no longer
// start in the past.
func (c *ControlPlane) Compact(ctx context.Context) error {
	answer, err := c.askEtcd(ctx, "/v3/maintenance/status", struct{}{})
	if err != nil {
		return err
	}
	var status struct{ Header struct{ Revision string } }
	if err := json.Unmarshal(answer, &status); err != nil {
		return err
	}
	_, err = c.askEtcd(ctx, "/v3/kv/compaction", map[string]any{"revision": status.Header.Revision, "physical": true})
	return err
}

// askEtcd calls etcd's JSON gateway.
func (c *ControlPlane) askEtcd(ctx context.Context, path string, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.etcdURL()+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("etcd %s: %s: %s", path, resp.Status, answer)
	}
	return answer, err
}
