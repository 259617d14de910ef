package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// oldestRead is how old a read may be when the PUT that rests on it is sent: executed
// 60 s later, that still comes before whoever has the route since reads it after 75 s.
const oldestRead = 10 * time.Second

// A guard is the wire of a world. It lets everything through and reports when a process
// sends what the rules R1, R2, R3, R6 and R11 forbid, judged without the program's own
// code by what that process had read: the cloud may have changed since.
type guard struct {
	w      *world
	report func(format string, args ...any)

	mu     sync.Mutex
	seen   map[string]*sight // by process and route table
	living map[string]bool   // the servers that exist
	tokens []string
}

func newGuard(w *world, report func(format string, args ...any)) *guard {
	return &guard{w: w, report: report, seen: map[string]*sight{}, living: map[string]bool{}}
}

// A sight is a route table as a process last read it, and what it sent since.
type sight struct {
	shown  []byte // the answer's body
	asked  time.Time
	body   string // of the last PUT since the read; "" if there was none
	status int    // what it was answered; 0: nothing
}

// An order is a PUT's body.
type order struct {
	RouteTable struct {
		Routes struct{ Add, Mod, Del []otctest.Route }
	}
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	isTable := strings.Contains(r.URL.Path, "/routetables/")
	key, put := r.UserAgent()+" "+path.Base(r.URL.Path), ""
	if isTable && r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		put, r.Body = string(body), io.NopCloser(bytes.NewReader(body))
		g.judge(r.UserAgent(), key, put)
	}
	asked := time.Now()
	resp, err := g.w.Server.RoundTrip(r)
	switch {
	case put != "":
		g.answered(key, resp)
	case err == nil && isTable && resp.StatusCode == http.StatusOK:
		resp.Body = &tee{ReadCloser: resp.Body, done: func(b []byte) { g.read(key, asked, b) }}
	case err == nil && resp.Header.Get("X-Subject-Token") != "":
		g.mu.Lock()
		g.tokens = append(g.tokens, resp.Header.Get("X-Subject-Token"))
		g.mu.Unlock()
	}
	return resp, err
}

func (g *guard) read(key string, asked time.Time, body []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if json.Valid(body) {
		g.seen[key] = &sight{shown: body, asked: asked}
	}
}

// routes returns what the read showed.
func (s *sight) routes() (routes []otc.Route) {
	var answer struct {
		RouteTable struct{ Routes []otctest.Route }
	}
	_ = json.Unmarshal(s.shown, &answer)
	for _, r := range answer.RouteTable.Routes {
		routes = append(routes, otc.Route{Type: r.Type, Destination: otc.ParseDestination(r.Destination), NextHop: r.NextHop, Description: r.Description, Raw: r.Destination})
	}
	return routes
}

func (g *guard) answered(key string, resp *http.Response) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.seen[key]; s != nil && resp != nil {
		s.status = resp.StatusCode
	}
}

// judge checks a PUT before it is let through.
func (g *guard) judge(name, key, body string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.seen[key]
	if s == nil {
		g.report("R6: %s sent a PUT before it had read the table: %s", name, body)
		return
	}
	refused := []int{http.StatusTooManyRequests, http.StatusAccepted, http.StatusUnauthorized, http.StatusForbidden}
	if s.body != "" && (s.body != body || !slices.Contains(refused, s.status)) {
		g.report("R6: %s sent a PUT after one answered %d, without a read in between: %s", name, s.status, body)
	}
	if age := time.Since(s.asked); age > oldestRead {
		g.report("R6: %s sent a PUT %v after its read: %s", name, age, body)
	}
	s.body, s.status = body, 0
	for _, fault := range g.faults(g.w.named(name), s.routes(), body) {
		g.report("%s by %s: %s", fault, name, body)
	}
}

// faults returns what is wrong with a PUT of a, which read these routes.
func (g *guard) faults(a *agent, routes []otc.Route, body string) (out []string) {
	var o order
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		return []string{err.Error()}
	}
	fault := func(rule string, r any) { out = append(out, fmt.Sprintf("%s %+v", rule, r)) }
	at := func(r otctest.Route) otc.Route {
		for _, there := range routes {
			if there.Raw == r.Destination {
				return there
			}
		}
		return otc.Route{}
	}
	named, ops := map[netip.Prefix]bool{}, o.RouteTable.Routes
	for _, r := range slices.Concat(ops.Add, ops.Mod, ops.Del) {
		p := otc.ParseDestination(r.Destination)
		if !slices.ContainsFunc(a.cfg.Ranges, func(c netip.Prefix) bool { return c.Bits() < p.Bits() && c.Contains(p.Addr()) }) {
			fault("R1: destination outside CLUSTER_CIDR", r)
		}
		if named[p] {
			fault("R2: two operations on", r)
		}
		named[p] = true
	}
	if len(named) > 5 {
		fault("R2: operations", len(named))
	}
	for _, r := range slices.Concat(ops.Add, ops.Mod) {
		if r.Type != "ecs" || !slices.Contains(a.ids, r.NextHop) || r.Description != "otc-route-manager: "+a.name || !a.given[otc.ParseDestination(r.Destination)] {
			fault("R3: wrote", r)
		}
	}
	for _, r := range ops.Add {
		if otc.ParseDestination(r.Destination).String() != r.Destination {
			fault("R1: added in another spelling", r)
		}
	}
	for _, r := range ops.Mod {
		if there := at(r); there.Type != "ecs" {
			fault("R3: modified", there)
		}
	}
	for _, r := range ops.Del {
		there := at(r)
		isMarked := strings.HasPrefix(there.Description, "otc-route-manager")
		isOwn := slices.Contains(a.ids, there.NextHop) && (isMarked || a.given[there.Destination])
		if there.Type != "ecs" || !isOwn && !(isMarked && a.cfg.OrphanCleanup && g.isOrphan(there)) {
			fault("R3, R11: deleted", there)
		}
	}
	return out
}

// isOrphan reports whether neither the instance of a marked route nor its Node exists. Who
// looks for the Node may do so a while before the PUT.
func (g *guard) isOrphan(r otc.Route) bool {
	_, name, _ := strings.Cut(r.Description, ": ")
	return !g.living[r.NextHop] && !slices.ContainsFunc(g.w.agents, func(a *agent) bool { return a.name == name && a.kube.isThereFor(time.Minute) })
}

// AddServer adds a server, as DeleteServer deletes one.
func (w *world) AddServer(i otctest.Instance) {
	w.guard.exists(i.ID, true)
	w.Server.AddServer(i)
}

func (w *world) DeleteServer(id string) {
	w.Server.DeleteServer(id)
	w.guard.exists(id, false)
}

func (g *guard) exists(id string, yes bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.living[id] = yes
}

// give notes what a process was told to route.
func (g *guard) give(a *agent, subnets []netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range subnets {
		a.given[p] = true
	}
}

// secrets returns what must never be told.
func (g *guard) secrets() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string{otctest.Password, otctest.UserData}, g.tokens...)
}

func (w *world) named(name string) *agent {
	for _, a := range w.agents {
		if a.name == name {
			return a
		}
	}
	panic("no worker " + name)
}

// A tee calls done with the whole body when it has been read to its end.
type tee struct {
	io.ReadCloser
	b    bytes.Buffer
	done func([]byte)
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.b.Write(p[:n])
	if err == io.EOF && t.done != nil {
		t.done(t.b.Bytes())
		t.done = nil
	}
	return n, err
}
