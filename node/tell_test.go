package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// A whole life, and every line of it. The marks in front of the lines are the
// program's log handler's.
func TestLog(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1)
		a.see(func(f *Facts) { f.Annotation = annotation("10.129.0.0/23", "172.16.0.0/24") })
		a.annotate("{}")
		a.annotate(`{"default":7}`)
		a.annotate(`{"default":"172.16.0.0/24"}`)
		a.move("10.129.0.0/23")
		a.see(func(f *Facts) { f.Worker = false })
		a.see(func(f *Facts) { f.Worker = true })
		a.vanish()
		w.pass(time.Minute)
		var got []string
		for _, l := range a.told.all() {
			got = append(got, l.text)
		}
		want := []string{
			"info node worker-1 has the pod subnets 10.128.2.0/23",
			"info node worker-1 is ECS instance " + a.id + " (worker-1)",
			"success route 10.128.2.0/23 → worker-1 confirmed",
			"info skipping route 172.16.0.0/24, not cluster traffic",
			"success route 10.129.0.0/23 → worker-1 confirmed, removed 10.128.2.0/23",
			`warning annotation k8s.ovn.org/node-subnets has no "default" network yet; routes are unchanged`,
			`warning annotation k8s.ovn.org/node-subnets is malformed: "7" is neither a CIDR nor a list of CIDRs; routes are unchanged`,
			"warning skipping node worker-1, subnet 172.16.0.0/24 is not cluster traffic (CLUSTER_CIDR 10.128.0.0/14)",
			"info node worker-1 has the pod subnets 10.129.0.0/23",
			"warning skipping node worker-1, it is not a worker",
			"info node worker-1 has the pod subnets 10.129.0.0/23",
			"warning node worker-1 was deleted; its routes go in 10s unless it comes back",
			"info node worker-1 is gone; removed 10.129.0.0/23 from route table " + mainTable,
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
		var reasons []string
		for _, e := range a.kube.all() {
			reasons = append(reasons, strings.Join(strings.Fields(e)[:2], " "))
		}
		if want := []string{"Normal RouteConfirmed", "Normal SubnetSkipped", "Normal RouteMoved", "Warning AnnotationInvalid", "Warning AnnotationInvalid",
			"Warning SubnetSkipped", "Warning NodeSkipped", "Normal RouteRemoved"}; !slices.Equal(reasons, want) {
			t.Errorf("Events: got %q, want %q", reasons, want)
		}
		for _, l := range a.told.all() {
			if !strings.Contains(l.more, "node=worker-1") {
				t.Errorf("a line does not name the Node: %s%s", l.text, l.more)
			}
		}
		for i, change := range a.Status().Changes { // newest first
			if want := got[len(got)-1-i]; change.Level+" "+change.Text != want {
				t.Errorf("the page has %q, want %q", change.Text, want)
			}
		}
		a.wantTold(2, "success", "table="+mainTable, "next_hop="+a.id)
	})
}

// What a table lacks, or has in the way, counts for as long as the Node asks for routes.
func TestSkippedCountsNothing(t *testing.T) {
	bubble(t, func(w *world) {
		w.PutRoute(mainTable, foreignRoute("nat", "10.128.2.0/23", natID))
		a := w.up(1)
		for _, isWorker := range []bool{true, false, true} {
			a.see(func(f *Facts) { f.Worker = isWorker })
			if got := a.Status().Conflicts; (got == 1) != isWorker {
				t.Errorf("%d conflicts of a worker %v", got, isWorker)
			}
		}
	})
}

// A whole address family without routes is a warning, and a user-defined network inside CLUSTER_CIDR is named;
// both once.
func TestNotRouted(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.agent(1)
		a.facts.Annotation = `{"default":["10.128.2.0/23","fd01:0:0:7::/64"],"blue":"10.130.0.0/24","red":["10.150.0.0/24","192.168.0.0/24"],"odd":7}`
		a.boot()
		w.pass(time.Hour)
		a.wantState(true, true)
		a.wantTold(1, "warning skipping route fd01:0:0:7::/64, not cluster traffic (CLUSTER_CIDR 10.128.0.0/14 leaves an address family of the pods without routes)")
		a.wantEvents(1, "Warning SubnetSkipped skipping route fd01:0:0:7::/64")
		a.wantTold(1, "info networks inside CLUSTER_CIDR that are not routed, since only the default network is: blue 10.130.0.0/24")
	})
}

// What strangers write into the annotation is told at most three times in half an
// hour, in short, and costs no call.
func TestGarbage(t *testing.T) {
	for name, value := range map[string]func(i int) string{
		"new garbage each time": func(i int) string { return fmt.Sprintf(`{"default":["x%d"]}`, i) },
		"garbage and a good value in turn": func(i int) string {
			return []string{fmt.Sprintf("{%d", i), annotation("10.128.2.0/23")}[i%2]
		},
		"250 kB of subnets": func(i int) string {
			return annotation(slices.Repeat([]string{fmt.Sprintf("10.128.%d.0/30", i%256)}, 15000)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				a := w.settled(1, func(c *Config) { c.DriftInterval = 0 })
				before := len(a.told.all())
				for i := range 60 {
					a.annotate(value(i))
					w.pass(29 * time.Second)
				}
				w.wantCalls("")
				lines := a.told.all()[before:]
				if n := a.events("AnnotationInvalid"); len(lines) > 2*maxRepeats || n < 1 || n > maxRepeats {
					t.Errorf("%d lines, %d Events in half an hour:\n%s", len(lines), n, a.log())
				}
				for _, l := range lines {
					if len(l.text) > 250 {
						t.Errorf("a line of %d bytes", len(l.text))
					}
				}
			})
		})
	}
}

// The request id goes into the line, for the provider's support, and not into the
// state.
func TestRequestID(t *testing.T) {
	bubble(t, func(w *world) {
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: 403, Code: "APIGW.0302", Shape: otctest.ShapeAPIGW})
		a := w.up(1)
		a.wantTold(1, "error could not update route table", "request_id=", "code=APIGW.0302", "next_attempt=")
		if s := a.Status(); !strings.Contains(s.Line(), "APIGW.0302") || strings.Contains(s.Line(), "request") {
			t.Errorf("last error: %q", s.Line())
		}
	})
}
