package node

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/nodetest"
)

// TestWatch follows one Node through its life; the others are nobody's business.
func TestWatch(t *testing.T) {
	for name, prepare := range map[string]func(*nodetest.Server){
		"watch-list":         nil,
		"watch-list refused": func(s *nodetest.Server) { s.RefuseWatchList(true) },
		"JSON only":          func(s *nodetest.Server) { s.OnlyJSON(true) },
		"JSON lists only":    func(s *nodetest.Server) { s.OnlyJSON(true); s.RefuseWatchList(true) },
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
			if exists, err := l.kube.NodeExists(t.Context(), "worker-1"); exists || err != nil {
				t.Errorf("NodeExists: %v, %v; want false", exists, err)
			}
			l.Put(worker("worker-1", "a"))
			l.until("a")
			if exists, err := l.kube.NodeExists(t.Context(), "worker-1"); !exists || err != nil {
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
	if exists, err := l.kube.NodeExists(t.Context(), "worker-1"); exists || err == nil {
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
	if _, err := l.kube.NodeExists(t.Context(), "worker-1"); err == nil {
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
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "worker-1", UID: "u", ResourceVersion: "7", Generation: 3, Labels: map[string]string{labelWorker: ""}, Finalizers: []string{"f"},
		Annotations: map[string]string{SubnetsAnnotation: "a", "other": "x"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
	}, Spec: corev1.NodeSpec{ProviderID: "p", PodCIDR: "10.0.0.0/24"}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.20.0.11"}}, Images: []corev1.ContainerImage{{}},
		NodeInfo: corev1.NodeSystemInfo{SystemUUID: "s", MachineID: "m"}, Conditions: []corev1.NodeCondition{{}},
	}}
	want := FactsOf(n)
	for range 2 { // it is idempotent
		object, err := trim(n)
		n = object.(*corev1.Node)
		if err != nil || len(n.Annotations) != 1 || n.ManagedFields != nil || n.Finalizers != nil ||
			n.Spec.PodCIDR != "" || n.Status.Images != nil || n.Status.Conditions != nil || n.Status.NodeInfo.MachineID != "" {
			t.Errorf("got %+v, %v", n, err)
		}
		if n.ResourceVersion != "7" || !reflect.DeepEqual(FactsOf(n), want) {
			t.Errorf("lost something: %+v, want %+v", FactsOf(n), want)
		}
	}
	if got, err := trim("a tombstone"); got != "a tombstone" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	bare := &corev1.Node{}
	if object, _ := trim(bare); FactsOf(object.(*corev1.Node)).Annotated {
		t.Error("an annotation out of nothing")
	}
}
