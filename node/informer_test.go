package node

import (
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWatch follows one Node through its life; the others are nobody's business.
func TestWatch(t *testing.T) {
	for name, prepare := range map[string]func(*lookout){
		"watch-list":         nil,
		"watch-list refused": func(l *lookout) { l.RefuseWatchList(true) },
		"JSON only":          func(l *lookout) { l.OnlyJSON(true) },
		"JSON lists only":    func(l *lookout) { l.OnlyJSON(true); l.RefuseWatchList(true) },
	} {
		t.Run(name, func(t *testing.T) {
			look(t, prepare, func(t *testing.T, l *lookout) {
				f := l.next()
				if f == nil || f.Annotation != "a" || !f.Worker || f.ProviderID == "" || f.SystemUUID != ecsID(1) || len(f.Addresses) != 1 || f.UID == "" {
					t.Fatalf("got %+v", f)
				}
				l.nothing() // least of all that there is no Node
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
				l.stop()
				<-l.end
				l.nothing()
				l.reads()
			}, worker("worker-1", "a"), worker("worker-10", "other"))
		})
	}
}

// A Node that is not there is a sight, too, and one that comes later is seen. That
// it is still not there is none.
func TestWatchAbsentNode(t *testing.T) {
	for name, prepare := range map[string]func(*lookout){
		"watch-list":         nil,
		"watch-list refused": func(l *lookout) { l.RefuseWatchList(true) },
	} {
		t.Run(name, func(t *testing.T) {
			look(t, prepare, func(t *testing.T, l *lookout) {
				if f := l.next(); f != nil {
					t.Fatalf("got %+v, want nil", f)
				}
				l.CloseWatches()
				l.pass(time.Minute)
				l.nothing()
				l.Put(worker("worker-1", "a"))
				l.until("a")
				l.reads()
			}, worker("worker-10", "other"))
		})
	}
}

// Interruptions of the watch. Something else happens meanwhile.
func interruptions() map[string]func(l *lookout, meanwhile func()) {
	return map[string]func(*lookout, func()){
		"cut": func(l *lookout, meanwhile func()) {
			l.CloseWatches()
			meanwhile()
		},
		"closed by the API server": func(l *lookout, meanwhile func()) {
			l.pass(10 * time.Minute)
			meanwhile()
		},
		"expired in the stream": func(l *lookout, meanwhile func()) {
			l.ExpireWatches()
			meanwhile()
		},
		"expired": func(l *lookout, meanwhile func()) {
			l.Down(true)
			meanwhile()
			l.Compact() // what we have seen last is too old now
			l.Down(false)
		},
		"API server away": func(l *lookout, meanwhile func()) {
			l.wire.set(nobodyListens())
			meanwhile()
			l.pass(80 * time.Second)
			l.Compact()
			l.wire.set(nil)
		},
		"API server starts": func(l *lookout, meanwhile func()) {
			l.Down(true)
			meanwhile()
			l.pass(80 * time.Second)
			l.Down(false)
		},
		"no backend": func(l *lookout, meanwhile func()) {
			l.wire.say(page(http.StatusNotFound))
			l.CloseWatches()
			meanwhile()
			l.pass(80 * time.Second)
			l.wire.say(nil)
		},
		"asked to wait": func(l *lookout, meanwhile func()) {
			l.wire.say(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "300")
				page(http.StatusServiceUnavailable)(w, r)
			})
			l.CloseWatches()
			meanwhile()
			l.pass(80 * time.Second)
			l.wire.say(nil)
		},
		"silent, pings answered": func(l *lookout, meanwhile func()) {
			l.StallWatches()
			meanwhile()
			l.pass(10 * time.Minute) // the longest that a watch asks for
		},
		"restored from a snapshot": func(l *lookout, meanwhile func()) {
			restore := l.Snapshot()
			for range 50 {
				l.Touch("worker-1")
			}
			l.pass(0)
			l.Down(true)
			restore()
			meanwhile()
			l.Down(false)
		},
	}
}

// Whatever happens to the watch, what the API server says now counts within ten
// seconds of its return.
func TestWatchInterrupted(t *testing.T) {
	meanwhile := map[string]func(*lookout){
		"nothing": func(*lookout) {},
		"changed": func(l *lookout) { l.Annotate("worker-1", SubnetsAnnotation, "b") },
		"deleted": func(l *lookout) { l.Delete("worker-1") },
		"replaced": func(l *lookout) {
			l.Delete("worker-1")
			l.Put(worker("worker-1", "b"))
		},
	}
	for how, interrupt := range interruptions() {
		for what, change := range meanwhile {
			for _, lists := range []bool{false, true} {
				t.Run(fmt.Sprint(how, ", ", what, ", lists ", lists), func(t *testing.T) {
					look(t, func(l *lookout) { l.RefuseWatchList(lists) }, func(t *testing.T, l *lookout) {
						uid := l.until("a").UID
						l.pass(time.Minute)
						interrupt(l, func() { change(l) })
						back := time.Now()
						switch what {
						case "deleted":
							l.gone()
						case "changed", "replaced":
							if f := l.until("b"); (f.UID != uid) != (what == "replaced") {
								t.Errorf("UID %s became %s", uid, f.UID)
							}
						}
						if took := time.Since(back); took > 10*time.Second {
							t.Errorf("seen after %v", took)
						}
						l.pass(10*time.Second - time.Since(back)) // whatever was seen, it is observed once more at most
						for n := 0; len(l.seen) > 0; n++ {
							if f := <-l.seen; what != "nothing" && f == nil || n > 60 {
								t.Errorf("saw %v too", f)
							}
						}
						l.Put(worker("worker-1", "later"))
						l.pass(0)
						l.until("later")
						if text, hint := l.kube.WatchProblem(); text != "" || hint != "" {
							t.Errorf("problem %q, %q after its end", text, hint)
						}
						l.reads()
					}, worker("worker-1", "a"))
				})
			}
		}
	}
}

