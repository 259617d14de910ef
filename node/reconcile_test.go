package node

import (
	"slices"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// TestCosts holds the number of OTC calls with any number of route tables:
// 2+3T at first, 2+T if all is right already, 3T for a changed annotation, none
// for nothing.
func TestCosts(t *testing.T) {
	for tables := 1; tables <= 4; tables++ {
		bubble(t, func(w *world) {
			a := w.agent(1, w.tables(tables))
			step := func(what string, want int) {
				t.Helper()
				if got := w.Count(""); got != want {
					t.Errorf("%d tables, %s: got %d calls, want %d: %s", tables, what, got, want, w.calls())
				}
				w.Reset()
			}
			a.boot()
			step("first convergence", 2+3*tables)
			a.move("10.129.0.0/23")
			step("changed annotation", 3*tables)
			a.restart()
			step("already right", 2+tables)
			a.see()
			step("nothing changed", 0)
			a.see(func(f *Facts) { f.Worker = false })
			a.wantState(true, false)
			a.see(func(f *Facts) { f.Annotation = "{}" }) // skipped already
			a.see(func(f *Facts) {
				f.Worker, f.Annotation = true, `{"default":["10.129.1.7/23","10.129.0.0/23"],"blue":"10.60.3.0/24"}`
			})
			step("no worker for a while, and the same subnet in other words", tables)
			for _, id := range a.cfg.Tables {
				w.wantTable(id, "10.129.0.0/23 → worker-1 *")
			}
			a.wantState(true, true)
			if len(a.counts.took) != 4*tables || slices.Max(a.counts.took) != 0 {
				t.Errorf("annotation to route: %v, want four times 0 of each table", a.counts.took)
			}
			if ok, skipped := a.counts.get("pass success"), a.counts.get("pass skipped"); ok != 4*tables || skipped != 1 {
				t.Errorf("got %d passes and %d skipped, want %d and 1", ok, skipped, 4*tables)
			}
			if got := []int{a.counts.get("add success"), a.counts.get("delete success"), a.counts.get("modify success")}; got[0] != 2*tables || got[1] != tables || got[2] != 0 {
				t.Errorf("%d tables: added, deleted, modified %d", tables, got)
			}
		})
	}
}

// TestR4: an error is never a change. After the routes were confirmed nothing
// of this moves them, and readiness stays.
func TestR4(t *testing.T) {
	for name, value := range map[string]string{
		"missing": "-", "empty": "", "empty object": "{}", "null": "null", "malformed": `{"default":["10.132.4.0/23"`, "another JSON type": `{"default":7}`,
		"empty list": `{"default":[]}`, "null list": `{"default":null}`, "bad CIDR": `{"default":"10.129.0.0/33"}`,
		"one bad of two": `{"default":["10.129.0.0/23",""]}`, "only other networks": `{"team-a_net1":["10.129.0.0/23"]}`,
		"outside": `{"default":"172.16.0.0/24"}`, "the whole range": `{"default":"10.128.0.0/14"}`, "default route": `{"default":["0.0.0.0/0"]}`,
		"default route, IPv6": `{"default":["::/0"]}`, "wider than the range": `{"default":"10.0.0.0/8"}`, "IPv6 without a range": `{"default":"fd01:0:0:7::/64"}`,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.PutRoute(mainTable, otctest.Route{Type: "nat", Destination: "0.0.0.0/0", NextHop: "nat-1"})
				a := w.up(1)
				w.Reset()
				a.see(func(f *Facts) { f.Annotation, f.Annotated = value, value != "-" })
				w.wantRoutes("nat 0.0.0.0/0 → nat-1", "10.128.2.0/23 → worker-1 *")
				a.wantState(true, false)
				a.wantTold(1, "warning")
				a.wantEvents(1, "Warning")
				w.pass(24 * time.Hour)
				w.wantPuts()
				a.wantState(true, false)
				a.wantTold(1, "warning")
				a.move("10.129.0.0/23")
				w.wantRoutes("nat 0.0.0.0/0 → nat-1", "10.129.0.0/23 → worker-1 *")
				w.wantPuts("add 10.129.0.0/23, del 10.128.2.0/23")
				a.wantState(true, true)
			})
		})
	}
}

// TestR1Guard gives the planner and the client different ideas of CLUSTER_CIDR: the
// client is the last one asked.
func TestR1Guard(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.agent(1)
		a.cfg.Ranges = prefixes("10.129.0.0/16") // the client's
		client := a.client(nil)
		a.cloud, a.cfg.Ranges = client, prefixes("10.128.0.0/14")
		a.boot()
		w.pass(time.Hour)
		w.wantPuts()
		w.wantRoutes()
		a.wantState(false, false)
		a.wantTold(2, "error could not update route table", "10.128.2.0/23 is not strictly inside a permitted range")
	})
}

// The first call waits, the news do not get lost meanwhile.
func TestStartupJitter(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1, func(c *Config) { c.StartupJitter = time.Hour })
		a.move("10.129.0.0/23")
		w.wantCalls("")
		if s := a.Status(); s.Ready || s.Line() == "" {
			t.Errorf("before the first pass: %+v", s)
		}
		w.pass(time.Hour)
		w.wantPuts("add 10.129.0.0/23")
		a.wantState(true, true)
	})
}
