package otc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc/otctest"
)

// A GET is repeated five times after a failure that may pass.
func TestReadIsRepeatedAfterTransientFailures(t *testing.T) {
	for name, f := range map[string]otctest.Fault{
		"connection reset":        {Reset: true},
		"no such host":            {Err: &net.DNSError{Err: "no such host", Name: "vpc.eu-de.otc.t-systems.com", IsNotFound: true}},
		"connection refused":      {Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}},
		"500":                     {Status: 500},
		"502, a page":             {Status: 502, Shape: otctest.ShapeHTML},
		"503, nothing":            {Status: 503, Shape: otctest.ShapeEmpty},
		"504":                     {Status: 504},
		"408":                     {Status: 408},
		"closed after the header": {Truncate: true},
		"cut after 40 bytes":      {Truncate: true, Keep: 40},
		"too large":               {Body: append([]byte(`{}`), make([]byte, 8<<20)...)},
		"half of the JSON":        {Body: []byte(`{"routetable":{"id":"`)},
		"202 of another service":  {Status: 202, Code: "VPC.0001"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, times := range []int{2, 5, 6} {
				inBubble(t, func(t *testing.T, w *world) {
					f.Op, f.Times = otctest.OpTableGet, times
					w.Fail(f)
					start, err := time.Now(), w.read()
					if (err == nil) != (times <= 5) {
						t.Errorf("%d failures: got %v", times, err)
					}
					if err != nil && ReactionTo(err) != Transient {
						t.Errorf("got %v, want a transient error", err)
					}
					w.wantCalls(otctest.OpTableGet, min(times+1, 6))
					if d := time.Since(start); d == 0 || d > 20*time.Second {
						t.Errorf("%d failures: the waits were %v in all, want some, and 20s at most", times, d)
					}
				})
			}
		})
	}
}

// Full jitter: waits begin anywhere between 0 and a limit that doubles.
func TestWaitsAreJittered(t *testing.T) {
	limits := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second}
	for attempt, limit := range limits {
		var least, most time.Duration = time.Hour, 0
		for range 1000 {
			d := jitter(attempt)
			least, most = min(least, d), max(most, d)
		}
		if least < 0 || least > limit/20 || most > limit || most < limit*19/20 {
			t.Errorf("attempt %d: got waits from %v to %v, want 0 to %v", attempt, least, most, limit)
		}
	}
	var least, most time.Duration = time.Hour, 0
	for range 1000 { // after throttling, so that a fleet does not come back in step
		k := &call{deadline: time.Now().Add(time.Minute), last: attempt{err: &Error{Reaction: Throttled}}}
		r, err := http.NewRequestWithContext(context.WithValue(t.Context(), callKey{}, k), http.MethodGet, "https://vpc.test", nil)
		if err != nil {
			t.Fatal(err)
		}
		d := backoff(0, 0, 0, &http.Response{Request: r})
		least, most = min(least, d), max(most, d)
	}
	if least < 10*time.Second || least > 12*time.Second || most > 55*time.Second || most < 53*time.Second {
		t.Errorf("after throttling: got waits from %v to %v, want 10s to 55s", least, most)
	}
	if d := jitter(1000); d < 0 || d > 10*time.Second {
		t.Errorf("got %v", d)
	}
}

// A PUT may have been applied: it is never sent again by this package unless the
// answer says that it was not carried out.
func TestWriteIsNotRepeated(t *testing.T) {
	for name, f := range map[string]otctest.Fault{
		"reset":                {Reset: true},
		"reset, applied":       {Reset: true, Applied: true},
		"timeout":              {Hang: true},
		"timeout, applied":     {Hang: true, Applied: true},
		"slow, applied":        {Delay: 30 * time.Second, Applied: true},
		"500":                  {Status: 500},
		"502, applied":         {Status: 502, Applied: true},
		"503":                  {Status: 503},
		"503 with Retry-After": {Status: 503, Header: http.Header{"Retry-After": {"1"}}},
		"504, applied":         {Status: 504, Applied: true},
		"202":                  {Status: 202, Applied: true, Shape: otctest.ShapeEmpty},
		"400 that passes":      {Status: 400, Code: "VPC.0004"},
		"cut, applied":         {Truncate: true, Applied: true},
		"half of the JSON":     {Body: []byte(`{"rou`), Applied: true},
		"a page instead":       {Status: 200, Shape: otctest.ShapeHTML, Applied: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.mustRead()
				f.Op, f.Times = otctest.OpTableUpdate, -1
				w.Fail(f)
				start, err := time.Now(), w.write()
				if ReactionTo(err) != Transient || err == nil {
					t.Errorf("got %v, want an error that may pass", err)
				}
				w.wantCalls(otctest.OpTableUpdate, 1)
				if d := time.Since(start); d > 20*time.Second {
					t.Errorf("it took %v, want 20s at most", d)
				}
			})
		})
	}
}

