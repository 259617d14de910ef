package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// TestPeers lets every call meet a peer that is slow, silent or broken, for five
// hours. Each attempt ends within its time, the process lives and says that it is
// not ready, and all is well soon after the peer is.
func TestPeers(t *testing.T) {
	for name, f := range map[string]otctest.Fault{
		"silent":                 {Hang: true},
		"late":                   {Delay: 40 * time.Second},
		"a byte per second":      {Slow: time.Second},
		"cut behind the header":  {Truncate: true},
		"cut in the body":        {Truncate: true, Keep: 30},
		"reset":                  {Reset: true},
		"reset after the effect": {Reset: true, Applied: true},
		"not resolved":           {Err: errors.New("lookup vpc.eu-de.otc.test: no such host")},
		"no handshake":           {Err: errors.New("remote error: tls: internal error")},
		"unavailable":            {Status: 503},
		"throttled":              {Status: 429},
	} {
		for _, op := range []string{"", otctest.OpLogin, otctest.OpTableGet, otctest.OpTableUpdate} {
			if op == otctest.OpTableUpdate && (f.Applied || f.Slow > 0 || f.Truncate) {
				continue // the route gets there, and that is all we ask for
			}
			t.Run(name+" "+op, func(t *testing.T) {
				bubble(t, func(w *world) {
					f.Op, f.Times = op, -1
					w.Fail(f)
					a := w.up(1)
					w.endure(a, 5*time.Hour)
					if n, most := w.Count(""), 26*6*5; n > most {
						t.Errorf("%d calls in five hours, want at most %d", n, most)
					}
					w.Heal()
					w.pass(10 * time.Minute)
					w.wantRoutes(home)
					a.wantState(true, true)
				})
			})
		}
	}
}

// endure looks at a worker in trouble once a minute.
func (w *world) endure(a *agent, d time.Duration) {
	w.t.Helper()
	w.pass(6 * time.Minute)
	for range d / time.Minute {
		w.pass(time.Minute)
		s := a.Status()
		if err := a.Alive(); err != nil || s.Ready {
			w.t.Fatalf("at %s: alive: %v, ready: %v (%s)", time.Now().Format("15:04"), err, s.Ready, s.Line())
		}
		if idle := time.Since(s.LastRead); idle > passTimeout+5*time.Minute {
			w.t.Fatalf("at %s: the last attempt ended %v ago", time.Now().Format("15:04"), idle)
		}
	}
	if n, most := len(a.told.all()), 3+3*int(d/time.Hour); n > most {
		w.t.Errorf("%d log lines in %v, want at most %d:\n%s", n, d, most, a.log())
	}
}

// A wedge is a cloud whose answers to one operation do not come, whatever the
// context says.
type wedge struct {
	Cloud
	op      string
	release chan struct{}
}

func (c wedge) Server(_ context.Context, id string) (otc.Server, error) {
	c.block(otctest.OpServerGet)
	return c.Cloud.Server(context.Background(), id)
}

func (c wedge) RouteTable(_ context.Context, id string) (otc.RouteTable, error) {
	c.block(otctest.OpTableGet)
	return c.Cloud.RouteTable(context.Background(), id)
}

func (c wedge) block(op string) {
	if op == c.op {
		<-c.release
	}
}

// TestWedged: a worker that does not come back from a call is not alive; one whose
// call ends in time is, whatever it answers.
func TestWedged(t *testing.T) {
	for _, op := range []string{otctest.OpServerGet, otctest.OpTableGet} {
		bubble(t, func(w *world) {
			a := w.agent(1)
			stuck := wedge{a.client(nil), op, make(chan struct{})}
			a.cloud = stuck
			a.boot()
			w.pass(10 * time.Minute)
			if err := a.Alive(); err != nil {
				t.Errorf("%s: after ten minutes: %v", op, err)
			}
			w.pass(time.Second)
			if a.Alive() == nil || a.Status().Ready {
				t.Errorf("%s: a stuck worker is alive, ready %v", op, a.Status().Ready)
			}
			close(stuck.release)
			w.pass(time.Minute)
			a.wantState(true, true)
			w.wantRoutes(home)
		})
	}
}

// A runner whose pass was due ten minutes ago is not alive either, and neither is one that waits for an
// Event to be taken.
func TestWedgedBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunner()
		r.due = time.Now()
		time.Sleep(10 * time.Minute)
		if err := r.alive(); err != nil {
			t.Errorf("too early: %v", err)
		}
		time.Sleep(time.Second)
		if r.alive() == nil {
			t.Error("a runner whose job does not begin is alive")
		}
	})
}

