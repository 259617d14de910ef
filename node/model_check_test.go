package node

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc/otctest"
)

// quiet ends all trouble and lets everything settle.
func (m *model) quiet() {
	m.Heal()
	m.Set(func(k *otctest.Knobs) { k.StaleReads, k.Writes, k.Contended, k.ModMissing = 0, otctest.Limit{}, 0, 0 })
	for _, w := range m.workers {
		w.kube.set(w.there, nil)
		switch {
		case !w.running:
			m.starts(w, 0)
		case w.lagging:
			w.lagging = false
			if !w.there {
				w.Observe(nil)
			}
			m.tell(w)
		}
	}
	m.pass(34 * time.Minute) // more than two pauses, and one look at each table
}

// check compares the tables with what they must hold, and what is told with the tables.
func (m *model) check() {
	for at, r := range m.foreign {
		if !slices.Contains(m.Routes(at.table), r.Route) {
			m.problem("foreign route %+v is gone from table %s", r.Route, at.table[:8])
		}
	}
	for _, w := range m.workers {
		for at := range w.kept {
			p := netip.MustParsePrefix(at.destination)
			elsewhere := slices.ContainsFunc(m.workers, func(o *actor) bool { return o != w && slices.Contains(o.has, p) })
			if r, ok := m.at(at.table, p); !w.usable && !elsewhere && (!ok || r.NextHop != w.id) {
				m.problem("R4: %s lost %v because of its annotation", w.name, at)
			}
		}
		if err := w.Alive(); err != nil {
			m.problem("%s: %v", w.name, err)
		}
		switch {
		case !w.there:
			m.checkGone(w)
		case w.usable:
			m.checkRight(w)
		case w.Status().InSync:
			m.problem("%s says that it is in sync, with the annotation %q", w.name, w.facts.Annotation)
		}
	}
}

func (m *model) checkGone(w *actor) {
	for _, table := range m.tables {
		for _, r := range m.Routes(table) {
			if w.leaves && r.NextHop == w.id && strings.HasPrefix(r.Description, Mark) {
				m.problem("%s was deleted and left %+v", w.name, r)
			}
		}
	}
	if w.Status().Ready {
		m.problem("%s is deleted and ready", w.name)
	}
}

// checkRight checks a worker with a good annotation.
func (m *model) checkRight(w *actor) {
	right := true
	for _, table := range m.tables {
		for _, p := range w.has {
			r, ok := m.at(table, p)
			if ok && r.Type == "ecs" && r.NextHop == w.id {
				continue
			}
			right = false
			m.checkExcuse(w, place{table, p.String()}, r, ok)
		}
		for _, r := range m.Routes(table) {
			p, _ := netip.ParsePrefix(r.Destination)
			if r.NextHop == w.id && strings.HasPrefix(r.Description, Mark) && !slices.Contains(w.has, p) {
				m.problem("%s has left %+v behind in table %s", w.name, r, table[:8])
			}
		}
	}
	if s := w.Status(); s.InSync != right {
		m.problem("%s says in sync %v (%s), want %v", w.name, s.InSync, s.Line(), right)
	}
}

// checkExcuse decides whether a wanted route may be missing, and who must know.
func (m *model) checkExcuse(w *actor, at place, r otctest.Route, there bool) {
	s := w.Status()
	_, excused := w.excused[at]
	conflict := there && (r.Type != "ecs" || r.NextHop == otherID || m.alive(r.NextHop))
	switch {
	case there && r.Type != "ecs", excused && conflict:
		if s.Ready {
			m.problem("%s is ready though %+v is in its way", w.name, r)
		}
	case excused && !m.repair:
		if !strings.Contains(s.Line(), "drifted") && s.Ready {
			m.problem("%s lacks %v and says %q", w.name, at, s.Line())
		}
	default:
		m.problem("%s has no route at %v, but %+v; it says %q", w.name, at, r, s.Line())
	}
}

