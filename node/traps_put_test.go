package node

import (
	"fmt"
	"net/http"
	"time"

	"otc-route-manager/otc/otctest"
)

// before has somebody do something between our read and our write.
func before(f func(w *world)) func(*world, *agent) {
	return func(w *world, _ *agent) {
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Before: func() { f(w) }, Delay: time.Millisecond})
	}
}

// putTraps are about PUTs that are refused.
func putTraps() []trap {
	mine := otctest.Route{Type: "ecs", Destination: "10.128.2.0/23", NextHop: ecsID(1), Description: "by hand"}
	seven := []string{"10.128.2.0/23", "10.128.8.0/23", "10.128.10.0/23", "10.128.12.0/23", "10.128.14.0/23", "10.128.16.0/23", "10.128.18.0/23"}
	var all []string
	for _, s := range seven {
		all = append(all, s+" → worker-1 *")
	}
	wants := func(subnets ...string) func(*world, *agent) {
		return func(_ *world, a *agent) { a.facts.Annotation = annotation(subnets...) }
	}
	swallow := func(w *world, _ *agent) {
		w.AddSubnet(otctest.VPCID, otctest.Subnet{ID: "11111111-9c34-47be-a5d7-3e8b1c60f942", CIDR: "10.128.12.0/22"})
	}
	return []trap{{
		name:  "trap 22: a PUT answers what was",
		set:   knob(func(k *otctest.Knobs) { k.PutAnswer = otctest.PutAnswerStale }),
		table: []string{home}, calls: first, told: []string{"log success", "count add success = 1"}, state: "ready, in sync",
	}, {
		name:  "trap 23: the destination exists, with our next hop",
		set:   before(func(w *world) { w.PutRoute(mainTable, mine) }),
		table: []string{"10.128.2.0/23 → worker-1"}, calls: "login server get put:400 get", state: "ready, in sync",
		told: []string{"log success", "count add error = 1", "count pass error = 0"},
	}, {
		name:  "trap 23: the destination exists, with another next hop (409)",
		set:   both(knob(func(k *otctest.Knobs) { k.DuplicateStatus = 409 }), before(func(w *world) { w.PutRoute(mainTable, foreignRoute("ecs", "10.128.2.0/23", otherID)) })),
		table: []string{home}, calls: "login server get put:409 get put get", state: "ready, in sync",
		told: []string{"log success", "count add error = 1", "count modify success = 1", "count pass error = 0"},
	}, {
		name:  "trap 23: the destination exists, with another next hop",
		set:   before(func(w *world) { w.PutRoute(mainTable, foreignRoute("ecs", "10.128.2.0/23", otherID)) }),
		table: []string{home}, calls: "login server get put:400 get put get", state: "ready, in sync",
		told: []string{"log success", "count modify success = 1", "count pass error = 0"},
	}, {
		name: "trap 24: the cloud adds before it deletes, and the destination is to change hands",
		set: both(knob(func(k *otctest.Knobs) { k.AddFirst = true }),
			has(otctest.Route{Type: "ecs", Destination: "10.128.2.0/23", NextHop: otherID, Description: Mark + ": worker-1"})),
		run:   func(w *world, _ *agent) { w.wantPuts("mod 10.128.2.0/23") },
		table: []string{home}, calls: first, told: []string{"log success", "count modify success = 1"}, state: "ready, in sync",
	}, {
		name:  "trap 25: a request takes five routes at most",
		set:   both(wants(seven...), knob(func(k *otctest.Knobs) { k.MaxRoutesPerRequest = 5 })),
		table: all, calls: "login server get put get put get", state: "ready, in sync",
		told: []string{"log success", "count add success = 7", "count pass error = 0"},
	}, {
		name: "trap 26: one route of seven overlaps a subnet of the VPC",
		set:  both(wants(seven...), swallow), run: hours(0.9),
		table: append(append([]string{}, all[:3]...), all[5:]...), state: "not ready",
		calls: "login server get put:400 get( put get){3}( put:400 get){2} put get put get( get( put:400 get){3}){5,12}",
		told:  []string{"log error could not … route table … 10.128.12.0/23 … VPC.2809 … overlap", "event Warning RouteFailed … 10.128.14.0/23", "status VPC.2809"},
	}}
}

