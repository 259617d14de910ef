package otctest

import (
	"fmt"
	"strings"
	"testing"
)

func TestServerOnTheWire(t *testing.T) {
	b := newBed(t)
	b.AddServer(Instance{ID: one, Name: "worker-1", Fixed: []string{"10.20.0.11", "fd00::11"},
		Floating: []string{"80.158.0.77"}, NICs: []NIC{{Addresses: []string{"10.20.0.12"}}, {VPCID: "other", Addresses: []string{"10.30.0.1"}}}})
	g := b.get(servers + "/" + one).want(200)
	equal(t, "name", g.at("server", "name"), any("worker-1"))
	equal(t, "status", g.at("server", "status"), any("ACTIVE"))
	equal(t, "task", g.at("server", "OS-EXT-STS:task_state"), nil)
	equal(t, "VPC", g.at("server", "metadata", "vpc_id"), any(VPCID))
	tests := []struct {
		vpc, n, addr, version, kind string
		primary                     any
	}{
		{VPCID, "0", "10.20.0.11", "4", "fixed", true},
		{VPCID, "1", "fd00::11", "6", "fixed", nil},
		{VPCID, "2", "80.158.0.77", "4", "floating", nil},
		{VPCID, "3", "10.20.0.12", "4", "fixed", nil},
		{"other", "0", "10.30.0.1", "4", "fixed", nil},
	}
	at := func(vpc, n, member string) any { return g.at("server", "addresses", vpc, n, member) }
	for _, tt := range tests {
		equal(t, "addr", at(tt.vpc, tt.n, "addr"), any(tt.addr))
		equal(t, "version", at(tt.vpc, tt.n, "version"), any(tt.version))
		equal(t, "type", at(tt.vpc, tt.n, "OS-EXT-IPS:type"), any(tt.kind))
		equal(t, "primary", at(tt.vpc, tt.n, "primary"), tt.primary)
	}
	equal(t, "one NIC", at(VPCID, "0", "OS-EXT-IPS:port_id") == at(VPCID, "2", "OS-EXT-IPS:port_id"), true)
	equal(t, "another NIC", at(VPCID, "0", "OS-EXT-IPS:port_id") == at(VPCID, "3", "OS-EXT-IPS:port_id"), false)

	list := b.get(servers + "/detail").want(200)
	equal(t, "count", list.at("count"), any(1.0))
	equal(t, "primary in the list", list.at("servers", "0", "addresses", VPCID, "0", "primary"), nil)
	nics := b.get(servers + "/" + one + "/os-interface").want(200)
	equal(t, "port", nics.at("interfaceAttachments", "0", "port_id"), at(VPCID, "0", "OS-EXT-IPS:port_id"))
	equal(t, "network", nics.at("interfaceAttachments", "0", "net_id"), any(SubnetID))
	equal(t, "address", nics.at("interfaceAttachments", "0", "fixed_ips", "0", "ip_address"), any("10.20.0.11"))
	equal(t, "free", nics.at("attachableQuantity", "free_nic"), any(9.0))
	b.Set(func(k *Knobs) { k.NumericVersion = true })
	g = b.get(servers + "/" + one)
	equal(t, "numeric version", at(VPCID, "1", "version"), any(6.0))
}

func TestServerStates(t *testing.T) {
	b := newBed(t)
	b.AddServer(Instance{ID: one, Status: "BUILD", TaskState: "spawning"})
	g := b.get(servers + "/" + one)
	equal(t, "VPC", g.at("server", "metadata", "vpc_id"), nil)
	equal(t, "task", g.at("server", "OS-EXT-STS:task_state"), any("spawning"))
	b.AddServer(Instance{ID: one, Status: "DELETED"})
	equal(t, "status", b.get(servers+"/"+one).at("server", "status"), any("DELETED"))
	equal(t, "count", b.get(servers+"/detail").at("count"), any(1.0))
	b.DeleteServer(one)
	b.get(servers + "/" + one).want(404)
}

func TestSearch(t *testing.T) {
	b := newBed(t)
	for i, name := range []string{"worker-1", "worker-11", "workerx1", "w.rker-1"} {
		b.AddServer(Instance{ID: fmt.Sprint("id-", i), Name: name, Fixed: []string{fmt.Sprint("10.20.0.1", i)},
			Floating: []string{"80.158.0.7"}})
	}
	b.AddServer(Instance{ID: "id-4", Name: "off", Status: "SHUTOFF", Fixed: []string{"10.20.0.1", "fd00::1"}})
	tests := []struct{ query, want string }{
		{"?name=worker-1", "id-0 id-1"},
		{"?name=worker.1", "id-0 id-1 id-2"},
		{"?name=w.rker-1", "id-0 id-1 id-3"},
		{"?ip=10.20.0.1", "id-0 id-1 id-2 id-3 id-4"},
		{"?ip=10.20.0.12", "id-2"},
		{"?ip=80.158.0.7", ""},
		{"?ip=fd00", ""},
		{"?status=SHUTOFF", "id-4"},
		{"?name=off&status=ACTIVE", ""},
		{"?limit=2", "id-0 id-1"},
		{"?limit=2&offset=0", "id-0 id-1"},
		{"?limit=2&offset=2", "id-2 id-3"},
		{"?limit=2&offset=3", "id-4"},
		{"?limit=2&offset=4", ""},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			var ids []string
			for _, s := range b.get(servers + "/detail" + tt.query).want(200).at("servers").([]any) {
				ids = append(ids, s.(map[string]any)["id"].(string))
			}
			equal(t, "servers", strings.Join(ids, " "), tt.want)
		})
	}
	equal(t, "count is the total", b.get(servers+"/detail?limit=2").at("count"), any(5.0))
	for _, q := range []string{"?limit=1001", "?limit=x", "?offset=-1"} {
		b.get(servers+"/detail"+q).want(400, "Ecs.0005")
	}
}

func TestPorts(t *testing.T) {
	b := newBed(t)
	b.AddServer(Instance{ID: one, Fixed: []string{"10.20.0.11"}, AllowedPairs: []string{CheckOff}})
	b.AddServer(Instance{ID: two, Fixed: []string{"10.20.0.12"}, NICs: []NIC{{NetworkID: "net-2"}}})
	g := b.get(vpc + "/v2.0/ports?device_id=" + one).want(200)
	equal(t, "ports", len(g.at("ports").([]any)), 1)
	equal(t, "device", g.at("ports", "0", "device_id"), any(one))
	equal(t, "network", g.at("ports", "0", "network_id"), any(SubnetID))
	equal(t, "pair", g.at("ports", "0", "allowed_address_pairs", "0", "ip_address"), any("1.1.1.1/0"))
	g = b.get(vpc+"/v2.0/ports?device_id="+two).want(200, `"allowed_address_pairs":[]`)
	equal(t, "ports", len(g.at("ports").([]any)), 2)
	equal(t, "network", g.at("ports", "1", "network_id"), any("net-2"))
	equal(t, "all ports", len(b.get(vpc+"/v2.0/ports").at("ports").([]any)), 3)
}