// What the gateway throttled was not carried out; it is repeated when the gateway
// says so, or after 10 to 60 s, if there is time left for that.
func TestThrottling(t *testing.T) {
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	const most = 5 * time.Minute // of what one answer may ask for
	for _, tt := range []struct {
		name       string
		op         string
		status     int
		retryAfter func() string
		least      time.Duration // of the wait; 0: not repeated
		most       time.Duration
		told       time.Duration // RetryAfter of the error
	}{
		{"seconds", otctest.OpTableGet, 429, func() string { return "7" }, 7 * time.Second, 7 * time.Second, 7 * time.Second},
		{"one second", otctest.OpTableGet, 429, func() string { return "1" }, time.Second, time.Second, time.Second},
		{"a date", otctest.OpTableGet, 429, func() string { return date(12 * time.Second) }, 12 * time.Second, 12 * time.Second, 12 * time.Second},
		{"nothing", otctest.OpTableGet, 429, nil, 10 * time.Second, 55 * time.Second, 0},
		{"nonsense", otctest.OpTableGet, 429, func() string { return "soon" }, 10 * time.Second, 55 * time.Second, 0},
		{"zero", otctest.OpTableGet, 429, func() string { return "0" }, 10 * time.Second, 55 * time.Second, 0},
		{"a date that is over", otctest.OpTableGet, 429, func() string { return date(-time.Hour) }, 10 * time.Second, 55 * time.Second, 0},
		{"too long to wait", otctest.OpTableGet, 429, func() string { return "58" }, 0, 0, 58 * time.Second},
		{"a date too far away", otctest.OpTableGet, 429, func() string { return date(5 * time.Minute) }, 0, 0, most},
		{"a day", otctest.OpTableGet, 429, func() string { return "86400" }, 0, 0, most},
		{"a write, which is for the caller", otctest.OpTableUpdate, 429, func() string { return "7" }, 0, 0, 7 * time.Second},
		{"a login", otctest.OpLogin, 429, func() string { return "7" }, 7 * time.Second, 7 * time.Second, 7 * time.Second},
		{"IAM fails over", otctest.OpLogin, 410, nil, 10 * time.Second, 55 * time.Second, 0},
		{"the flow limit of ECS", otctest.OpServerGet, 202, nil, 10 * time.Second, 55 * time.Second, 0},
		{"503 that says when", otctest.OpTableGet, 503, func() string { return "7" }, 7 * time.Second, 7 * time.Second, 7 * time.Second},
		{"503 that says too late", otctest.OpTableGet, 503, func() string { return "120" }, 0, 0, 2 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				f := otctest.Fault{Op: tt.op, Status: tt.status, Header: http.Header{}}
				if tt.retryAfter != nil {
					f.Header.Set("Retry-After", tt.retryAfter())
				}
				w.Fail(f)
				start := time.Now()
				err := w.callOf(tt.op)
				if d := time.Since(start); d < tt.least || d > tt.most {
					t.Errorf("got a wait of %v, want %v to %v", d, tt.least, tt.most)
				}
				if tt.most > 0 && err != nil {
					t.Errorf("got %v", err)
				}
				if tt.most == 0 {
					if e := asError(t, err); RetryAfter(err) != tt.told || e.Status != tt.status {
						t.Errorf("got %v, Retry-After %v; want status %d, %v", e, e.RetryAfter, tt.status, tt.told)
					}
				}
				w.wantCalls(tt.op, map[bool]int{true: 1, false: 2}[tt.most == 0])
			})
		})
	}
}