// missingTraps are about routes that are gone when they are to be changed.
func missingTraps() []trap {
	return []trap{{
		name: "trap 37: the route to delete is gone",
		run: func(w *world, a *agent) {
			before(func(w *world) { w.DeleteRoute(mainTable, "10.128.2.0/23") })(w, a)
			moves("10.128.8.0/23")(w, a)
		},
		table: []string{"10.128.8.0/23 → worker-1 *"}, calls: first + " get put:400 get put get", state: "ready, in sync",
		told: []string{"log success … 10.128.8.0/23", "count pass error = 0"},
	}, {
		name: "trap 37: the route to modify is gone",
		set: both(has(otctest.Route{Type: "ecs", Destination: "10.128.2.0/23", NextHop: otherID, Description: lost}),
			before(func(w *world) { w.DeleteRoute(mainTable, "10.128.2.0/23") })),
		table: []string{home}, calls: "login server get put:400 get put get", state: "ready, in sync",
		told: []string{"log success", "count modify error = 1", "count add success = 1", "count pass error = 0"},
	}, {
		name: "trap 37: the route to modify is gone, and the cloud says nothing",
		set: both(knob(func(k *otctest.Knobs) { k.ModMissing = otctest.ModMissingIgnored }),
			has(otctest.Route{Type: "ecs", Destination: "10.128.2.0/23", NextHop: otherID, Description: lost}),
			before(func(w *world) { w.DeleteRoute(mainTable, "10.128.2.0/23") })),
		table: []string{home}, calls: "login server get put( get){4} get put get", state: "ready, in sync",
		told: []string{"log error … accepted, but the route table does not show it", "log success"},
	}}
}

// fullTraps are about a table without room.
func fullTraps() []trap {
	var list []trap
	fill := func(n, status int, countLocal bool) func(*world, *agent) {
		return func(w *world, _ *agent) {
			for i := range n {
				w.PutRoute(mainTable, otctest.Route{Type: "nat", Destination: fmt.Sprintf("192.168.%d.0/24", i), NextHop: natID, Description: lost})
			}
			w.Set(func(k *otctest.Knobs) { k.FullStatus, k.CountLocal = status, countLocal })
		}
	}
	for _, k := range []struct {
		name      string
		n, status int
		local     bool
	}{{"409", 200, 409, false}, {"400", 200, 400, false}, {"409, local routes count", 196, 409, true}} {
		list = append(list, trap{
			name: "trap 29: the table is full (" + k.name + ")",
			set:  fill(k.n, k.status, k.local),
			run: func(w *world, a *agent) {
				w.pass(time.Hour)
				a.wantState(false, false)
				w.wantPattern("login server( get put:" + fmt.Sprint(k.status) + "){7,13}")
				for i := range k.n {
					w.DeleteRoute(mainTable, fmt.Sprintf("192.168.%d.0/24", i))
				}
				w.pass(16 * time.Minute)
			},
			table: []string{home}, calls: "get put get", state: "ready, in sync",
			told: []string{"log error could not … route table … Quota exceeded … table is full", "event Warning RouteFailed … full", "log success"},
		})
	}
	return list
}

// lostTraps are about PUTs that end in doubt.
func lostTraps() []trap {
	const put = otctest.OpTableUpdate
	list := []trap{{
		name: "trap 27: the first operation sticks, then comes an error",
		set: both(fail(otctest.Fault{Op: put, ApplyFirst: 1, Status: http.StatusInternalServerError}),
			func(_ *world, a *agent) { a.facts.Annotation = annotation("10.128.2.0/23", "10.128.8.0/23") }),
		run: func(w *world, _ *agent) {
			w.pass(time.Minute)
			w.wantPuts("add 10.128.2.0/23, add 10.128.8.0/23", "add 10.128.8.0/23")
		},
		table: []string{home, "10.128.8.0/23 → worker-1 *"}, calls: "login server get put:500 get get put get", state: "ready, in sync",
		told: []string{"log error could not … route table … HTTP 500", "log success"},
	}, {
		name: "trap 27: a refused PUT keeps the operations before the bad one",
		set: both(knob(func(k *otctest.Knobs) { k.KeepPart = true; k.RefuseIPv6 = map[string]bool{mainTable: true} }),
			func(_ *world, a *agent) { a.facts.Annotation = annotation("10.128.2.0/23", "10.128.8.0/23") },
			fail(otctest.Fault{Op: put, ApplyFirst: 1, Status: http.StatusBadRequest, Code: "VPC.2809"})),
		run:   hours(0.1),
		table: []string{home, "10.128.8.0/23 → worker-1 *"}, calls: "login server get put:400 get put get", state: "ready, in sync",
		told: []string{"log success", "count pass error = 0"},
	}}
	for name, f := range map[string]otctest.Fault{
		"reset":    {Reset: true},
		"500":      {Status: http.StatusInternalServerError},
		"502":      {Status: http.StatusBadGateway},
		"503":      {Status: http.StatusServiceUnavailable},
		"504":      {Status: http.StatusGatewayTimeout},
		"timeout":  {Delay: 45 * time.Second},
		"silence":  {Hang: true},
		"half":     {Truncate: true, Keep: 20},
		"a page":   {Body: []byte("<html>")},
		"too slow": {Slow: time.Second},
	} {
		f.Op, f.Applied = put, true
		list = append(list, trap{
			name: "trap 28: a PUT is applied and its answer lost (" + name + ")",
			set:  fail(f),
			run: func(w *world, _ *agent) {
				w.pass(time.Hour)
				w.wantPuts("add 10.128.2.0/23")
			},
			table: []string{home}, calls: "login server get put(:-|:50.)? get", state: "ready, in sync",
			told: []string{"log success", "count add success = 1", "count add error = 0", "count pass error = 0"},
		})
	}
	return list
}

