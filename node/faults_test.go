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

// TestR6: whatever a PUT is answered, the next call is a GET, and only a GET
// that shows the route confirms it. (That nothing is sent blindly again is held
// by the guard, here and in every other test.)
func TestR6(t *testing.T) {
	put := func(f otctest.Fault) otctest.Fault { f.Op = otctest.OpTableUpdate; return f }
	for _, tt := range []struct {
		name   string
		faults []otctest.Fault
		knobs  func(*otctest.Knobs)
		calls  string // of a move, to its end; "": that depends on chance
		puts   int
	}{
		{"confirmed", nil, nil, "get put get", 1},
		{"connection reset before", []otctest.Fault{put(otctest.Fault{Reset: true})}, nil, "get put:- get get put get", 2},
		{"connection reset after", []otctest.Fault{put(otctest.Fault{Reset: true, Applied: true})}, nil, "get put:- get", 1},
		{"no answer, not applied", []otctest.Fault{put(otctest.Fault{Hang: true})}, nil, "get put:- get get put get", 2},
		{"no answer, applied", []otctest.Fault{put(otctest.Fault{Hang: true, Applied: true})}, nil, "get put:- get", 1},
		{"too slow an answer", []otctest.Fault{put(otctest.Fault{Delay: 30 * time.Second, Applied: true})}, nil, "get put:- get", 1},
		{"truncated answer", []otctest.Fault{put(otctest.Fault{Truncate: true, Keep: 20})}, nil, "get put get", 1},
		{"500, not applied", []otctest.Fault{put(otctest.Fault{Status: 500, Code: "VPC.0111"})}, nil, "get put:500 get get put get", 2},
		{"502 from a proxy, applied", []otctest.Fault{put(otctest.Fault{Status: 502, Shape: otctest.ShapeHTML, Applied: true})}, nil, "get put:502 get", 1},
		{"503 without a body", []otctest.Fault{put(otctest.Fault{Status: 503, Shape: otctest.ShapeEmpty})}, nil, "get put:503 get get put get", 2},
		{"504, applied", []otctest.Fault{put(otctest.Fault{Status: 504, Applied: true})}, nil, "get put:504 get", 1},
		{"half of it applied, then 500", []otctest.Fault{put(otctest.Fault{ApplyFirst: 1, Status: 500})}, nil, "get put:500 get get put get", 2},
		{"404 of the backend, which passes", []otctest.Fault{put(otctest.Fault{Status: 404, Code: "VPC.0105"})}, nil, "get put:404 get get put get", 2},
		{"409, not applied", []otctest.Fault{put(otctest.Fault{Status: 409, Code: "VPC.0604"})}, nil, "get put:409 get put get", 2},
		{"409 three times", []otctest.Fault{put(otctest.Fault{Status: 409, Times: 3})}, nil, "get put:409 get put:409 get put:409 get put get", 4},
		{"409 four times", []otctest.Fault{put(otctest.Fault{Status: 409, Times: 4})}, nil, "get put:409 get put:409 get put:409 get put:409 get put get", 5},
		{"stale reads", nil, func(k *otctest.Knobs) { k.StaleReads = 3 * time.Second }, "", 1},
		{"throttled", []otctest.Fault{put(otctest.Fault{Status: 429, Code: "APIGW.0308"})}, nil, "get put:429 get put get", 2},
		{"token refused", []otctest.Fault{put(otctest.Fault{Status: 401, Code: "VPC.0008"})}, nil, "get put:401 login put get", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				a := w.up(1)
				if tt.knobs != nil {
					w.Set(tt.knobs)
				}
				for _, f := range tt.faults {
					w.Fail(f)
				}
				w.Reset()
				a.move("10.129.0.0/23")
				w.pass(3 * time.Minute)
				w.wantRoutes("10.129.0.0/23 → worker-1 *")
				a.wantState(true, true)
				a.wantTold(1, "success route 10.129.0.0/23")
				puts := w.Count(otctest.OpTableUpdate)
				if calls := w.calls(); puts != tt.puts || tt.calls != "" && calls != tt.calls+" get get" {
					t.Errorf("got %d PUTs, %q; want %d, %q and two reads", puts, calls, tt.puts, tt.calls)
				}
			})
		})
	}
}

