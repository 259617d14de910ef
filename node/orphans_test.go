package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

func cleanup(c *Config) { c.OrphanCleanup = true }

// deletions returns how many PUTs that were not refused deleted a destination.
func (w *world) deletions(destination string) int {
	n := 0
	for _, put := range w.puts() {
		if strings.Contains(put, "del "+destination) {
			n++
		}
	}
	return n
}

// marked9 is a route with the mark of a Node that is not there.
func marked9(destination, nextHop string) otctest.Route {
	return otctest.Route{Type: "ecs", Destination: destination, NextHop: nextHop, Description: description("worker-9")}
}

// die ends the process and its server: a machine that was scaled away.
func (a *agent) die() {
	a.crash()
	a.kube.set(false, nil)
	a.w.DeleteServer(a.id)
}

// TestOrphans: the routes of a machine that is gone are counted and named by one
// of the others after ten minutes, and stay unless ORPHAN_CLEANUP is set.
func TestOrphans(t *testing.T) {
	for _, dead := range []int{1, 2, 3} { // the owner of the lowest, a middle and the highest destination
		for _, clean := range []bool{false, true} {
			name := map[int]string{1: "lowest", 2: "middle", 3: "highest"}[dead] + map[bool]string{false: "", true: ", removed"}[clean]
			t.Run(name, func(t *testing.T) {
				bubble(t, func(w *world) {
					var agents []*agent
					for n := 1; n <= 3; n++ {
						agents = append(agents, w.up(n, func(c *Config) { c.OrphanCleanup = clean }))
					}
					gone := agents[dead-1]
					orphan := subnetOf(dead).String()
					w.pass(time.Minute)
					gone.die()
					w.Reset()
					w.pass(10 * time.Minute)
					w.wantPuts() // too early
					w.pass(2 * time.Hour)
					told, counted := 0, 0
					for _, a := range agents {
						if a == gone {
							continue
						}
						told += a.lines("OrphansFound") + a.lines("instances that are gone", orphan)
						counted += a.Status().Orphans
						a.wantState(true, true)
					}
					if told != 1 {
						t.Errorf("told %d times, want once by one of them", told)
					}
					for _, a := range agents {
						a.crash()
						if known := a.tables[0].tracker; clean && len(known.absent)+len(known.passedOver) > 0 {
							t.Errorf("%s remembers instances whose routes are gone: %v", a.name, known)
						}
					}
					if clean {
						deleted := 0
						for _, a := range agents {
							deleted += a.counts.get("delete success")
						}
						if n := w.deletions(orphan); n != 1 || deleted != 1 || counted != 0 {
							t.Errorf("%d PUTs, %d deletions and %d orphans counted; want 1, 1, 0", n, deleted, counted)
						}
						return
					}
					w.wantPuts()
					if counted != 1 {
						t.Errorf("metric: %d orphans, want 1", counted)
					}
					w.Reset()
					w.pass(2 * time.Hour)
					if n := w.Count(otctest.OpServerGet); n > 0 {
						t.Errorf("%d reads of servers that are known to be gone", n)
					}
					for _, a := range agents {
						if n := a.Status().Orphans; a != gone {
							a.move(subnetOf(int(a.name[7]-'0') + 10).String())
							if got := a.Status().Orphans; got != n {
								t.Errorf("%d orphans, %d after a move", n, got)
							}
						}
					}
				})
			})
		}
	}
}

// TestOrphansInDoubt: any answer but the service's own "not found" keeps a route.
func TestOrphansInDoubt(t *testing.T) {
	for name, doubt := range map[string]func(*world){
		"no showServer": func(w *world) { w.Set(func(k *otctest.Knobs) { k.Deny = deny("showServer", otctest.DenyPolicy) }) },
		"gateway's 404": func(w *world) {
			w.Fail(otctest.Fault{Op: otctest.OpServerGet, Status: 404, Code: "APIGW.0101", Times: -1})
		},
		"400": func(w *world) {
			w.Fail(otctest.Fault{Op: otctest.OpServerGet, Status: 400, Code: "Ecs.0005", Times: -1})
		},
		"500":       func(w *world) { w.Fail(otctest.Fault{Op: otctest.OpServerGet, Status: 500, Times: -1}) },
		"no answer": func(w *world) { w.Fail(otctest.Fault{Op: otctest.OpServerGet, Hang: true, Times: -1}) },
		"empty list, alive": func(w *world) {
			w.Set(func(k *otctest.Knobs) { k.Deny = deny("list", otctest.DenyEmpty) })
			w.AddServer(server(otherID, "x", "10.20.0.99"))
		},
		"own instance not listed": func(w *world) { w.Set(func(k *otctest.Knobs) { k.Deny = deny("list", otctest.DenyEmpty) }) },
		"Node still there":        func(w *world) { w.named("worker-9").kube.set(true, nil) },
		"a Node's name that was cut off": func(w *world) {
			w.PutRoute(mainTable, otctest.Route{Type: "ecs", Destination: "10.129.0.0/23", NextHop: otherID, Description: description(strings.Repeat("n", 250))})
		},
		"list fails, alive": func(w *world) {
			w.Fail(otctest.Fault{Op: otctest.OpServerList, Status: 500, Times: -1})
			w.AddServer(server(otherID, "x", "10.20.0.99"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				a := w.up(1, cleanup)
				w.agent(9).kube.set(false, nil)
				w.PutRoute(mainTable, marked9("10.129.0.0/23", otherID))
				doubt(w)
				w.Reset()
				w.pass(6 * time.Hour)
				w.wantPuts()
				w.wantRoutes("10.128.2.0/23 → worker-1 *", "10.129.0.0/23 → "+otherID+" *")
				orphans := map[string]int{"Node still there": 1, "a Node's name that was cut off": 1}[name]
				a.wantTold(orphans, "warning", "instances that are gone, which stay because their Node is still there")
				a.wantTold(orphans, "instances that are gone")
				fails := strings.Contains(name, "list")
				if n := a.lines("error could not see which instances exist"); (n > 0) != fails || n > 13 {
					t.Errorf("the failed list is reported %d times", n)
				}
				if got := a.Status().Orphans; got != orphans {
					t.Errorf("%d orphans, want %d", got, orphans)
				}
			})
		})
	}
}

