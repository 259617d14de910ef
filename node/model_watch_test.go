package node

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	latest   = 65 * time.Second // after it was sent, a PUT is executed or never
	soon     = 30 * time.Second // what is lost within 10 s is put back, or owned up to, by then; unless calls fail
	slowCall = 5 * time.Second  // as good as failed
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
		for _, p := range w.wants {
			if !w.claims(p) || !slices.ContainsFunc(m.workers, func(o *actor) bool { return o != w && o.claims(p) }) {
				continue
			}
			for _, table := range m.tables {
				w.excused[place{table, p.String()}] = time.Now()
			}
		}
	}
}

// claims reports whether a process may write a route to p. One that was busy has not
// seen a value that was spoilt at once, and keeps the one before.
func (w *actor) claims(p netip.Prefix) bool {
	wants := slices.Contains(w.wants, p) && (w.lagging || w.usable || !w.skipped)
	keeps := !w.usable && w.spoilt.Sub(w.gaveUp[p]) < 30*time.Second
	return w.running && (w.there || w.lagging) && (wants || keeps)
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
		if w.lying[table].Sub(confirmed[table]) < 9*time.Second && !m.stale && time.Since(trouble) > longestLie {
			end = confirmed[table].Add(soon)
		}
		if time.Now().After(end) {
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
