package node

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

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
		{"exists already", &otc.Error{Status: 400, Code: "VPC.2812", Reaction: otc.Rejected, OutdatedRequest: true}, time.Second, 5 * time.Minute, 0},
		{"forbidden", &otc.Error{Status: 403, Reaction: otc.Permanent}, time.Minute, 15 * time.Minute, 0},
		{"unknown table", &otc.Error{Status: 404, Code: "VPC.2808", Reaction: otc.Permanent}, time.Minute, 15 * time.Minute, 0},
		{"quota", &otc.Error{Status: 409, Reaction: otc.Quota}, time.Minute, 15 * time.Minute, 0},
		{"no token is good enough", &otc.Error{Status: 401, Reaction: otc.Relogin}, time.Minute, 15 * time.Minute, 0},
		{"one route refused", &otc.Error{Status: 400, Code: "VPC.2809", Reaction: otc.Rejected}, time.Minute, 15 * time.Minute, 0},
		{"guard", otc.ErrGuard, time.Minute, 15 * time.Minute, 0},
		{"no instance", errNoInstance, time.Minute, 15 * time.Minute, 0},
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

// Failures of one kind do not make the waits after the other kind longer.
func TestBackoffOfAnotherKind(t *testing.T) {
	passing, lasting := &otc.Error{Status: 503, Reaction: otc.Transient}, &otc.Error{Status: 403, Reaction: otc.Permanent}
	var s schedule
	for _, tt := range []struct {
		err   error
		times int
		last  time.Duration // the longest wait after the last of them
	}{
		{passing, 12, 5 * time.Minute},
		{lasting, 1, time.Minute},
		{lasting, 1, 2 * time.Minute},
		{passing, 1, time.Second},
	} {
		var wait time.Duration
		for range tt.times {
			wait = s.failed(tt.err, time.Now())
		}
		if wait < tt.last/2 || wait > tt.last {
			t.Errorf("%v: waits %v, want between %v and %v", tt.err, wait, tt.last/2, tt.last)
		}
	}
}

// The waits grow in a running process too, and start again after news.
func TestBackoffGrows(t *testing.T) {
	bubble(t, func(w *world) {
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: 403, Times: -1})
		a := w.up(1)
		w.pass(3 * time.Hour)
		a.move("10.129.0.0/23")
		w.pass(time.Minute)
		reads := slices.DeleteFunc(w.Requests(), func(r otctest.Request) bool { return r.Op != otctest.OpTableGet })
		gap := func(i int) time.Duration { return reads[i+1].Time.Sub(reads[i].Time) }
		for i := range 8 {
			if full := min(time.Minute<<i, 15*time.Minute); gap(i) < full/2 || gap(i) > full {
				t.Errorf("wait %d: %v, want between %v and %v", i, gap(i), full/2, full)
			}
		}
		if soon := gap(len(reads) - 2); soon > time.Minute {
			t.Errorf("%v after the attempt at the news, want a minute at most", soon)
		}
	})
}

// While the instance is not found and the next look is far away, another
// annotation makes it due at once as well.
func TestNewsGoFirstWhileLookingForTheInstance(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.agent(1)
		w.DeleteServer(a.id)
		a.boot()
		w.pass(time.Hour)
		if n := a.counts.get("pass error"); n < 7 || n > 13 {
			t.Errorf("%d passes in the hour count as errors", n)
		}
		w.AddServer(otctest.Instance{ID: a.id, Name: a.name, Fixed: []string{"10.20.0.11"}})
		w.Reset()
		a.move("10.129.0.0/23")
		w.wantRoutes("10.129.0.0/23 → worker-1 *")
		a.wantState(true, true)
	})
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
