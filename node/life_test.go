package node

import (
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// Adoption: a right route without our mark is kept without a write. It was seen
// to be ours, so a later move takes it away; a process that has not seen it leaves
// it alone.
func TestAdoption(t *testing.T) {
	byHand := func(w *world) {
		w.PutRoute(mainTable, otctest.Route{Type: "ecs", Destination: "10.128.2.0/23", NextHop: ecsID(1), Description: "by hand"})
	}
	bubble(t, func(w *world) {
		byHand(w)
		a := w.up(1)
		w.wantCalls("login server get")
		w.wantRoutes("10.128.2.0/23 → worker-1")
		a.wantState(true, true)
		a.wantTold(1, "success route 10.128.2.0/23 → worker-1 confirmed")
		a.move("10.129.0.0/23")
		w.wantPuts("add 10.129.0.0/23, del 10.128.2.0/23")
		w.wantRoutes("10.129.0.0/23 → worker-1 *")
	})
	bubble(t, func(w *world) { // nor does it go with the Node
		byHand(w)
		a := w.up(1)
		a.vanish()
		w.pass(time.Hour)
		w.wantRoutes("10.128.2.0/23 → worker-1")
		a.wantTold(1, "it left no routes")
	})
	bubble(t, func(w *world) {
		byHand(w)
		a := w.up(1)
		a.crash()
		a.start()
		a.move("10.129.0.0/23")
		w.wantRoutes("10.128.2.0/23 → worker-1", "10.129.0.0/23 → worker-1 *")
		a.move("10.130.0.0/23")
		w.wantRoutes("10.128.2.0/23 → worker-1", "10.130.0.0/23 → worker-1 *")
	})
}

// TestR3Foreign: what else is in the table stays, byte for byte, through a whole
// life of a Node.
func TestR3Foreign(t *testing.T) {
	bubble(t, func(w *world) {
		strangers := []otctest.Route{
			foreignRoute("nat", "0.0.0.0/0", "nat-1"),
			foreignRoute("peering", "10.130.0.0/16", "p-1"),
			foreignRoute("er", "10.128.0.0/9", "er-1"),
			foreignRoute("something new", "10.131.0.0/20", ""),
			{Type: "ecs", Destination: "10.129.8.0/23", NextHop: otherID, Description: Mark + ": worker-9"},       // of another Node
			{Type: "ecs", Destination: "10.129.10.0/23", NextHop: ecsID(1), Description: "by hand"},               // ours, unmarked, never wanted
			{Type: "ecs", Destination: "172.16.0.0/24", NextHop: ecsID(1), Description: Mark + ": worker-1"},      // outside
			{Type: "ecs", Destination: "10.128.0.0/14", NextHop: ecsID(1), Description: Mark + ": worker-1"},      // the whole range
			{Type: "vip", Destination: "10.129.12.0/23", NextHop: "10.20.0.11", Description: Mark + ": worker-1"}, // another type
			{Type: "ecs", Destination: "10.129.14.1", NextHop: ecsID(1), Description: "host, " + Mark},
			{Type: "ecs", Destination: "nonsense", NextHop: ecsID(1), Description: Mark},
		}
		w.SetRoutes(mainTable, strangers...)
		a := w.up(1, func(c *Config) { c.DriftRepair = true })
		a.move("10.129.0.0/23")
		a.move("10.129.0.0/23", "10.129.2.0/23")
		a.restart()
		a.see(func(f *Facts) { f.Worker = false })
		a.see(func(f *Facts) { f.Worker = true })
		a.move("10.129.4.0/23")
		w.pass(24 * time.Hour)
		a.wantState(true, true)
		if n := len(w.Routes(mainTable)); n != len(strangers)+1 {
			t.Errorf("%d routes, want one more than the %d strangers", n, len(strangers))
		}
		a.vanish()
		w.pass(time.Hour)
		after := w.Routes(mainTable)
		if len(after) != len(strangers) {
			t.Fatalf("%d routes, want %d: %+v", len(after), len(strangers), after)
		}
		for i := range strangers {
			if after[i] != strangers[i] {
				t.Errorf("%+v became %+v", strangers[i], after[i])
			}
		}
	})
}

// Dry run: the exact change is told and shown, nothing is sent; without it the
// change is made.
func TestDryRun(t *testing.T) {
	bubble(t, func(w *world) {
		w.PutRoute(mainTable, otctest.Route{Type: "ecs", Destination: "10.129.0.0/23", NextHop: ecsID(1), Description: Mark + ": worker-1"})
		a := w.up(1, func(c *Config) { c.DryRun, c.DriftRepair = true, true })
		const change = "add 10.128.2.0/23 → a4c70001-2b6d-4f80-93ae-5d1c00000001, delete 10.129.0.0/23"
		w.wantCalls("login server get")
		a.wantState(true, false)
		a.wantTold(1, "info dry run, nothing was written: would "+change)
		if s := a.Status(); strings.Join(s.Tables[0].Planned, ", ") != change || !s.DryRun {
			t.Errorf("shown: %+v", s)
		}
		w.pass(24 * time.Hour)
		w.wantPuts()
		a.wantTold(1, "info dry run")
		w.wantRoutes("10.129.0.0/23 → worker-1 *")
		a.crash()
		w.PutRoute(mainTable, marked1("10.128.2.0/23", a.id))
		w.DeleteRoute(mainTable, "10.129.0.0/23")
		a.boot()
		a.wantState(true, true) // nothing would change
	})
}

func TestDryRunOfADeletedNode(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1)
		a.crash()
		a.cfg.DryRun = true
		a.boot()
		a.vanish()
		w.pass(time.Minute)
		w.wantRoutes("10.128.2.0/23 → worker-1 *")
		a.wantTold(1, "dry run, would delete 10.128.2.0/23")
		a.wantEvents(0, "RouteRemoved")
	})
}
