package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// Node replaced: same name, new UID, new instance, new subnet, reported in any
// order and in one or several steps.
func TestNodeReplaced(t *testing.T) {
	steps := map[string]func(*Facts){
		"uid":      func(f *Facts) { f.UID = "uid-new" },
		"instance": func(f *Facts) { f.ProviderID, f.SystemUUID = "openstack:///"+twin, twin },
		"subnet":   func(f *Facts) { f.Annotation = annotation("10.129.0.0/23") },
	}
	for _, order := range [][][]string{
		{{"uid", "instance", "subnet"}},
		{{"uid"}, {"instance"}, {"subnet"}}, {{"uid"}, {"subnet"}, {"instance"}}, {{"instance"}, {"uid"}, {"subnet"}},
		{{"instance"}, {"subnet"}, {"uid"}}, {{"subnet"}, {"instance"}, {"uid"}}, {{"subnet"}, {"uid"}, {"instance"}},
		{{"uid", "subnet"}, {"instance"}}, {{"uid", "instance"}, {"subnet"}},
	} {
		for _, deleted := range []bool{false, true} {
			t.Run(fmt.Sprint(order, deleted), func(t *testing.T) {
				bubble(t, func(w *world) {
					a := w.up(1)
					a.replace(twin)
					if deleted {
						a.vanish()
						w.pass(time.Second)
					}
					for _, together := range order {
						var edits []func(*Facts)
						for _, name := range together {
							edits = append(edits, steps[name])
						}
						a.see(edits...)
						w.pass(time.Minute)
					}
					w.pass(time.Minute)
					a.wantState(true, true)
					table := fmt.Sprint(w.Routes(mainTable))
					want := otctest.Route{Type: "ecs", Destination: "10.129.0.0/23", NextHop: twin, Description: description("worker-1")}
					if !holds(table, []string{fmt.Sprint(want)}) {
						t.Errorf("got %s, want %v in it", table, want)
					}
					if a.Status().Instance != twin {
						t.Errorf("instance %s, want %s", a.Status().Instance, twin)
					}
				})
			})
		}
	}
}

// The Node object is made anew for the same machine: deleted and created reach us
// as two events, or as one update with another UID.
func TestNewUIDSameInstance(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		for _, subnet := range []string{"10.128.2.0/23", "10.129.0.0/23"} {
			t.Run(fmt.Sprint(deleted, subnet), func(t *testing.T) {
				bubble(t, func(w *world) {
					a := w.up(1)
					w.Reset()
					if deleted {
						a.vanish()
						w.pass(5 * time.Second)
					}
					a.see(func(f *Facts) { f.UID, f.Annotation = "uid-new", annotation(subnet) })
					w.pass(2 * time.Minute)
					w.wantRoutes(subnet + " → worker-1 *") // the old one is found by its mark
					a.wantState(true, true)
					if subnet == "10.128.2.0/23" {
						w.wantCalls("server get get get")
					} else {
						w.wantCalls("server get put get get get")
					}
				})
			})
		}
	}
}

// A Node that is deleted and made again at once, for another machine, does not wait for the removal of the one
// before.
func TestNodeMadeAgainAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.settled(1)
		a.replace(twin)
		a.vanish()
		a.see(func(f *Facts) {
			f.UID, f.ProviderID, f.SystemUUID = "uid-new", "openstack:///"+twin, twin
		})
		w.wantRoutes("10.128.2.0/23 → worker-1#2 *")
		a.wantState(true, true)
	})
}

// Two Nodes are given the same subnet, which OVN-Kubernetes heals by giving one of them another: until the
// tables are settled each takes what it sees for a late write, three times at most, and then one steps back.
func TestTwoClaimants(t *testing.T) {
	bubble(t, func(w *world) {
		first := w.up(1, func(c *Config) { c.DriftRepair = true })
		second := w.agent(2, func(c *Config) { c.DriftRepair = true })
		second.facts.Annotation = first.facts.Annotation
		second.boot()
		w.wantRoutes("10.128.2.0/23 → worker-2 *") // the first sight of a value takes it
		w.Reset()
		w.pass(24 * time.Hour)
		if n := len(w.puts()); n == 0 || n > 2*maxPutBacks {
			t.Errorf("%d PUTs in a day, want three of each at most", n)
		}
		loser, winner := first, second
		if first.Status().InSync {
			loser, winner = second, first
		}
		w.wantRoutes("10.128.2.0/23 → " + winner.name + " *")
		loser.wantState(false, false)
		winner.wantState(true, true)
		if n := loser.events("Warning RouteConflict", "10.128.2.0/23 leads to instance "+winner.id+", which exists"); n == 0 || n > 48 {
			t.Errorf("%d Events in a day, want one and then at most two an hour", n)
		}
		loser.move("10.128.2.0/23", "10.129.0.0/23") // which starts no other fight
		w.wantRoutes("10.128.2.0/23 → "+winner.name+" *", "10.129.0.0/23 → "+loser.name+" *")
		loser.wantState(false, false)
		loser.move("10.129.0.0/23")
		w.wantRoutes("10.128.2.0/23 → "+winner.name+" *", "10.129.0.0/23 → "+loser.name+" *")
		loser.wantState(true, true)
	})
}

