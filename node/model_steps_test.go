package node

import (
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc/otctest"
)

// steps returns what can happen.
func steps() map[string]func(m *model, w *actor, n int) {
	return map[string]func(m *model, w *actor, n int){
		"move":           (*model).move,
		"bad annotation": (*model).spoilAnnotation,
		"new server":     (*model).newServer,
		"delete Node":    (*model).deleteNode,
		"create Node":    (*model).createNode,
		"blink":          (*model).blink,
		"API server": func(_ *model, w *actor, n int) {
			w.kube.set(w.there, []error{nil, errors.New("no route to host")}[n%2])
		},
		"lag":      func(m *model, w *actor, _ int) { w.lagging = m.drift > 0 },
		"crash":    (*model).crashes,
		"start":    (*model).starts,
		"stranger": (*model).meddle,
		"fault":    (*model).fault,
		"knob":     (*model).turn,
		"revoke":   func(m *model, _ *actor, _ int) { m.RevokeTokens() },
		"heal":     func(m *model, _ *actor, _ int) { m.Heal() },

		"late":      (*model).lateAnswer,
		"blind":     func(m *model, w *actor, n int) { m.blind(w.agent, time.Duration(1+n%4)*time.Minute) },
		"hand over": (*model).handOver,
		"borrow":    (*model).borrow,
		"made anew": (*model).madeAnew,
		"killed":    (*model).killed,
		"amnesia":   (*model).amnesia,
		"elsewhere": (*model).elsewhere,
	}
}

// weighted returns the names of steps, the frequent ones more than once.
func weighted() []string {
	all := slices.Sorted(maps.Keys(steps()))
	return append(all, "move", "move", "move", "stranger", "stranger", "stranger", "fault", "fault", "fault", "crash", "start", "create Node", "late", "borrow", "hand over", "hand over", "hand over", "made anew", "killed")
}

// maxStale is the longest time that a read is stale for. With late PUTs it is
// shorter: a stale read after 75 s would not show one of 60 s behind a read of 10 s.
func (m *model) maxStale() time.Duration {
	if m.tardy {
		return 4 * time.Second
	}
	return 30 * time.Second
}

// forget drops what the process, or the Node, knew of all but these subnets.
func (m *model) forget(w *actor, but ...netip.Prefix) {
	w.kept = map[place]bool{}
	if w.excused == nil {
		w.excused = map[place]time.Time{}
	}
	maps.DeleteFunc(w.excused, func(at place, since time.Time) bool {
		return time.Since(since) > m.maxStale() && !slices.Contains(but, netip.MustParsePrefix(at.destination))
	})
}

// take gives the Node subnets.
func (m *model) take(w *actor, subnets ...netip.Prefix) {
	w.has = subnets
	w.facts.Annotated, w.facts.Annotation, w.usable = true, annotation(strings.Split(join(subnets), ", ")...), true
}

// tell shows the Node to the process, unless it lags.
func (m *model) tell(w *actor) {
	if !w.running || w.lagging || !w.there {
		return
	}
	if w.usable {
		m.forget(w, w.wants...)
		m.wish(w, w.has)
	}
	if !w.usable {
		m.keep(w)
	}
	w.leaves = false
	w.show()
}

// wish sets what the process must bring about.
func (m *model) wish(w *actor, wants []netip.Prefix) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(w.wants, wants) {
		clear(w.confirmed)
	}
	for _, p := range w.wants {
		w.gaveUp[p] = time.Now()
	}
	w.wants = wants
}

