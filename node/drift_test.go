package node

import (
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// marked1 is a route with worker-1's mark.
func marked1(destination, nextHop string) otctest.Route {
	return otctest.Route{Type: "ecs", Destination: destination, NextHop: nextHop, Description: Mark + ": worker-1"}
}

// TestDrift changes a table that was right. A look tells it and writes nothing,
// unless it is to be repaired.
func TestDrift(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*world, *agent)
		drift  int
		told   string
		table  []string // without repair
		put    string   // the repair; "": a repair cannot help
	}{
		{"missing", func(w *world, a *agent) { w.DeleteRoute(mainTable, "10.128.2.0/23") }, 1,
			"10.128.2.0/23 is missing", nil, "add 10.128.2.0/23"},
		{"points to a dead instance", func(w *world, a *agent) { w.PutRoute(mainTable, foreignRoute("ecs", "10.128.2.0/23", gone)) }, 1,
			"10.128.2.0/23 leads to another instance", []string{"10.128.2.0/23 → " + gone}, "mod 10.128.2.0/23"},
		{"left over", func(w *world, a *agent) { w.PutRoute(mainTable, marked1("10.129.0.0/23", a.id)) }, 1,
			"10.129.0.0/23 is left over", []string{"10.128.2.0/23 → worker-1 *", "10.129.0.0/23 → worker-1 *"}, "del 10.129.0.0/23"},
		{"shadowed by another instance", func(w *world, a *agent) { w.PutRoute(mainTable, foreignRoute("ecs", "10.128.3.0/24", otherID)) }, 1,
			"ecs route 10.128.3.0/24 → " + otherID + " takes its traffic", []string{"10.128.2.0/23 → worker-1 *", "10.128.3.0/24 → " + otherID}, ""},
		{"shadowed by a peering", func(w *world, a *agent) { w.PutRoute(mainTable, foreignRoute("peering", "10.128.3.0/25", "p-1")) }, 1,
			"peering route 10.128.3.0/25 → p-1 takes its traffic", []string{"10.128.2.0/23 → worker-1 *", "peering 10.128.3.0/25 → p-1"}, ""},
		{"swallowed by a later subnet", func(w *world, a *agent) {
			w.AddSubnet(otctest.VPCID, otctest.Subnet{ID: "5e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518", CIDR: "10.128.0.0/16"})
		}, 1, "local route 10.128.0.0/16 → - takes its traffic", []string{"10.128.2.0/23 → worker-1 *"}, ""},
		{"two at once", func(w *world, a *agent) {
			w.DeleteRoute(mainTable, "10.128.2.0/23")
			w.PutRoute(mainTable, marked1("10.129.0.0/23", a.id))
		}, 2, "10.128.2.0/23 is missing, 10.129.0.0/23 is left over", []string{"10.129.0.0/23 → worker-1 *"}, "add 10.128.2.0/23, del 10.129.0.0/23"},
	} {
		for _, repair := range []bool{false, true} {
			name := map[bool]string{false: tt.name, true: tt.name + ", repaired"}[repair]
			t.Run(name, func(t *testing.T) {
				bubble(t, func(w *world) {
					a := w.settled(1, func(c *Config) { c.DriftRepair = repair })
					tt.change(w, a)
					w.pass(19 * time.Minute)
					a.wantTold(1, "warning", tt.told)
					a.wantEvents(1, "Warning RouteDrifted", tt.told)
					if repair && tt.put != "" {
						w.wantPuts(tt.put)
						w.wantRoutes("10.128.2.0/23 → worker-1 *")
						a.wantState(true, true)
						a.wantTold(2, "success route 10.128.2.0/23 → worker-1 confirmed")
						return
					}
					a.wantState(true, false)
					if s := a.Status(); s.Drift != tt.drift || s.Conflicts != 0 {
						t.Errorf("drift %d, conflicts %d; want %d, 0", s.Drift, s.Conflicts, tt.drift)
					}
					hint := hintDrift
					if tt.put == "" {
						hint = hintShadow
					}
					if got := a.Status().Reasons[0].Hint; got != hint {
						t.Errorf("got the hint %q, want %q", got, hint)
					}
					w.pass(24 * time.Hour)
					a.wantTold(1, "warning", tt.told)
					w.wantPuts()
					w.wantRoutes(tt.table...)
				})
			})
		}
	}
}

