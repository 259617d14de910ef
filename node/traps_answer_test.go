package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"otc-route-manager/otc/otctest"
)

// answerTraps are about answers that do not say what they mean.
func answerTraps() []trap {
	list := []trap{{
		name:  "trap 12: ECS says with 202 that it is throttling",
		set:   fail(otctest.Fault{Op: otctest.OpServerGet, Status: http.StatusAccepted, Code: "Common.0024"}),
		table: []string{home}, calls: "login server:202 server get put get", state: "ready, in sync",
		told: []string{"log success", "count add success = 1"},
	}, {
		name: "trap 14: code and message are swapped",
		set: func(w *world, a *agent) {
			w.Set(func(k *otctest.Knobs) { k.SwapCode = true })
			a.facts.ProviderID = "openstack:///" + otherID
		},
		table: []string{home}, calls: "login server:404 server get put get", state: "ready, in sync",
		told: []string{"log success", "count pass error = 0"},
	}, {
		name:  "trap 14: a proxy answers with a page",
		set:   fail(otctest.Fault{Op: otctest.OpTableGet, Status: http.StatusBadGateway, Shape: otctest.ShapeHTML, Times: -1}),
		run:   both(hours(0.5), heal),
		table: []string{home}, calls: "login server( get:502){30,150} get put get", state: "ready, in sync",
		told: []string{"log error could not … route table … an HTML page", "event Warning RouteFailed … an HTML page", "log success"},
	}}
	for _, code := range []string{"Ecs.0301", "Ecs.1000", "Ecs.1001", "Ecs.1002", "Ecs.1100", "Ecs.1200"} {
		list = append(list, trap{
			name:  "trap 13: an ECS failure dressed as 400 (" + code + ")",
			set:   fail(otctest.Fault{Op: otctest.OpServerGet, Status: http.StatusBadRequest, Code: code, Times: 2}),
			table: []string{home}, calls: "login server:400 server:400 server get put get", state: "ready, in sync",
			told: []string{"count retry transient = 2", "count pass error = 0", "log success"},
		})
	}
	for shape, name := range map[otctest.Shape]string{otctest.ShapeIAM: "IAM", otctest.ShapeIAMCode: "IAM with code", otctest.ShapeVPC: "VPC", otctest.ShapeECS: "ECS",
		otctest.ShapeNova: "Nova", otctest.ShapeAPIGW: "gateway", otctest.ShapeMessage: "message only"} {
		list = append(list, trap{
			name:  "trap 14: a refusal in the shape " + name,
			set:   fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: http.StatusForbidden, Shape: shape, Times: -1}),
			run:   both(hours(1), heal),
			table: []string{home}, calls: "login server( get put:403){7,13} get put get", state: "ready, in sync",
			told: []string{"log error could not … route table … HTTP 403 … vpc:routeTables:update", "event Warning RouteFailed … vpc:routeTables:update", "log success"},
		})
	}
	for shape, name := range map[otctest.Shape]string{otctest.ShapeHTML: "an HTML page", otctest.ShapeEmpty: "an empty body"} {
		list = append(list, trap{
			name:  "trap 49: 403 with " + name + " is no word of VPC",
			set:   fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: http.StatusForbidden, Shape: shape, Times: -1}),
			run:   both(hours(0.4), heal),
			table: []string{home}, calls: "login server( get put:403 get){7,30} get put get", state: "ready, in sync",
			told: []string{"log error could not … route table … HTTP 403 with " + name + " … HTTPS_PROXY", "event Warning RouteFailed … HTTPS_PROXY", "log success"},
		})
	}
	return append(list, brokenTraps()...)
}

