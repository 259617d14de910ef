package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"otc-route-manager/node/e2e/controlplane"
	"otc-route-manager/otc/otctest"
)

const (
	firstSubnet = "10.128.2.0/23"
	nextSubnet  = "10.131.6.0/23"
	noMetrics   = "RouteManagerNoMetrics"
	orphaned    = "RouteManagerOrphanedRoutes"
)

// A situation is a worker with a cloud of its own, what happens to it when all is well, and the
// alerts that must follow: these and no others. Its name is the label namespace, which every
// alert but one carries.
type situation struct {
	name   string
	alerts []string
	more   []string // of the environment; such a program is not well at first
	fault  func(*worker)
}

func situations() []situation {
	notInSync, refused := "RouteManagerNotInSync", "RouteManagerLoginRefused"
	return []situation{
		{name: "Healthy", fault: func(w *worker) { w.annotate(nextSubnet) }},
		{name: "NotInSync", alerts: []string{notInSync}, fault: mayNotWrite},
		{name: "NodeSkipped", alerts: []string{notInSync, "RouteManagerNodeSkipped"}, fault: func(w *worker) { w.annotate("172.16.4.0/23") }},
		{name: "Conflict", alerts: []string{notInSync, "RouteManagerConflict"}, fault: occupied},
		{name: "Drift", alerts: []string{notInSync, "RouteManagerDrift"}, fault: removed},
		{name: "TableFilling", alerts: []string{"RouteManagerTableFilling"}, fault: filled},
		{name: "LoginRefused", alerts: []string{refused}, fault: passwordChanged},
		{name: "LoginRefusedFromTheStart", alerts: []string{notInSync, refused}, more: []string{"OS_PASSWORD=a-wrong-one"}, fault: func(*worker) {}},
		{name: "Throttled", alerts: []string{"RouteManagerThrottled"}, fault: throttled},
		{name: "APIErrors", alerts: []string{"RouteManagerAPIErrors"}, fault: unavailable},
	}
}

func mayNotWrite(w *worker) {
	w.cloud.Set(func(k *otctest.Knobs) {
		k.Deny = map[string]otctest.Denial{"vpc:routeTables:update": otctest.DenyPolicy}
	})
	w.annotate(nextSubnet)
}

// occupied puts somebody else's route where the next subnet's should be.
func occupied(w *worker) {
	w.cloud.PutRoute(otctest.TableID, otctest.Route{Type: "peering", Destination: nextSubnet, NextHop: foreign()[1].NextHop})
	w.annotate(nextSubnet)
}

func filled(w *worker) {
	for i := range 160 {
		w.cloud.PutRoute(otctest.TableID, otctest.Route{Type: "peering", Destination: fmt.Sprintf("192.168.%d.0/24", 80+i), NextHop: foreign()[1].NextHop})
	}
}

func passwordChanged(w *worker) {
	w.cloud.SetPassword("another-invented-password")
	w.cloud.RevokeTokens()
}

// removed takes the route away again and again: what is missing soon after a confirmation is put
// back, but not for ever.
func removed(w *worker) {
	tick := time.NewTicker(100 * time.Millisecond)
	go func() {
		for ctx := w.t.Context(); ctx.Err() == nil; <-tick.C {
			w.cloud.DeleteRoute(otctest.TableID, firstSubnet)
		}
		tick.Stop()
	}()
}

// throttled keeps the calls of one look so close together that their increase does not pause: the
// rules look back 10 seconds here.
func throttled(w *worker) {
	w.cloud.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: http.StatusTooManyRequests, Times: -1, Header: http.Header{"Retry-After": {"3"}}})
}

func unavailable(w *worker) {
	w.cloud.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: http.StatusServiceUnavailable, Times: -1})
}

// TestPrometheus has a real Prometheus scrape real programs and evaluate metrics/alerts.yaml,
// sixty times faster than in production. Each alert must fire, and none that should not.
//
// One thing is not the program's: routes count as orphans after the cloud has said for ten
// minutes that their instance is gone, so the series of such a program is served here.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	rules, names := fastRules(t)
	allCovered(t, names)
	p := startPrometheus(t, rules)
	orphans := target{Targets: []string{orphanSeries(t)}, Labels: map[string]string{"namespace": "Orphans"}}
	p.scrape(t, orphans)
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	all, targets := startSituations(t, plane)
	eventually(t, time.Minute, p.fires("", noMetrics)) // nothing has the series yet
	p.scrape(t, append(targets, orphans)...)
	eventually(t, time.Minute, p.scraped(len(all)))

	for _, s := range situations() {
		s.fault(all[s.name])
	}
	fired := p.collect(t)
	for _, s := range situations() {
		t.Run(s.name, func(t *testing.T) {
			checkMetrics(t, all[s.name])
			for _, name := range s.alerts {
				wellTold(t, fired[s.name+" "+name], all[s.name])
			}
		})
	}
	p.firedExactly(t)
}

// expected names everything that must fire, as "namespace alert", sorted.
func expected() []string {
	want := []string{" " + noMetrics, "Orphans " + orphaned}
	for _, s := range situations() {
		for _, name := range s.alerts {
			want = append(want, s.name+" "+name)
		}
	}
	slices.Sort(want)
	return want
}

