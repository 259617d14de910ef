package node

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// A deadCloud answers every read of a route table with an error, and notes when.
type deadCloud struct {
	err func() error

	mu    sync.Mutex
	times []time.Time
}

// asked returns when it was asked.
func (c *deadCloud) asked() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.times)
}

func (c *deadCloud) RouteTable(context.Context, string) (otc.RouteTable, error) {
	c.mu.Lock()
	c.times = append(c.times, time.Now())
	c.mu.Unlock()
	return otc.RouteTable{}, c.err()
}

func (c *deadCloud) UpdateRoutes(context.Context, string, otc.Changes) error {
	return errors.New("not reached")
}

func (c *deadCloud) Server(_ context.Context, id string) (otc.Server, error) {
	return otc.Server{ID: id, Fixed: []netip.Addr{addrOf(1)}}, nil
}

func (c *deadCloud) ServersByIP(context.Context, netip.Addr) ([]otc.Server, error) { return nil, nil }
func (c *deadCloud) ServersByName(context.Context, string) ([]otc.Server, error)   { return nil, nil }
func (c *deadCloud) Servers(context.Context) ([]otc.Server, error)                 { return nil, nil }
func (c *deadCloud) RouteQuota(context.Context) (int, error)                       { return 0, c.err() }
func (c *deadCloud) CredentialsChanged() bool                                      { return false }

func TestBackoff(t *testing.T) {
	transient := &otc.Error{Status: 503, Reaction: otc.Transient}
	for _, tt := range []struct {
		name         string
		err          error
		first, limit time.Duration // the first wait lies between half of first and first
		min          time.Duration // no wait is shorter
	}{
		{"transient", transient, time.Second, 5 * time.Minute, 0},
		{"no answer", &otc.Error{Err: errors.New("connection reset"), Reaction: otc.Transient}, time.Second, 5 * time.Minute, 0},
		{"contended", &otc.Error{Status: 409, Reaction: otc.Conflict}, time.Second, 5 * time.Minute, 0},
		{"not shown", errUnconfirmed, time.Second, 5 * time.Minute, 0},
		{"no time left", context.DeadlineExceeded, time.Second, 5 * time.Minute, 0},
		{"exists already", &otc.Error{Status: 400, Code: "VPC.2812", Reaction: otc.Rejected, Stale: true}, time.Second, 5 * time.Minute, 0},
		{"forbidden", &otc.Error{Status: 403, Reaction: otc.Permanent}, time.Minute, 15 * time.Minute, 0},
		{"unknown table", &otc.Error{Status: 404, Code: "VPC.2808", Reaction: otc.Permanent}, time.Minute, 15 * time.Minute, 0},
		{"quota", &otc.Error{Status: 409, Reaction: otc.Quota}, time.Minute, 15 * time.Minute, 0},
		{"no token is good enough", &otc.Error{Status: 401, Reaction: otc.Relogin}, time.Minute, 15 * time.Minute, 0},
		{"one route refused", &otc.Error{Status: 400, Code: "VPC.2809", Reaction: otc.Rejected}, time.Minute, 15 * time.Minute, 0},
		{"guard", otc.ErrGuard, time.Minute, 15 * time.Minute, 0},
		{"no instance", ErrNoInstance, time.Minute, 15 * time.Minute, 0},
		{"other VPC", errOtherVPC, time.Minute, 15 * time.Minute, 0},
		{"throttled", &otc.Error{Status: 429, Reaction: otc.Throttled}, time.Minute, 5 * time.Minute, 10 * time.Second},
		{"throttled, told how long", &otc.Error{Status: 429, Reaction: otc.Throttled, RetryAfter: 7 * time.Minute}, 0, 7*time.Minute + 10*time.Second, 7 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for failures := range 40 {
				full := tt.limit
				if tt.first > 0 && failures < 20 {
					full = min(tt.first<<failures, tt.limit)
				}
				lower := max(tt.min, full/2)
				if tt.min > 0 {
					lower = tt.min
				}
				waits := map[time.Duration]bool{}
				for range 50 {
					wait := backoff(tt.err, failures)
					if wait < lower || wait > full {
						t.Fatalf("after %d failures: %v, want between %v and %v", failures, wait, lower, full)
					}
					waits[wait] = true
				}
				if len(waits) < 10 {
					t.Errorf("after %d failures: %d different waits of 50, want jitter", failures, len(waits))
				}
			}
		})
	}
}

