package node

import (
	"net/http"
	"net/netip"
	"slices"
	"time"

	"otc-route-manager/otc/otctest"
)

// lateAnswer has the next PUTs, of any worker, executed late: in any order, and with
// no answer, or one that says nothing, at once or after a while.
func (m *model) lateAnswer(_ *actor, n int) {
	for range 1 + n%3 {
		m.postpone(nil, n)
		n /= 3
	}
}

// postpone has the next PUT of a worker executed late; nil: of any.
func (m *model) postpone(w *actor, n int) {
	if !m.tardy {
		return
	}
	f := otctest.Fault{Op: otctest.OpTableUpdate, Late: []time.Duration{time.Second, 4 * time.Second, 9 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute}[n%6]}
	f.Match = func(r otctest.Request) bool { return w == nil || r.Header.Get("User-Agent") == w.name }
	if n/6%2 == 0 {
		f.Status, f.Delay = http.StatusGatewayTimeout, []time.Duration{0, 3 * time.Second, 8 * time.Second}[n/12%3]
	}
	m.Fail(f)
}

// handOver gives a worker's subnet to another in the same instant; then something
// happens to that one.
func (m *model) handOver(w *actor, n int) {
	o := m.workers[(slices.Index(m.workers, w)+1+n%max(1, m.nodes-1))%m.nodes]
	if o == w || !w.there || !w.usable || !o.there || len(w.has) == 0 || len(o.has) > 3 {
		return
	}
	p := w.has[n%len(w.has)]
	rest := slices.DeleteFunc(slices.Clone(w.has), func(q netip.Prefix) bool { return q == p })
	if len(rest) == 0 { // first another one: the PUT that gives p up adds nothing, so that nothing makes it fail late
		rest = m.other(w)
		m.take(w, append(slices.Clone(rest), p)...)
		m.tell(w)
		m.pass(3 * time.Second)
	}
	if n%4 > 0 {
		m.postpone(w, n/4)
	}
	if n%3 == 0 && m.tardy {
		m.slow(w.agent, 1, []time.Duration{18 * time.Second, 9 * time.Second}[n/4%2])
	}
	m.take(w, rest...)
	m.take(o, append(slices.Clone(o.has), p)...)
	for i := range 2 {
		m.tell([]*actor{w, o}[(i+n/64)%2])
	}
	m.pass([]time.Duration{0, 100 * time.Millisecond, 2 * time.Second, 30 * time.Second}[n/128%4])
	switch n / 512 % 4 {
	case 0:
		m.starts(o, 0)
	case 1:
		m.madeAnew(o, n/2048*64)
	case 2:
		m.take(o, append(slices.Clone(o.has), m.other(o)...)...)
		m.tell(o)
	case 3:
		m.blind(o.agent, 57*time.Second)
		m.slow(o.agent, 3, 18*time.Second)
	}
}

// borrow gives two workers, one after the other, a subnet that a machine has left a route
// for. The take-over by the first may come when the second has confirmed its own.
func (m *model) borrow(w *actor, n int) {
	o := m.workers[(slices.Index(m.workers, w)+1)%m.nodes]
	if o == w || !w.there || !w.usable || !o.there || !o.usable || len(w.has) == 0 || len(o.has) > 3 {
		return
	}
	before, borrowed := w.has, m.other(w)[0]
	for _, table := range m.tables {
		if _, there := m.at(table, borrowed); !there {
			m.PutRoute(table, marked9(borrowed.String(), gone))
		}
	}
	m.postpone(w, n)
	m.take(w, append(slices.Clone(before), borrowed)...)
	m.tell(w)
	m.pass([]time.Duration{time.Second, 3 * time.Second}[n/64%2])
	m.take(w, before...)
	m.take(o, append(slices.Clone(o.has), borrowed)...)
	m.tell(w)
	m.tell(o)
}

// madeAnew deletes the Node and creates it, with a new UID or the old one, with its
// old subnets or others, at once or after a while.
func (m *model) madeAnew(w *actor, n int) {
	if n%3 == 1 {
		m.postpone(w, n/4)
	}
	m.deleteNode(w, 0)
	m.pass([]time.Duration{0, 3 * time.Second, 11 * time.Second, 30 * time.Second}[n/64%4])
	m.createNode(w, n)
}

// killed kills the process in the middle of a move; the next one finds the subnets
// of before, or others.
func (m *model) killed(w *actor, n int) {
	if !w.there || !w.running {
		return
	}
	before := w.has
	if n%3 > 0 {
		m.postpone(w, n/4)
	}
	m.move(w, n)
	m.pass([]time.Duration{0, 11 * time.Millisecond, 160 * time.Millisecond, time.Second, 4 * time.Second}[n/4%5])
	m.crashes(w, 0)
	m.pass([]time.Duration{0, time.Second, 5 * time.Second, 20 * time.Second}[n/32%4])
	if n/128%2 == 0 && len(before) > 0 {
		m.take(w, before...)
	}
	m.starts(w, 0)
}

// amnesia is the ECS service forgetting every server for a while, perhaps one that is
// nobody's Node any more and lives; what comes next happens then, or after it.
func (m *model) amnesia(w *actor, n int) {
	if !m.orphans || m.drift == 0 {
		return
	}
	if n/6%2 == 0 {
		m.crashes(w, 0)
		m.deleteNode(w, 0)
	}
	lasts := []time.Duration{time.Minute, 25 * time.Minute, 39 * time.Minute}[n%3]
	m.forgets(true)
	time.AfterFunc(lasts, func() { m.forgets(false) })
	if n/3%2 == 0 {
		m.pass(lasts)
	}
}

// elsewhere lets a worker have no cluster traffic for a while, in which another one may
// have its subnet; then it has the same again.
func (m *model) elsewhere(w *actor, n int) {
	o := m.workers[(slices.Index(m.workers, w)+1)%m.nodes]
	if o == w || !w.there || !w.usable || !o.there || !o.usable || len(w.has) == 0 || len(o.has) > 3 {
		return
	}
	before, others := w.has, o.has
	m.spoilAnnotation(w, 6)
	m.pass([]time.Duration{time.Second, 20 * time.Second, 2 * time.Minute}[n%3])
	if n/3%4 > 0 {
		w.has, w.kept = nil, map[place]bool{}
		m.take(o, append(slices.Clone(others), before[0])...)
		m.tell(o)
		m.pass([]time.Duration{0, time.Second, 2 * time.Minute}[n/12%3])
		if n/36%2 == 0 {
			m.postpone(o, n/72)
		}
		m.take(o, others...)
		m.tell(o)
		m.pass([]time.Duration{0, time.Second, time.Minute}[n/432%3])
	}
	m.take(w, before...)
	m.tell(w)
}
