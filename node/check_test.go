package node

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"otc-route-manager/node/nodetest"
	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// A trial is one run of -check: both pretend worlds, with one worker whose route
// is missing and nothing else wrong, and the configuration for them.
type trial struct {
	*otctest.Server
	kube    *nodetest.Server
	node    *corev1.Node
	server  otctest.Instance
	cfg     Config
	otc     otc.Config
	refused string // what the program in the same pod reports

	loginBy string
}

// withIDToken logs in with an ID token of a provider; IAM knows one, "cluster".
func (c *trial) withIDToken(provider string) {
	const subject, audience = "system:serviceaccount:x:y", "otc-route-manager"
	issuer := otctest.NewTokenIssuer("https://kubernetes.default.svc", "ES256")
	c.SetIdentityProvider("cluster", otctest.IdentityProvider{Issuer: issuer.URL, ClientID: audience, Keys: issuer.KeySet(), Subject: subject})
	c.loginBy = "by ID token, "
	c.otc.Credentials = func() (otc.Credentials, error) {
		return otc.Credentials{IdentityProvider: provider, ProjectName: otctest.Project, Secret: otc.NewSecret(issuer.Token(subject, audience, time.Hour))}, nil
	}
}

func newTrial() *trial {
	c := &trial{Server: otctest.New(), kube: nodetest.New()}
	c.server = otctest.Instance{ID: ecsID(1), Name: "worker-1", Fixed: []string{addrOf(1).String()}, AllowedPairs: []string{otctest.CheckOff}}
	c.node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker-1", Annotations: map[string]string{SubnetsAnnotation: annotation("10.128.2.0/23")}}}
	c.node.Spec.ProviderID = "openstack:///" + ecsID(1)
	c.node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addrOf(1).String()}}
	c.cfg = Config{NodeName: "worker-1", Ranges: []netip.Prefix{clusterRange()}, Tables: []string{mainTable}}
	c.otc = cloudConfig(otctest.User, func() any { return otctest.Password }, c.Server)
	c.otc.OneLogin = true
	return c
}

// kubeWire is the API server without a socket, which would stop the bubble's clock.
type kubeWire struct{ *trial }

func (k kubeWire) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	k.kube.ServeHTTP(w, r)
	return w.Result(), nil
}

// run runs -check in fake time on what edit makes of the trial, and returns what
// it printed. It fails the test if the run wrote anything anywhere, logged in
// twice, took long, told the password or returned another result than its lines say.
func run(t *testing.T, edit func(*trial)) (out string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newTrial()
		edit(c)
		c.AddServer(c.server)
		if c.node != nil {
			c.kube.Put(c.node)
		}
		kube, err := NewKube(&rest.Config{Host: "https://kube.test", Transport: kubeWire{c}}, c.cfg.NodeName, nil)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		began := time.Now()
		check := Checker{Out: &b, Cloud: otc.New(c.otc, nil), Node: kube.Get, LoginRefused: c.refused, Config: c.cfg, LoginBy: c.loginBy,
			Address: func(subnets []netip.Prefix) string {
				return strings.TrimSuffix(subnets[0].Addr().String(), "0") + "17:8080"
			}}
		ok := check.Run(t.Context())
		out = b.String()
		if want := !strings.Contains(out, "❌"); ok != want {
			t.Errorf("got %v, want %v", ok, want)
		}
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := c.Count(otctest.OpLogin); n > 1 || n > 0 && strings.Contains(out, "not tried again") {
			t.Errorf("%d logins", n)
		}
		for _, r := range c.Requests() {
			if r.Method != http.MethodGet && r.Op != otctest.OpLogin {
				t.Errorf("wrote to the cloud: %s %s", r.Method, r.Path)
			}
		}
		for _, r := range c.kube.Requests() {
			if r.Verb != "get" {
				t.Errorf("asked the API server to %s %s", r.Verb, r.Resource)
			}
		}
		if strings.Contains(out, otctest.Password) {
			t.Error("told the password")
		}
	})
	return out
}

