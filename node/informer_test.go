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
	}
	if asked == 0 {
		l.t.Error("no list and no watch")
	}
}

// TestWatch follows one Node through its life; the others are nobody's business.
func TestWatch(t *testing.T) {
	for name, prepare := range map[string]func(*nodetest.Server){
		"watch-list":         nil,
		"watch-list refused": func(s *nodetest.Server) { s.RefuseWatchList(true) },
	} {
		t.Run(name, func(t *testing.T) {
			l := look(t, prepare, worker("worker-1", "a"), worker("worker-10", "other"))
			f := l.next()
			if f == nil || f.Name != "worker-1" || f.Annotation != "a" || !f.Worker || f.ProviderID == "" || f.SystemUUID != ecsID(1) || len(f.Addresses) != 1 || f.UID == "" {
				t.Fatalf("got %+v", f)
			}
			uid := f.UID
			l.Annotate("worker-10", SubnetsAnnotation, "other still")
			l.Annotate("worker-1", SubnetsAnnotation, "b")
			l.until("b")
			l.Update("worker-1", func(n *corev1.Node) { delete(n.Annotations, SubnetsAnnotation) })
			l.until("-")
			l.Delete("worker-1")
			l.gone()
			l.Put(worker("worker-1", "c"))
			if f := l.until("c"); f.UID == uid {
				t.Errorf("another Node with the same UID %s", uid)
			}
			l.onlyOurNode()
		})
	}
}

// A Node that is not there is a sight, too, and one that comes later is seen.
func TestWatchAbsentNode(t *testing.T) {
	for name, prepare := range map[string]func(*nodetest.Server){
		"watch-list":         nil,
		"watch-list refused": func(s *nodetest.Server) { s.RefuseWatchList(true) },
	} {
		t.Run(name, func(t *testing.T) {
			l := look(t, prepare, worker("worker-10", "other"))
			if f := l.next(); f != nil {
				t.Fatalf("got %+v, want nil", f)
			}
			if exists, err := l.kube.NodeExists(t.Context()); exists || err != nil {
				t.Errorf("NodeExists: %v, %v; want false", exists, err)
			}
			l.Put(worker("worker-1", "a"))
			l.until("a")
			if exists, err := l.kube.NodeExists(t.Context()); !exists || err != nil {
				t.Errorf("NodeExists: %v, %v; want true", exists, err)
			}
			l.onlyOurNode()
		})
	}
}

// Whatever happens to the watch, what happened to the Node meanwhile is seen.
func TestWatchInterrupted(t *testing.T) {
	meanwhile := map[string]func(*lookout){
		"changed": func(l *lookout) { l.Annotate("worker-1", SubnetsAnnotation, "b") },
		"deleted": func(l *lookout) { l.Delete("worker-1") },
		"replaced": func(l *lookout) {
			l.Delete("worker-1")
			l.Put(worker("worker-1", "b"))
		},
	}
	interruptions := map[string]func(*lookout, func()){
		"cut": func(l *lookout, change func()) {
			l.CloseWatches()
			change()
		},
		"expired": func(l *lookout, change func()) {
			l.Down(true)
			change()
			l.Compact() // what we have seen last is too old now
			l.Down(false)
		},
		"API server away": func(l *lookout, change func()) {
			l.Down(true)
			before := len(l.Requests())
			change()
			l.await("a try while it is away", func() bool { return len(l.Requests()) > before })
			l.Down(false)
		},
	}
	for how, interrupt := range interruptions {
		for what, change := range meanwhile {
			t.Run(how+", "+what, func(t *testing.T) {
				t.Parallel()
				l := look(t, nil, worker("worker-1", "a"))
				uid := l.until("a").UID
				l.await("a watch", func() bool { return l.Watches() == 1 })
				interrupt(l, func() { change(l) })
				if what == "deleted" {
					l.gone()
				} else if f := l.until("b"); (f.UID != uid) != (what == "replaced") {
					t.Errorf("%s: UID %s became %s", what, uid, f.UID)
				}
				l.onlyOurNode()
				select {
				case err := <-l.end:
					t.Errorf("the watch ended: %v", err)
				default:
				}
			})
		}
	}
}