// keep notes which routes a bad annotation must not move. What a late PUT takes
// meanwhile is not put back.
func (m *model) keep(w *actor) {
	w.kept = map[place]bool{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range w.wants {
		for _, table := range m.tables {
			at := place{table, p.String()}
			if r, ok := m.at(table, p); ok && r.NextHop == w.id && time.Since(m.flying[at]) > latest {
				w.kept[at] = true
			}
		}
	}
}

// at returns the route to a destination.
func (m *model) at(table string, p netip.Prefix) (otctest.Route, bool) {
	routes := m.Routes(table)
	i := slices.IndexFunc(routes, func(r otctest.Route) bool { return r.Destination == p.String() })
	if i < 0 {
		return otctest.Route{}, false
	}
	return routes[i], true
}

// move gives the Node one or two subnets that no Node has.
func (m *model) move(w *actor, n int) {
	free := m.free(w)
	subnets := []netip.Prefix{free[n%len(free)]}
	if second := free[n/16%len(free)]; n%3 == 0 && second != subnets[0] {
		subnets = append(subnets, second)
	}
	slices.SortFunc(subnets, netip.Prefix.Compare)
	if w.there {
		m.take(w, subnets...)
		m.tell(w)
	}
}

// free returns the subnets that no other Node has.
func (m *model) free(w *actor) (free []netip.Prefix) {
	for i := range 12 {
		if p := subnetOf(i + 1); m.isFree(w, p) {
			free = append(free, p)
		}
	}
	return free
}

// other returns a subnet that no Node has.
func (m *model) other(w *actor) []netip.Prefix {
	free := slices.DeleteFunc(m.free(w), func(p netip.Prefix) bool { return slices.Contains(w.has, p) })
	return free[:1]
}

func (m *model) isFree(w *actor, p netip.Prefix) bool {
	return !slices.ContainsFunc(m.workers, func(o *actor) bool { return o != w && slices.Contains(o.has, p) })
}

func (m *model) spoilAnnotation(w *actor, n int) {
	if !w.there {
		return
	}
	bad := []string{"", "{", `{"default":[]}`, `{"default":"10.128.2.0"}`, `{"blue":["10.128.2.0/23"]}`, annotation("10.128.250.0/23", "10.128.4.0"), annotation("192.168.0.0/24"), annotation("0.0.0.0/0"), annotation("10.128.0.0/14")}
	w.facts.Annotated, w.facts.Annotation, w.usable = n%9 > 0, bad[n%len(bad)], false
	w.spoilt = time.Now()
	w.skipped = w.facts.Annotated && n%len(bad) > 5
	m.tell(w)
}

// newServer replaces the server behind the Node; the Node says so.
func (m *model) newServer(w *actor, n int) {
	w.births++
	w.knows = false
	m.mu.Lock()
	maps.DeleteFunc(m.foreign, func(_ place, r foreign) bool { return m.vanish && r.NextHop == w.id })
	w.replace(ecsID(100*w.births + w.number()))
	m.mu.Unlock()
	w.facts.ProviderID, w.facts.SystemUUID = "openstack:///"+w.id, w.id
	if n%2 == 0 {
		w.facts.UID += "+"
	}
	m.forget(w)
	m.wish(w, nil)
	m.tell(w)
}

func (w *actor) number() int { return int(w.name[len(w.name)-1] - '0') }

func (m *model) deleteNode(w *actor, _ int) {
	if !w.there {
		return
	}
	w.there, w.has, w.before, w.kept = false, nil, w.has, map[place]bool{}
	m.mu.Lock()
	w.leaves = w.running && !w.lagging && w.knows && (!m.tardy || time.Since(w.sent) > latest)
	m.mu.Unlock()
	w.kube.set(false, nil)
	if w.running && !w.lagging {
		w.Observe(nil)
	}
}

// createNode brings a deleted Node back: the same one, or another of its name.
func (m *model) createNode(w *actor, n int) {
	if w.there {
		return
	}
	w.there, w.births = true, w.births+1
	w.kube.set(true, nil)
	if n%4 > 0 {
		w.facts.UID += "'"
	}
	if n%4 > 0 || w.wants == nil {
		m.wish(w, nil)
		m.forget(w)
	}
	if n/4%2 == 0 && len(w.before) > 0 && !slices.ContainsFunc(w.before, func(p netip.Prefix) bool { return !m.isFree(w, p) }) {
		m.take(w, w.before...)
		m.tell(w)
		return
	}
	m.move(w, n/8)
}

// blink makes the Node disappear from the watch, though it is there.
func (m *model) blink(w *actor, _ int) {
	if w.there && w.running && !w.lagging && m.drift > 0 {
		w.Observe(nil)
		w.lagging = true
	}
}

func (m *model) crashes(w *actor, _ int) {
	if w.running {
		w.crash()
		w.running, w.leaves = false, false
	}
}

func (m *model) starts(w *actor, _ int) {
	m.crashes(w, 0)
	w.start()
	w.running, w.lagging, w.knows = true, false, false
	m.wish(w, nil)
	m.forget(w)
	if !w.there {
		w.Observe(nil)
	}
	m.tell(w)
}

// meddle has a stranger edit a table, most of the time where the worker is.
func (m *model) meddle(w *actor, n int) {
	table := m.tables[n%len(m.tables)]
	if len(w.has) == 0 || m.drift == 0 {
		return
	}
	p := w.has[n/4%len(w.has)]
	at := place{table, p.String()}
	for _, o := range m.workers {
		o.excused[at] = time.Now()
		delete(o.kept, at)
	}
	m.mu.Lock()
	delete(m.foreign, at)
	m.mu.Unlock()
	switch n / 8 % 5 {
	case 0:
		m.DeleteRoute(table, p.String())
	case 1:
		m.PutRoute(table, foreignRoute("ecs", p.String(), otherID))
	case 2:
		m.put(table, foreignRoute("nat", p.String(), natID))
	case 3:
		m.put(table, foreignRoute("peering", "10.129.79.0/24", strings.Repeat("p", n%5)))
	case 4:
		if r, ok := m.at(table, p); ok && r.Type == "ecs" {
			r.Description = "renamed"
			m.PutRoute(table, r)
		} else if ok {
			m.put(table, r)
		}
	}
}

// fault spoils some of the next calls.
func (m *model) fault(_ *actor, n int) {
	kinds := []otctest.Fault{
		{Status: 500}, {Status: 502, Shape: otctest.ShapeHTML}, {Status: 503}, {Status: 504, Applied: true}, {Status: 500, ApplyFirst: 1},
		{Status: 429}, {Status: 429, Header: http.Header{"Retry-After": {"9"}}}, {Status: 409}, {Status: 401}, {Status: 403}, {Status: 202},
		{Status: 404, Code: "APIGW.0101"}, {Status: 400, Code: "Ecs.1000"}, {Status: 400, Code: "VPC.2800"}, {Status: 400, Code: "VPC.2809"},
		{Reset: true}, {Reset: true, Applied: true}, {Hang: true}, {Hang: true, Applied: true}, {Truncate: true, Keep: 9}, {Delay: 15 * time.Second}, {Delay: 9 * time.Second, Applied: true}, {Slow: time.Second},
	}
	f := kinds[n%len(kinds)]
	f.Op = []string{otctest.OpTableUpdate, otctest.OpTableGet, otctest.OpTableUpdate, otctest.OpServerGet, otctest.OpLogin, ""}[n/32%6]
	f.Times = []int{1, 1, 2, 5, -1}[n/256%5]
	f.After = n / 2048 % 3
	if last := m.tables[len(m.tables)-1]; n/6144%3 == 0 {
		f.Match = func(r otctest.Request) bool { return strings.HasSuffix(r.Path, last) }
	}
	m.Fail(f)
}

// turn turns a knob.
func (m *model) turn(_ *actor, n int) {
	m.Set(func(k *otctest.Knobs) {
		switch n % 9 {
		case 0:
			m.stale, k.StaleReads = true, time.Duration(n)*time.Second%m.maxStale()
		case 1:
			k.Writes = otctest.Limit{N: 3, Per: 5 * time.Minute}
		case 2:
			k.PutAnswer = otctest.PutAnswerStale
		case 3:
			k.AddFirst = !k.AddFirst
		case 4:
			k.Contended = []int{409, 500}[n/16%2]
		case 5:
			k.ModMissing = otctest.ModMissing(n / 16 % 3)
		case 6:
			k.KeepPart, k.DelMissingOK = n/16%2 == 0, n/32%2 == 0
		case 7:
			k.DuplicateStatus = 409
		case 8:
			k.Shuffle, k.NullNextHop = true, true
		}
	})
}