// inOrder is what -check prints if nothing is wrong.
func inOrder() string {
	return `✅ configuration: Node worker-1, CLUSTER_CIDR 10.128.0.0/14, 1 route table
✅ login: project 5b0c9a7e2f4d4c1e9d8a6b3f7c2e1d04, token until 2000-01-02T00:00:00Z
✅ endpoint: ecs is https://ecs.eu-de.otc.test/v1/5b0c9a7e2f4d4c1e9d8a6b3f7c2e1d04
✅ endpoint: vpc is https://vpc.eu-de.otc.test/v1/5b0c9a7e2f4d4c1e9d8a6b3f7c2e1d04
✅ node: worker-1 is there, InternalIP 10.20.0.11
✅ role: a worker
✅ annotation: pod subnets 10.128.2.0/23
✅ instance: a4c70001-2b6d-4f80-93ae-5d1c00000001 (worker-1) with 10.20.0.11
✅ route table 8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518: "rtb-netops" of VPC 2d9c4f7a-61b8-4e3f-8a25-7c0e9b14d6f1, 0 of 200 routes used
✅ default table: route table 8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518 is the VPC's: it serves clients in other VPCs (peering), behind VPN or Direct Connect
✅ subnet: route table 8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518 serves the Node's own subnet
✅ source/destination check: off
✅ change: route table 8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518 would get: add 10.128.2.0/23 → a4c70001-2b6d-4f80-93ae-5d1c00000001
ℹ️ proof: from a client in the VPC, curl http://10.128.2.17:8080/health answers ok once the routes are there and security groups let it in
`
}

// What depends on a login, and what that is not there.
const (
	noCloud = "login endpoint endpoint instance route default subnet source/destination change proof"
	again   = "; not tried again: the running pod was refused just now; five failures lock the user"
	noLogin = "\nℹ️ route tables and instance: not tried without a login"
)

// A checkCase is one thing that may be wrong, and what that does to the lines of
// inOrder.
type checkCase struct {
	name string
	edit func(*trial)
	gone string // the first words of the lines that are not printed
	said string // what is printed instead; TABLE, SECOND, SERVER and VPC stand for ids, ID for a request's
}

func TestCheck(t *testing.T) {
	for _, tt := range slices.Concat([]checkCase{{name: "in order", edit: func(*trial) {}}}, accessCases(), tableCases(), nodeCases(), instanceCases()) {
		t.Run(tt.name, func(t *testing.T) {
			if gone, said := difference(run(t, tt.edit)); gone != tt.gone || said != tt.said {
				t.Errorf("got without %q\n%s\nwant without %q\n%s", gone, said, tt.gone, tt.said)
			}
		})
	}
}

// difference returns what of inOrder was not printed, and what was printed besides.
// How long an outage made it wait depends on chance: TestCheckIsSlow looks at that.
func difference(out string) (gone, said string) {
	left := strings.SplitAfter(inOrder(), "\n")
	var more []string
	for line := range strings.Lines(out) {
		if i := slices.Index(left, line); i >= 0 {
			gone += strings.Join(left[:i], "")
			left = left[i+1:]
		} else if !strings.Contains(line, "still waiting") {
			more = append(more, strings.TrimSpace(line))
		}
	}
	gone = regexp.MustCompile(`(?m)^\S+ (\S+?):? .*\n`).ReplaceAllString(gone+strings.Join(left, ""), "$1 ")
	said = strings.NewReplacer(mainTable, "TABLE", tableID(2), "SECOND", ecsID(1), "SERVER", otctest.VPCID, "VPC").Replace(strings.Join(more, "\n"))
	return strings.TrimSpace(gone), regexp.MustCompile(`request id [0-9a-f]{32}`).ReplaceAllString(said, "request id ID")
}

