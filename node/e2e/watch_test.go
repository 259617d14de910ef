package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/e2e/controlplane"
)

// recovery is how long the program may take until it has seen a change that was made while it
// was cut off.
const recovery = 10 * time.Second

// TestWatchSurvives breaks the program's watch in every way that production knows. After each,
// the same process must route the next change of the annotation.
func TestWatchSurvives(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	for i, c := range []struct {
		name  string
		fault func(*testing.T, *worker, *proxy)
	}{
		{"ConnectionCut", connectionCut},
		{"APIServerRestarted", apiServerRestarted},
		{"GoneAfterCompaction", goneAfterCompaction},
		{"LongPause", longPause},
		{"NodeCreatedAgain", nodeCreatedAgain},
		{"NodeCreatedAgainUnseen", nodeCreatedAgainUnseen},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorker(t, plane, newCloud(t), 10+i, "10.128.2.0/23")
			p := newProxy(t, plane.Address())
			w.start(p.address())
			w.routed(10*time.Second, "10.128.2.0/23")
			c.fault(t, w, p)
			w.annotate("10.131.6.0/23")
			w.routed(recovery, "10.131.6.0/23")
		})
	}
}

// TestWatchSurvivesSilence lets the connection die without a word, as a firewall does that has
// forgotten it. HTTP/2 pings notice that after 15 s. It has a control plane of its own, to wait
// beside the other tests.
func TestWatchSurvivesSilence(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	w := newWorker(t, plane, newCloud(t), 1, "10.128.2.0/23")
	p := newProxy(t, plane.Address())
	w.start(p.address())
	w.routed(10*time.Second, "10.128.2.0/23")
	p.stall()
	w.annotate("10.131.6.0/23")
	w.routed(20*time.Second, "10.131.6.0/23")
}

// TestWatchAfterAnOutage kills the API server for a minute, and restores etcd's data from before
// that minute: resource versions go backwards. What the API server then says counts within ten
// seconds, whether it is an older value or a new one.
func TestWatchAfterAnOutage(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	var workers []*worker
	for i := range 4 {
		w := newWorker(t, plane, newCloud(t), 20+i, "10.128.2.0/23")
		w.start(plane.Address())
		workers = append(workers, w)
	}
	follow := func(what, subnet string) {
		t.Helper()
		begin := time.Now()
		for _, w := range workers {
			w.routed(recovery-time.Since(begin), subnet)
			t.Logf("%s: %s after %v", what, w.name, time.Since(begin).Round(10*time.Millisecond))
		}
	}
	annotate := func(subnet string) {
		for _, w := range workers {
			w.annotate(subnet)
		}
	}
	follow("at first", "10.128.2.0/23")

	write(t, plane, 50) // the version that the programs know is too old after a restart
	powerCut(t, plane, func() error {
		err := plane.SaveEtcd()
		<-time.After(time.Minute)
		return err
	})
	annotate("10.129.2.0/23")
	follow("after an outage", "10.129.2.0/23")

	write(t, plane, 400)
	annotate("10.129.4.0/23")
	follow("before the restore", "10.129.4.0/23")
	powerCut(t, plane, plane.RestoreEtcd)
	follow("restored", "10.128.2.0/23")
	annotate("10.130.2.0/23")
	follow("after the restore", "10.130.2.0/23")
}

