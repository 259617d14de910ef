package node

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// longestLie is how long a process may say that it is in sync while a table lacks
// one of its routes: a late PUT comes within 60 s, the last read after 75 s.
const longestLie = 90 * time.Second

// late has the next PUT of a worker executed so long after it was sent. Its client
// hears nothing and gives up.
func (w *world) late(a *agent, d time.Duration) {
	w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Late: d, Match: func(r otctest.Request) bool { return r.Header.Get("User-Agent") == a.name }})
}

// forgets has the ECS service know no server, or all again.
func (w *world) forgets(yes bool) { w.Set(func(k *otctest.Knobs) { k.Amnesia = yes }) }

// blind has a worker's reads of tables fail for so long.
func (w *world) blind(a *agent, d time.Duration) {
	until := time.Now().Add(d)
	w.Fail(otctest.Fault{Op: otctest.OpTableGet, Times: -1, Status: http.StatusServiceUnavailable, Match: func(r otctest.Request) bool {
		return r.Header.Get("User-Agent") == a.name && time.Now().Before(until)
	}})
}

// slow has so many reads of tables by a worker answered late, with what the table held
// when it was asked.
func (w *world) slow(a *agent, reads int, delay time.Duration) {
	w.Fail(otctest.Fault{Op: otctest.OpTableGet, Times: reads, Delay: delay, Applied: true, Match: func(r otctest.Request) bool { return r.Header.Get("User-Agent") == a.name }})
}

// lies reports whether a process that runs says that it is in sync although a table
// lacks one of its routes.
func (a *agent) lies() bool {
	select {
	case <-a.done:
		return false
	default:
	}
	return a.Status().InSync && !a.routed()
}

// routed reports whether every table has all routes that the Node asks for.
func (a *agent) routed() bool {
	subnets, _ := a.facts.subnets()
	for _, table := range a.cfg.Tables {
		routes := a.w.Routes(table)
		for _, p := range subnets {
			if !slices.ContainsFunc(routes, func(r otctest.Route) bool {
				return r.Type == "ecs" && r.NextHop == a.id && r.Destination == p.String()
			}) {
				return false
			}
		}
	}
	return true
}

// live lets d pass and fails the test if a process lies for too long.
func (w *world) live(d time.Duration) {
	w.t.Helper()
	since := map[*agent]time.Time{}
	for range d / (5 * time.Second) {
		w.pass(5 * time.Second)
		for _, a := range w.agents {
			switch began, lied := since[a]; {
			case !a.lies():
				delete(since, a)
			case !lied:
				since[a] = time.Now()
			case time.Since(began) > longestLie:
				w.t.Errorf("%s says that it is in sync, and has no route: %v", a.name, w.Routes(mainTable))
				return
			}
		}
	}
}

// A late story is told from worker-1, which holds 10.128.2.0/23, and worker-2, which
// holds 10.128.4.0/23; an hour later the main table holds what is wanted, and nobody
// has said otherwise for more than 90 seconds meanwhile.
type lateStory struct {
	name  string
	steps func(w *world, a, b *agent)
	want  []string
}

const (
	shared   = "10.128.20.0/23" // goes from one worker to the other
	neighbor = "10.128.4.0/23 → worker-2 *"
)

func TestLateWrites(t *testing.T) {
	for _, s := range slices.Concat(lateStories(), handedOver(4*time.Second), handedOver(55*time.Second), orphanStories()) {
		t.Run(s.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.PutRoute(mainTable, foreignRoute("nat", "0.0.0.0/0", natID))
				both := func(c *Config) {
					c.Ranges, c.OrphanCleanup = append(c.Ranges, netip.MustParsePrefix("fd01::/48")), strings.Contains(s.name, "orphan")
				}
				s.steps(w, w.up(1, both), w.up(2, both))
				w.live(time.Hour)
				w.wantRoutes(append(s.want, "nat 0.0.0.0/0 → "+natID)...)
				for _, a := range w.agents {
					a.wantState(true, true)
				}
			})
		})
	}
}