func accessCases() []checkCase {
	restricted := `HTTP 401 VPC.0005 "The account is restricted.": the account is restricted, frozen or in arrears: see the OTC console (request id ID)`
	grant := ` to the user's group in this project; it takes effect with the next token (request id ID)`
	return []checkCase{
		{"wrong password", func(c *trial) { c.SetPassword("another") }, noCloud,
			`❌ login: HTTP 401: IAM does not say which: wrong OS_PASSWORD, unknown, disabled or locked OS_USERNAME, MFA required of it, ` +
				`wrong account (OS_DOMAIN_NAME), wrong OS_PROJECT_NAME or OS_PROJECT_ID, or no role in the project; a corrected Secret otc-credentials (make create-secrets) ` +
				`takes effect immediately, a corrected user or role after make restart or 15 to 18 minutes; five refusals lock the user (request id ID)` + noLogin},
		{"the running pod has been refused", func(c *trial) { c.refused = "iam login: HTTP 401: why" }, noCloud,
			"❌ login: HTTP 401: why" + again + noLogin},
		{"unreadable Secret", func(c *trial) {
			c.otc.Credentials = func() (otc.Credentials, error) { return otc.Credentials{}, errors.New("OS_PASSWORD_FILE: gone") }
		}, noCloud, "❌ login: OS_PASSWORD_FILE: gone: is Secret otc-credentials there, and mounted? make setup stores it, or OS_IDENTITY_PROVIDER for a login without it" + noLogin},
		{"ID token", func(c *trial) { c.withIDToken("cluster") }, "login",
			"✅ login: by ID token, project 5b0c9a7e2f4d4c1e9d8a6b3f7c2e1d04, token until 2000-01-02T00:00:00Z"},
		{"refused ID token", func(c *trial) { c.withIDToken("elsewhere") }, noCloud, `❌ login: iam id token login: HTTP 404 IAM.0004: IAM knows no such identity provider (OS_IDENTITY_PROVIDER), ` +
			`or no such project (OS_PROJECT_ID or OS_PROJECT_NAME); sent to provider elsewhere: issuer https://kubernetes.default.svc, audience [otc-route-manager], ` +
			`subject system:serviceaccount:x:y (request id ID)` + noLogin},
		{"wrong region", func(c *trial) { c.otc.Region = "eu-nl9" }, noCloud,
			`❌ endpoint: no vpc endpoint for region "eu-nl9": the catalog has eu-de; set OS_REGION_NAME or OTC_VPC_ENDPOINT` +
				"\nℹ️ route tables and instance: not tried without an endpoint"},
		{"no table get", denied(otctest.DenyPolicy, "vpc:routeTables:get"), "route default subnet change proof",
			`❌ route table TABLE: vpc get route table: HTTP 403 VPC.2201 "Policy doesn't allow vpc:routeTables:get to be performed.": grant vpc:routeTables:get` + grant},
		{"no server get: the list will do", denied(otctest.DenyPolicy, "ecs:cloudServers:showServer"), "",
			"ℹ️ instance: without ecs:cloudServers:showServer an instance that is gone cannot be recognized: its routes are never orphans"},
		{"no quotas", denied(otctest.DenyPolicy, "vpc:quotas:list"), "route",
			`✅ route table TABLE: "rtb-netops" of VPC VPC, 0 of 200 routes used (limit assumed)`},
		{"no ports", denied(otctest.DenyPolicy, "vpc:ports:get"), "subnet source/destination", noPorts},
		{"no ports, and the list is empty", denied(otctest.DenyEmpty, "vpc:ports:get"), "subnet source/destination", noPorts},
		{"restricted account: no second login", func(c *trial) { c.Set(func(k *otctest.Knobs) { k.Restricted = true }) }, "route default subnet source/destination change proof",
			"❌ route table TABLE: vpc get route table: " + restricted + "\nℹ️ subnet and source/destination check: unknown: vpc list ports: " + restricted},
	}
}

const noPorts = "ℹ️ subnet and source/destination check: unknown: needs vpc:ports:get"