// powerCut kills API server and etcd, and starts them again when meanwhile has returned.
func powerCut(t *testing.T, plane *controlplane.ControlPlane, meanwhile func() error) {
	t.Helper()
	plane.KillAPIServer()
	plane.KillEtcd()
	if err := errors.Join(meanwhile(), plane.StartEtcd(t.Context()), plane.StartAPIServer(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// write makes so many changes that are no Node's.
func write(t *testing.T, plane *controlplane.ControlPlane, changes int) {
	t.Helper()
	maps := plane.Client().CoreV1().ConfigMaps("default")
	busy, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "busy-"}}, metav1.CreateOptions{})
	for i := 0; i < changes && err == nil; i++ {
		busy.Data = map[string]string{"turn": fmt.Sprint(i)}
		busy, err = maps.Update(t.Context(), busy, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestListAndWatch: an API server that does not send the list as part of a watch, as Kubernetes
// 1.33 and OpenShift 4.20 do by default, refuses the first request. A list must follow.
func TestListAndWatch(t *testing.T) {
	t.Parallel()
	plane := startPlane(t, controlplane.Config{APIServer: []string{"--feature-gates=WatchList=false"}})
	install(t, plane)
	w := newWorker(t, plane, newCloud(t), 1, "10.128.2.0/23")
	w.start(plane.Address())
	w.routed(10*time.Second, "10.128.2.0/23")
	w.annotate("10.131.6.0/23")
	w.routed(10*time.Second, "10.131.6.0/23")
	var got []string
	for _, r := range requests(t, plane, w.watches) {
		from := " from a version on"
		if r.URL.Query().Get("resourceVersion") == "" {
			from = ""
		}
		got = append(got, fmt.Sprint(r.Code, " ", r.Verb, from))
	}
	if want := []string{"422 watch", "200 list", "200 watch from a version on"}; !slices.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

func connectionCut(t *testing.T, w *worker, p *proxy) {
	if n := p.cut(); n == 0 {
		t.Fatal("there was no connection to cut")
	}
}

// apiServerRestarted also changes the annotation as the first thing after the restart, when the
// program may not be back yet.
func apiServerRestarted(t *testing.T, w *worker, p *proxy) {
	w.plane.KillAPIServer()
	eventually(t, 10*time.Second, func(context.Context) error {
		if p.turnedAway() == 0 {
			return errors.New("the program has not tried to come back")
		}
		return nil
	})
	if err := w.plane.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.annotate("10.130.8.0/23")
	w.routed(recovery, "10.130.8.0/23")
}

// goneAfterCompaction keeps the program away until the version it knows is no longer to be had.
func goneAfterCompaction(t *testing.T, w *worker, p *proxy) {
	p.down()
	seen := w.version()
	w.annotate("10.130.8.0/23") // it never sees this one as an event
	w.annotate("10.130.10.0/23")
	if err := w.plane.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.plane.KillAPIServer() // the new one's cache begins after the compaction
	if err := w.plane.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := watchFrom(w, seen); !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Fatalf("a watch from version %s: got %v, want 410", seen, err)
	}
	p.up()
	w.routed(recovery, "10.130.10.0/23")
}

// version returns the resourceVersion of the Node as it is.
func (w *worker) version() string {
	w.t.Helper()
	n, err := w.plane.Client().CoreV1().Nodes().Get(w.t.Context(), w.name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return n.ResourceVersion
}

// watchFrom watches the Node from a version on and returns the error that comes, or nil if an
// event does.
func watchFrom(w *worker, version string) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	watch, err := w.plane.Client().CoreV1().Nodes().Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + w.name, ResourceVersion: version})
	if err != nil {
		return err
	}
	defer watch.Stop()
	return apierrors.FromObject((<-watch.ResultChan()).Object)
}

// longPause has the program come back with a version that is as far behind as after half an
// hour in a busy cluster. However good that still is, what it asks for is the present.
func longPause(t *testing.T, w *worker, p *proxy) {
	p.down()
	write(t, w.plane, 1000)
	before := len(requests(t, w.plane, w.watches))
	p.up()
	w.annotate("10.130.8.0/23")
	w.routed(recovery, "10.130.8.0/23")
	all := requests(t, w.plane, w.watches)[before:]
	if len(all) == 0 || all[0].URL.Query().Get("resourceVersion") != "" || all[0].Code != http.StatusOK {
		t.Errorf("after the pause: %v, want a watch from no version on", all)
	}
}

// watches matches the watches and lists that the program has begun for this worker.
func (w *worker) watches(r controlplane.Request) bool {
	return fromProgram(r) && (r.Verb == "watch" && r.Stage == "ResponseStarted" || r.Verb == "list") &&
		r.URL.Query().Get("fieldSelector") == "metadata.name="+w.name
}

// nodeCreatedAgain deletes the Node and creates it again under the same name with the same
// subnet, but on another instance, as a hand-made replacement is.
func nodeCreatedAgain(t *testing.T, w *worker, _ *proxy) {
	w.deleteNode()
	w.replace()
	w.routed(recovery, "10.128.2.0/23")
}

// nodeCreatedAgainUnseen does the same while the program is cut off: what it sees in the end is
// one update of a Node with another UID.
func nodeCreatedAgainUnseen(t *testing.T, w *worker, p *proxy) {
	p.down()
	w.deleteNode()
	w.replace()
	p.up()
	w.routed(recovery, "10.128.2.0/23")
}

func (w *worker) deleteNode() {
	w.t.Helper()
	if err := w.plane.Client().CoreV1().Nodes().Delete(w.t.Context(), w.name, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// replace puts a new instance and a new Node in the old ones' place.
func (w *worker) replace() {
	w.t.Helper()
	w.cloud.DeleteServer(w.id)
	w.id, w.ip = strings.Replace(w.id, "1c0ffee0", "2c0ffee0", 1), strings.Replace(w.ip, "10.20.0.", "10.20.0.1", 1)
	w.create("10.128.2.0/23")
}
