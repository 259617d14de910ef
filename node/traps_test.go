package node

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// A trap is one way in which the cloud misleads its clients, and what is left of
// it in the end: in the table, on the wire, and in what the operator is told.
// Worker 1 with the subnet 10.128.2.0/23 walks into it.
type trap struct {
	name  string
	set   func(w *world, a *agent) // the cloud and the Node before the process starts; nil: as they are
	run   func(w *world, a *agent) // after the start; nil: an hour passes
	table []string                 // the main table in the end
	calls string                   // every call made, in order: a regular expression; "sorted" in front: in any order
	told  []string                 // see told
	state string                   // in the end: "ready, in sync", "ready" or "not ready"
}

// home is what the main table holds when worker 1 is done.
const home = "10.128.2.0/23 → worker-1 *"

// first is what it costs on a good day.
const first = "login server get put get" + settling

// settling is what every confirmation is followed by, if there is time.
const settling = "( get){0,2}"

func traps() []trap {
	return slices.Concat(loginTraps(), revokedTraps(), tokenTraps(), catalogTraps(), regionTraps(), projectTraps(),
		answerTraps(), throttleTraps(), instanceTraps(), serverTraps(), readTraps(), viewTraps(), foreignTraps(),
		putTraps(), missingTraps(), fullTraps(), lostTraps(), writerTraps(), tableTraps())
}

// TestTraps is the list of everything known to go wrong.
func TestTraps(t *testing.T) {
	seen := map[string]bool{}
	for _, tr := range traps() {
		number, _, _ := strings.Cut(strings.TrimPrefix(tr.name, "trap "), ":")
		seen[number] = true
		t.Run(tr.name, func(t *testing.T) { bubble(t, tr.test) })
	}
	for n := range 40 {
		if !seen[fmt.Sprint(n+1)] {
			t.Errorf("trap %d has no test", n+1)
		}
	}
}

func (tr trap) test(w *world) {
	a := w.agent(1, func(c *Config) { c.DriftInterval = 0 })
	if tr.set != nil {
		tr.set(w, a)
	}
	foreign := w.foreign()
	a.boot()
	if tr.run != nil {
		tr.run(w, a)
	} else {
		w.pass(time.Hour)
	}
	w.wantRoutes(tr.table...)
	w.wantForeign(foreign)
	w.wantPattern(tr.calls + settling)
	for _, want := range tr.told {
		a.wantOneOf(want)
	}
	a.wantState(strings.HasPrefix(tr.state, "ready"), strings.HasSuffix(tr.state, "in sync"))
	if n := len(a.told.all()); n > 15 {
		w.t.Errorf("%d log lines are noise:\n%s", n, a.log())
	}
}

// foreign returns the routes of the main table that are nobody's of this world.
func (w *world) foreign() []otctest.Route {
	return slices.DeleteFunc(w.Routes(mainTable), func(r otctest.Route) bool {
		return slices.ContainsFunc(w.agents, func(a *agent) bool { return slices.Contains(a.ids, r.NextHop) })
	})
}

// wantForeign fails the test unless these are still there, byte for byte.
func (w *world) wantForeign(routes []otctest.Route) {
	w.t.Helper()
	for _, r := range routes {
		if r.Description == lost || strings.HasPrefix(r.Description, Mark) {
			continue
		}
		if !slices.Contains(w.Routes(mainTable), r) {
			w.t.Errorf("foreign route %+v was touched: %+v", r, w.Routes(mainTable))
		}
	}
}

// lost describes a foreign route that will not be there in the end.
const lost = "somebody changes or takes over this one"

// wantPattern is wantCalls with a regular expression.
func (w *world) wantPattern(pattern string) {
	w.t.Helper()
	got := w.calls()
	if rest, ok := strings.CutPrefix(pattern, "sorted "); ok {
		words := strings.Fields(got)
		slices.Sort(words)
		got, pattern = strings.Join(words, " "), rest
	}
	if !regexp.MustCompile("^(" + pattern + ")$").MatchString(got) {
		w.t.Errorf("calls: got %q, want %q", got, pattern)
	}
}

// wantOneOf fails the test unless the operator was told, and not too often:
//
//	"log error could … VPC.2808"   a log line with these parts
//	"event Warning … VPC.2808"     a Kubernetes Event with these parts
//	"count retry throttled = 2"    a metric
//	"status … VPC.2808"            the status page's reason
func (a *agent) wantOneOf(want string) {
	a.t.Helper()
	kind, text, _ := strings.Cut(want, " ")
	parts := strings.Split(text, " … ")
	n := 0
	switch kind {
	case "log":
		n = a.lines(parts...)
	case "event":
		n = a.events(parts...)
	case "count":
		key, number, _ := strings.Cut(text, " = ")
		if got := fmt.Sprint(a.counts.get(key)); got != number {
			a.t.Errorf("%s: got %s, want %s of %v", key, got, number, a.counts.n)
		}
		return
	case "status":
		if s := a.Status(); !holds(s.Line(), parts) {
			a.t.Errorf("status: got %q, want %q", s.Line(), parts)
		}
		return
	}
	if n < 1 || n > 3 {
		a.t.Errorf("told %d times, want once or so: %q; Events %q; the log:\n%s", n, want, a.kube.all(), a.log())
	}
}

// fail queues faults before the process starts.
func fail(faults ...otctest.Fault) func(*world, *agent) {
	return func(w *world, _ *agent) {
		for _, f := range faults {
			w.Fail(f)
		}
	}
}

// knob turns a knob before the process starts.
func knob(f func(*otctest.Knobs)) func(*world, *agent) {
	return func(w *world, _ *agent) { w.Set(f) }
}

// both does one thing after the other.
func both(steps ...func(*world, *agent)) func(*world, *agent) {
	return func(w *world, a *agent) {
		for _, step := range steps {
			step(w, a)
		}
	}
}

// hours lets time pass.
func hours(n float64) func(*world, *agent) {
	return func(w *world, _ *agent) { w.pass(time.Duration(n * float64(time.Hour))) }
}

// heal ends all faults and lets half an hour pass.
func heal(w *world, _ *agent) {
	w.Heal()
	w.pass(30 * time.Minute)
}

// moves gives worker 1 other subnets.
func moves(subnets ...string) func(*world, *agent) {
	return func(w *world, a *agent) {
		a.move(subnets...)
		w.pass(time.Hour)
	}
}