// TestNewsEndAPass: a pass that is slow, hangs or waits while the Node moves on must
// not write what is another Node's by the time the cloud answers; cut short, it
// counts as nothing, and what the Node asks for by then follows.
func TestNewsEndAPass(t *testing.T) {
	for name, f := range map[string]otctest.Fault{
		"the search is slow":                  {Op: otctest.OpServerGet, Delay: 2 * time.Second},
		"the search hangs":                    {Op: otctest.OpServerGet, Hang: true, Times: -1},
		"the read is slow":                    {Op: otctest.OpTableGet, Delay: 3 * time.Second},
		"the read is slow, and nothing lacks": {Op: otctest.OpTableGet, Delay: 3 * time.Second},
		"the read hangs":                      {Op: otctest.OpTableGet, Hang: true, Times: -1},
		"the PUT is throttled":                {Op: otctest.OpTableUpdate, Status: 429},
		"the PUT is not answered":             {Op: otctest.OpTableUpdate, Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				hop := otherID
				if strings.Contains(name, "nothing lacks") {
					hop = ecsID(1)
				}
				w.PutRoute(mainTable, marked1("10.128.2.0/23", hop))
				f.Match = func(r otctest.Request) bool { return r.Header.Get("User-Agent") == "worker-1" }
				w.Fail(f)
				slow, next := w.agent(1), w.agent(2)
				slow.start()
				slow.show()
				w.pass(time.Second)
				slow.show(func(f *Facts) { f.Annotation = annotation("10.128.8.0/23") })
				next.start()
				next.move(subnetOf(1).String())
				w.wantRoutes("10.128.2.0/23 → worker-2 *")
				w.pass(15 * time.Second)
				w.Heal()
				w.pass(2 * time.Minute)
				w.wantRoutes("10.128.2.0/23 → worker-2 *", "10.128.8.0/23 → worker-1 *")
				slow.wantState(true, true)
				slow.wantEvents(0, "RouteFailed")
				if n := strings.Count(strings.Join(w.puts(), ";"), " 10.128.2.0/23"); n != 1 && f.Op != otctest.OpTableUpdate {
					t.Errorf("%d PUTs name what is worker-2's by now, want its own: %q", n, w.puts())
				}
				if n := slow.counts.get("pass error"); n > 0 {
					t.Errorf("%d passes count as errors", n)
				}
			})
		})
	}
}

// TestRunner: what wakes a runner during a pass ends that pass after the grace period, and only that one;
// the next one comes at once.
func TestRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunner()
		var began []time.Time
		var ended []error
		start := time.Now()
		go r.run(t.Context(), func(ctx context.Context) time.Time {
			began = append(began, time.Now())
			select {
			case <-ctx.Done():
			case <-time.After(time.Minute):
			}
			ended = append(ended, ctx.Err())
			return time.Now().Add(time.Hour)
		})
		for _, second := range []int{5, 100, 3700} {
			time.Sleep(time.Until(start.Add(time.Duration(second) * time.Second)))
			r.wake()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var got string
		for i := range ended {
			got += fmt.Sprintf("%v %v, ", began[i].Sub(start), ended[i])
		}
		if want := "0s context canceled, 15s <nil>, 1m40s <nil>, 1h1m40s <nil>, "; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestNewsDuringTheLastRead: what comes while a pass finds all as it should be does
// not wait for the next one.
func TestNewsDuringTheLastRead(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.settled(1)
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Delay: 3 * time.Second})
		for w.Count(otctest.OpTableGet) == 0 {
			w.pass(time.Second)
		}
		a.show(func(f *Facts) { f.Annotation = annotation("10.129.0.0/23") })
		w.pass(5 * time.Second)
		w.wantRoutes("10.129.0.0/23 → worker-1 *")
	})
}

// TestServersHang: a new subnet gets its route although another one is contested and
// the ECS service does not answer whose it is.
func TestServersHang(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.settled(1)
		w.PutRoute(mainTable, foreignRoute("ecs", "10.128.2.0/23", otherID))
		w.Fail(otctest.Fault{Op: otctest.OpServerGet, Hang: true, Times: -1})
		a.move("10.128.2.0/23", "10.128.8.0/23")
		w.pass(5 * time.Minute)
		w.wantRoutes("10.128.2.0/23 → "+otherID, "10.128.8.0/23 → worker-1 *")
		a.wantState(false, false)
	})
}
