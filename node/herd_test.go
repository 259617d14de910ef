package node

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc/otctest"
)

// A herd is a DaemonSet that starts on all its Nodes at once.
type herd struct {
	nodes, tables int
	jitter        time.Duration
}

// A stampede is what became of it.
type stampede struct {
	last    time.Duration // until the last route was there
	calls   int
	busiest int // calls of one process
	second  int // most calls in any second
	writes  int
}

func (s stampede) String() string {
	return fmt.Sprintf("last route after %v, %d calls (%d writes), %d by the busiest node, %d in the busiest second", s.last.Round(time.Second), s.calls, s.writes, s.busiest, s.second)
}

// TestHerd starts all reconcilers of a cluster together against one cloud with
// 30 ms of latency that lets a user write 200 times in 5 minutes and spoils a
// tenth of all calls. HERD_NODES says how many; a full table holds 200 routes.
func TestHerd(t *testing.T) {
	nodes := number(t, "HERD_NODES", 200)
	tables := (nodes + 199) / 200
	for _, h := range []herd{{nodes, tables, 5 * time.Second}, {nodes, tables, 0}} {
		t.Run(fmt.Sprintf("%d nodes, %d tables, jitter %v", h.nodes, h.tables, h.jitter), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(w *world) {
				s := h.run(w)
				t.Logf("%s: %.1f calls a node", s, float64(s.calls)/float64(h.nodes))
				// Throttled to 40 writes a minute, nobody can be faster than this.
				if least := time.Duration((h.nodes-1)/200) * 5 * time.Minute; s.last < least || s.last > 3*least+15*time.Minute {
					t.Errorf("the last route came after %v", s.last)
				}
				if s.busiest > 60 || s.calls > 20*h.nodes {
					t.Errorf("%d calls, %d by one node", s.calls, s.busiest)
				}
				if limit := h.nodes * 2; h.jitter > 0 && s.second > limit {
					t.Errorf("%d calls in a second, want at most %d", s.second, limit)
				}
			})
		})
	}
}

func (h herd) run(w *world) stampede {
	w.Set(func(k *otctest.Knobs) {
		k.Latency, k.Writes, k.RetryAfter = 30*time.Millisecond, otctest.Limit{N: 200, Per: 5 * time.Minute}, otctest.RetryAfterSeconds
	})
	w.spoilTenth()
	w.tables(h.tables)(&Config{})
	for n := range h.nodes {
		a := w.agent(n+1, func(c *Config) {
			c.Ranges, c.Tables, c.StartupJitter = []netip.Prefix{netip.MustParsePrefix("10.128.0.0/12")}, []string{h.table(n)}, h.jitter
		})
		a.wire = w.Server
	}
	began := time.Now()
	for _, a := range w.agents {
		a.start()
		a.show()
	}
	synctest.Wait()
	for h.missing(w) > 0 && time.Since(began) < 3*time.Hour {
		w.pass(5 * time.Second)
	}
	s := stampede{last: time.Since(began)}
	w.Heal()
	w.pass(10 * time.Minute)
	if n := h.missing(w); n > 0 {
		w.t.Errorf("%d nodes have no route", n)
	}
	for _, a := range w.agents {
		if st := a.Status(); !st.InSync {
			w.t.Errorf("%s: %s", a.name, st.Line())
		}
	}
	s.count(w.Requests(), began.Add(s.last))
	return s
}

// table is where node n has its route.
func (h herd) table(n int) string {
	if i := n%h.tables + 1; i > 1 {
		return tableID(i)
	}
	return mainTable
}

// missing counts the nodes whose route is not in their table.
func (h herd) missing(w *world) int {
	there := map[string]string{}
	for i := range h.tables {
		for _, r := range w.Routes(h.table(i)) {
			there[h.table(i)+r.Destination] = r.NextHop
		}
	}
	n := 0
	for i, a := range w.agents {
		if there[h.table(i)+subnetOf(i+1).String()] != a.id {
			n++
		}
	}
	return n
}

// count takes the calls up to a time.
func (s *stampede) count(requests []otctest.Request, until time.Time) {
	byNode := map[string]int{}
	first := 0
	for i, r := range requests {
		if r.Time.After(until) {
			break
		}
		s.calls++
		if r.Op == otctest.OpTableUpdate {
			s.writes++
		}
		byNode[r.Header.Get("User-Agent")]++
		s.busiest = max(s.busiest, byNode[r.Header.Get("User-Agent")])
		for r.Time.Sub(requests[first].Time) >= time.Second {
			first++
		}
		s.second = max(s.second, i-first+1)
	}
}