// R13: a date is read by the clock of whoever wrote it, not by ours.
func TestRetryAfterByTheirClock(t *testing.T) {
	now := time.Date(2026, 9, 20, 9, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, tt := range []struct {
		date, retryAfter string
		want             time.Duration
	}{
		{at(0), at(time.Minute), time.Minute},
		{at(-time.Hour), at(time.Minute - time.Hour), time.Minute}, // their clock is an hour behind
		{at(time.Hour), at(time.Minute + time.Hour), time.Minute},
		{at(time.Hour), at(time.Minute), 0},
		{"", at(time.Minute), time.Minute},
		{"yesterday", at(time.Minute), time.Minute},
		{at(0), at(365 * 24 * time.Hour), 5 * time.Minute},
		{at(0), "7", 7 * time.Second},
		{at(0), "-7", 0},
		{at(0), "99999999999999999999", 0},
		{at(0), "9000000000000000000", 5 * time.Minute},
	} {
		header := http.Header{"Date": {tt.date}, "Retry-After": {tt.retryAfter}}
		if got := retryAfter(header, now); got != tt.want {
			t.Errorf("Date %q, Retry-After %q: got %v, want %v", tt.date, tt.retryAfter, got, tt.want)
		}
	}
}

// callOf makes the call that the simulator names op.
func (w *world) callOf(op string) error {
	name := map[string]string{otctest.OpLogin: "vpc get_route_table", otctest.OpTableGet: "vpc get_route_table",
		otctest.OpTableUpdate: "vpc update_route_table", otctest.OpServerGet: "ecs get_server",
		otctest.OpServerList: "ecs list_servers", otctest.OpPortList: "vpc list_ports", otctest.OpQuotas: "vpc list_quotas"}[op]
	return everyCall()[name](w.t.Context(), w.client)
}

// Throttled for ever: the call ends in its minute, with few requests.
func TestThrottlingDoesNotHammer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustRead()
		w.Reset()
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Times: -1, Status: 429})
		start := time.Now()
		if e := asError(t, w.read()); e.Reaction != Throttled {
			t.Errorf("got %v, want throttled", e)
		}
		if n := w.Count(otctest.OpTableGet); n < 2 || n > 6 || time.Since(start) > time.Minute {
			t.Errorf("got %d requests in %v, want 2 to 6 in a minute", n, time.Since(start))
		}
		w.wantApart(otctest.OpTableGet, 10*time.Second)
	})
}

// Peers that hang, or send a byte a second: every call ends within its minute,
// and one attempt within 20 seconds.
func TestHangingPeers(t *testing.T) {
	for name, f := range map[string]otctest.Fault{"no answer": {Hang: true}, "a byte a second": {Slow: time.Second}, "31 s late": {Delay: 31 * time.Second}} {
		for _, op := range []string{otctest.OpLogin, otctest.OpTableGet, otctest.OpTableUpdate, otctest.OpServerGet, otctest.OpServerList, otctest.OpPortList} {
			t.Run(name+" "+op, func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					f.Op, f.Times = op, -1
					w.Fail(f)
					start, err := time.Now(), w.callOf(op)
					if e := asError(t, err); e.Reaction != Transient || e.Status != 0 || e.Err == nil {
						t.Errorf("got %v, want a timeout", e)
					}
					if d := time.Since(start); d > time.Minute || d < 20*time.Second {
						t.Errorf("it took %v, want 20s to 1m", d)
					}
					if want := map[bool]int{true: 1, false: 3}[op == otctest.OpLogin || op == otctest.OpTableUpdate]; w.Count(op) > want {
						t.Errorf("got %d attempts, want %d at most", w.Count(op), want)
					}
				})
			})
		}
	}
}

// The caller's deadline, or its end, is kept, in a wait as well.
func TestCallerGivesUp(t *testing.T) {
	for name, f := range map[string]otctest.Fault{"hanging": {Hang: true}, "throttled": {Status: 429}, "failing": {Status: 503}} {
		inBubble(t, func(t *testing.T, w *world) {
			w.mustRead()
			f.Op, f.Times = otctest.OpTableGet, -1
			w.Fail(f)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := w.client.RouteTable(ctx, otctest.TableID)
				done <- err
			}()
			synctest.Wait()
			cancel()
			start := time.Now()
			if err := <-done; err == nil || time.Since(start) != 0 {
				t.Errorf("%s: got %v after %v, want an error at once", name, err, time.Since(start))
			}
			n := w.Count("")
			pass(time.Hour)
			w.wantCalls("", n)
		})
	}
}