// Node deleted while the process lives: its own marked routes go after ten seconds
// and a 404.
func TestNodeDeleted(t *testing.T) {
	bubble(t, func(w *world) {
		w.PutRoute(mainTable, foreignRoute("nat", "0.0.0.0/0", "nat-1"))
		a := w.up(1, w.tables(2))
		w.Reset()
		a.vanish()
		a.wantState(false, false)
		w.pass(9 * time.Second)
		w.wantCalls("")
		w.pass(2 * time.Second)
		w.wantRoutes("nat 0.0.0.0/0 → nat-1")
		w.wantTable(tableID(2))
		if got := w.Count(""); got != 6 || a.kube.asked != 2 {
			t.Errorf("%d calls and %d questions to Kubernetes, want 6 and 2", got, a.kube.asked)
		}
		a.wantTold(1, "warning node worker-1 was deleted; its routes go in 10s unless it comes back")
		a.wantEvents(2, "Normal RouteRemoved node worker-1 is gone; removed 10.128.2.0/23")
		if n := a.counts.get("pass success"); n != 4 {
			t.Errorf("%d passes, want one of each table before and after", n)
		}
		w.Reset()
		w.pass(24 * time.Hour)
		w.wantCalls("get get get get") // twice each: it is a confirmation as any other
		a.wantState(false, false)
		a.see(func(f *Facts) { f.UID = "uid-new" })
		w.wantRoutes("nat 0.0.0.0/0 → nat-1", "10.128.2.0/23 → worker-1 *")
		a.wantState(true, true)
		w.Fail(otctest.Fault{Op: otctest.OpServerGet, Hang: true, Times: -1})
		a.see(func(f *Facts) { f.UID = "uid-newer" })
		a.vanish() // before its instance was found
		w.pass(time.Minute)
		w.wantRoutes("nat 0.0.0.0/0 → nat-1")
	})
}

// It came back within the ten seconds, or the look says that it is there.
func TestNodeDeletedAndBack(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.settled(1)
		a.vanish()
		w.pass(9 * time.Second)
		a.see() // the same Node, as after a glitch
		w.pass(time.Minute)
		w.wantCalls("")
		a.wantState(true, true)
		a.vanish()
		a.kube.set(true, nil) // the look is ahead of the watch
		w.pass(time.Minute)
		w.wantCalls("")
		w.wantRoutes("10.128.2.0/23 → worker-1 *")
		a.see()
		a.wantState(true, true)
	})
}

// TestR4NodeDeleted: an API error is no 404. The routes stay for as long as nobody
// says that the Node is gone.
func TestR4NodeDeleted(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1)
		w.Reset()
		a.vanish()
		a.kube.set(false, errors.New("the server is currently unable to handle the request"))
		w.pass(24 * time.Hour)
		w.wantCalls("")
		w.wantRoutes("10.128.2.0/23 → worker-1 *")
		if err := a.Alive(); err != nil {
			t.Error(err)
		}
		if n := a.lines("error could not clean up route table", "could not see whether node worker-1 is back"); n == 0 || n > 48 {
			t.Errorf("told %d times in a day", n)
		}
		a.kube.set(false, nil)
		w.pass(5 * time.Minute)
		w.wantRoutes()
	})
}

