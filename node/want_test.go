package node

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"otc-route-manager/otc/otctest"
)

// render is a route in short: "10.128.2.0/23 → worker-1 *" is an ecs route with our
// mark, other types stand in front.
func (w *world) render(r otctest.Route) string {
	hop := r.NextHop
	for _, a := range w.agents {
		if slices.Contains(a.ids, hop) {
			hop = a.name
			if r.NextHop != a.ids[0] {
				hop = fmt.Sprintf("%s#%d", a.name, slices.Index(a.ids, r.NextHop)+1)
			}
		}
	}
	s := r.Destination + " → " + hop
	if r.Type != "ecs" {
		s = r.Type + " " + s
	}
	if strings.HasPrefix(r.Description, Mark) {
		s += " *"
	}
	return s
}

// wantTable fails the test unless the table holds exactly these routes, in any
// order. The second instance of a worker is "worker-1#2".
func (w *world) wantTable(id string, want ...string) {
	w.t.Helper()
	var got []string
	for _, r := range w.Routes(id) {
		got = append(got, w.render(r))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("table %s: got %q, want %q", id[:8], got, want)
	}
}

// wantRoutes is wantTable for the main table.
func (w *world) wantRoutes(want ...string) {
	w.t.Helper()
	w.wantTable(mainTable, want...)
}

// calls returns the requests since the last look, in short: "login server get put
// get"; failed ones carry their status, "put:409", or "put:-" for no answer. The quota,
// which is asked for once a day, is left out.
func (w *world) calls() string {
	short := map[string]string{otctest.OpLogin: "login", otctest.OpTableGet: "get", otctest.OpTableUpdate: "put",
		otctest.OpServerGet: "server", otctest.OpServerList: "servers"}
	var out []string
	for _, r := range w.Requests() {
		s := short[r.Op]
		if r.Op == otctest.OpQuotas {
			continue
		}
		if s == "" {
			s = r.Op
		}
		switch {
		case r.Status == 0:
			s += ":-"
		case r.Status/100 != 2 || r.Status == 202:
			s += fmt.Sprintf(":%d", r.Status)
		}
		out = append(out, s)
	}
	w.Reset()
	return strings.Join(out, " ")
}

// wantCalls fails the test unless exactly these calls were made since the last
// look at them, in this order.
func (w *world) wantCalls(want string) {
	w.t.Helper()
	if got := w.calls(); got != want {
		w.t.Errorf("calls: got %q, want %q", got, want)
	}
}

// puts returns every PUT since the requests were last forgotten: "add
// 10.128.4.0/23, del 10.128.2.0/23", with the beginning of the table's id in
// front if it is not the main one.
func (w *world) puts() []string {
	var out []string
	for _, r := range w.Requests() {
		if r.Op != otctest.OpTableUpdate {
			continue
		}
		var o order
		if err := json.Unmarshal(r.Body, &o); err != nil {
			w.t.Errorf("PUT %s: %v", r.Body, err)
		}
		var ops []string
		for _, kind := range []struct {
			name   string
			routes []otctest.Route
		}{{"add", o.RouteTable.Routes.Add}, {"mod", o.RouteTable.Routes.Mod}, {"del", o.RouteTable.Routes.Del}} {
			for _, route := range kind.routes {
				ops = append(ops, kind.name+" "+route.Destination)
			}
		}
		s := strings.Join(ops, ", ")
		if id := path.Base(r.Path); id != mainTable {
			s = id[:8] + " " + s
		}
		out = append(out, s)
	}
	return out
}

// wantPuts fails the test unless exactly these PUTs were sent. It does not forget
// the requests.
func (w *world) wantPuts(want ...string) {
	w.t.Helper()
	if got := w.puts(); !slices.Equal(got, want) {
		w.t.Errorf("PUTs: got %q, want %q", got, want)
	}
}

// wantState fails the test unless the Node is ready and in sync as said.
func (a *agent) wantState(ready, inSync bool) {
	a.t.Helper()
	s := a.Status()
	if s.Ready != ready || s.InSync != inSync {
		a.t.Errorf("ready %v, in sync %v, %q; want %v, %v", s.Ready, s.InSync, s.Line(), ready, inSync)
	}
	if err := a.Alive(); err != nil {
		a.t.Errorf("not alive: %v", err)
	}
}

// lines returns how often a line of the log that holds all of these was written.
func (a *agent) lines(parts ...string) int {
	n := 0
	for _, l := range a.told.all() {
		if holds(l.text+l.more, parts) {
			n++
		}
	}
	return n
}

// events returns how many Events hold all of these.
func (a *agent) events(parts ...string) int {
	n := 0
	for _, e := range a.kube.all() {
		if holds(e, parts) {
			n++
		}
	}
	return n
}

func holds(s string, parts []string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(s, part) })
}

// wantTold fails the test unless n lines of the log and n Events hold all of these.
func (a *agent) wantTold(n int, parts ...string) {
	a.t.Helper()
	if got := a.lines(parts...); got != n {
		a.t.Errorf("%d lines with %q, want %d; the log:\n%s", got, parts, n, a.log())
	}
}

// wantEvents fails the test unless n Events hold all of these.
func (a *agent) wantEvents(n int, parts ...string) {
	a.t.Helper()
	if got := a.events(parts...); got != n {
		a.t.Errorf("%d Events with %q, want %d; all: %q", got, parts, n, a.kube.all())
	}
}

// log returns the end of the log for a message.
func (a *agent) log() string {
	var b strings.Builder
	lines := a.told.all()
	for _, l := range lines[max(0, len(lines)-20):] {
		fmt.Fprintf(&b, "\t%s %s\n", l.at.Format("15:04:05"), l.text)
	}
	return b.String()
}

// noSecrets fails the test if anything that was told holds a secret.
func (a *agent) noSecrets(secrets []string) {
	told := a.told.raw() + fmt.Sprint(a.kube.all())
	if a.Reconciler != nil {
		told += fmt.Sprintf("%+v", a.Status())
	}
	for _, secret := range secrets {
		if strings.Contains(told, secret) {
			a.t.Errorf("R9: %s told a secret: %q", a.name, secret)
		}
	}
}