func lateStories() []lateStory {
	return []lateStory{
		{"take-over, the former owner deletes it late", func(w *world, a, _ *agent) {
			w.PutRoute(mainTable, marked1(shared, otherID))
			a.move("10.128.2.0/23", shared)
			w.live(50 * time.Second)
			w.DeleteRoute(mainTable, shared)
		}, []string{home, neighbor, shared + " → worker-1 *"}},
		{"take-over, the annotation grows, the former owner deletes it late", func(w *world, a, _ *agent) {
			w.PutRoute(mainTable, marked1(shared, otherID))
			a.move("10.128.2.0/23", shared)
			w.live(20 * time.Second)
			a.move("10.128.2.0/23", shared, "10.129.8.0/23")
			w.live(30 * time.Second)
			w.DeleteRoute(mainTable, shared)
		}, []string{home, neighbor, shared + " → worker-1 *", "10.129.8.0/23 → worker-1 *"}},
		{"take-over answered 504 and seen on the next pass, the former owner deletes it late", func(w *world, a, _ *agent) {
			w.PutRoute(mainTable, marked1(shared, otherID))
			w.Set(func(k *otctest.Knobs) { k.StaleReads = 300 * time.Millisecond })
			w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: http.StatusGatewayTimeout, Applied: true})
			a.move("10.128.2.0/23", shared)
			w.live(40 * time.Second)
			w.DeleteRoute(mainTable, shared)
		}, []string{home, neighbor, shared + " → worker-1 *"}},
		{"there and back, the PUT in between comes late", func(w *world, a, _ *agent) {
			w.late(a, 30*time.Second)
			a.move("10.129.8.0/23")
			w.live(5 * time.Second)
			a.move("10.128.2.0/23")
		}, []string{home, neighbor}},
		{"added, and the PUT that removed it before comes late", func(w *world, a, _ *agent) {
			a.move("10.128.2.0/23", shared)
			w.late(a, time.Minute)
			a.move("10.128.2.0/23")
			w.live(5 * time.Second)
			a.move("10.128.2.0/23", shared)
		}, []string{home, neighbor, shared + " → worker-1 *"}},
		{"Node deleted, the removal comes late, the Node is back", func(w *world, a, _ *agent) {
			w.late(a, 30*time.Second)
			a.vanish()
			w.live(15 * time.Second)
			a.see(func(f *Facts) { f.UID = "uid-new" })
		}, []string{home, neighbor}},
		{"without cluster traffic for a while, in which another has the subnet and gives it back", func(w *world, a, b *agent) {
			w.live(2 * time.Minute)
			a.move("172.16.0.0/24")
			b.move("10.128.4.0/23", "10.128.2.0/23")
			w.live(time.Minute)
			b.move("10.128.4.0/23")
			w.live(time.Minute)
			a.move("10.128.2.0/23")
		}, []string{home, neighbor}},
		{"handed over while a read is answered, and the PUT that rests on it comes late", func(w *world, a, b *agent) {
			a.move("10.128.2.0/23", shared)
			w.live(2 * time.Minute)
			w.Fail(otctest.Fault{Op: otctest.OpTableGet, Delay: 18 * time.Second, Applied: true})
			w.late(a, time.Minute)
			a.show(func(f *Facts) { f.Annotation = annotation("10.128.2.0/23") })
			w.pass(time.Second)
			b.move("10.128.4.0/23", shared)
			w.live(5 * time.Minute)
		}, []string{home, neighbor, shared + " → worker-2 *"}},
		{"handed over while the PUT waits for a login, and then comes late", func(w *world, a, b *agent) {
			w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: http.StatusUnauthorized, After: 1})
			w.Fail(otctest.Fault{Op: otctest.OpLogin, Delay: 19 * time.Second})
			w.waits(a, b)
		}, []string{home, neighbor, shared + " → worker-2 *"}},
		{"handed over while the PUT waits for the ECS service, and then comes late", func(w *world, a, b *agent) {
			w.AddServer(server(otherID, "appliance", "10.20.0.99"))
			a.move("10.128.2.0/23", "10.128.14.0/23")
			w.PutRoute(mainTable, foreignRoute("ecs", "10.128.14.0/23", otherID))
			w.Fail(otctest.Fault{Op: otctest.OpServerGet, Delay: 19 * time.Second, Times: -1})
			w.waits(a, b, "10.128.14.0/23")
			a.move("10.128.2.0/23")
			w.DeleteRoute(mainTable, "10.128.14.0/23")
		}, []string{home, neighbor, shared + " → worker-2 *"}},
		{"taken over late from the instance that has confirmed it meanwhile", func(w *world, a, b *agent) {
			w.takenOverLate(a, b)
			w.live(90 * time.Second)
			w.wantRoutes(home, neighbor, shared+" → worker-2 *", "nat 0.0.0.0/0 → "+natID)
		}, []string{home, neighbor, shared + " → worker-2 *"}},
		{"taken over late from the instance that has confirmed it meanwhile, and whose annotation grows then", func(w *world, a, b *agent) {
			w.takenOverLate(a, b)
			w.live(45 * time.Second)
			b.move("10.128.4.0/23", shared, "10.129.8.0/23")
			w.live(30 * time.Second)
			w.wantRoutes(home, neighbor, shared+" → worker-2 *", "10.129.8.0/23 → worker-2 *", "nat 0.0.0.0/0 → "+natID)
		}, []string{home, neighbor, shared + " → worker-2 *", "10.129.8.0/23 → worker-2 *"}},
		{"killed in the middle of a PUT that comes late, started with the subnet of before", func(w *world, a, _ *agent) {
			w.late(a, time.Minute)
			a.move("10.129.8.0/23")
			a.crash()
			a.facts.Annotation = annotation("10.128.2.0/23")
			w.live(5 * time.Second)
			a.boot()
		}, []string{home, neighbor}},
	}
}