func deny(action string, how otctest.Denial) map[string]otctest.Denial {
	return map[string]otctest.Denial{"ecs:cloudServers:" + action: how}
}

// What a slow table shows is too old to delete orphans by, and that is said.
func TestOrphansOfASlowTable(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1, cleanup)
		w.agent(9).kube.set(false, nil)
		w.PutRoute(mainTable, marked9("10.129.0.0/23", otherID))
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Delay: 11 * time.Second, Applied: true, Times: -1})
		w.Reset()
		w.pass(40 * time.Minute)
		w.wantPuts()
		a.wantTold(1, "error could not remove routes of instances that are gone", "was read more than 10 s ago")
		w.Heal()
		w.pass(time.Hour)
		w.wantRoutes(home)
	})
}

// TestR3Orphans: what is not provably a leftover of ours stays, dead or not.
func TestR3Orphans(t *testing.T) {
	bubble(t, func(w *world) {
		strangers := []otctest.Route{
			{Type: "ecs", Destination: "10.129.0.0/23", NextHop: gone, Description: "by hand"},
			{Type: "ecs", Destination: "172.16.0.0/24", NextHop: gone, Description: Mark},
			{Type: "ecs", Destination: "10.128.0.0/14", NextHop: gone, Description: Mark},
			{Type: "vip", Destination: "10.129.2.0/23", NextHop: gone, Description: Mark},
			{Type: "ecs", Destination: "10.129.4.0/23", NextHop: "no-uuid", Description: Mark},
		}
		w.SetRoutes(mainTable, strangers...)
		w.PutRoute(mainTable, marked9("10.129.6.0/23", gone))
		a := w.up(1, cleanup)
		w.pass(2 * time.Hour)
		got := w.Routes(mainTable)
		if len(got) != len(strangers)+1 {
			t.Errorf("got %+v", got)
		}
		for i := range strangers {
			if got[i] != strangers[i] {
				t.Errorf("%+v became %+v", strangers[i], got[i])
			}
		}
		a.wantTold(1, "info removed routes of instances that are gone from route table "+mainTable+": 10.129.6.0/23")
		a.wantState(true, true)
	})
}

// A Node that was deleted while its instance goes on, stopped perhaps, has no pod that could look after orphans.
func TestOrphansBehindAStoppedInstance(t *testing.T) {
	bubble(t, func(w *world) {
		first, _, third := w.up(1), w.up(2, cleanup), w.up(3)
		first.crash()
		first.kube.set(false, nil)
		third.die()
		w.pass(time.Hour)
		w.wantRoutes("10.128.2.0/23 → worker-1 *", "10.128.4.0/23 → worker-2 *")
	})
}

// It is looked at again right before the delete: somebody else's by then, it stays.
func TestOrphanTakenOverMeanwhile(t *testing.T) {
	bubble(t, func(w *world) {
		w.PutRoute(mainTable, marked9("10.129.6.0/23", gone))
		w.AddServer(server(otherID, "x", "10.20.0.99"))
		w.up(1, cleanup)
		w.pass(20 * time.Minute) // suspected
		w.wantRoutes("10.128.2.0/23 → worker-1 *", "10.129.6.0/23 → "+gone+" *")
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, After: 1, Before: func() { w.PutRoute(mainTable, marked9("10.129.6.0/23", otherID)) }})
		w.pass(6 * time.Hour)
		w.wantRoutes("10.128.2.0/23 → worker-1 *", "10.129.6.0/23 → "+otherID+" *")
		if n := w.deletions("10.129.6.0/23"); n != 0 {
			t.Errorf("deleted %d times", n)
		}
	})
}

