package node

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

const day = 24 * time.Hour

// until lets time pass until so long after the beginning of a bubble's time.
func (w *world) until(d time.Duration) {
	w.pass(time.Until(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(d)))
}

// TestWeek is seven days of one worker: tokens run out, the cloud is away for an
// hour, and the subnets move.
func TestWeek(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1)
		w.wantPattern(first)

		w.until(day / 2) // nothing happens
		w.wantQuiet(day / 2)
		w.heartbeats(a) // nothing that matters happens
		w.wantQuiet(day / 2)

		a.move("10.128.8.0/23")
		w.wantRoutes("10.128.8.0/23 → worker-1 *")
		w.wantCallsOf(otctest.OpTableUpdate, 1)

		w.until(2*day + 6*time.Hour)
		w.outage(a, time.Hour)

		w.until(5 * day)
		w.Reset()
		a.annotate(`{"default":"not a CIDR"}`)
		a.annotate(annotation("172.16.0.0/24"))
		a.move("10.128.14.0/23")
		w.until(7 * day)
		w.wantCallsOf(otctest.OpTableUpdate, 1)
		w.wantRoutes("10.128.14.0/23 → worker-1 *")
		a.wantState(true, true)
		if n := a.counts.get("call iam login 201"); n > 14 {
			t.Errorf("%d logins, want 14 or fewer", n)
		}
		t.Logf("a week: %d logins, %d reads of the table, %d writes; %d lines, %d Events", a.counts.get("call iam login 201"),
			a.counts.get("call vpc get_route_table 200"), a.counts.get("call vpc update_route_table 200"), len(a.told.all()), len(a.kube.all()))
	})
}

// wantCallsOf fails the test unless so many calls of an operation were made; it
// does not forget them.
func (w *world) wantCallsOf(op string, want int) {
	w.t.Helper()
	if got := w.Count(op); got != want {
		w.t.Errorf("%s: %d calls, want %d", op, got, want)
	}
}

// wantQuiet fails the test unless nothing but looks at the table, one in 12 to 18
// minutes each, and a new token a day was asked for.
func (w *world) wantQuiet(d time.Duration) {
	w.t.Helper()
	looks, others := w.Count(otctest.OpTableGet), w.Count("")
	least, most := int(d/(18*time.Minute)), int(d/(12*time.Minute))+1
	if looks < least || looks > most {
		w.t.Errorf("%d looks at the table in %v, want %d to %d", looks, d, least, most)
	}
	logins, quotas := w.Count(otctest.OpLogin), w.Count(otctest.OpQuotas)
	if others -= looks + logins + quotas; others > 0 || max(logins, quotas) > 1+int(d/day) {
		w.t.Errorf("%d logins, %d quotas and %d calls besides in %v", logins, quotas, others, d)
	}
	w.Reset()
}

// heartbeats shows the worker its Node every ten minutes, for half a day, with
// changes that are none.
func (w *world) heartbeats(a *agent) {
	for i := range 72 {
		w.pass(10 * time.Minute)
		a.see(func(f *Facts) {
			f.Annotation = []string{`{"default":"10.128.2.0/23"}`, `{"blue":["172.30.0.0/24"],"default":["10.128.3.7/23"]}`, annotation("10.128.2.0/23", "10.128.2.0/23")}[i%3]
			f.ProviderID = []string{a.id, "openstack://eu-de/" + a.id, strings.ToUpper(a.id)}[i%3]
			f.SystemUUID = []string{a.id, strings.ToUpper(a.id)}[i%2]
			f.Addresses = append(f.Addresses[:1], netip.AddrFrom4([4]byte{10, 20, 9, byte(i)}))
		})
	}
}

// outage lets the cloud answer nothing; half way through, the subnet moves.
func (w *world) outage(a *agent, d time.Duration) {
	w.Fail(otctest.Fault{Status: http.StatusBadGateway, Shape: otctest.ShapeHTML, Times: -1})
	w.pass(d / 2)
	a.wantState(true, true) // the routes are there, only the looks fail
	a.move("10.128.10.0/23")
	w.pass(d / 2)
	a.wantState(false, false)
	if n := a.events("RouteFailed"); n < 1 || n > 2 { // the second if the token ended meanwhile
		w.t.Errorf("%d Events in an outage: %q", n, a.kube.all())
	}
	if n := w.Count(""); n > 400 {
		w.t.Errorf("%d calls during the outage", n)
	}
	w.Heal()
	w.Reset()
	w.pass(5 * time.Minute)
	w.wantRoutes("10.128.10.0/23 → worker-1 *")
	a.wantState(true, true)
}