// TestRemovalCutShort: a removal that SIGTERM or the Node's return cuts short claims
// nothing and forgets nothing; deleted again, the Node's routes go.
func TestRemovalCutShort(t *testing.T) {
	back := func(_ *world, a *agent) { a.see() }
	again := func(w *world, a *agent) {
		a.see(func(f *Facts) { f.UID = "uid-new" })
		w.pass(2 * time.Second)
	}
	stop := func(_ *world, a *agent) { a.crash() }
	reads := otctest.Fault{Op: otctest.OpTableGet, Hang: true, Times: -1}
	writes := otctest.Fault{Op: otctest.OpTableUpdate, Hang: true, Times: -1}
	executed, refused := writes, otctest.Fault{Op: otctest.OpTableUpdate, Status: 403, Times: -1, Match: at(tableID(2))}
	executed.Applied = true
	for _, tt := range []struct {
		name  string
		fault otctest.Fault
		then  func(*world, *agent)
		told  int  // that it is gone, by each table for itself
		gone  bool // in the end
	}{
		{"stopped while it reads", reads, stop, 0, false},
		{"stopped while it writes", writes, stop, 0, false},
		{"back while it reads slowly", otctest.Fault{Op: otctest.OpTableGet, Delay: 2 * time.Second, Times: -1}, back, 0, false},
		{"back while it reads", reads, back, 0, false},
		{"back while it writes", writes, back, 0, false},
		{"back while it writes, which is done", executed, back, 0, false},
		{"back when one of two tables is clean", refused, back, 1, false},
		{"back with another UID while it reads", reads, again, 0, false},
		{"back with another UID while it writes, which is done", executed, again, 0, false},
		{"the cloud is away for hours", otctest.Fault{Status: 503, Times: -1}, func(w *world, _ *agent) { w.pass(3 * time.Hour) }, 2, true},
		{"back and deleted again while it reads", reads, func(w *world, a *agent) { again(w, a); a.vanish(); w.pass(20 * time.Second) }, 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				a := w.up(1, w.tables(2))
				w.Fail(tt.fault)
				a.vanish()
				w.pass(removalDelay + time.Second)
				tt.then(w, a)
				w.pass(15 * time.Second)
				w.Heal()
				w.pass(10 * time.Minute)
				want := []string{home}
				if tt.gone {
					want = nil
				}
				w.wantRoutes(want...)
				w.wantTable(tableID(2), want...)
				a.wantTold(tt.told, "worker-1 is gone")
				a.wantEvents(tt.told, "RouteRemoved")
				if n := a.counts.get("pass error"); n > 0 && tt.fault.Status == 0 {
					t.Errorf("%d passes count as errors", n)
				}
				if n := a.counts.get("pass success"); n > 2 && strings.HasPrefix(tt.name, "stopped") {
					t.Errorf("%d passes count as successes, want one of each table before it", n)
				}
			})
		})
	}
}

// SIGTERM leaves the routes alone.
func TestStopLeavesRoutes(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1)
		w.Reset()
		a.crash()
		w.pass(time.Hour)
		w.wantCalls("")
		w.wantRoutes("10.128.2.0/23 → worker-1 *")
	})
}

// TestFlap: an annotation that flaps, mostly ten times a second, for 20 seconds costs a few PUTs, log lines
// and Events. Five seconds later what it then says is followed.
func TestFlap(t *testing.T) {
	const other = "10.129.0.0/23"
	one, two, three := annotation("10.128.2.0/23"), annotation(other), annotation("10.129.2.0/23")
	for _, tt := range []struct {
		name   string
		values []string // "": no annotation
		cost   string
		want   string
	}{
		{"two values, back in the end", []string{two, one}, "1 PUTs, 1 lines, 1 Events", home},
		{"two values, moved in the end", []string{one, two}, "1 PUTs, 1 lines, 1 Events", other + " → worker-1 *"},
		{"two values, two seconds each", slices.Concat(slices.Repeat([]string{one}, 20), slices.Repeat([]string{two}, 20)), "1 PUTs, 1 lines, 1 Events", other + " → worker-1 *"},
		{"three values", []string{one, three, two}, "2 PUTs, 2 lines, 2 Events", "10.129.2.0/23 → worker-1 *"},
		{"good and missing", []string{"", one}, "0 PUTs, 6 lines, 3 Events", home},
		{"good and malformed", []string{"{", one}, "0 PUTs, 6 lines, 3 Events", home},
		{"another value and missing", []string{"", two}, "1 PUTs, 7 lines, 4 Events", other + " → worker-1 *"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				a := w.settled(1)
				lines, events := len(a.told.all()), len(a.kube.all())
				for i := range 200 {
					value := tt.values[i%len(tt.values)]
					a.see(func(f *Facts) { f.Annotated, f.Annotation = value != "", value })
					w.pass(100 * time.Millisecond)
				}
				if got := fmt.Sprintf("%d PUTs, %d lines, %d Events", len(w.puts()), len(a.told.all())-lines, len(a.kube.all())-events); got != tt.cost {
					t.Errorf("%s, want %s; the log:\n%s", got, tt.cost, a.log())
				}
				w.pass(flapPause)
				w.wantRoutes(tt.want)
				a.wantState(true, true)
				if took := slices.Max(a.counts.took); took > flapPause+time.Second {
					t.Errorf("annotation to route: %v", took)
				}
			})
		})
	}
}
