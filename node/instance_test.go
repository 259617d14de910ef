package node

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

const (
	gone = "dead0001-2b6d-4f80-93ae-5d1c00000001" // a server that does not exist
	twin = "dead0002-2b6d-4f80-93ae-5d1c00000002"
)

func server(id, name string, fixed ...string) otctest.Instance {
	return otctest.Instance{ID: id, Name: name, Fixed: fixed}
}

type servers = []otctest.Instance

// A search starts worker-1 with these hints and servers.
type search struct {
	name                 string
	providerID, systemID string
	address              string // "": 10.20.0.11
	servers              servers
	fault                otctest.Fault // of the read by id, once
	want                 string        // instance; "": none
	calls                string        // after the login
	told                 string
}

func (tt search) run(w *world) {
	a := w.agent(1)
	w.DeleteServer(a.id)
	for _, s := range tt.servers {
		w.AddServer(s)
	}
	a.facts.ProviderID, a.facts.SystemUUID = tt.providerID, tt.systemID
	if tt.address != "" {
		a.facts.Addresses = []netip.Addr{netip.MustParseAddr(tt.address)}
	}
	if tt.fault.Op = otctest.OpServerGet; tt.fault.Status > 0 {
		w.Fail(tt.fault)
	}
	a.boot()
	calls := strings.TrimPrefix(w.calls(), "login ")
	if tt.want == "" {
		w.wantRoutes()
		a.wantState(false, false)
		a.wantTold(1, "error could not find the ECS instance of worker-1", tt.told)
	} else {
		tt.calls += " get put get"
		a.wantState(true, true)
	}
	if a.Status().Instance != tt.want || calls != tt.calls {
		w.t.Errorf("got instance %q with %q, want %q with %q", a.Status().Instance, calls, tt.want, tt.calls)
	}
}

func TestInstance(t *testing.T) {
	me := ecsID(1)
	right := server(me, "worker-1", "10.20.0.11")
	for _, tt := range []search{
		{name: "providerID first", providerID: "openstack:///" + me, systemID: twin, servers: servers{right}, want: me, calls: "server"},
		{name: "providerID with a region", providerID: "openstack://eu-de/" + me, servers: servers{right}, want: me, calls: "server"},
		{name: "bare providerID in upper case", providerID: strings.ToUpper(me), servers: servers{right}, want: me, calls: "server"},
		{name: "without the permission to read by id the list serves", providerID: me, servers: servers{right}, fault: otctest.Fault{Status: 403, Code: "Pdp.0001"}, want: me, calls: "server:403 servers"},
		{name: "any other failure ends it", providerID: gone, systemID: me, servers: servers{right}, fault: otctest.Fault{Status: 400, Code: "Ecs.0005"}, calls: "server:400", told: "Ecs.0005"},
		{name: "the gateway's 404 speaks of the URL", providerID: gone, systemID: me, servers: servers{right}, fault: otctest.Fault{Status: 404, Code: "APIGW.0101"}, calls: "server:404", told: "APIGW.0101"},
		{name: "systemUUID second", systemID: me, servers: servers{right}, want: me, calls: "server"},
		{name: "systemUUID in upper case", systemID: strings.ToUpper(me), servers: servers{right}, want: me, calls: "server"},
		{name: "address third", servers: servers{right}, want: me, calls: "servers"},
		{name: "no search by IPv6 address", address: "fd00:20::b", servers: servers{server(me, "worker-1", "fd00:20::b")}, told: "ECS finds no server by the IPv6 address fd00:20::b"},
		{name: "providerID is gone", providerID: gone, systemID: me, servers: servers{right}, want: me, calls: "server:404 server"},
		{name: "both ids are gone", providerID: gone, systemID: twin, servers: servers{right}, want: me, calls: "server:404 server:404 servers"},
		{name: "providerID has another address", providerID: twin, systemID: me, servers: servers{right, server(twin, "x", "10.20.0.12")}, want: me, calls: "server server"},
		{name: "a floating address proves nothing", providerID: twin, servers: servers{right, {ID: twin, Name: "x", Fixed: []string{"10.20.0.12"}, Floating: []string{"10.20.0.11"}}}, want: me, calls: "server servers"},
		{name: "address of the second NIC", providerID: me, servers: servers{{ID: me, Name: "x", Fixed: []string{"10.20.0.99"}, NICs: []otctest.NIC{{Addresses: []string{"10.20.0.11"}}}}}, want: me, calls: "server"},
		{name: "providerID is being deleted", providerID: twin, servers: servers{right, {ID: twin, Name: "x", Fixed: []string{"10.20.0.11"}, TaskState: "deleting"}}, want: me, calls: "server servers"},
		{name: "providerID of another cloud", providerID: "aws:///eu-central-1a/i-0123456789abcdef0", systemID: me, servers: servers{right}, want: me, calls: "server"},
		{name: "the same id twice is asked once", providerID: gone, systemID: strings.ToUpper(gone), calls: "server:404 servers", told: "no ECS instance found"},
		{name: "none", servers: servers{server(twin, "worker-2", "10.20.0.12")}, calls: "servers", told: "ECS lists no server with the address 10.20.0.11: check OS_PROJECT_NAME"},
		{name: "worker-1 beside worker-10 and its address", servers: servers{server(twin, "worker-10", "10.20.0.110"), right}, want: me, calls: "servers"},
		{name: "only worker-10", servers: servers{server(twin, "worker-10", "10.20.0.110")}, calls: "servers", told: "no ECS instance found"},
		{name: "right name, wrong address", servers: servers{server(twin, "worker-1", "10.20.0.12")}, calls: "servers", told: "no ECS instance found"},
		{name: "two servers with its name, one with its address", servers: servers{server(twin, "worker-1", "10.20.0.12"), right}, want: me, calls: "servers"},
		{name: "two servers with its address", servers: servers{right, {ID: twin, Name: "worker-1", VPCID: otherVPC, Fixed: []string{"10.20.0.11"}}}, calls: "servers", told: "2 servers have its address"},
		{name: "InternalIP is no server's", address: "10.20.0.250", providerID: me, systemID: me, servers: servers{right}, calls: "server servers", told: "addresses [10.20.0.11], the Node [10.20.0.250]; ECS lists no server with the address 10.20.0.250: the Node's InternalIP is none of that server's addresses: check kubelet's --node-ip"},
		{name: "its server is being deleted", servers: servers{{ID: me, Name: "x", Fixed: []string{"10.20.0.11"}, TaskState: "deleting"}}, calls: "servers", told: "server " + me + ", which has the address 10.20.0.11, is being deleted: wait"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.run)
		})
	}
}