// allCovered fails if alerts.yaml has an alert that is not made to fire.
func allCovered(t *testing.T, names []string) {
	t.Helper()
	for _, name := range names {
		if !slices.ContainsFunc(expected(), func(s string) bool { return strings.HasSuffix(s, " "+name) }) {
			t.Errorf("nothing here makes %s fire", name)
		}
	}
}

// orphanSeries serves what a program shows that has found orphans, and returns its address.
func orphanSeries(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, "# TYPE route_manager_orphaned_routes gauge\nroute_manager_orphaned_routes 2\n")
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// startSituations starts a worker for each situation, one after the other, and returns them by
// name when all are as they should be at first.
func startSituations(t *testing.T, plane *controlplane.ControlPlane) (all map[string]*worker, targets []target) {
	t.Helper()
	all = map[string]*worker{}
	for i, s := range situations() {
		w := newWorker(t, plane, newCloud(t), i+1, firstSubnet)
		w.launch(nil, binary, append(s.more, w.kubeconfig(plane.Address()), "DRIFT_CHECK_INTERVAL=10s", "LOG_LEVEL=info")...)
		t.Cleanup(w.end)
		if s.more == nil {
			w.routed(30*time.Second, firstSubnet)
		} else {
			eventually(t, 30*time.Second, w.loggedIn)
		}
		all[s.name] = w
		targets = append(targets, target{
			Targets: []string{"127.0.0.1:" + strconv.Itoa(w.port)},
			Labels:  map[string]string{"namespace": s.name, "node": w.name, "pod": "otc-route-manager-" + strconv.Itoa(i)},
		})
	}
	return all, targets
}

// loggedIn fails unless the program has tried to log in.
func (w *worker) loggedIn(context.Context) error {
	if w.cloud.Count(otctest.OpLogin) == 0 {
		return fmt.Errorf("%s has not tried to log in", w.name)
	}
	return nil
}

// fires fails unless an alert fires in a namespace.
func (p *prometheus) fires(namespace, name string) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := p.firing(ctx)
		if err == nil && !slices.ContainsFunc(now, func(a alert) bool {
			return a.Labels["alertname"] == name && a.Labels["namespace"] == namespace
		}) {
			err = fmt.Errorf("%s does not fire in %q: %v", name, namespace, now)
		}
		return err
	}
}

// scraped fails unless that many programs have been scraped, and all but those that are not to be
// well at first are in sync.
func (p *prometheus) scraped(programs int) func(context.Context) error {
	return func(ctx context.Context) error {
		all, err := p.query(ctx, "route_manager_in_sync")
		if err != nil {
			return err
		}
		well, err := p.query(ctx, "route_manager_in_sync == 1")
		for _, s := range situations() {
			if s.more == nil && !slices.ContainsFunc(well, func(m map[string]string) bool { return m["namespace"] == s.name }) {
				return fmt.Errorf("%s is not in sync", s.name)
			}
		}
		if len(all) != programs {
			return fmt.Errorf("%d programs are scraped, want %d", len(all), programs)
		}
		return err
	}
}

// collect waits until everything expected has fired, at whatever time, and returns it. The alert
// on missing metrics has.
func (p *prometheus) collect(t *testing.T) map[string]alert {
	t.Helper()
	fired := map[string]alert{" " + noMetrics: {}}
	eventuallyEvery(t, 250*time.Millisecond, 3*time.Minute, func(ctx context.Context) error {
		now, err := p.firing(ctx)
		if err != nil {
			return err
		}
		for _, a := range now {
			fired[a.Labels["namespace"]+" "+a.Labels["alertname"]] = a
		}
		missing := slices.DeleteFunc(expected(), func(s string) bool { _, ok := fired[s]; return ok })
		if len(missing) != 0 {
			return fmt.Errorf("these alerts do not fire: %s", strings.Join(missing, ", "))
		}
		return nil
	})
	return fired
}

// wellTold checks what a person gets to read.
func wellTold(t *testing.T, a alert, w *worker) {
	t.Helper()
	for _, name := range []string{"summary", "description", "runbook_url"} {
		text := a.Annotations[name]
		if text == "" || strings.Contains(text, "<no value>") || strings.Contains(text, "error expanding") {
			t.Errorf("%s has the %s %q", a.Labels["alertname"], name, text)
		}
	}
	node, summary := a.Labels["node"], a.Annotations["summary"]
	if node != "" && (node != w.name || !strings.Contains(summary, node)) {
		t.Errorf("the summary %q is not about %s", summary, w.name)
	}
	t.Logf("%s: %s", a.Labels["alertname"], summary)
}

// firedExactly compares all that has ever fired with what should.
func (p *prometheus) firedExactly(t *testing.T) {
	t.Helper()
	ever, err := p.query(t.Context(), `count by (namespace, alertname) (max_over_time(ALERTS{alertstate="firing"}[1h]))`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range ever {
		got = append(got, m["namespace"]+" "+m["alertname"])
	}
	slices.Sort(got)
	if want := expected(); !slices.Equal(got, want) {
		t.Errorf("these alerts fired:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
