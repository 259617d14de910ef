package node

import (
	"fmt"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// TestR5: a move is one PUT that adds before anything can be missing, and a
// process killed at any of its calls, before or after the cloud did what it was
// asked, leaves nothing behind that the next process does not put right.
func TestR5(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1)
		w.Reset()
		a.move("10.129.0.0/23")
		w.wantPuts("add 10.129.0.0/23, del 10.128.2.0/23")
		w.wantRoutes("10.129.0.0/23 → worker-1 *")
	})
	for _, applied := range []bool{false, true} {
		for call := range 5 {
			t.Run(fmt.Sprintf("killed at start, call %d, applied %v", call, applied), func(t *testing.T) {
				bubble(t, func(w *world) { kill(w, w.agent(1), call, applied, (*agent).boot) })
			})
		}
		for call := range 3 {
			t.Run(fmt.Sprintf("killed in a move, call %d, applied %v", call, applied), func(t *testing.T) {
				bubble(t, func(w *world) {
					kill(w, w.up(1), call, applied, func(a *agent) { a.move("10.129.0.0/23") })
				})
			})
		}
	}
}

// kill lets do reach its call'th call and kills the process there; the next one
// must finish the job.
func kill(w *world, a *agent, call int, applied bool, do func(*agent)) {
	foreign := otctest.Route{Type: "peering", Destination: "10.131.0.0/16", NextHop: "p1"}
	w.PutRoute(mainTable, foreign)
	w.Fail(otctest.Fault{After: call, Hang: true, Applied: applied})
	w.Reset()
	do(a)
	if got := w.Count(""); got != call+1 {
		w.t.Fatalf("%d calls before the kill, want %d", got, call+1)
	}
	a.crash()
	w.Heal()
	a.start()
	a.move("10.129.0.0/23")
	w.pass(time.Minute)
	w.wantRoutes("peering 10.131.0.0/16 → p1", "10.129.0.0/23 → worker-1 *")
	a.wantState(true, true)
}