func tableCases() []checkCase {
	mine := byHand("ecs", "10.128.2.0/23", ecsID(1))
	used := func(n int) string {
		return fmt.Sprintf(`✅ route table TABLE: "rtb-netops" of VPC VPC, %d of 200 routes used`+"\n", n)
	}
	const (
		full     = "❌ change: route table TABLE is full, so this would not fit: add 10.128.2.0/23 → SERVER: remove routes, or give some subnets another table"
		right    = "✅ change: none, route table TABLE is right"
		outside  = "ℹ️ default table: no configured route table is the VPC's default one: clients in other VPCs (peering), behind VPN or Direct Connect will not reach the pods\n"
		unserved = "ℹ️ subnet: no configured route table serves the Node's own subnet f06a2d81-9c34-47be-a5d7-3e8b1c60f942: only clients in the subnets that they do serve will reach the pods"
	)
	return []checkCase{
		{"right already", filled(0, mine), "route change", used(1) + right},
		{"moved", filled(0, byHand("ecs", "10.128.2.0/23", otherID), otctest.Route{Type: "ecs", Destination: "10.128.8.0/23", NextHop: ecsID(1), Description: Mark}),
			"route change", used(2) + "✅ change: route table TABLE would get: modify 10.128.2.0/23 → SERVER, delete 10.128.8.0/23"},
		{"unknown", func(c *trial) { c.DeleteTable(mainTable) }, "route default subnet change proof",
			`❌ route table TABLE: vpc get route table: HTTP 404 VPC.2808 "Route table TABLE could not be found.": check ROUTE_TABLE_ID: there is no such table in this project (request id ID)`},
		{"full", filled(200), "route change proof", used(200) + full},
		{"one entry free", filled(199), "route", strings.TrimSpace(used(199))},
		{"full, by a quota of its own", func(c *trial) { filled(1)(c); c.Set(func(k *otctest.Knobs) { k.TableLimit = 1 }) }, "route change proof", strings.ReplaceAll(used(1)+full, "200", "1")},
		{"no limit", func(c *trial) { filled(200)(c); c.Set(func(k *otctest.Knobs) { k.TableLimit = -1 }) }, "route",
			`✅ route table TABLE: "rtb-netops" of VPC VPC, 200 routes used, no limit`},
		{"over the limit, but the route is in it", filled(200, mine), "route change", used(201) + right},
		{"of another VPC", second("9a8c4f7a-61b8-4e3f-8a25-7c0e9b14d6f1"), "route default subnet change proof",
			`✅ route table SECOND: "rtb-2" of VPC 9a8c4f7a-61b8-4e3f-8a25-7c0e9b14d6f1, 0 of 200 routes used` +
				"\n❌ instance: it is in VPC VPC, route table SECOND in 9a8c4f7a-61b8-4e3f-8a25-7c0e9b14d6f1: check ROUTE_TABLE_ID\n" + outside + unserved},
		{"serves no subnet of the Node", second(otctest.VPCID), "route default subnet change",
			`✅ route table SECOND: "rtb-2" of VPC VPC, 0 of 200 routes used` + "\n" + outside + unserved + "\n✅ change: route table SECOND would get: add 10.128.2.0/23 → SERVER"},
		{"conflict", filled(0, byHand("nat", "10.128.2.0/23", otherID)), "route change proof",
			used(1) + "❌ change: route table TABLE has the foreign nat route 10.128.2.0/23 → " + otherID + ": remove it there, nothing is written until it is gone"},
		{"shadowed by a longer route", filled(0, mine, byHand("vip", "10.128.2.128/25", "10.20.0.9")), "route change proof",
			used(2) + "❌ change: in route table TABLE the vip route 10.128.2.128/25 → 10.20.0.9 takes traffic of this Node: find out whose it is, and remove it\n" + right},
		{"shadowed by a subnet", func(c *trial) {
			c.SetRoutes(mainTable, mine)
			c.AddSubnet(otctest.VPCID, otctest.Subnet{ID: otherID, CIDR: "10.128.2.0/24"})
		}, "route change proof", used(1) + "❌ change: in route table TABLE the local route 10.128.2.0/24 → - takes traffic of this Node: a subnet of the VPC must not overlap CLUSTER_CIDR\n" + right},
	}
}

func nodeCases() []checkCase {
	absent := func(name string, edit func(*trial), line string) checkCase {
		return checkCase{name, edit, "node role annotation instance subnet source/destination change proof", "❌ node: " + line}
	}
	bad := func(name, value, line string) checkCase {
		return checkCase{name, func(c *trial) { c.node.Annotations[SubnetsAnnotation] = value }, "annotation change proof", "❌ annotation: " + line}
	}
	return []checkCase{
		absent("no Node", func(c *trial) { c.node = nil }, "there is no Node worker-1: check NODE_NAME against kubectl get nodes"),
		absent("no right to read it", func(c *trial) { c.kube.Forbid("get") }, `cannot read Node worker-1: nodes "worker-1" is forbidden: User "system:serviceaccount:otc-route-manager:otc-route-manager" cannot get resource "nodes" in API group "" at the cluster scope: `+hintWatch),
		absent("API server is down", func(c *trial) { c.kube.Down(true) }, "cannot read Node worker-1: the API server is down: "+hintServer),
		{"not a worker", func(c *trial) { c.node.Labels = map[string]string{labelMaster: ""} }, "role change proof",
			"ℹ️ role: not a worker, so it gets no routes; the label node-role.kubernetes.io/worker would make it one"},
		{"no annotation", func(c *trial) { c.node.Annotations = nil }, "annotation change proof",
			"❌ annotation: k8s.ovn.org/node-subnets is not there yet: is OVN-Kubernetes the cluster's network, and is it up on this Node?"},
		bad("malformed", `{"default":7}`, `k8s.ovn.org/node-subnets is malformed: "7" is neither a CIDR nor a list of CIDRs: `+
			"OVN-Kubernetes writes it, so see the log of its cluster manager, and who else edits the Node"),
		bad("outside CLUSTER_CIDR", annotation("172.16.0.0/24"), "172.16.0.0/24 does not lie strictly inside CLUSTER_CIDR 10.128.0.0/14: check CLUSTER_CIDR (make create-configmap)"),
		{"one of two outside CLUSTER_CIDR", func(c *trial) { c.node.Annotations[SubnetsAnnotation] = annotation("10.128.2.0/23", "fd01:0:0:7::/64") }, "annotation",
			"✅ annotation: pod subnets 10.128.2.0/23; fd01:0:0:7::/64 lies outside CLUSTER_CIDR and is skipped"},
	}
}

