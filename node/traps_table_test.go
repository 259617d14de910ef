package node

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc/otctest"
)

// foreignRoute is a route of somebody else.
func foreignRoute(kind, destination, nextHop string) otctest.Route {
	return otctest.Route{Type: kind, Destination: destination, NextHop: nextHop, Description: "not yours"}
}

// has puts routes into the main table before the process starts.
func has(routes ...otctest.Route) func(*world, *agent) {
	return func(w *world, _ *agent) {
		for _, r := range routes {
			w.PutRoute(mainTable, r)
		}
	}
}

const natID = "e27d5c80-9f1b-4a36-8d4e-61b3f0c9a752"

// readTraps are about what a table looks like.
func readTraps() []trap {
	stale := func(d time.Duration) func(*world, *agent) {
		return knob(func(k *otctest.Knobs) { k.StaleReads = d })
	}
	return []trap{{
		name: "trap 21: local, foreign and unknown routes in any order, odd members",
		set: both(knob(func(k *otctest.Knobs) { k.NullNextHop, k.NoDefault, k.ExtraMembers, k.Shuffle = true, true, true, true }),
			has(foreignRoute("nat", "0.0.0.0/0", natID), foreignRoute("cc", "10.128.9.0/24", "cc-1"), foreignRoute("firewall", "not a CIDR", ""),
				foreignRoute("ecs", "192.168.7.1/24", otherID), foreignRoute("ecs", "10.128.200.0/23", otherID))),
		table: []string{home, "nat 0.0.0.0/0 → " + natID, "cc 10.128.9.0/24 → cc-1", "firewall not a CIDR → ",
			"192.168.7.1/24 → " + otherID, "10.128.200.0/23 → " + otherID},
		calls: first, told: []string{"log success", "count routes " + mainTable + " = 6"}, state: "ready, in sync",
	}, {
		name: "next hops in upper case",
		set: func(w *world, a *agent) {
			a.cfg.DriftInterval = time.Hour
			w.PutRoute(mainTable, otctest.Route{Type: "ecs", Destination: "10.128.2.0/23", NextHop: strings.ToUpper(a.id), Description: lost})
		},
		run: hours(2), calls: "login server get( get){1,3}", table: []string{"10.128.2.0/23 → A4C70001-2B6D-4F80-93AE-5D1C00000001"}, state: "ready, in sync",
	}, {
		name:  "trap 32: reads are stale for three seconds after a PUT",
		set:   stale(3 * time.Second),
		table: []string{home}, calls: "login server get put( get){3,4}", told: []string{"count pass error = 0", "count add success = 1", "log success"}, state: "ready, in sync",
	}, {
		name:  "trap 32: reads are stale for a minute after a PUT",
		set:   stale(time.Minute),
		table: []string{home}, calls: "login server get put( get){4}(( get put:400)+( get)*)+", state: "ready, in sync",
		told: []string{"log error … accepted, but the route table does not show it", "log success"},
	}, {
		name:  "trap 32: a move with stale reads",
		set:   stale(3 * time.Second),
		run:   both(hours(0.01), moves("10.128.8.0/23")),
		table: []string{"10.128.8.0/23 → worker-1 *"}, calls: "login server get put( get){4,6} get put( get){3,4}", state: "ready, in sync",
		told: []string{"log success … removed 10.128.2.0/23", "event Normal RouteMoved", "count pass error = 0"},
	}, {
		name:  "trap 32: a move that only a later pass sees",
		run:   both(hours(0.1), stale(20*time.Second), moves("10.128.8.0/23")),
		table: []string{"10.128.8.0/23 → worker-1 *"}, calls: first + " get put( get){4}(( get put:400)+( get)*)+", state: "ready, in sync",
		told: []string{"log error … accepted, but the route table does not show it", "log success … removed 10.128.2.0/23", "event Normal RouteMoved"},
	}}
}

// viewTraps are about tables that are not what they seem.
func viewTraps() []trap {
	wide := func(_ *world, a *agent) { a.cfg.Ranges = append(a.cfg.Ranges, netip.MustParsePrefix("fd01::/48")) }
	dual := func(_ *world, a *agent) { a.facts.Annotation = annotation("10.128.2.0/23", "fd01:0:0:2::/64") }
	return []trap{{
		name: "trap 33: the table has host bits in a destination and wants them back",
		set: both(knob(func(k *otctest.Knobs) { k.ExactSpelling = true }),
			has(otctest.Route{Type: "ecs", Destination: "10.128.2.9/23", NextHop: otherID, Description: lost})),
		table: []string{"10.128.2.9/23 → worker-1 *"}, calls: first, told: []string{"count modify success = 1", "log success"}, state: "ready, in sync",
	}, {
		name: "trap 33: IPv6 comes back in full length, and is deleted again",
		set:  both(wide, dual, knob(func(k *otctest.Knobs) { k.ExactSpelling, k.Respell = true, otctest.LongForm })),
		run: func(w *world, a *agent) {
			w.wantRoutes(home, "fd01:0000:0000:0002:0000:0000:0000:0000/64 → worker-1 *")
			moves("10.128.2.0/23")(w, a)
		},
		table: []string{home}, calls: first + " get put get", told: []string{"event RouteMoved … removed fd01:0:0:2::/64", "count delete success = 1"}, state: "ready, in sync",
	}, {
		name: "trap 34: a later subnet of the VPC swallows the destination",
		set:  func(_ *world, a *agent) { a.cfg.DriftInterval = 15 * time.Minute },
		run: func(w *world, a *agent) {
			w.AddSubnet(otctest.VPCID, otctest.Subnet{ID: "11111111-9c34-47be-a5d7-3e8b1c60f942", CIDR: "10.128.0.0/16"})
			w.pass(30 * time.Minute)
		},
		table: []string{home}, calls: first + "( get( servers)?){1,2}", state: "ready",
		told: []string{"log warning … local route 10.128.0.0/16 … takes its traffic", "event Warning RouteDrifted", "status shadowed"},
	}, {
		name: "trap 35: the table serves none of the Node's subnets",
		set: func(w *world, a *agent) {
			w.AddTable("99999999-4f72-4d90-9c6e-b2a7d0f3e518", "rtb-nodes", otctest.VPCID)
			w.AddSubnet(otctest.VPCID, otctest.Subnet{ID: otctest.SubnetID, CIDR: otctest.SubnetCIDR, TableID: "99999999-4f72-4d90-9c6e-b2a7d0f3e518"})
		},
		run: func(w *world, a *agent) {
			w.pass(time.Hour)
			w.wantChecked(a, "ℹ️ subnet: no configured route table serves the Node's own subnet")
		},
		table: []string{home}, calls: first + " login server server get port.list", told: []string{"log success"}, state: "ready, in sync",
	}}
}