// waits is worker-1 giving up a subnet by a PUT that is held up before it is sent, and
// executed a minute late; worker-2 gets it a second after worker-1 has read the table.
func (w *world) waits(a, b *agent, others ...string) {
	a.move(append(others, "10.128.2.0/23", shared)...)
	w.live(2 * time.Minute)
	w.late(a, time.Minute)
	a.show(func(f *Facts) { f.Annotation = annotation(append(others, "10.128.2.0/23")...) })
	w.pass(time.Second)
	b.move("10.128.4.0/23", shared)
	w.live(5 * time.Minute)
}

// takenOverLate is worker-1 taking a subnet over by a PUT that is executed 40 seconds
// late; worker-2 gets it a second after worker-1 was told.
func (w *world) takenOverLate(a, b *agent) {
	w.PutRoute(mainTable, marked1(shared, otherID))
	w.live(2 * time.Minute)
	w.late(a, 40*time.Second)
	a.show(func(f *Facts) { f.Annotation = annotation("10.128.2.0/23", shared) })
	w.pass(time.Second)
	a.show(func(f *Facts) { f.Annotation = annotation("10.128.2.0/23") })
	b.move("10.128.4.0/23", shared)
}

// handedOver is worker-1 giving up a subnet that worker-2 gets in the same instant;
// the PUT that deletes it comes late, when worker-2 has long confirmed it.
func handedOver(late time.Duration) (out []lateStory) {
	again := func(a *agent) {
		a.vanish()
		a.see(func(f *Facts) { f.UID = "uid-new" })
	}
	for name, then := range map[string]func(*agent){
		"nothing happens":       func(*agent) {},
		"the Node is made anew": again,
		"the process is killed": (*agent).restart,
		"a second family comes": func(a *agent) { a.move("10.128.4.0/23", shared, "fd01:0:0:2::/64") },
		"its reads fail":        func(a *agent) { a.w.blind(a, 4*time.Minute) },
	} {
		want := []string{home, neighbor, shared + " → worker-2 *"}
		if strings.Contains(name, "family") {
			want = append(want, "fd01:0:0:2::/64 → worker-2 *")
		}
		out = append(out, lateStory{fmt.Sprintf("handed over, %s, the delete is %v late", name, late), func(w *world, a, b *agent) {
			a.move("10.128.2.0/23", shared)
			w.live(5 * time.Minute)
			w.late(a, late)
			a.move("10.128.2.0/23")
			b.move("10.128.4.0/23", shared)
			w.live(time.Second)
			then(b)
		}, want})
	}
	slices.SortFunc(out, func(a, b lateStory) int { return strings.Compare(a.name, b.name) })
	return out
}

