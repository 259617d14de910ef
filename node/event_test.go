package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"otc-route-manager/node/nodetest"
)

// TestEvent holds what an API server asks of an Event about a Node, and where
// kubectl describe looks for it.
func TestEvent(t *testing.T) {
	l := look(t, nil, worker("worker-1", "a"))
	go l.kube.WriteEvents(t.Context())
	l.kube.Event(true, "RouteConflict", "a route of somebody else")
	l.kube.Event(false, "RouteConfirmed", "route 10.128.2.0/23 → worker-1 confirmed")
	l.await("two Events", func() bool { return len(l.Events()) == 2 })
	for i, e := range l.Events() {
		want := [][3]string{{"Warning", "RouteConflict", "a route of somebody else"}, {"Normal", "RouteConfirmed", "route 10.128.2.0/23 → worker-1 confirmed"}}[i]
		if got := [3]string{e.Type, e.Reason, e.Message}; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if e.Namespace != "default" || !strings.HasPrefix(e.Name, "worker-1.") {
			t.Errorf("it is %s/%s, want default/worker-1.…", e.Namespace, e.Name)
		}
		// kubelet names a Node as its UID too.
		if o := e.InvolvedObject; o.Kind != "Node" || o.APIVersion != "v1" || o.Name != "worker-1" || o.UID != "worker-1" || o.Namespace != "" {
			t.Errorf("about %+v", o)
		}
		if e.Source.Component != "otc-route-manager" || e.Source.Host != "worker-1" || e.ReportingController != "otc-route-manager" || e.ReportingInstance != "worker-1" {
			t.Errorf("from %+v, %s %s", e.Source, e.ReportingController, e.ReportingInstance)
		}
		if e.Count != 1 || e.FirstTimestamp.IsZero() || !e.FirstTimestamp.Equal(&e.LastTimestamp) {
			t.Errorf("%d times, from %v to %v", e.Count, e.FirstTimestamp, e.LastTimestamp)
		}
	}
	for _, r := range l.Requests() {
		if r.Resource == "events" && (r.Verb != "create" || r.Namespace != "default") {
			t.Errorf("%s of events in %q: only create in default is granted", r.Verb, r.Namespace)
		}
	}
}

// A message may be of any length and language.
func TestLongEvent(t *testing.T) {
	l := look(t, nil, worker("worker-1", "a"))
	go l.kube.WriteEvents(t.Context())
	for n := range 4 {
		l.kube.Event(true, "RouteFailed", strings.Repeat("x", n)+strings.Repeat("→", 2000))
	}
	l.await("four Events", func() bool { return len(l.Events()) == 4 })
	for _, e := range l.Events() {
		if len(e.Message) > 1024 || !utf8.ValidString(e.Message) || !strings.HasSuffix(e.Message, "→...") {
			t.Errorf("%d bytes: %q", len(e.Message), e.Message)
		}
	}
}

// Nothing waits for an Event: without anybody who writes them, the surplus is
// dropped, and one that the API server refuses does not hold up the next.
func TestEventsNeverBlock(t *testing.T) {
	l := look(t, func(s *nodetest.Server) { s.Forbid("create") }, worker("worker-1", "a"))
	for i := range 1000 {
		l.kube.Event(false, "RouteConfirmed", fmt.Sprint(i))
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.kube.WriteEvents(ctx) }()
	posted := func() (n int) {
		for _, r := range l.Requests() {
			if r.Resource == "events" {
				n++
			}
		}
		return n
	}
	l.await("all that were kept", func() bool { return posted() == cap(l.kube.events) })
	l.Forbid()
	l.kube.Event(false, "RouteConfirmed", "the last")
	l.await("the next", func() bool { return len(l.Events()) == 1 })
	if got := l.Events()[0].Message; got != "the last" {
		t.Errorf("got %q", got)
	}
	stop()
	<-done
	if n := len(l.told.all()); n == 0 || n > 2 {
		t.Errorf("told %d times that Events cannot be written: %v", n, l.told.all())
	}
}