// spoilTenth answers a tenth of all calls with an error; one in three of the PUTs
// among them is applied all the same.
func (w *world) spoilTenth() {
	r := rand.New(rand.NewPCG(7, 7))
	faults := []otctest.Fault{{Status: 429}, {Status: 500}, {Status: 503}, {Status: 504}, {Status: 409}, {Status: 502, Applied: true}}
	chosen := -1
	for i, f := range faults {
		f.Times, f.Match = -1, func(q otctest.Request) bool {
			if i == 0 {
				if chosen = -1; r.IntN(10) == 0 {
					chosen = r.IntN(len(faults))
				}
				if q.Op != otctest.OpTableUpdate && chosen >= 4 { // only a PUT
					chosen = 2
				}
			}
			return chosen == i
		}
		w.Fail(f)
	}
}

// A rollout replaces pods, at most a tenth of them unready at a time.
type rollout struct {
	w    *world
	old  []*agent // not yet replaced
	new  []*agent
	more int // that may be unready
}

// proceed replaces pods until that may not be done, or all are replaced.
func (r *rollout) proceed(password string) {
	for len(r.old) > 0 && r.unready() < r.more {
		a := r.old[0]
		r.old = r.old[1:]
		a.crash()
		a.password.Store(password)
		a.start()
		a.show()
		r.new = append(r.new, a)
	}
}

func (r *rollout) unready() int {
	n := 0
	for _, a := range slices.Concat(r.old, r.new) {
		if !a.Status().Ready {
			n++
		}
	}
	return n
}

// run lets time pass and the rollout go on.
func (r *rollout) run(d time.Duration, password string) {
	for range d / (5 * time.Second) {
		r.proceed(password)
		r.w.pass(5 * time.Second)
	}
}

// TestHerdLockout rolls a wrong password out to 100 processes.
func TestHerdLockout(t *testing.T) {
	bubble(t, func(w *world) {
		w.AddUser("somebody-else", "another-password")
		r := &rollout{w: w, more: 10}
		for n := range 100 {
			a := w.agent(n+1, func(c *Config) { c.StartupJitter = 5 * time.Second })
			a.wire = w.Server
			a.start()
			a.show()
			r.old = append(r.old, a)
		}
		w.pass(time.Minute)
		if n := r.unready(); n > 0 {
			t.Fatalf("%d processes are not ready", n)
		}
		w.Reset()

		r.run(14*time.Minute, "wrong")
		if len(r.new) != 10 || w.logins(http.StatusUnauthorized) != 10 || w.logins(http.StatusCreated) != 0 {
			t.Errorf("%d processes have the wrong password, %d logins were refused; want 10 of each", len(r.new), w.logins(http.StatusUnauthorized))
		}
		r.run(46*time.Minute, "wrong")
		if n := w.logins(http.StatusUnauthorized); len(r.new) != 10 || n > 40 {
			t.Errorf("after an hour %d processes, %d refused logins; want 10, and one each in 15 minutes", len(r.new), n)
		}
		if err := w.login("somebody-else", "another-password"); err != nil {
			t.Errorf("another user is locked, too: %v", err)
		}
		for _, a := range r.new { // the Secret is put right
			a.password.Store(otctest.Password)
		}
		before := w.logins(http.StatusUnauthorized)
		r.run(34*time.Minute, otctest.Password) // at most 15 minutes of lock, then the pause of whoever met it
		if n := r.unready(); n > 0 || len(r.old) > 0 {
			t.Errorf("%d processes are not ready, %d not replaced", n, len(r.old))
		}
		if n := w.logins(http.StatusUnauthorized) - before; n > 10 {
			t.Errorf("%d logins were refused after the password was put right", n)
		}
		t.Logf("100 processes: %d refused logins in an hour and a half, all from the %d that may be unready", w.logins(http.StatusUnauthorized), r.more)
	})
}

// logins counts the logins that were answered so.
func (w *world) logins(status int) int {
	n := 0
	for _, r := range w.Requests() {
		if r.Op == otctest.OpLogin && r.Status == status {
			n++
		}
	}
	return n
}