// orphanStories are clean-ups that must not take the route of a machine that lives.
func orphanStories() []lateStory {
	out := []lateStory{{"orphans: the ECS service forgets everything for 40 minutes", func(w *world, _, _ *agent) {
		w.live(20 * time.Minute)
		w.forgets(true)
		w.live(40 * time.Minute)
		w.forgets(false)
	}, []string{home, neighbor}}}
	for _, slow := range []time.Duration{4 * time.Second, 15 * time.Second} {
		const n, last = 40, "10.129.39.0/24"
		out = append(out, lateStory{fmt.Sprintf("orphans: the last of %d finds an owner while they go, %v a PUT", n, slow), func(w *world, _, b *agent) {
			for i := range n {
				w.PutRoute(mainTable, marked9(fmt.Sprintf("10.129.%d.0/24", i), otherID))
			}
			w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Delay: slow, Times: -1, Match: func(r otctest.Request) bool { return strings.Contains(string(r.Body), `"del"`) }})
			for len(w.puts()) < 3 {
				w.pass(time.Second)
			}
			b.move("10.128.4.0/23", last)
			w.live(5 * time.Minute)
			if w.deletions(last) > 0 {
				w.t.Errorf("an orphan that worker-2 had taken over was deleted: %q", w.puts())
			}
		}, []string{home, neighbor, last + " → worker-2 *"}})
	}
	return out
}

// TestLateWriteMeanwhile: a table that was put right is read again in time although
// what is asked about another one, long settled, is not answered.
func TestLateWriteMeanwhile(t *testing.T) {
	for _, op := range []string{otctest.OpTableGet, otctest.OpServerList, otctest.OpServerGet} {
		for range 3 {
			bubble(t, func(w *world) {
				a := w.up(1, w.tables(2), func(c *Config) { c.DriftRepair, c.DriftInterval = true, 80*time.Second })
				w.PutRoute(tableID(2), marked9("10.129.6.0/23", gone))
				w.live(5 * time.Minute)
				w.DeleteRoute(mainTable, "10.128.2.0/23")
				for !a.routed() {
					w.pass(time.Second)
				}
				w.Fail(otctest.Fault{Op: op, Hang: true, Times: -1, Match: func(r otctest.Request) bool { return !strings.HasSuffix(r.Path, mainTable) }})
				w.pass(11 * time.Second)
				w.DeleteRoute(mainTable, "10.128.2.0/23")
				w.live(4 * time.Minute)
				w.Heal()
				w.live(4 * time.Minute)
				a.wantState(true, true)
				w.wantRoutes(home)
			})
			if t.Failed() {
				t.Fatalf("%s hangs", op)
			}
		}
	}
}

// A table that takes too long to answer each time is not written, and that is said.
func TestReadsTooOldToWriteOn(t *testing.T) {
	bubble(t, func(w *world) {
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Delay: 11 * time.Second, Applied: true, Times: -1})
		a := w.up(1)
		w.pass(10 * time.Minute)
		w.wantPuts()
		a.wantState(false, false)
		a.wantTold(1, "error could not update route table "+mainTable+": the route table takes longer than 10s to answer")
		w.Heal()
		w.pass(6 * time.Minute) // the longest back-off, and a pass
		w.wantRoutes(home)
		a.wantState(true, true)
	})
}

// A settling read that hangs does not put off its end: what it could not see is not
// said for longer than that.
func TestSettlingReadHangs(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1)
		w.pass(lastCheck - time.Second)
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Hang: true, Times: -1})
		w.pass(longestLie - lastCheck + 2*time.Second)
		a.wantState(true, false)
	})
}