func instanceCases() []checkCase {
	down := `HTTP 503 APIGW.0613 "Down.": OTC is having problems: wait; if it lasts, ask the provider's support about this request id (request id ID)`
	return []checkCase{
		{"none", func(c *trial) { c.server.Fixed = []string{"10.20.0.99"} }, "instance subnet source/destination change proof",
			"❌ instance: no ECS instance found for this Node: server SERVER has the addresses [10.20.0.99], the Node [10.20.0.11]; ECS lists no server with the address 10.20.0.11: " +
				"the Node's InternalIP is none of that server's addresses: check kubelet's --node-ip, and whether spec.providerID names this Node's server"},
		{"ECS is down", faulty(otctest.OpServerGet, otctest.Fault{Status: 503, Message: "Down."}), "instance subnet source/destination change proof", "❌ instance: ecs get server: " + down},
		{"no InternalIP", func(c *trial) { c.node.Status.Addresses = nil }, "node instance subnet source/destination change proof", "✅ node: worker-1 is there, InternalIP none\n" +
			"❌ instance: no ECS instance found for this Node: the Node has no InternalIP yet: kubelet or the cloud provider sets it, see kubectl describe node"},
		{"source/destination check on", func(c *trial) { c.server.AllowedPairs = nil }, "source/destination proof",
			"❌ source/destination check: it is on, so the cloud drops pod traffic: switch it off on the NIC 10.20.0.11 of instance SERVER in the OTC console"},
		{"source/destination check off on another NIC only", func(c *trial) {
			c.server.AllowedPairs, c.server.NICs = nil, []otctest.NIC{{NetworkID: otherID, Addresses: []string{"10.30.0.31"}, AllowedPairs: []string{otctest.CheckOff}}}
		}, "instance source/destination proof", "✅ instance: SERVER (worker-1) with 10.20.0.11, 10.30.0.31\n❌ source/destination check: it is on, so the cloud drops pod traffic: switch it off on the NIC 10.20.0.11 of instance SERVER in the OTC console\n" +
			"ℹ️ source/destination check: other NIC 10.30.0.31: off"},
		{"source/destination check on, and a pair of somewhere else", func(c *trial) { c.server.AllowedPairs = []string{"192.168.7.9"} }, "source/destination proof",
			"❌ source/destination check: it is on, so the cloud drops pod traffic: switch it off on the NIC 10.20.0.11 of instance SERVER in the OTC console"},
		{"port security off", func(c *trial) { c.server.AllowedPairs, c.server.NoPortSecurity = nil, true }, "source/destination",
			"ℹ️ source/destination check: unknown: port security is off, which is not documented as enough"},
		{"a pair covers the pods", func(c *trial) { c.server.AllowedPairs = []string{"10.128.0.0/14"} }, "source/destination",
			"ℹ️ source/destination check: unknown: address pairs cover pod addresses, which is not documented as enough"},
		{"pairs cover everything", func(c *trial) { c.server.AllowedPairs = []string{"0.0.0.0/1", "128.0.0.0/1"} }, "source/destination",
			"ℹ️ source/destination check: unknown: address pairs cover pod addresses, which is not documented as enough"},
		{"source/destination check unknown", faulty(otctest.OpPortList, otctest.Fault{Status: 503, Message: "Down."}), "subnet source/destination",
			"ℹ️ subnet and source/destination check: unknown: vpc list ports: " + down},
	}
}

// faulty spoils an operation for good.
func faulty(op string, f otctest.Fault) func(*trial) {
	return func(c *trial) {
		f.Op, f.Times = op, -1
		c.Fail(f)
	}
}

func denied(how otctest.Denial, action string) func(*trial) {
	return func(c *trial) {
		c.Set(func(k *otctest.Knobs) { k.Deny = map[string]otctest.Denial{action: how} })
	}
}

// second is another table than the default one, in that VPC.
func second(vpc string) func(*trial) {
	return func(c *trial) {
		c.AddTable(tableID(2), "rtb-2", vpc)
		c.cfg.Tables = []string{tableID(2)}
	}
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

// TestCheckIsSlow: whoever has to wait is told what for, and then what came of it.
func TestCheckIsSlow(t *testing.T) {
	for name, op := range map[string]string{"login": otctest.OpLogin, "route table " + mainTable: otctest.OpTableGet, "instance": otctest.OpServerGet} {
		out := run(t, faulty(op, otctest.Fault{Hang: true}))
		if !strings.Contains(out, "ℹ️ "+name+": still waiting, 15s at most\n❌ "+name+": ") {
			t.Errorf("%s: got\n%s", name, out)
		}
	}
}