// TestR6Duplicate: somebody added our destination between GET and PUT. VPC.2812
// leads to a look, and the route is taken over or already right.
func TestR6Duplicate(t *testing.T) {
	for _, tt := range []struct {
		name     string
		status   int
		stranger otctest.Route
		calls    string
		want     string
	}{
		{"taken over", 400, otctest.Route{Type: "ecs", NextHop: otherID}, "login server get put:400 get put get", "10.128.2.0/23 → worker-1 *"},
		{"taken over, reported as 409", 409, otctest.Route{Type: "ecs", NextHop: otherID}, "login server get put:409 get put get", "10.128.2.0/23 → worker-1 *"},
		{"already right", 400, otctest.Route{Type: "ecs", NextHop: ecsID(1)}, "login server get put:400 get", "10.128.2.0/23 → worker-1"},
		{"in conflict", 400, otctest.Route{Type: "peering", NextHop: "p1"}, "login server get put:400 get", "peering 10.128.2.0/23 → p1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.Set(func(k *otctest.Knobs) { k.DuplicateStatus = tt.status })
				tt.stranger.Destination = "10.128.2.0/23"
				w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Before: func() { w.PutRoute(mainTable, tt.stranger) }})
				a := w.up(1)
				w.pass(9 * time.Second)
				w.wantRoutes(tt.want)
				w.wantCalls(tt.calls)
				a.wantState(tt.name != "in conflict", tt.name != "in conflict")
			})
		})
	}
}

// A table that never shows what it took: that is no success.
func TestR6NeverConfirmed(t *testing.T) {
	bubble(t, func(w *world) {
		w.Set(func(k *otctest.Knobs) { k.StaleReads = 30 * time.Minute })
		a := w.up(1)
		w.pass(20 * time.Minute)
		a.wantState(false, false)
		a.wantTold(1, "error could not update route table", "does not show it")
		a.wantTold(0, "success")
		w.pass(30 * time.Minute)
		a.wantState(true, true)
	})
}

// A PUT refused for a reason that only a person can remove.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  otctest.Fault
		told   string
		longer time.Duration // the next PUT is at least so far away
	}{
		{"permission", otctest.Fault{Status: http.StatusForbidden, Code: "VPC.2201"}, "grant vpc:routeTables:update", 30 * time.Second},
		{"table gone", otctest.Fault{Status: http.StatusNotFound, Code: "VPC.2808"}, "check ROUTE_TABLE_ID", 30 * time.Second},
		{"quota", otctest.Fault{Status: http.StatusConflict, Code: "VPC.0114", Message: "Quota exceeded for resources: ['route']"}, "the route table is full", 30 * time.Second},
		{"quota, with status 400", otctest.Fault{Status: http.StatusBadRequest, Code: "VPC.2809", Message: "Quota exceeded for resources: ['route']"}, "the route table is full", 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				tt.fault.Op, tt.fault.Times = otctest.OpTableUpdate, -1
				w.Fail(tt.fault)
				a := w.up(1)
				a.wantState(false, false)
				a.wantTold(1, "error could not update route table", tt.told)
				a.wantEvents(1, "Warning RouteFailed", tt.told)
				w.pass(tt.longer)
				if got := w.Count(otctest.OpTableUpdate); got != 1 {
					t.Errorf("%d PUTs within %v", got, tt.longer)
				}
				w.pass(24 * time.Hour)
				if got := w.Count(otctest.OpTableUpdate); got < 24*4 || got > 24*8+8 {
					t.Errorf("%d PUTs in a day, want about one in 7.5 to 15 minutes", got)
				}
				a.wantState(false, false)
				w.Heal()
				w.pass(15 * time.Minute)
				a.wantState(true, true)
				if a.counts.get("add error") == 0 || a.counts.get("add success") != 1 {
					t.Errorf("added with error %d, with success %d", a.counts.get("add error"), a.counts.get("add success"))
				}
			})
		})
	}
}