// The waits grow in a running process too, and start again after news.
func TestBackoffGrows(t *testing.T) {
	bubble(t, func(w *world) {
		cloud := &deadCloud{err: func() error { return &otc.Error{Status: 503, Reaction: otc.Transient} }}
		a := w.agent(1)
		a.cloud = cloud
		a.start()
		a.see()
		w.pass(time.Hour)
		asked := cloud.asked()
		for i := range len(asked) - 1 {
			gap, full := asked[i+1].Sub(asked[i]), min(time.Second<<min(i, 16), 5*time.Minute)
			if gap < full/2 || gap > full {
				t.Errorf("wait %d: %v, want between %v and %v", i, gap, full/2, full)
			}
		}
		before := len(asked)
		if before < 20 || before > 35 {
			t.Errorf("%d attempts in an hour", before)
		}
		a.move("10.129.0.0/23")
		if n := len(cloud.asked()); n != before+1 {
			t.Errorf("%d attempts at the news, want 1", n-before)
		}
		w.pass(time.Second)
		if n := len(cloud.asked()); n != before+2 {
			t.Errorf("%d attempts within a second of the news, want 2", n-before)
		}
	})
}

// While the instance is not found and the next look is far away, another
// annotation makes it due at once as well.
func TestNewsGoFirstWhileLookingForTheInstance(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.agent(1)
		w.DeleteServer(a.id)
		a.start()
		a.see()
		w.pass(time.Hour)
		w.AddServer(otctest.Instance{ID: a.id, Name: a.name, Fixed: []string{"10.20.0.11"}})
		w.Reset()
		a.move("10.129.0.0/23")
		w.wantRoutes("10.129.0.0/23 → worker-1 *")
		a.wantState(true, true)
	})
}

// TestR10: no outage ends the process or its liveness, however long, and then the
// table is right within one back-off.
func TestR10(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault otctest.Fault
		begun bool // the routes were confirmed before
		limit int  // calls in the outage
	}{
		{"no connection from the start", otctest.Fault{Err: errors.New("no route to host")}, false, 24 * 26 * 6},
		{"no connection", otctest.Fault{Err: errors.New("no route to host")}, true, 24 * 26 * 6},
		{"503", otctest.Fault{Status: 503}, true, 24 * 26 * 6},
		{"no answer", otctest.Fault{Hang: true}, true, 24 * 26 * 6},
		{"throttled from the start", otctest.Fault{Status: 429}, false, 24 * 26 * 6},
		{"VPC forbids", otctest.Fault{Op: otctest.OpTableGet, Status: 403}, true, 24 * 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				a := w.agent(1)
				a.start()
				if tt.begun {
					a.see()
				}
				tt.fault.Times = -1
				w.Fail(tt.fault)
				w.Reset()
				a.move("10.129.0.0/23")
				for range 24 * 4 {
					w.pass(15 * time.Minute)
					a.wantState(false, false)
				}
				if n := w.Count(""); n > tt.limit {
					t.Errorf("%d calls in a day, want at most %d", n, tt.limit)
				}
				if n := a.lines("error"); n > 49 {
					t.Errorf("%d error lines in a day, want at most two an hour", n)
				}
				w.Heal()
				w.pass(16 * time.Minute)
				w.wantRoutes("10.129.0.0/23 → worker-1 *")
				a.wantState(true, true)
			})
		})
	}
}

// An outage after the routes are confirmed changes nothing: they are right. Its end
// is told once, and so is the next one.
func TestOutageOfTheDriftCheck(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.settled(1, func(c *Config) { c.DriftInterval = 5 * time.Minute })
		for n, hours := range []int{24, 0} {
			w.Fail(otctest.Fault{Times: -1, Status: 503})
			w.pass(7 * time.Minute)
			for range hours {
				w.pass(time.Hour)
				a.wantState(true, true)
			}
			if told := a.lines("error could not check route table"); told < n+1 || told > 49+n {
				t.Errorf("%d lines in a day", told)
			}
			w.Heal()
			w.pass(7 * time.Minute)
			a.wantTold(n+1, "info route table "+mainTable+" can be read again")
			w.wantRoutes("10.128.2.0/23 → worker-1 *")
			if s := a.Status(); s.Line() != "all routes are confirmed" {
				t.Errorf("the error stays: %s", s.Line())
			}
		}
		w.wantPuts()
	})
}