// brokenTraps are about connections that do not hold.
func brokenTraps() []trap {
	dns := &net.DNSError{Err: "no such host", Name: "vpc.eu-de.otc.test"}
	again := func(name string, f otctest.Fault, calls, told string) trap {
		f.Times = 2
		return trap{name: "trap 38: " + name, set: fail(f), run: hours(0.2), table: []string{home}, calls: calls, state: "ready, in sync",
			told: []string{told, "log success", "count add success = 1"}}
	}
	read := func(name string, f otctest.Fault) trap {
		f.Op = otctest.OpTableGet
		return again(name, f, "login server get(:-)? get(:-)? get put get", "count retry connection = 2")
	}
	write := func(name string, f otctest.Fault) trap {
		f.Op = otctest.OpTableUpdate
		return again(name, f, "login server get put(:-)? get get put(:-)? get get put get", "log error could not")
	}
	return []trap{
		read("no answer for 35 seconds", otctest.Fault{Delay: 35 * time.Second}),
		read("no answer at all", otctest.Fault{Hang: true}),
		read("a byte per second", otctest.Fault{Slow: time.Second}),
		read("the connection ends behind the header", otctest.Fault{Truncate: true}),
		read("the connection ends in the body", otctest.Fault{Truncate: true, Keep: 80}),
		read("half a JSON document", otctest.Fault{Body: []byte(`{"routetable":{"id":"8e1b`)}),
		read("the connection is reset", otctest.Fault{Reset: true}),
		read("the name does not resolve", otctest.Fault{Err: dns}),
		read("the handshake fails", otctest.Fault{Err: fmt.Errorf("remote error: tls: handshake failure: %w", context.DeadlineExceeded)}),
		write("a PUT that is not applied hangs", otctest.Fault{Hang: true}),
		write("a PUT that is not applied is reset", otctest.Fault{Reset: true}),
	}
}

// throttleTraps are about budgets.
func throttleTraps() []trap {
	throttled := func(op string, header http.Header) func(*world, *agent) {
		return fail(otctest.Fault{Op: op, Status: http.StatusTooManyRequests, Code: "APIGW.0308", Header: header})
	}
	date := func(w *world, a *agent) {
		throttled(otctest.OpTableUpdate, http.Header{"Retry-After": {time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat)}})(w, a)
	}
	// waited fails the test unless the PUT was repeated after such a time.
	waited := func(least, most time.Duration) func(*world, *agent) {
		return func(w *world, _ *agent) {
			w.pass(time.Hour)
			var at []time.Time
			for _, r := range w.Requests() {
				if r.Op == otctest.OpTableUpdate {
					at = append(at, r.Time)
				}
			}
			if got := at[1].Sub(at[0]); got < least || got > most {
				w.t.Errorf("repeated after %v, want %v to %v", got, least, most)
			}
		}
	}
	row := func(name string, set, run func(*world, *agent)) trap {
		return trap{name: "trap 15: " + name, set: set, run: run, table: []string{home}, calls: "login server get put:429( get)? put get", state: "ready, in sync",
			told: []string{"count add success = 1", "log success"}}
	}
	const put = otctest.OpTableUpdate
	return []trap{
		row("throttled without Retry-After", throttled(put, nil), waited(10*time.Second, 60*time.Second)),
		row("throttled with seconds", throttled(put, http.Header{"Retry-After": {"7"}}), waited(7*time.Second, 8*time.Second)),
		row("throttled with a date", date, waited(20*time.Second, 21*time.Second)),
		row("throttled for longer than one call may take", throttled(put, http.Header{"Retry-After": {"3600"}}), waited(300*time.Second, 330*time.Second)),
		{
			name: "trap 15: the user's limit is used up by somebody else",
			set: func(w *world, a *agent) {
				w.Set(func(k *otctest.Knobs) {
					k.Writes, k.RetryAfter = otctest.Limit{N: 1, Per: 5 * time.Minute}, otctest.RetryAfterSeconds
				})
				b := w.agent(2, func(c *Config) { c.DriftInterval = 0 })
				b.boot()
				w.Reset()
			},
			table: []string{home, "10.128.4.0/23 → worker-2 *"}, calls: "login server get put:429( get){1,3} put get", state: "ready, in sync", // with the other worker's reads
			told: []string{"log error … 429 … APIGW.0308", "event Warning RouteFailed", "log success"},
		}}
}
