package node

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
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

const (
	latest    = 65 * time.Second // after it was sent, a PUT is executed or never
	soon      = 30 * time.Second // what is lost within 10 s is put back, or owned up to, by then
	slowCall  = 5 * time.Second
	lockedOut = 20 * time.Minute // after a refused login nothing is read
)

// pass lets d pass, and looks every five seconds while anything goes on.
func (m *model) pass(d time.Duration) {
	end := time.Now().Add(d)
	m.stirred = time.Now()
	for first := true; first || time.Now().Before(end); first = false {
		rest := time.Until(end)
		if time.Since(m.stirred) < latest+5*time.Second || m.anyLie() {
			m.world.pass(min(rest, 5*time.Second))
		} else {
			select {
			case <-m.stir:
				m.stirred = time.Now()
			case <-time.After(rest):
			}
		}
		select {
		case <-m.stir:
			m.stirred = time.Now()
		default:
		}
		m.look()
	}
}

func (m *model) anyLie() bool {
	return slices.ContainsFunc(m.workers, func(w *actor) bool { return len(w.lying) > 0 })
}

// look checks what must hold at any time.
func (m *model) look() {
	m.checkForeign()
	m.contend()
	for _, w := range m.workers {
		m.checkHonest(w)
	}
}

// contend excuses what two processes want at a time: what becomes of it is a matter
// of who reads last.
func (m *model) contend() {
	for _, w := range m.workers {
		for _, o := range m.workers {
			for _, p := range w.wants {
				if o != w && w.running && o.running && (o.there || o.lagging) && slices.Contains(o.wants, p) {
					m.excuse(p, w, o)
				}
			}
		}
	}
}

func (m *model) excuse(p netip.Prefix, workers ...*actor) {
	for _, table := range m.tables {
		for _, w := range workers {
			w.excused[place{table, p.String()}] = time.Now()
		}
	}
}

// checkHonest: nobody says for long that all is in sync when a table is not.
func (m *model) checkHonest(w *actor) {
	m.mu.Lock()
	trouble, confirmed := w.trouble, maps.Clone(w.confirmed)
	m.mu.Unlock()
	inSync := w.running && w.Status().InSync
	w.knows = w.knows || inSync
	for _, table := range m.tables {
		lacks := m.lacks(w, table)
		if lacks == "" || !inSync {
			delete(w.lying, table)
			continue
		}
		if w.lying[table].IsZero() {
			w.lying[table] = time.Now()
		}
		end := w.lying[table].Add(longestLie)
		if w.lying[table].Sub(confirmed[table]) < 9*time.Second && !m.stale {
			end = confirmed[table].Add(soon)
		}
		if time.Now().After(end) && time.Since(trouble) > longestLie {
			m.problem("%s says that it is in sync, but since %s %s", w.name, w.lying[table].Format("15:04:05"), lacks)
			delete(w.lying, table)
		}
	}
}

// lacks says which route of a table is wrong of those that a process must have
// brought about.
func (m *model) lacks(w *actor, table string) (lacks string) {
	if w.lagging || !w.there || !w.usable {
		return ""
	}
	for _, p := range w.wants {
		r, ok := m.at(table, p)
		right := ok && r.Type == "ecs" && r.NextHop == w.id
		at := place{table, p.String()}
		since, excused := w.excused[at]
		switch {
		case right && excused && time.Since(since) > m.maxStale():
			delete(w.excused, at)
		case !right && !excused:
			lacks = fmt.Sprintf("%v is %+v", at, r)
		}
	}
	return lacks
}

func (m *model) checkForeign() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for at, r := range m.foreign {
		if !slices.Contains(m.Routes(at.table), r.Route) {
			m.note("foreign route %+v is gone from table %s", r.Route, at.table[:8])
			delete(m.foreign, at)
		}
	}
}

// check compares the tables with what they must hold, and what is told with the tables.
func (m *model) check() {
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
	m     *model
	w     *actor
	read  map[string][]byte    // the last GET's body, by table
	fresh map[string]time.Time // when it was read; zero: before the last PUT
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
		t.sends(table, body)
	}
	t.m.stirs()
	began := time.Now()
	resp, err := t.m.Server.RoundTrip(r)
	if err == nil && onTable && r.Method == http.MethodGet && resp.StatusCode == http.StatusOK {
		var body []byte
		body, err = io.ReadAll(resp.Body)
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), ending{err}))
		if err == nil {
			t.m.mu.Lock()
			t.reads(table, body)
			t.m.mu.Unlock()
		}
	}
	t.m.stirs()
	t.fails(r, resp, err, time.Since(began))
	if resp != nil {
		err = nil
	}
	return resp, err
}

// stirs wakes who waits for something to happen.
func (m *model) stirs() {
	select {
	case m.stir <- struct{}{}:
	default:
	}
}

// reads notes what a worker has read, and when that first showed all it wants.
func (t *tap) reads(table string, body []byte) {
	t.read[table], t.fresh[table] = body, time.Now()
	if !t.w.confirmed[table].IsZero() {
		return
	}
	for _, p := range t.w.wants {
		if !bytes.Contains(body, fmt.Appendf(nil, `"destination":%q,"nexthop":%q`, p, t.w.id)) {
			return
		}
	}
	t.w.confirmed[table] = time.Now()
}

// sends notes a PUT and judges it.
func (t *tap) sends(table string, body []byte) {
	var put order
	_ = json.Unmarshal(body, &put)
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.judge(table, body)
	t.w.sent, t.fresh[table] = time.Now(), time.Time{}
	delete(t.w.confirmed, table)
	for _, r := range slices.Concat(put.RouteTable.Routes.Mod, put.RouteTable.Routes.Del) {
		at := place{table, r.Destination}
		t.m.flying[at] = time.Now()
		if time.Since(t.m.foreign[at].since) < 2*t.m.maxStale() {
			delete(t.m.foreign, at) // written since the worker's read: the API knows no precondition that would save it
		}
	}
}

// fails notes that a worker could not ask, or had to wait for the answer.
func (t *tap) fails(r *http.Request, resp *http.Response, err error, took time.Duration) {
	until := time.Now()
	switch {
	case err == nil && resp.StatusCode/100 == 2 && resp.StatusCode != http.StatusAccepted && took < slowCall:
		return
	case strings.Contains(r.URL.Path, "/auth/tokens") && err == nil && resp.StatusCode/100 == 4:
		until = until.Add(lockedOut)
	}
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.w.trouble = until
}

// ending is a reader that has come to its end, a good or a bad one.
type ending struct{ err error }

func (e ending) Read([]byte) (int, error) { return 0, cmp.Or(e.err, io.EOF) }

// judge checks a PUT against R1, R2, R3 and R11. The model is locked.
func (t *tap) judge(table string, body []byte) {
	var put order
	var got struct {
		RouteTable struct{ Routes []otctest.Route }
	}
	seen := t.read[table]
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
	orphans := 0
	for _, r := range ops.Del {
		switch old := known[r.Destination]; {
		case old.Type == "ecs" && slices.Contains(t.w.ids, old.NextHop):
		case old.Type == "ecs" && t.orphan(old):
			orphans++
		default:
			fault("R3", r)
		}
	}
	if orphans > 5 || orphans > 0 && time.Since(t.fresh[table]) > time.Minute {
		fault("R11", ops.Del[0])
	}
}

// orphan reports whether a route may be deleted because its server is gone.
func (t *tap) orphan(r otctest.Route) bool {
	return t.m.orphans && strings.HasPrefix(r.Description, Mark) && r.NextHop != otherID && !t.m.alive(r.NextHop)
}