const otherVPC = "11111111-61b8-4e3f-8a25-7c0e9b14d6f1"

// A oneTable is a cloud that shows a route table of some VPC.
type oneTable struct {
	Cloud
	vpc string
}

func (c oneTable) RouteTable(_ context.Context, id string) (otc.RouteTable, error) {
	return otc.RouteTable{ID: id, VPCID: c.vpc}, nil
}

// TestVPC: a route to a server of another VPC would be accepted and useless; a VPC
// that is not known is no other one.
func TestVPC(t *testing.T) {
	for _, tt := range []struct {
		server, table string
		other         bool
	}{{"a", "a", false}, {"a", "b", true}, {"", "b", false}, {"a", "", false}, {"", "", false}} {
		e := env{cloud: oneTable{vpc: tt.table}, cfg: &Config{}}
		to := target{server: otc.Server{ID: ecsID(1), VPCID: tt.server}}
		_, _, err := e.inspect(t.Context(), &tableState{id: mainTable, target: to}, new(map[string]bool))
		if errors.Is(err, errOtherVPC) != tt.other || !tt.other && err != nil {
			t.Errorf("a server of VPC %q, a table of %q: %v", tt.server, tt.table, err)
		}
	}
}

// TestR8WhileNotFound: what may name the instance counts, nothing else does.
func TestR8WhileNotFound(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.agent(1)
		a.facts.Addresses, a.facts.ProviderID, a.facts.SystemUUID = nil, "", ""
		a.boot()
		w.wantCalls("") // without an address nothing can be proven
		a.wantState(false, false)
		a.wantTold(1, "error", "no InternalIP yet")
		a.see(func(f *Facts) { f.SystemUUID = twin })
		w.wantCalls("")
		a.see(func(f *Facts) { f.Addresses = []netip.Addr{netip.MustParseAddr("10.20.0.77")} })
		w.wantCalls("login server:404 servers")
		a.see() // nothing new
		w.wantCalls("")
		a.see(func(f *Facts) { f.ProviderID = "openstack:///" + gone })
		w.wantCalls("server:404 server:404 servers")
		a.see(func(f *Facts) { f.Addresses = []netip.Addr{addrOf(1)} })
		w.wantRoutes("10.128.2.0/23 → worker-1 *")
	})
}

// The providerID may come later than the annotation.
func TestLateProviderID(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.agent(1)
		a.facts.ProviderID, a.facts.SystemUUID = "", ""
		a.boot()
		w.wantCalls("login servers get put get")
		a.see(func(f *Facts) { f.SystemUUID = strings.ToUpper(a.id) })
		a.see(func(f *Facts) { f.ProviderID = "openstack:///" + a.id })
		w.wantCalls("") // says what was known
		old := a.id
		a.replace(twin)
		a.see(func(f *Facts) { f.ProviderID, f.SystemUUID = "openstack:///"+twin, twin })
		w.wantCalls("server get put get")
		w.wantRoutes("10.128.2.0/23 → worker-1#2 *")
		a.see(func(f *Facts) { f.ProviderID = "" }) // what was known stays known
		w.wantCalls("")
		if old == a.Status().Instance {
			t.Errorf("still instance %s", old)
		}
	})
}
