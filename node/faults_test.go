package node

import (
	"fmt"
	"net/http"
	"strings"
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
				bubble(t, func(w *world) { kill(w, w.agent(1), call, applied, func(a *agent) { a.start(); a.see() }) })
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

// TestR2: for a cloud that takes five operations a PUT there are never more after
// it has said so. What is added goes first, and a kill between two PUTs leaves too
// much rather than too little. (That a PUT names only the Node's own routes, each
// once, is held by the guard in every test.)
func TestR2(t *testing.T) {
	many := func(block int) (out []string) {
		for i := range 6 {
			out = append(out, fmt.Sprintf("10.%d.%d.0/23", block, 2*i))
		}
		return out
	}
	bubble(t, func(w *world) {
		w.Set(func(k *otctest.Knobs) { k.MaxRoutesPerRequest = 5 })
		a := w.agent(1)
		a.facts.Annotation = annotation(many(130)...)
		a.start()
		a.see()
		if got := len(w.Routes(mainTable)); got != 6 {
			t.Fatalf("%d routes, want 6", got)
		}
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, After: 2, Hang: true, Applied: true}) // the whole, a part, then this
		a.move(many(129)...)
		if got := len(w.Routes(mainTable)); got < 6 {
			t.Errorf("only %d routes in the middle of a move", got)
		}
		a.restart()
		w.pass(time.Minute)
		var want []string
		for _, p := range many(129) {
			want = append(want, p+" → worker-1 *")
		}
		w.wantRoutes(want...)
		puts := w.puts()
		for _, r := range w.Requests() {
			if r.Op != otctest.OpTableUpdate {
				continue
			}
			if n := strings.Count(puts[0], ",") + 1; n > 5 && r.Status != http.StatusBadRequest {
				t.Errorf("%d operations in a PUT: %s", n, puts[0])
			}
			puts = puts[1:]
		}
		a.wantState(true, true)
	})
}
