package node

import (
	"errors"
	"fmt"
	"testing"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

func TestCheckLogin(t *testing.T) {
	login := func(name string, edit func(*trial), line string) checkCase {
		return checkCase{name, edit, []string{toLogin, "❌ login: " + line, noLogin, theNode}}
	}
	const (
		credentials = "IAM does not say which: wrong OS_PASSWORD, unknown, disabled or locked OS_USERNAME, wrong account (OS_DOMAIN_NAME), " +
			"wrong OS_PROJECT_NAME or OS_PROJECT_ID, or no role in the project; a mended Secret otc-credentials (make create-secrets) counts at once, " +
			"a mended user or role after make restart or 15 to 18 minutes; five refusals lock the user (request id ID)"
		outage = "the cloud has trouble: wait; if it lasts, give the request id to the provider's support (request id ID)"
		reach  = "check the way from here to the endpoint: DNS, proxy, firewall"
	)
	wrong := func(c *trial) { c.SetPassword("another") }
	testCheck(t, []checkCase{
		login("wrong password", wrong, `HTTP 401 "The user name or password is wrong.": `+credentials),
		login("wrong password, with a code", func(c *trial) { wrong(c); c.Set(func(k *otctest.Knobs) { k.LoginCodes = true }) },
			`HTTP 401 IAM.0062 "Incorrect password.": `+credentials),
		login("unknown user", func(c *trial) {
			c.otc.Credentials = func() (string, otc.Secret, error) { return "nobody", otc.NewSecret(otctest.Password), nil }
		}, `HTTP 401 "The user name or password is wrong.": `+credentials),
		login("unknown account", func(c *trial) { c.otc.DomainName = "OTC00000000001000011111" }, `HTTP 401 "The user name or password is wrong.": `+credentials),
		login("unknown project", func(c *trial) { c.otc.ProjectName = "eu-de_typo" }, `HTTP 401 "The project is unknown or the user may not use it.": `+credentials),
		login("unknown project, 404", faulty(otctest.OpLogin, otctest.Fault{Status: 404, Code: "IAM.0004", Message: "Could not find it."}),
			`HTTP 404 IAM.0004 "Could not find it.": OS_DOMAIN_NAME or OS_PROJECT_NAME does not exist or is not visible to this user (request id ID)`),
		login("project of others", faulty(otctest.OpLogin, otctest.Fault{Status: 403, Code: "IAM.0003", Message: "Not allowed."}),
			`HTTP 403 IAM.0003 "Not allowed.": the user may not log in to this project: check OS_PROJECT_NAME and the user's groups in IAM (request id ID)`),
		login("locked", func(c *trial) { wrong(c); c.Set(func(k *otctest.Knobs) { k.LockoutFailures = 1 }) },
			`HTTP 401 IAM.0061 "The account is locked.": the user is locked for 15 minutes after too many failed logins: find who uses this user with a wrong password (request id ID)`),
		login("disabled", faulty(otctest.OpLogin, otctest.Fault{Status: 403, Code: "IAM.0082", Message: "The user is disabled."}),
			`HTTP 403 IAM.0082 "The user is disabled.": the user is disabled: enable it in IAM (request id ID)`),
		login("console only", faulty(otctest.OpLogin, otctest.Fault{Status: 403, Code: "IAM.0081", Message: "Programmatic access is off."}),
			`HTTP 403 IAM.0081 "Programmatic access is off.": the user may only use the console: allow programmatic access in IAM (request id ID)`),
		login("refused as nonsense", faulty(otctest.OpLogin, otctest.Fault{Status: 400, Code: "IAM.0011", Message: "Bad."}),
			`HTTP 400 IAM.0011 "Bad.": check OS_DOMAIN_NAME, OS_PROJECT_NAME and OS_AUTH_URL (request id ID)`),
		login("not the IAM API", func(c *trial) { c.otc.AuthURL = "https://iam.eu-de.otc.test/v3/v3" },
			`HTTP 404 APIGW.0101 "The API does not exist or has not been published in the environment": check OS_AUTH_URL: this is not the IAM API (request id ID)`),
		login("a proxy's page", faulty(otctest.OpLogin, otctest.Fault{Status: 502, Shape: otctest.ShapeHTML}),
			`HTTP 502 "an HTML page instead of an API answer (from a proxy?)": `+outage),
		login("IAM is down", faulty(otctest.OpLogin, otctest.Fault{Status: 503, Message: "Down."}), `HTTP 503 "Down.": `+outage),
		login("IAM fails over", faulty(otctest.OpLogin, otctest.Fault{Status: 410, Code: "IAM.0020", Message: "Gone."}), `HTTP 410 IAM.0020 "Gone.": `+outage),
		login("IAM throttles", faulty(otctest.OpLogin, otctest.Fault{Status: 429, Code: "IAM.0012", Message: "Slower."}),
			`HTTP 429 IAM.0012 "Slower.": too many calls by this user: wait; if it lasts, raise DRIFT_CHECK_INTERVAL and look for who else uses this user (request id ID)`),
		login("no host of that name", faulty(otctest.OpLogin, otctest.Fault{Err: noSuchHost()}), "dial tcp: lookup iam.eu-de.otc.test on 192.0.2.53:53: no such host: "+reach),
		login("nobody listens", faulty(otctest.OpLogin, otctest.Fault{Err: nobodyListens()}), "dial tcp 192.0.2.7:443: connect: connection refused: "+reach),
		login("a firewall swallows it", faulty(otctest.OpLogin, otctest.Fault{Hang: true}), "context deadline exceeded: "+reach),
		login("unreadable Secret", func(c *trial) {
			c.otc.Credentials = func() (string, otc.Secret, error) {
				return "", otc.Secret{}, errors.New("OS_PASSWORD_FILE: open /etc/otc/password: no such file or directory")
			}
		}, "OS_PASSWORD_FILE: open /etc/otc/password: no such file or directory: is Secret otc-credentials there, and mounted?"),
		{"wrong region", func(c *trial) { c.otc.Region = "eu-nl9" }, []string{toLogin,
			`❌ endpoint: no vpc endpoint for region "eu-nl9": the catalog has eu-de; set OS_REGION_NAME or OTC_VPC_ENDPOINT`,
			"ℹ️ route tables and instance: not tried without an endpoint", theNode}},
	})
}

func TestCheckPermissions(t *testing.T) {
	testCheck(t, []checkCase{
		{"no table get", denied(otctest.DenyPolicy, "vpc:routeTables:get"), []string{toEndpoints,
			`❌ route table TABLE: vpc get route table: HTTP 403 VPC.2201 "Policy doesn't allow vpc:routeTables:get to be performed.": grant vpc:routeTables:get to the user's group in this project; it takes effect with the next token (request id ID)`,
			theNode + " instance source/destination"}},
		{"no server get: the list will do", denied(otctest.DenyPolicy, "ecs:cloudServers:showServer"), []string{toInstance,
			"ℹ️ instance: without ecs:cloudServers:showServer nobody can tell that an instance is gone: its routes are never orphans",
			theNetwork + " change"}},
		{"neither server get nor list", denied(otctest.DenyPolicy, "ecs:cloudServers:showServer", "ecs:cloudServers:list"), []string{toAnnotation,
			`❌ instance: ecs list servers: HTTP 403 Pdp.0001 "Policy doesn't allow ecs:cloudServers:list to be performed.": grant ecs:cloudServers:list to the user's group in this project; it takes effect with the next token (request id ID)`}},
		{"neither, in Nova's words", denied(otctest.DenyNova, "ecs:cloudServers:showServer", "ecs:cloudServers:list"), []string{toAnnotation,
			`❌ instance: ecs list servers: HTTP 403 forbidden "Policy doesn't allow ecs:cloudServers:list to be performed.": grant ecs:cloudServers:list to the user's group in this project; it takes effect with the next token (request id ID)`}},
		{"neither, and the list is empty", denied(otctest.DenyEmpty, "ecs:cloudServers:showServer", "ecs:cloudServers:list"), []string{toAnnotation,
			"❌ instance: no ECS instance found for this Node: the project has no server with the address [10.20.0.11]: check OS_PROJECT_NAME and OS_REGION_NAME, and that the user may list servers (ecs:cloudServers:list)"}},
		{"no ports", denied(otctest.DenyPolicy, "vpc:ports:get"), []string{toInstance, noPorts, "change"}},
		{"no ports, and the list is empty", denied(otctest.DenyEmpty, "vpc:ports:get"), []string{toInstance, noPorts, "change"}},
		{"frozen account", faulty(otctest.OpTableGet, otctest.Fault{Status: 403, Code: "VPC.2701", Message: "No."}), []string{toEndpoints,
			`❌ route table TABLE: vpc get route table: HTTP 403 VPC.2701 "No.": the account is restricted, frozen or in arrears: see the OTC console (request id ID)`,
			theNode + " instance source/destination"}},
		{"restricted account: no second login", func(c *trial) { c.Set(func(k *otctest.Knobs) { k.Restricted = true }) }, []string{toEndpoints,
			`❌ route table TABLE: vpc get route table: HTTP 401 VPC.0005 "The account is restricted.": the account is restricted, frozen or in arrears: see the OTC console (request id ID)`,
			theNode + " instance",
			`ℹ️ subnet and source/destination check: unknown: vpc list ports: HTTP 401 VPC.0005 "The account is restricted.": the account is restricted, frozen or in arrears: see the OTC console (request id ID)`}},
	})
}

func byHand(kind, destination, hop string) otctest.Route {
	return otctest.Route{Type: kind, Destination: destination, NextHop: hop, Description: "by hand"}
}

// filled gives the table these routes and n more.
func filled(n int, routes ...otctest.Route) func(*trial) {
	return func(c *trial) {
		for i := range n {
			routes = append(routes, byHand("ecs", fmt.Sprintf("172.16.%d.0/24", i), otherID))
		}
		c.SetRoutes(mainTable, routes...)
	}
}

func TestCheckRouteTable(t *testing.T) {
	second := func(vpc string) func(*trial) {
		return func(c *trial) {
			c.AddTable(tableID(2), "rtb-2", vpc)
			c.cfg.Tables = []string{tableID(2)}
		}
	}
	mine := byHand("ecs", "10.128.2.0/23", ecsID(1))
	used := func(n int) string {
		return fmt.Sprintf(`✅ route table TABLE: "rtb-netops" of VPC VPC, %d of 200 routes used`, n)
	}
	rest := theNode + " instance " + theNetwork
	const unserved = "ℹ️ subnet: no configured route table serves the Node's own subnet f06a2d81-9c34-47be-a5d7-3e8b1c60f942: only clients in the subnets that they do serve will reach the pods"
	testCheck(t, []checkCase{
		{"right already", filled(0, mine), []string{toEndpoints, used(5), rest, "✅ change: none, route table TABLE is right"}},
		{"moved", filled(0, byHand("ecs", "10.128.2.0/23", otherID), otctest.Route{Type: "ecs", Destination: "10.128.8.0/23", NextHop: ecsID(1), Description: Mark}),
			[]string{toEndpoints, used(6), rest, "✅ change: route table TABLE would get: modify 10.128.2.0/23 → SERVER, delete 10.128.8.0/23"}},
		{"unknown", func(c *trial) { c.DeleteTable(mainTable) }, []string{toEndpoints,
			`❌ route table TABLE: vpc get route table: HTTP 404 VPC.2808 "Route table TABLE could not be found.": check ROUTE_TABLE_ID: there is no such table in this project (request id ID)`,
			theNode + " instance source/destination"}},
		{"no such API", func(c *trial) { c.Set(func(k *otctest.Knobs) { k.NoTableAPI = true }) }, []string{toEndpoints,
			`❌ route table TABLE: vpc get route table: HTTP 404 APIGW.0101 "The API does not exist or has not been published in the environment": check OS_AUTH_URL, OS_REGION_NAME and the OTC_*_ENDPOINT overrides; in eu-ch2 this API may not exist (request id ID)`,
			theNode + " instance source/destination"}},
		{"VPC is down", faulty(otctest.OpTableGet, otctest.Fault{Status: 503, Message: "Down."}), []string{toEndpoints,
			`❌ route table TABLE: vpc get route table: HTTP 503 APIGW.0613 "Down.": the cloud has trouble: wait; if it lasts, give the request id to the provider's support (request id ID)`,
			theNode + " instance source/destination"}},
		{"VPC throttles", faulty(otctest.OpTableGet, otctest.Fault{Status: 429, Message: "Slower."}), []string{toEndpoints,
			`❌ route table TABLE: vpc get route table: HTTP 429 APIGW.0308 "Slower.": too many calls by this user: wait; if it lasts, raise DRIFT_CHECK_INTERVAL and look for who else uses this user (request id ID)`,
			theNode + " instance source/destination"}},
		{"full", filled(196), []string{toEndpoints, used(200), rest,
			"❌ change: route table TABLE is full, so this would not fit: add 10.128.2.0/23 → SERVER: remove routes, or give some subnets another table"}},
		{"full, but the route is in it", filled(195, mine), []string{toEndpoints, used(200), rest, "✅ change: none, route table TABLE is right"}},
		{"of another VPC", second("9a8c4f7a-61b8-4e3f-8a25-7c0e9b14d6f1"), []string{toEndpoints,
			`✅ route table 8e1b0002-4f72-4d90-9c6e-b2a7d0f3e518: "rtb-2" of VPC 9a8c4f7a-61b8-4e3f-8a25-7c0e9b14d6f1, 3 of 200 routes used`,
			theNode + " instance",
			"❌ instance: it is in VPC VPC, route table 8e1b0002-4f72-4d90-9c6e-b2a7d0f3e518 in 9a8c4f7a-61b8-4e3f-8a25-7c0e9b14d6f1: check ROUTE_TABLE_ID",
			unserved, "source/destination"}},
		{"serves no subnet of the Node", second(otctest.VPCID), []string{toEndpoints,
			`✅ route table 8e1b0002-4f72-4d90-9c6e-b2a7d0f3e518: "rtb-2" of VPC VPC, 4 of 200 routes used`,
			theNode + " instance", unserved, "source/destination",
			"✅ change: route table 8e1b0002-4f72-4d90-9c6e-b2a7d0f3e518 would get: add 10.128.2.0/23 → SERVER"}},
		{"conflict", filled(0, byHand("nat", "10.128.2.0/23", otherID)), []string{toEndpoints, used(5), rest,
			"❌ change: route table TABLE has the nat route 10.128.2.0/23 → " + otherID + " of somebody else: remove it there, nothing is written until it is gone"}},
		{"shadowed by a longer route", filled(0, mine, byHand("vip", "10.128.2.128/25", "10.20.0.9")), []string{toEndpoints, used(6), rest,
			"❌ change: in route table TABLE the vip route 10.128.2.128/25 → 10.20.0.9 takes traffic of this Node: find out whose it is, and remove it",
			"✅ change: none, route table TABLE is right"}},
		{"shadowed by a subnet", func(c *trial) {
			c.SetRoutes(mainTable, mine)
			c.AddSubnet(otctest.VPCID, otctest.Subnet{ID: otherID, CIDR: "10.128.2.0/24"})
		}, []string{toEndpoints, used(6), rest,
			"❌ change: in route table TABLE the local route 10.128.2.0/24 → - takes traffic of this Node: a subnet of the VPC must not overlap CLUSTER_CIDR",
			"✅ change: none, route table TABLE is right"}},
	})
}

func TestCheckNode(t *testing.T) {
	node := func(name string, edit func(*trial), line string) checkCase {
		return checkCase{name, edit, []string{toTable, "❌ node: " + line}}
	}
	bad := func(name, value, line string) checkCase {
		return checkCase{name, annotated(value), []string{toRole, "❌ annotation: " + line, "instance " + theNetwork}}
	}
	const (
		wait = ": is OVN-Kubernetes the cluster's network, and is it up on this Node?"
		fix  = ": OVN-Kubernetes writes it, so see the log of its cluster manager, and who else edits the Node"
	)
	master := func(c *trial) { c.node.Labels = map[string]string{labelMaster: ""} }
	testCheck(t, []checkCase{
		node("absent", func(c *trial) { c.node = nil }, "there is no Node worker-1: check NODE_NAME against kubectl get nodes"),
		node("forbidden", func(c *trial) { c.kube.Forbid("get") }, "reading Node worker-1 is forbidden: it takes the ClusterRole of manifests.yaml (make deploy)"),
		node("API server is down", func(c *trial) { c.kube.Down(true) }, "cannot read Node worker-1: the API server is down: check KUBECONFIG and the API server"),
		node("API server out of reach", func(c *trial) { c.kubeErr = nobodyListens() },
			`cannot read Node worker-1: Get "https://kube.test/api/v1/nodes/worker-1": dial tcp 192.0.2.7:443: connect: connection refused: check KUBECONFIG and the API server`),
		{"not a worker", master, []string{toTable + " node",
			"ℹ️ role: not a worker, so it gets no routes; the label node-role.kubernetes.io/worker would make it one",
			"annotation instance " + theNetwork}},
		{"no annotation", func(c *trial) { c.node.Annotations = nil }, []string{toRole, "❌ annotation: k8s.ovn.org/node-subnets is not there yet" + wait, "instance " + theNetwork}},
		bad("other networks only", `{"team-a_net1":["10.61.0.0/20"]}`, `k8s.ovn.org/node-subnets has no "default" network yet`+wait),
		bad("malformed", `{"default":["10.128.2`, `k8s.ovn.org/node-subnets is malformed: "{\"default\":[\"10.128.2" is not a JSON object`+fix),
		bad("neither CIDR nor list", `{"default":7}`, `k8s.ovn.org/node-subnets is malformed: "7" is neither a CIDR nor a list of CIDRs`+fix),
		bad("empty", `{"default":[]}`, "k8s.ovn.org/node-subnets lists no subnet"+fix),
		bad("no CIDR", annotation("10.128.2.0"), `k8s.ovn.org/node-subnets holds a bad CIDR: "10.128.2.0"`+fix),
		bad("outside CLUSTER_CIDR", annotation("172.16.0.0/24"), "172.16.0.0/24 does not lie strictly inside CLUSTER_CIDR 10.128.0.0/14: check CLUSTER_CIDR (make create-configmap)"),
		bad("all of CLUSTER_CIDR", annotation("10.128.0.0/14"), "10.128.0.0/14 does not lie strictly inside CLUSTER_CIDR 10.128.0.0/14: check CLUSTER_CIDR (make create-configmap)"),
		{"one of two outside CLUSTER_CIDR", annotated(annotation("10.128.2.0/23", "fd01:0:0:7::/64")), []string{toRole,
			"✅ annotation: pod subnets 10.128.2.0/23; fd01:0:0:7::/64 lies outside CLUSTER_CIDR and is skipped",
			"instance " + theNetwork + " change"}},
	})
}

func TestCheckInstance(t *testing.T) {
	const cure = ": check OS_PROJECT_NAME and OS_REGION_NAME, and that the user may list servers (ecs:cloudServers:list)"
	instance := func(name string, edit func(*trial), line string) checkCase {
		return checkCase{name, edit, []string{toAnnotation, "❌ instance: " + line}}
	}
	elsewhere := func(c *trial) { c.server.Fixed = []string{"10.20.0.99"} }
	testCheck(t, []checkCase{
		instance("none", func(c *trial) { elsewhere(c); c.server.ID, c.server.Name = otherID, "another" },
			"no ECS instance found for this Node: there is no server SERVER; the project has no server with the address [10.20.0.11]"+cure),
		instance("another address", elsewhere,
			"no ECS instance found for this Node: server SERVER has the addresses [10.20.0.99], the Node [10.20.0.11]; the project has no server with the address [10.20.0.11]"+cure),
		instance("being deleted", func(c *trial) { c.server.TaskState = "deleting" },
			"no ECS instance found for this Node: server SERVER is being deleted; the project has no server with the address [10.20.0.11]"+cure),
		instance("two", func(c *trial) {
			c.node.Spec.ProviderID = ""
			c.AddServer(otctest.Instance{ID: otherID, Name: "twin", Fixed: c.server.Fixed})
		}, "no ECS instance found for this Node: 2 servers have its address: "+otherID+", SERVER: only spec.providerID or the systemUUID can tell which"),
		instance("of another cloud", func(c *trial) { elsewhere(c); c.node.Spec.ProviderID = "aws:///eu-central-1a/i-0123456789abcdef0" },
			`no ECS instance found for this Node: providerID "aws:///eu-central-1a/i-0123456789abcdef0" names no OTC instance; the project has no server with the address [10.20.0.11]`+cure),
		instance("ECS is down", faulty(otctest.OpServerGet, otctest.Fault{Status: 503, Message: "Down."}),
			`ecs get server: HTTP 503 APIGW.0613 "Down.": the cloud has trouble: wait; if it lasts, give the request id to the provider's support (request id ID)`),
		{"no InternalIP", func(c *trial) { c.node.Status.Addresses = nil }, []string{toTable,
			"✅ node: worker-1 is there, InternalIP none", "role annotation",
			"❌ instance: no ECS instance found for this Node: the Node has no InternalIP yet: kubelet or the cloud provider sets it, see kubectl describe node"}},
		{"source/destination check on", func(c *trial) { c.server.AllowedPairs = nil }, []string{toInstance + " subnet",
			"❌ source/destination check: it is on, so the cloud drops pod traffic: switch it off on the NIC of instance SERVER in the OTC console", "change"}},
		{"source/destination check unknown", faulty(otctest.OpPortList, otctest.Fault{Status: 503, Message: "Down."}), []string{toInstance,
			`ℹ️ subnet and source/destination check: unknown: vpc list ports: HTTP 503 APIGW.0613 "Down.": the cloud has trouble: wait; if it lasts, give the request id to the provider's support (request id ID)`,
			"change"}},
	})
}
