package node

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/nodetest"
)

// A lookout is a Kube that watches worker-1 over a real socket. (No bubble here:
// a socket stops its clock.)
type lookout struct {
	*nodetest.Server
	t    *testing.T
	kube *Kube
	seen chan *Facts
	told *journal
	end  chan error // what Watch returned
	stop context.CancelFunc
}

// look starts an API with these Nodes, and a watch on worker-1.
func look(t *testing.T, prepare func(*nodetest.Server), nodes ...*corev1.Node) *lookout {
	l := &lookout{Server: nodetest.New(), t: t, seen: make(chan *Facts, 1000), told: &journal{}, end: make(chan error, 1)}
	for _, n := range nodes {
		l.Put(n)
	}
	if prepare != nil {
		prepare(l.Server)
	}
	l.Start()
	t.Cleanup(l.Close)
	cfg := l.Config()
	cfg.QPS = -1 // no limit: a test asks more than a Node does
	kube, err := NewKube(cfg, "worker-1", slog.New(l.told))
	if err != nil {
		t.Fatal(err)
	}
	l.kube = kube
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.end <- kube.Watch(ctx, func(f *Facts) { l.seen <- f })
	}()
	t.Cleanup(func() { stop(); <-done })
	return l
}

// next returns the next sight of the Node.
func (l *lookout) next() *Facts {
	l.t.Helper()
	select {
	case f := <-l.seen:
		return f
	case <-time.After(30 * time.Second):
		l.t.Fatalf("nothing seen; the log: %v", l.told.all())
		return nil
	}
}

// until returns the first sight with this annotation; "-" is a Node without one.
func (l *lookout) until(value string) *Facts {
	l.t.Helper()
	for {
		if f := l.next(); f != nil && (f.Annotation == value || value == "-" && !f.Annotated) {
			return f
		}
	}
}

// gone waits for the sight of no Node.
func (l *lookout) gone() {
	l.t.Helper()
	for l.next() != nil {
	}
}

func (l *lookout) await(what string, cond func() bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	if err := l.Await(ctx, cond); err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
}

func worker(name, value string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{SubnetsAnnotation: value, "other": "x"}, Labels: map[string]string{labelWorker: ""}},
		Spec:       corev1.NodeSpec{ProviderID: "openstack:///" + ecsID(1), PodCIDR: "10.0.0.0/24"},
		Status: corev1.NodeStatus{
			NodeInfo:  corev1.NodeSystemInfo{SystemUUID: ecsID(1), MachineID: "m"},
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.20.0.11"}},
			Images:    []corev1.ContainerImage{{Names: []string{"i"}}},
		},
	}
}

// onlyOurNode fails the test if a request asked for more than the one Node.
func (l *lookout) onlyOurNode() {
	l.t.Helper()
	asked := 0
	for _, r := range l.Requests() {
		if r.Resource != "nodes" || r.Verb == "get" && r.Name == "worker-1" {
			continue
		}
		asked++
		if r.Query.Get("fieldSelector") != "metadata.name=worker-1" {
			l.t.Errorf("%s %s?%s asks for other Nodes", r.Verb, r.Path, r.Query.Encode())
		}
		if !strings.HasPrefix(r.Accept, "application/vnd.kubernetes.protobuf,application/json") {
			l.t.Errorf("%s asks for %s, want protobuf or else JSON", r.Verb, r.Accept)
		}
	}
	if asked == 0 {
		l.t.Error("no list and no watch")
	}
}