// foreignTraps are about routes in the way: they stay as they are, and ours comes
// when they are gone.
func foreignTraps() []trap {
	var list []trap
	for _, kind := range []string{"vpn", "dc", "egw", "nat", "peering", "er", "vip", "cc", "eni", "subeni", "local", "something new"} {
		list = append(list, trap{
			name: "trap 36: a route of type " + kind + " is where ours should be",
			set: both(has(otctest.Route{Type: kind, Destination: "10.128.2.0/23", NextHop: natID, Description: lost}),
				func(_ *world, a *agent) {
					a.cfg.DriftRepair, a.facts.Annotation = true, annotation("10.128.2.0/23", "10.128.8.0/23")
				}),
			run: func(w *world, a *agent) {
				before := w.Routes(mainTable)[0]
				w.pass(time.Hour)
				w.wantRoutes(kind+" 10.128.2.0/23 → "+natID, "10.128.8.0/23 → worker-1 *")
				a.wantState(false, false)
				if s := a.Status(); s.Conflicts != 1 || s.Drift != 0 || !slices.Contains(w.Routes(mainTable), before) {
					w.t.Errorf("%d conflicts, drift %d, %+v", s.Conflicts, s.Drift, w.Routes(mainTable))
				}
				w.DeleteRoute(mainTable, "10.128.2.0/23")
				w.pass(16 * time.Minute)
			},
			table: []string{home, "10.128.8.0/23 → worker-1 *"}, calls: first + "( get){3,5} get put get", state: "ready, in sync",
			told: []string{"log error route table … a foreign route where worker-1 should be: 10.128.2.0/23 has a " + kind + " route to " + natID + "; nothing was written there",
				"event Warning RouteConflict … " + natID, "log success"},
		})
	}
	return list
}

// tableTraps are about tables that are gone.
func tableTraps() []trap {
	gone := func(w *world, _ *agent) { w.DeleteTable(mainTable) }
	back := func(w *world, _ *agent) {
		w.pass(time.Hour)
		w.AddTable(mainTable, "rtb-new", otctest.VPCID)
		w.Set(func(k *otctest.Knobs) { k.NoTableAPI = false })
		w.pass(16 * time.Minute)
	}
	return []trap{{
		name: "trap 40: the route table was deleted (404 VPC.2808)",
		set:  gone, run: back,
		table: []string{home}, calls: "login server( get:404){7,13} get put get", state: "ready, in sync",
		told: []string{"log error could not … route table … VPC.2808 … ROUTE_TABLE_ID: there is no such table", "event Warning RouteFailed", "log success"},
	}, {
		name: "trap 40: the region has no route table API (404 APIGW.0101)",
		set:  knob(func(k *otctest.Knobs) { k.NoTableAPI = true }), run: back,
		table: []string{home}, calls: "login server( get:404){7,13} get put get", state: "ready, in sync",
		told: []string{"log error could not … route table … APIGW.0101", "event Warning RouteFailed", "log success"},
	}, {
		name:  "trap 40: the table is deleted after the routes were confirmed",
		set:   func(_ *world, a *agent) { a.cfg.DriftInterval = 15 * time.Minute },
		run:   both(hours(0.1), gone, hours(1), func(w *world, _ *agent) { w.AddTable(mainTable, "rtb-new", otctest.VPCID) }),
		calls: first + "( get:404){3,5}", state: "ready, in sync",
		told: []string{"log error could not check … VPC.2808", "status confirmed"},
	}, {
		name:  "trap 40: a PUT finds the table gone",
		set:   fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: http.StatusNotFound, Code: "VPC.2808"}),
		table: []string{home}, calls: "login server get put:404 get put get", state: "ready, in sync",
		told: []string{"log error could not … route table … VPC.2808", "log success"},
	}, {
		name:  "trap 40: a PUT finds a backend gone, which passes (404 VPC.0105)",
		set:   fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: http.StatusNotFound, Code: "VPC.0105"}),
		table: []string{home}, calls: "login server get put:404 get get put get", state: "ready, in sync",
		told: []string{"log error could not … route table … VPC.0105", "log success"},
	}}
}
