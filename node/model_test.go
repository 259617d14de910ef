package node

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc/otctest"
)

// A sequence is what happens to a few workers that share route tables. It is
// made from its seed alone; the program's own jitter is not.
type sequence struct {
	seed            uint64
	nodes, tables   int
	repair, orphans bool
	vanish          bool          // the cloud takes the routes of a deleted server along
	tardy           bool          // PUTs may be executed up to a minute late; reads are not stale for as long then
	drift           time.Duration // between reads; 0: none, and nobody meddles that only they could show
	latency         time.Duration
	steps           []event
}

// An event is one thing that happens, and the time until the next one.
type event struct {
	op   string // a key of steps()
	node int    // from 0
	n    int    // what exactly, by the step's own reading
	wait time.Duration
}

func newSequence(seed uint64) sequence {
	r := rand.New(rand.NewPCG(seed, 4))
	ops := weighted()
	s := sequence{seed: seed, nodes: 1 + min(r.IntN(5), r.IntN(5)), tables: 1 + r.IntN(2), repair: r.IntN(2) == 0, orphans: r.IntN(3) == 0, vanish: r.IntN(3) == 0, tardy: r.IntN(4) > 0}
	s.drift = []time.Duration{0, 11 * time.Minute, 26 * time.Minute}[r.IntN(3)]
	s.latency = []time.Duration{0, 20 * time.Millisecond, 300 * time.Millisecond}[r.IntN(3)]
	for range 3 + r.IntN(8) {
		wait := []time.Duration{0, 0, 50 * time.Millisecond, time.Second, time.Second, 8 * time.Second, 40 * time.Second, 28 * time.Minute}[r.IntN(8)]
		s.steps = append(s.steps, event{ops[r.IntN(len(ops))], r.IntN(s.nodes), r.IntN(1 << 16), wait})
	}
	return s
}

// String shows a sequence so that a person can follow it.
func (s sequence) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d workers, %d tables, repair %v, orphan clean-up %v, vanish %v, tardy %v, drift %v, latency %v\n", s.seed, s.nodes, s.tables, s.repair, s.orphans, s.vanish, s.tardy, s.drift, s.latency)
	for i, st := range s.steps {
		fmt.Fprintf(&b, "\t%2d. worker-%d: %s (%d), then %v\n", i+1, st.node+1, st.op, st.n, st.wait)
	}
	return b.String()
}

// TestModel runs random sequences. MODEL_SEQUENCES says how many; the first is made
// from MODEL_SEED, the next ones from the numbers after it.
func TestModel(t *testing.T) {
	count, first := number(t, "MODEL_SEQUENCES", 2_000), uint64(number(t, "MODEL_SEED", 1))
	t.Logf("MODEL_SEED=%d MODEL_SEQUENCES=%d", first, count)
	usual := debug.SetGCPercent(400) // many small worlds, soon forgotten
	t.Cleanup(func() { debug.SetGCPercent(usual) })
	var next, failures atomic.Uint64
	next.Store(first)
	for shard := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint("shard ", shard), func(t *testing.T) {
			t.Parallel()
			for seed := next.Add(1) - 1; seed < first+uint64(count) && failures.Load() < 3; seed = next.Add(1) - 1 {
				if end, ok := t.Deadline(); ok && time.Until(end) < 20*time.Second { // left for the one that fails
					t.Errorf("no time for seed %d and those after it: raise -timeout, or lower MODEL_SEQUENCES", seed)
					return
				}
				s := newSequence(seed)
				problems, log := s.run(t)
				if len(problems) == 0 {
					continue
				}
				failures.Add(1)
				short, fewer := s.shrink(t, problems)
				t.Errorf("MODEL_SEED=%d MODEL_SEQUENCES=1 fails:\n%s\nat first: %s%s\nshrunk to %s\n%s", seed, strings.Join(problems, "\n"), s, log, short, strings.Join(fewer, "\n"))
			}
		})
	}
}

