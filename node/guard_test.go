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

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// A guard is the wire of a world. It lets everything through and fails the test
// when a process sends what the rules R1, R2, R3 and R6 forbid, judged by what
// that process had read: the cloud may have changed since.
type guard struct {
	w *world

	mu     sync.Mutex
	seen   map[string]*sight // by process and route table
	tokens []string
}

// A sight is a route table as a process last read it, and what it sent since.
type sight struct {
	routes []otc.Route
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
	resp, err := g.w.Server.RoundTrip(r)
	switch {
	case put != "":
		g.answered(key, resp)
	case err == nil && isTable && resp.StatusCode == http.StatusOK:
		resp.Body = &tee{ReadCloser: resp.Body, done: func(b []byte) { g.read(key, b) }}
	case err == nil && resp.Header.Get("X-Subject-Token") != "":
		g.mu.Lock()
		g.tokens = append(g.tokens, resp.Header.Get("X-Subject-Token"))
		g.mu.Unlock()
	}
	return resp, err
}

func (g *guard) read(key string, body []byte) {
	var answer struct {
		RouteTable struct{ Routes []otctest.Route }
	}
	if json.Unmarshal(body, &answer) != nil {
		return
	}
	var routes []otc.Route
	for _, r := range answer.RouteTable.Routes {
		routes = append(routes, otc.Route{Type: r.Type, Destination: otc.ParseDestination(r.Destination), NextHop: r.NextHop, Description: r.Description, Raw: r.Destination})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen[key] = &sight{routes: routes}
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
	a := g.w.named(name)
	s := g.seen[key]
	if s == nil {
		g.w.t.Errorf("R6: %s sent a PUT before it had read the table: %s", name, body)
		return
	}
	refused := []int{http.StatusTooManyRequests, http.StatusAccepted, http.StatusUnauthorized, http.StatusForbidden}
	if s.body == body && !slices.Contains(refused, s.status) {
		g.w.t.Errorf("R6: %s sent the same PUT again without a look at the table: %s", name, body)
	}
	if s.body != "" && s.body != body && s.status != http.StatusOK {
		g.w.t.Errorf("R6: %s sent another PUT after one answered %d without a look at the table", name, s.status)
	}
	s.body, s.status = body, 0
	for _, fault := range faults(a, s.routes, body) {
		g.w.t.Errorf("%s by %s: %s", fault, name, body)
	}
}

// faults returns what is wrong with a PUT of a, which read these routes.
func faults(a *agent, routes []otc.Route, body string) (out []string) {
	var o order
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		return []string{err.Error()}
	}
	at := func(r otctest.Route) otc.Route {
		for _, there := range routes {
			if there.Raw == r.Destination {
				return there
			}
		}
		return otc.Route{}
	}
	named := map[netip.Prefix]bool{}
	routesOf := o.RouteTable.Routes
	for _, r := range slices.Concat(routesOf.Add, routesOf.Mod, routesOf.Del) {
		p := otc.ParseDestination(r.Destination)
		if !otc.Inside(p, a.cfg.Ranges) || p.Bits() == 0 {
			out = append(out, "R1: destination outside CLUSTER_CIDR: "+r.Destination)
		}
		if named[p] {
			out = append(out, "R2: two operations on "+r.Destination)
		}
		named[p] = true
	}
	for _, r := range slices.Concat(routesOf.Add, routesOf.Mod) {
		if r.Type != "ecs" || !slices.Contains(a.ids, r.NextHop) || !strings.HasPrefix(r.Description, Mark) || !strings.Contains(r.Description, a.name) {
			out = append(out, fmt.Sprintf("R3: wrote %+v", r))
		}
	}
	for _, r := range routesOf.Add {
		if p := otc.ParseDestination(r.Destination); p.String() != r.Destination {
			out = append(out, "R1: added "+r.Destination+" in another spelling")
		}
	}
	for _, r := range routesOf.Mod {
		if there := at(r); there.Type != "ecs" {
			out = append(out, fmt.Sprintf("R3: modified %+v", there))
		}
	}
	for _, r := range routesOf.Del {
		there := at(r)
		if a.cfg.OrphanCleanup && there.Type == "ecs" && strings.HasPrefix(there.Description, Mark) && a.w.isDead(there.NextHop) {
			continue
		}
		if there.Type != "ecs" || !slices.Contains(a.ids, there.NextHop) || !strings.HasPrefix(there.Description, Mark) && !a.given[there.Destination] {
			out = append(out, fmt.Sprintf("R3: deleted %+v", there))
		}
	}
	return out
}

// isDead reports whether no worker is that instance any more.
func (w *world) isDead(id string) bool {
	return w.dead[id] || !slices.ContainsFunc(w.agents, func(a *agent) bool { return a.id == id })
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