// What a read has shown counts at once, whatever hangs after it.
func TestDriftCountsAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.settled(1, func(c *Config) { c.DriftInterval = 5 * time.Minute })
		a.move("10.128.2.0/23", "10.128.8.0/23")
		w.pass(80 * time.Second)
		w.PutRoute(mainTable, marked9("10.129.6.0/23", gone))
		w.Fail(otctest.Fault{Match: func(r otctest.Request) bool { return strings.Contains(r.Path, "cloudservers") }, Hang: true, Times: -1})
		w.DeleteRoute(mainTable, "10.128.8.0/23")
		w.Reset()
		for w.Count(otctest.OpTableGet) == 0 {
			a.wantState(true, true)
			w.pass(time.Second)
		}
		w.pass(time.Second)
		a.wantState(true, false)
	})
}

// While the annotation is missing nothing is defended: what another Node has taken meanwhile is given up,
// and that is said; what it leaves is not taken back before the annotation is.
func TestGivenUp(t *testing.T) {
	bubble(t, func(w *world) {
		a, b := w.settled(1, func(c *Config) { c.DriftRepair = true }), w.up(2)
		a.see(func(f *Facts) { f.Annotated = false })
		b.move("10.128.4.0/23", "10.128.2.0/23")
		w.Reset()
		w.pass(time.Hour)
		w.wantPuts()
		w.wantRoutes("10.128.2.0/23 → worker-2 *", "10.128.4.0/23 → worker-2 *")
		a.wantState(true, false)
		a.wantTold(1, "warning given up", "10.128.2.0/23 → "+b.id)
		a.wantTold(1, "success") // the one before
		if s := a.Status(); !strings.Contains(s.Line(), "node-subnets is not there yet; nothing is written") || !strings.Contains(s.Line(), "given up") || strings.Contains(s.Line(), "all routes") {
			t.Errorf("%q", s.Line())
		}
		b.move("10.128.4.0/23")
		w.Reset()
		w.pass(time.Hour)
		w.wantPuts()
		w.wantRoutes("10.128.4.0/23 → worker-2 *")
		a.see(func(f *Facts) { f.Annotated = true })
		w.wantRoutes(home, "10.128.4.0/23 → worker-2 *")
		a.wantState(true, true)
		a.see(func(f *Facts) { f.Annotated = false })
		b.move("10.128.4.0/23", "10.128.2.0/23")
		w.pass(time.Hour)
		b.crash()
		a.see(func(f *Facts) { f.Annotated = true }) // taken over at once
		w.wantRoutes(home, "10.128.4.0/23 → worker-2 *")
	})
}

// Any other answer than "there is no such server" leaves it alive.
func TestR3ClaimantInDoubt(t *testing.T) {
	for name, fault := range map[string]otctest.Fault{
		"forbidden": {Status: 403, Code: "Pdp.0001"}, "gateway's 404": {Status: 404, Code: "APIGW.0101"}, "500": {Status: 500}, "400": {Status: 400, Code: "Ecs.0005"},
		"no such server, nor our own": {Status: 404, Code: "Ecs.0114"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				a := w.settled(1, func(c *Config) { c.DriftRepair = true })
				fault.Op, fault.Times = otctest.OpServerGet, -1
				w.Fail(fault)
				w.PutRoute(mainTable, foreignRoute("ecs", "10.128.2.0/23", otherID))
				w.Reset()
				w.pass(2 * time.Hour)
				w.wantPuts()
				a.wantState(false, false)
			})
		})
	}
}