func number(t *testing.T, name string, missing int) int {
	if os.Getenv(name) == "" {
		return missing
	}
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// shrink drops steps for as long as the rest still fails. What fails may depend
// on jitter, so each try has a few chances.
func (s sequence) shrink(t *testing.T, problems []string) (sequence, []string) {
	for i := 0; i < len(s.steps); {
		less := s
		less.steps = slices.Delete(slices.Clone(s.steps), i, i+1)
		if got := less.fails(t, 8); len(got) > 0 {
			s, problems = less, got
		} else {
			i++
		}
	}
	for i := range s.steps {
		less := s
		less.steps = slices.Clone(s.steps)
		less.steps[i].wait = 0
		if got := less.fails(t, 8); len(got) > 0 {
			s, problems = less, got
		}
	}
	return s, problems
}

func (s sequence) fails(t *testing.T, chances int) []string {
	for range chances {
		if problems, _ := s.run(t); len(problems) > 0 {
			return problems
		}
	}
	return nil
}

// A model is a world, and what it must look like in the end.
type model struct {
	*world
	sequence
	workers []*actor
	tables  []string

	stale   bool          // reads have been stale
	stir    chan struct{} // holds one value after a call
	stirred time.Time     // when it last did, or a step was done

	mu       sync.Mutex          // for what the wire reads or writes, the workers' ids included
	foreign  map[place]foreign   // must stay as they are
	flying   map[place]time.Time // what a PUT named that may still be executed, and since when
	problems []string
}

// A foreign is a route of a stranger.
type foreign struct {
	otctest.Route
	since time.Time
}

// A place is a destination in a route table.
type place struct{ table, destination string }

// An actor is an agent and what is known about it from outside.
type actor struct {
	*agent
	there   bool                       // the Node exists
	running bool                       // so does the process
	lagging bool                       // the process has not seen the Node as it is
	has     []netip.Prefix             // what the Node is given, whatever its annotation says
	wants   []netip.Prefix             // what the process must bring about; nil: nothing known
	gaveUp  map[netip.Prefix]time.Time // what the process wanted before, until then
	spoilt  time.Time                  // its annotation
	usable  bool                       // its annotation is a good one
	excused map[place]time.Time        // others have meddled with it, then; being told is enough
	skipped bool                       // its annotation is a bad one that makes the process look at nothing
	kept    map[place]bool             // routes that must stay although the annotation is bad
	knows   bool                       // the process has been in sync, so it knows the server
	leaves  bool                       // the process has to remove the routes of the deleted Node
	births  int                        // of servers and Nodes, for new ids
	before  []netip.Prefix             // what the Node had when it was deleted
	lying   map[string]time.Time       // it has said that it is in sync since, without being right in that table

	// as the wire knows it, under the model's lock
	confirmed map[string]time.Time // the first read of a table that shows all, since anything was told or written
	trouble   time.Time            // the last call that failed, or was slow
	sent      time.Time            // its last PUT
}

// run plays the sequence and returns what is wrong in the end, and the log.
func (s sequence) run(t *testing.T) (problems []string, log string) {
	synctest.Test(t, func(t *testing.T) {
		m := &model{world: &world{Server: otctest.New(), t: t}, sequence: s, stir: make(chan struct{}, 1), foreign: map[place]foreign{}, flying: map[place]time.Time{}}
		m.guard = newGuard(m.world, m.problem)
		m.Set(func(k *otctest.Knobs) { k.Latency, k.TokenSize, k.RoutesVanish = s.latency, 40, s.vanish })
		m.begin()
		do := steps()
		for _, st := range s.steps {
			do[st.op](m, m.workers[st.node], st.n)
			m.pass(st.wait)
		}
		m.quiet()
		m.check()
		for _, w := range m.workers {
			w.crash()
			if len(m.problems) > 0 {
				log += w.name + "\n" + w.log()
			}
		}
		problems = m.problems
	})
	return problems, log
}

// begin starts the workers, with some routes of others in the tables.
func (m *model) begin() {
	tables := m.world.tables(m.sequence.tables)
	for n := range m.nodes {
		w := &actor{agent: m.agent(n+1, tables, func(c *Config) {
			c.DriftInterval, c.DriftRepair, c.OrphanCleanup, c.StartupJitter = m.drift, m.repair, m.orphans, time.Second
		}), there: true, running: true, usable: true, lying: map[string]time.Time{}, gaveUp: map[netip.Prefix]time.Time{}, confirmed: map[string]time.Time{}}
		w.wire = &tap{m: m, w: w}
		m.forget(w)
		m.take(w, subnetOf(n+1))
		w.wants = w.has
		m.workers, m.tables = append(m.workers, w), w.cfg.Tables
	}
	m.AddServer(otctest.Instance{ID: otherID, Name: "appliance", Fixed: []string{"10.20.0.200"}})
	for _, table := range m.tables {
		m.put(table, foreignRoute("nat", "0.0.0.0/0", natID))
		m.put(table, foreignRoute("ecs", "10.129.77.0/24", otherID))
		m.put(table, otctest.Route{Type: "ecs", Destination: "10.129.78.0/24", NextHop: ecsID(1), Description: "by hand"})
	}
	for _, w := range m.workers {
		w.boot()
	}
}

// put writes a route of a stranger that nobody may touch.
func (m *model) put(table string, r otctest.Route) {
	m.PutRoute(table, r)
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := (place{table, r.Destination}); time.Since(m.flying[at]) > latest {
		m.foreign[at] = foreign{r, time.Now()}
	}
}

func (m *model) problem(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note(format, args...)
}

func (m *model) note(format string, args ...any) {
	m.problems = append(m.problems, fmt.Sprintf("%s ", time.Now().Format("15:04:05"))+fmt.Sprintf(format, args...))
}
