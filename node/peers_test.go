package node

import (
	"context"
	"errors"
	"testing"
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
			a.start()
			a.see()
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

// A muteKube takes no Events: whoever writes one waits.
type muteKube struct {
	*kubeAPI
	release chan struct{}
}

func (k muteKube) Event(warning bool, reason, message string) {
	if reason == "AnnotationInvalid" {
		<-k.release
	}
	k.kubeAPI.Event(warning, reason, message)
}

// TestWedgedBetween: a worker that does not come to a due attempt is not alive.
func TestWedgedBetween(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.agent(1)
		mute := muteKube{a.kube, make(chan struct{})}
		ctx, stop := context.WithCancel(w.t.Context())
		r := New(a.client(nil), mute, a.counts, NewRecorder(nil, mute.Event), a.cfg)
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		f := a.facts
		r.Observe(&f)
		w.pass(time.Second)
		bad := f
		bad.Annotation = "{"
		r.Observe(&bad)
		w.pass(18 * time.Minute) // the next look was due by then at the latest
		if err := r.Alive(); err != nil && !r.due.Before(time.Now().Add(-stuckAfter)) {
			t.Errorf("too early: %v", err)
		}
		w.pass(11 * time.Minute)
		if r.Alive() == nil {
			t.Error("a worker that does not come to its work is alive")
		}
		close(mute.release)
		w.pass(time.Minute)
		if err := r.Alive(); err != nil {
			t.Errorf("after it: %v", err)
		}
		stop()
		<-done
	})
}

// TestNewsEndAPass: a pass that hangs while the Node moves on must not write what
// is another Node's by the time the cloud answers.
func TestNewsEndAPass(t *testing.T) {
	bubble(t, func(w *world) {
		w.Fail(otctest.Fault{Op: otctest.OpServerGet, Delay: 2 * time.Second})
		slow := w.agent(1)
		slow.start()
		slow.show()
		w.pass(time.Second)
		slow.show(func(f *Facts) { f.Annotation = annotation("10.128.8.0/23") })
		next := w.up(2)
		next.move(subnetOf(1).String())
		w.wantRoutes("10.128.2.0/23 → worker-2 *")
		w.pass(time.Minute)
		w.wantRoutes("10.128.2.0/23 → worker-2 *", "10.128.8.0/23 → worker-1 *")
		slow.wantState(true, true)
		slow.wantEvents(0, "RouteFailed")
	})
}

// TestNewsEndAThrottledPass: the same while a PUT waits because it was throttled.
func TestNewsEndAThrottledPass(t *testing.T) {
	bubble(t, func(w *world) {
		w.PutRoute(mainTable, otctest.Route{Type: "ecs", Destination: "10.128.2.0/23", NextHop: otherID})
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: 429})
		slow := w.up(1)
		slow.show(func(f *Facts) { f.Annotation = annotation("10.128.8.0/23") })
		next := w.up(2)
		next.move(subnetOf(1).String())
		w.wantRoutes("10.128.2.0/23 → worker-2 *")
		w.pass(2 * time.Minute)
		w.wantRoutes("10.128.2.0/23 → worker-2 *", "10.128.8.0/23 → worker-1 *")
		slow.wantState(true, true)
		slow.wantEvents(0, "RouteFailed")
	})
}

// A flapping cloud shows its table in turn as it is and as it was, and takes no change.
type flapping struct {
	Cloud
	looks, calls int
}

func (c *flapping) RouteTable(ctx context.Context, id string) (otc.RouteTable, error) {
	c.looks++
	view, err := c.Cloud.RouteTable(ctx, id)
	if c.looks%2 == 0 {
		view.Routes = nil
	}
	return view, err
}

func (c *flapping) UpdateRoutes(context.Context, string, otc.Changes) error {
	if c.calls++; c.calls > 1000 { // it would go on for ever
		return &otc.Error{Service: "vpc", Status: 403}
	}
	return &otc.Error{Service: "vpc", Status: 400, Code: "VPC.2809", Reaction: otc.Rejected}
}

// TestFlapping: a table that looks different each time is not a reason to hammer.
func TestFlapping(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.agent(1)
		w.PutRoute(mainTable, otctest.Route{Type: "ecs", Destination: "10.128.2.0/23", NextHop: otherID})
		a.facts.Annotation = annotation("10.128.2.0/23", "10.128.8.0/23")
		cloud := &flapping{Cloud: a.client(nil)}
		a.cloud = cloud
		a.start()
		a.see()
		if cloud.calls > 10 {
			t.Errorf("%d PUTs by one attempt", cloud.calls)
		}
	})
}

// TestBackDuringTheCleanUp: a Node that comes back, as itself, when its routes
// are gone from one of two tables has them again in both.
func TestBackDuringTheCleanUp(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1, w.tables(2))
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: 403, Times: -1, Match: func(r otctest.Request) bool { return r.Path[len(r.Path)-36:] == tableID(2) }})
		a.vanish()
		w.pass(removalDelay + time.Second)
		w.wantRoutes()
		w.wantTable(tableID(2), home)
		a.see()
		w.Heal()
		w.pass(time.Minute)
		w.wantRoutes(home)
		w.wantTable(tableID(2), home)
		a.wantState(true, true)
	})
}

// TestBackJustInTime: a Node that comes back while its routes are being looked up
// for removal keeps them.
func TestBackJustInTime(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1)
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Delay: 2 * time.Second})
		a.vanish()
		w.pass(removalDelay + time.Second)
		a.show()
		w.Reset()
		w.pass(time.Minute)
		w.wantPuts()
		w.wantRoutes(home)
		a.wantState(true, true)
	})
}