// writerTraps are about other writers, without anything like an ETag.
func writerTraps() []trap {
	drift := func(repair bool) func(*world, *agent) {
		return func(_ *world, a *agent) { a.cfg.DriftInterval, a.cfg.DriftRepair = 15*time.Minute, repair }
	}
	deletes := func(w *world, _ *agent) {
		w.pass(80 * time.Second)
		w.DeleteRoute(mainTable, "10.128.2.0/23")
		w.pass(30 * time.Minute)
	}
	busy := func(name string, times int, calls string) trap {
		return trap{
			name: "trap 30: another writer, 409 " + name, set: fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: 409, Code: "VPC.0604", Times: times}), run: hours(0.1),
			table: []string{home}, calls: "login server" + calls + " get put get", state: "ready, in sync", told: []string{"log success", "count add success = 1"},
		}
	}
	redirects := func(w *world, _ *agent) {
		w.pass(80 * time.Second)
		w.AddServer(otctest.Instance{ID: otherID, Name: "appliance", Fixed: []string{"10.20.0.200"}})
		w.PutRoute(mainTable, foreignRoute("ecs", "10.128.2.0/23", otherID))
		w.pass(30 * time.Minute)
	}
	return []trap{busy("once", 1, " get put:409"), busy("three times", 3, "( get put:409){3}"), busy("four times: a pass is given up", 4, "( get put:409){4}"), {
		name: "trap 30: somebody deletes our route", set: drift(false), run: deletes,
		calls: first + "( get){1,2}", state: "ready",
		told: []string{"log warning … drifted: 10.128.2.0/23 is missing (set DRIFT_REPAIR=true", "event Warning RouteDrifted", "status drifted"},
	}, {
		name: "trap 30: somebody deletes our route, repair is on", set: drift(true), run: deletes,
		table: []string{home}, calls: first + " get get put get( get)?", state: "ready, in sync",
		told: []string{"count add success = 2"},
	}, {
		name: "trap 30: somebody takes our route to another living server", set: drift(true), run: redirects,
		table: []string{"10.128.2.0/23 → " + otherID}, calls: first + "( get server){1,2}", state: "not ready",
		told: []string{"log error … a foreign route … leads to instance " + otherID, "event Warning RouteConflict", "status conflict"},
	}, {
		name: "trap 30: the other server dies, so there is one claimant left", set: drift(false),
		run: func(w *world, a *agent) {
			redirects(w, a)
			w.DeleteServer(otherID)
			w.pass(18 * time.Minute)
		},
		table: []string{home}, calls: first + " get server( get server)? get server:404 server put get( get)?", state: "ready, in sync",
		told: []string{"event Warning RouteConflict", "count modify success = 1"},
	}, {
		name: "trap 30: somebody changes the table between our read and our write",
		set: func(w *world, _ *agent) {
			w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Delay: time.Millisecond,
				Before: func() { w.PutRoute(mainTable, foreignRoute("nat", "10.128.2.0/23", natID)) }})
		},
		table: []string{"nat 10.128.2.0/23 → " + natID}, calls: "login server get put:400 get( get){3,5}", state: "not ready",
		told: []string{"log error … a foreign route … has a nat route", "event Warning RouteConflict"},
	}}
}