// The API server is away from the start: nothing is seen, least of all that there
// is no Node.
func TestWatchStartsInAnOutage(t *testing.T) {
	l := look(t, func(s *nodetest.Server) { s.Down(true) }, worker("worker-1", "a"))
	l.await("two tries", func() bool { return len(l.Requests()) >= 2 })
	if len(l.seen) != 0 {
		t.Errorf("saw %+v", <-l.seen)
	}
	if exists, err := l.kube.NodeExists(t.Context()); exists || err == nil {
		t.Errorf("NodeExists in an outage: %v, %v; want an error", exists, err)
	}
	l.Down(false)
	if f := l.next(); f == nil || f.Annotation != "a" {
		t.Errorf("got %+v", f)
	}
	if n := len(l.told.all()); n == 0 || n > 2 {
		t.Errorf("told %d times: %v", n, l.told.all())
	}
}

// A missing permission is told with its cure, and found out when it is granted.
func TestWatchForbidden(t *testing.T) {
	l := look(t, func(s *nodetest.Server) { s.Forbid("list", "watch", "get") }, worker("worker-1", "a"))
	l.await("two tries", func() bool { return len(l.Requests()) >= 2 })
	if _, err := l.kube.NodeExists(t.Context()); err == nil {
		t.Error("NodeExists without permission: no error")
	}
	l.Forbid()
	l.until("a")
	if told := l.told.raw(); !strings.Contains(told, "cannot watch node worker-1") || !strings.Contains(told, "get, list and watch on nodes") {
		t.Errorf("told: %s", told)
	}
}

// Watch returns nil when it is asked to stop.
func TestWatchStops(t *testing.T) {
	l := look(t, nil, worker("worker-1", "a"))
	l.until("a")
	l.stop()
	if err := <-l.end; err != nil {
		t.Errorf("got %v", err)
	}
}

// TestR8OverTheWire: a heartbeat reaches us and is no news to the Reconciler.
func TestR8OverTheWire(t *testing.T) {
	l := look(t, nil, worker("worker-1", "a"))
	r := New(nil, nil, nil, nil, Config{NodeName: "worker-1"})
	r.Observe(l.until("a"))
	<-r.wake
	for range 50 {
		l.Touch("worker-1")
	}
	l.Annotate("worker-1", "other", "y")
	l.Annotate("worker-1", SubnetsAnnotation, "b")
	heartbeats := 0
	f := l.next()
	for ; f.Annotation == "a"; f = l.next() {
		heartbeats++
		r.Observe(f)
	}
	if heartbeats < 51 || len(r.wake) != 0 {
		t.Errorf("%d heartbeats seen, woken %d times", heartbeats, len(r.wake))
	}
	r.Observe(f)
	if len(r.wake) != 1 {
		t.Error("another annotation did not wake the worker")
	}
}

// What is never read is not kept.
func TestTrim(t *testing.T) {
	n := &Node{ObjectMeta: metav1.ObjectMeta{
		Name: "worker-1", UID: "u", ResourceVersion: "7", Generation: 3, Labels: map[string]string{labelWorker: ""}, Finalizers: []string{"f"},
		Annotations: map[string]string{SubnetsAnnotation: "a", "other": "x"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
	}}
	for range 2 { // it is idempotent
		object, err := trim(n)
		n = object.(*Node)
		if err != nil || len(n.Annotations) != 1 || n.ManagedFields != nil || n.Finalizers != nil {
			t.Errorf("got %+v, %v", n.ObjectMeta, err)
		}
		if n.Name != "worker-1" || n.UID != "u" || n.ResourceVersion != "7" || !FactsOf(n).Worker || FactsOf(n).Annotation != "a" {
			t.Errorf("lost something: %+v", n.ObjectMeta)
		}
	}
	if got, err := trim("a tombstone"); got != "a tombstone" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	bare := &Node{}
	if object, _ := trim(bare); FactsOf(object.(*Node)).Annotated {
		t.Error("an annotation out of nothing")
	}
}
