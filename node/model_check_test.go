package node

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc/otctest"
)

// quiet ends all trouble and lets everything settle.
func (m *model) quiet() {
	m.Heal()
	m.Set(func(k *otctest.Knobs) {
		k.StaleReads, k.Writes, k.Contended, k.ModMissing, k.Amnesia = 0, otctest.Limit{}, 0, 0, false
	})
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