// TestNodeExists: only the API server's own word about this Node means that it is
// gone; routes are removed then.
func TestNodeExists(t *testing.T) {
	status := func(details string) http.HandlerFunc {
		return text(http.StatusNotFound, "application/json", `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"not found","reason":"NotFound","code":404`+details+`}`)
	}
	for name, tt := range map[string]struct {
		prepare func(*lookout)
		want    string
	}{
		"there":                 {nil, "true <nil>"},
		"gone":                  {func(l *lookout) { l.Delete("worker-1") }, "false <nil>"},
		"gone, in JSON":         {func(l *lookout) { l.OnlyJSON(true); l.Delete("worker-1") }, "false <nil>"},
		"a load balancer's 404": {func(l *lookout) { l.wire.say(page(http.StatusNotFound)) }, "false error"},
		"a bare 404":            {func(l *lookout) { l.wire.say(text(http.StatusNotFound, "", "")) }, "false error"},
		"JSON of somebody else": {func(l *lookout) {
			l.wire.say(text(http.StatusNotFound, "application/json", `{"message":"no Route matched"}`))
		}, "false error"},
		"a path that is not served": {func(l *lookout) { l.wire.say(status(`,"details":{}`)) }, "false error"},
		"no details":                {func(l *lookout) { l.wire.say(status("")) }, "false error"},
		"another Node":              {func(l *lookout) { l.wire.say(status(`,"details":{"name":"worker-10","kind":"nodes"}`)) }, "false error"},
		"another kind":              {func(l *lookout) { l.wire.say(status(`,"details":{"name":"worker-1","kind":"pods"}`)) }, "false error"},
		"no backend":                {func(l *lookout) { l.wire.say(page(http.StatusServiceUnavailable)) }, "false error"},
		"forbidden":                 {func(l *lookout) { l.Forbid("get") }, "false error"},
		"nobody listens":            {func(l *lookout) { l.wire.set(nobodyListens()) }, "false error"},
		"silent":                    {func(l *lookout) { l.wire.say(silent) }, "false error"},
	} {
		t.Run(name, func(t *testing.T) {
			look(t, tt.prepare, func(t *testing.T, l *lookout) {
				begin := time.Now()
				exists, err := l.kube.NodeExists(t.Context(), "worker-1")
				if took := time.Since(begin); took > 20*time.Second {
					t.Errorf("took %v", took)
				}
				got := fmt.Sprint(exists, " ", err)
				if err != nil {
					got = fmt.Sprint(exists, " error")
				}
				if got != tt.want || apierrors.IsNotFound(err) {
					t.Errorf("got %s (%v), want %s", got, err, tt.want)
				}
			}, worker("worker-1", "a"))
		})
	}
}

// TestR8OverTheWire: a heartbeat reaches us and is no news to the Reconciler.
func TestR8OverTheWire(t *testing.T) {
	look(t, nil, func(t *testing.T, l *lookout) {
		r := New(nil, nil, newCounts(), nil, Config{NodeName: "worker-1"})
		r.Observe(l.until("a"))
		<-r.woken
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
		if heartbeats < 51 || len(r.woken) != 0 {
			t.Errorf("%d heartbeats seen, woken %d times", heartbeats, len(r.woken))
		}
		r.Observe(f)
		if len(r.woken) != 1 {
			t.Error("another annotation did not wake the Reconciler")
		}
	}, worker("worker-1", "a"))
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
	want := factsOf(n)
	for range 2 { // it is idempotent
		object, err := trim(n)
		n = object.(*corev1.Node)
		if err != nil || len(n.Annotations) != 1 || n.ManagedFields != nil || n.Finalizers != nil ||
			n.Spec.PodCIDR != "" || n.Status.Images != nil || n.Status.Conditions != nil || n.Status.NodeInfo.MachineID != "" {
			t.Errorf("got %+v, %v", n, err)
		}
		if n.ResourceVersion != "7" || !reflect.DeepEqual(factsOf(n), want) {
			t.Errorf("lost something: %+v, want %+v", factsOf(n), want)
		}
	}
	if got, err := trim("a tombstone"); got != "a tombstone" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	bare := &corev1.Node{}
	if object, _ := trim(bare); factsOf(object.(*corev1.Node)).Annotated {
		t.Error("an annotation out of nothing")
	}
}
