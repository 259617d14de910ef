package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"otc-route-manager/node/e2e/controlplane"
	"otc-route-manager/otc/otctest"
)

const herd = 200

// heartbeats is how many each Node has while its routes are right.
const heartbeats = 3

// TestSize runs 200 processes of the real program, each for its own Node, against one route table.
// It does not run beside other tests: it prints times.
func TestSize(t *testing.T) {
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	c := newCloud(t)
	c.Set(func(k *otctest.Knobs) {
		k.TableLimit = herd + len(foreign()) // raised, as an operator of 200 nodes must
		k.Latency = 20 * time.Millisecond
	})
	all := make([]*worker, herd)
	for i := range all {
		all[i] = newWorker(t, plane, c, i+1, subnet(i))
	}

	begin := time.Now()
	startHerd(t, plane, all)
	started := time.Since(begin)
	eventually(t, 2*time.Minute, func(context.Context) error { return herdRouted(c, all, subnet) })
	converged := time.Since(begin)
	eventually(t, 10*time.Second, calls(c, 1)) // the last one may still be confirming its route
	t.Logf("%d processes (STARTUP_JITTER 5s) started in %.1f s; all routes right %.1f s after the first start; login, server, PUT and two reads each",
		herd, started.Seconds(), converged.Seconds())

	c.Reset()
	for range heartbeats {
		for _, w := range all {
			w.beat()
		}
	}
	begin = time.Now()
	for i, w := range all {
		w.annotate(moved(i))
	}
	eventually(t, time.Minute, func(context.Context) error { return herdRouted(c, all, moved) })
	converged = time.Since(begin)
	eventually(t, 10*time.Second, calls(c, 0)) // had a heartbeat cost any, there were more
	t.Logf("%d heartbeats each, then %d annotations changed and routed in %.1f s; a PUT and two reads each", heartbeats, herd, converged.Seconds())
}

// calls fails unless the programs have made a PUT each, so many logins and reads of their servers,
// and two reads of the table, or up to four if 10 and 75 s have passed meanwhile.
func calls(c *cloud, logins int) func(context.Context) error {
	return func(context.Context) error {
		puts, reads := c.Count(otctest.OpTableUpdate), c.Count(otctest.OpTableGet)
		got := [4]int{puts, c.Count(otctest.OpLogin), c.Count(otctest.OpServerGet), c.Count("") - reads}
		if want := [4]int{herd, logins * herd, logins * herd, (1 + 2*logins) * herd}; got != want || reads < 2*herd || reads > 4*herd {
			return fmt.Errorf("PUTs, logins, servers, and these together: got %v, want %v; %d reads, want %d to %d", got, want, reads, 2*herd, 4*herd)
		}
		return nil
	}
}

// subnet and moved give each worker a subnet of 10.128.0.0/14, at first and later.
func subnet(i int) string { return fmt.Sprintf("10.%d.%d.0/23", 128+i/100, i%100*2) }
func moved(i int) string  { return fmt.Sprintf("10.%d.%d.0/23", 130+i/100, i%100*2) }

// startHerd starts all programs and lets them end together.
func startHerd(t *testing.T, plane *controlplane.ControlPlane, all []*worker) {
	t.Helper()
	kubeconfig := all[0].kubeconfig(plane.Address())
	ports := freePorts(t, len(all))
	for i, w := range all {
		w.port, w.quiet = ports[i], i > 0
		w.launch(nil, binary, kubeconfig, "STARTUP_JITTER=5s", "LOG_LEVEL=info")
	}
	t.Cleanup(func() {
		var wg sync.WaitGroup
		for _, w := range all {
			wg.Go(w.end)
		}
		wg.Wait()
	})
}

// herdRouted fails unless the table holds exactly one route for each worker beside the foreign
// ones.
func herdRouted(c *cloud, all []*worker, subnet func(int) string) error {
	got, err := c.routes()
	if err != nil {
		return err
	}
	right := 0
	for i, w := range all {
		if slices.ContainsFunc(got, func(r otctest.Route) bool {
			return r.Type == "ecs" && r.Destination == subnet(i) && r.NextHop == w.id
		}) {
			right++
		}
	}
	if right != len(all) || len(got) != right {
		return fmt.Errorf("%d of %d routes are right, %d are there", right, len(all), len(got))
	}
	return nil
}

// beat is a heartbeat of the Node's kubelet; the message makes sure that it is a change.
func (w *worker) beat() {
	w.t.Helper()
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":%q,"message":"%d"}]}}`,
		time.Now().UTC().Format(time.RFC3339), time.Now().UnixNano())
	_, err := w.plane.Client().CoreV1().Nodes().Patch(w.t.Context(), w.name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		w.t.Fatal(err)
	}
}