// alive reports whether a server is a worker's.
func (m *model) alive(id string) bool {
	return slices.ContainsFunc(m.workers, func(w *actor) bool { return w.id == id })
}

// A tap is the wire of one worker. It knows what that worker has read and judges
// what it sends, by the rules and without the program's own code.
type tap struct {
	m    *model
	w    *actor
	read map[string][]byte // the last GET's body, by table
}

func (t *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	table := path.Base(r.URL.Path)
	onTable := strings.Contains(r.URL.Path, "/routetables/")
	if onTable && r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		t.m.mu.Lock()
		t.judge(body, t.read[table])
		t.m.mu.Unlock()
		defer t.forgive(table, body)
	}
	resp, err := t.m.Server.RoundTrip(r)
	if err == nil && onTable && r.Method == http.MethodGet && resp.StatusCode == http.StatusOK {
		body, err := io.ReadAll(resp.Body)
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), ending{err}))
		if err == nil {
			t.m.mu.Lock()
			t.read[table] = body
			t.m.mu.Unlock()
		}
	}
	return resp, err
}

// ending is a reader that has come to its end, a good or a bad one.
type ending struct{ err error }

func (e ending) Read([]byte) (int, error) { return 0, cmp.Or(e.err, io.EOF) }

// judge checks a PUT against R1, R2 and R3. The model is locked.
func (t *tap) judge(body, seen []byte) {
	var put order
	var got struct {
		RouteTable struct{ Routes []otctest.Route }
	}
	if json.Unmarshal(body, &put) != nil || json.Unmarshal(seen, &got) != nil {
		t.m.note("%s sent %s having read %s", t.w.name, body, seen)
		return
	}
	known := map[string]otctest.Route{}
	for _, r := range got.RouteTable.Routes {
		known[r.Destination] = r
	}
	ops, named := put.RouteTable.Routes, map[string]bool{}
	fault := func(rule string, r otctest.Route) { t.m.note("%s: %s sent %+v in %s", rule, t.w.name, r, body) }
	for _, r := range slices.Concat(ops.Add, ops.Mod, ops.Del) {
		p, err := netip.ParsePrefix(r.Destination)
		if err != nil || p != p.Masked() || p.Bits() <= 14 || !clusterRange().Contains(p.Addr()) {
			fault("R1", r)
		}
		if named[r.Destination] || !t.w.ever[p] && !t.orphan(known[r.Destination]) {
			fault("R2", r)
		}
		named[r.Destination] = true
	}
	for _, r := range slices.Concat(ops.Add, ops.Mod) {
		if r.Type != "ecs" || !slices.Contains(t.w.ids, r.NextHop) || r.Description != "otc-route-manager: "+t.w.name {
			fault("R3", r)
		}
	}
	for _, r := range ops.Mod {
		if known[r.Destination].Type != "ecs" {
			fault("R3", r)
		}
	}
	for _, r := range ops.Del {
		if old := known[r.Destination]; old.Type != "ecs" || !slices.Contains(t.w.ids, old.NextHop) && !t.orphan(old) {
			fault("R3", r)
		}
	}
}

// forgive drops what a stranger wrote between the worker's read and this PUT: the
// API knows no precondition that would save it.
func (t *tap) forgive(table string, body []byte) {
	var put order
	_ = json.Unmarshal(body, &put)
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	for _, r := range slices.Concat(put.RouteTable.Routes.Mod, put.RouteTable.Routes.Del) {
		if at := (place{table, r.Destination}); time.Since(t.m.foreign[at].since) < 2*maxStale {
			delete(t.m.foreign, at)
		}
	}
}

// orphan reports whether a route may be deleted because its server is gone.
func (t *tap) orphan(r otctest.Route) bool {
	return t.m.orphans && strings.HasPrefix(r.Description, Mark) && r.NextHop != otherID && !t.m.alive(r.NextHop)
}