// A server that comes back in between is suspected anew.
func TestOrphanComesBack(t *testing.T) {
	bubble(t, func(w *world) {
		w.PutRoute(mainTable, marked9("10.129.6.0/23", otherID))
		a := w.up(1, cleanup)
		w.pass(19 * time.Minute) // suspected
		for range 12 {           // never gone in two looks in a row
			w.AddServer(server(otherID, "x", "10.20.0.99"))
			w.pass(19 * time.Minute)
			w.DeleteServer(otherID)
			w.pass(12 * time.Minute)
		}
		if n := w.deletions("10.129.6.0/23"); n != 0 {
			t.Errorf("deleted %d times", n)
		}
		a.wantState(true, true)
	})
}

// Many pods with many orphans, gone at once after a long time: each is deleted once, at most five a PUT,
// within two drift intervals.
func TestManyOrphans(t *testing.T) {
	bubble(t, func(w *world) {
		var agents []*agent
		for n := 1; n <= 12; n++ {
			agents = append(agents, w.up(n, cleanup))
		}
		w.pass(16 * time.Hour)
		for _, a := range agents[:7] {
			a.die()
		}
		w.Reset()
		w.pass(38 * time.Minute)
		if got := len(w.Routes(mainTable)); got != 5 {
			t.Errorf("%d routes, want 5", got)
		}
		for n := 1; n <= 7; n++ {
			if got := w.deletions(subnetOf(n).String()); got != 1 {
				t.Errorf("%s deleted %d times, want once", subnetOf(n), got)
			}
		}
		for _, put := range w.puts() {
			if strings.Count(put, ",") > 4 {
				t.Errorf("more than five operations: %s", put)
			}
		}
	})
}

// A removal that SIGTERM or an event ends is no failure.
func TestOrphanRemovalCutShort(t *testing.T) {
	for name, end := range map[string]func(*agent){
		"stopped":     (*agent).crash,
		"newer facts": func(a *agent) { a.move("10.128.8.0/23") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				a := w.settled(1, cleanup)
				w.PutRoute(mainTable, marked9("10.129.0.0/23", otherID))
				w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Hang: true, Times: -1, Match: func(r otctest.Request) bool { return strings.Contains(string(r.Body), "10.129.0.0") }})
				for len(w.puts()) == 0 {
					w.pass(time.Second)
				}
				end(a)
				w.pass(15 * time.Second)
				w.Heal()
				w.pass(time.Minute)
				a.wantTold(0, "error")
				a.wantEvents(0, "RouteFailed")
			})
		})
	}
}

// TestAbsence: "10 gone +" is a check at minute 10 that misses the instance, which makes it gone; "here"
// is one that does not.
func TestAbsence(t *testing.T) {
	for _, story := range []string{
		"0 gone -, 9 gone -, 10 gone +, 20 gone +",
		"0 gone -, 5 here -, 10 gone -, 20 gone +",
		"0 gone -, 1439 gone +",
		"0 gone -, 1441 gone -, 1451 gone +",
	} {
		tracker := orphanTracker{absent: map[string]absence{}}
		for check := range strings.SplitSeq(story, ", ") {
			var minute int
			var says, want string
			fmt.Sscan(check, &minute, &says, &want)
			now := time.Date(2000, 1, 1, 0, minute, 0, 0, time.UTC)
			if got := tracker.note(otherID, says == "here", now); got != (want == "+") {
				t.Errorf("%s: %s: %v", story, check, got)
			}
		}
	}
}

// An instance that is back while routes to it are removed keeps the others.
func TestOrphansComeBackMeanwhile(t *testing.T) {
	bubble(t, func(w *world) {
		w.up(1, cleanup)
		for i := range 12 {
			w.PutRoute(mainTable, marked9(fmt.Sprintf("10.129.%d.0/24", i), otherID))
		}
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Delay: 4 * time.Second, Match: func(r otctest.Request) bool { return strings.Contains(string(r.Body), `"del"`) }})
		for len(w.puts()) < 2 {
			w.pass(time.Second)
		}
		w.AddServer(server(otherID, "x", "10.20.0.99"))
		w.pass(2 * time.Hour)
		if n := len(w.Routes(mainTable)); n != 1+12-otc.MaxOps {
			t.Errorf("%d routes are left, want all but the first %d", n, otc.MaxOps)
		}
	})
}

// A dry run names them, and so does a Node whose own table is in conflict.
func TestOrphansNamed(t *testing.T) {
	for name, isDry := range map[string]bool{"dry run": true, "beside a conflict": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				a := w.agent(1, func(c *Config) { c.DryRun, c.OrphanCleanup = isDry, isDry })
				w.PutRoute(mainTable, marked1("10.128.2.0/23", a.id))
				a.facts.Annotation = annotation("10.128.2.0/23", "10.128.8.0/23")
				a.boot()
				w.pass(80 * time.Second)
				if !isDry {
					w.PutRoute(mainTable, foreignRoute("nat", "10.128.8.0/23", natID))
				}
				w.Reset()
				for n := range 2 { // it comes again
					w.PutRoute(mainTable, marked9("10.129.6.0/23", gone))
					w.pass(2 * time.Hour)
					a.wantTold(n+1, "warning", "instances that are gone", "10.129.6.0/23")
					w.DeleteRoute(mainTable, "10.129.6.0/23")
					w.pass(time.Hour)
				}
				w.wantPuts()
			})
		})
	}
}
