package otc

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"otc-route-manager/otc/otctest"
)

// The ECS API (v1) and the compute API (v2.1) show the same server in different
// words; keys of addresses, flavors and images do not matter.
func TestDecodeServer(t *testing.T) {
	const fixed = `{"addr":"10.20.0.11","OS-EXT-IPS:type":"fixed","version":"4"}`
	for _, tt := range []struct {
		name, body, want string
	}{
		{"v1", `{"id":"` + one + `","name":"worker-1","status":"ACTIVE","OS-EXT-STS:task_state":null,"metadata":{"vpc_id":"v","os_type":"Linux"},
			"addresses":{"v":[` + fixed + `,{"addr":"80.158.0.77","OS-EXT-IPS:type":"floating","version":"4"}]},"flavor":{"vcpus":"2"},"tags":[],"fault":null}`,
			one + " worker-1 v [10.20.0.11] false"},
		{"v2.1", `{"id":"` + one + `","name":"worker-1","status":"ACTIVE","image":"","flavor":{"vcpus":2,"extra_specs":{}},"metadata":{},
			"addresses":{"net":[{"addr":"10.20.0.11","version":4,"OS-EXT-IPS:type":"fixed"},{"addr":"fd00::b","version":6}]}}`,
			one + " worker-1  [10.20.0.11 fd00::b] false"},
		{"upper case", `{"id":"` + strings.ToUpper(one) + `","metadata":{"vpc_id":"` + strings.ToUpper(otctest.VPCID) + `"}}`, one + "  " + otctest.VPCID + " [] false"},
		{"deleted", `{"id":"x","status":"DELETED"}`, "x   [] true"},
		{"being deleted", `{"id":"x","status":"ACTIVE","OS-EXT-STS:task_state":"deleting"}`, "x   [] true"},
		{"being built", `{"id":"x","status":"BUILD","addresses":{},"metadata":null}`, "x   [] false"},
		{"no addresses", `{"id":"x","addresses":null}`, "x   [] false"},
		{"odd addresses", `{"id":"x","addresses":{"v":[{"addr":""},{"addr":"host"},{"addr":null},` + fixed + `],"w":null,"u":[]}}`, "x   [10.20.0.11] false"},
		{"fault", `{"id":"x","status":"ERROR","fault":{"message":"No valid host","code":500}}`, "x   [] false"},
	} {
		var s Server
		err := json.Unmarshal([]byte(tt.body), &s)
		if got := fmt.Sprint(s.ID, " ", s.Name, " ", s.VPCID, " ", s.Fixed, " ", s.Deleting); err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestHasAny(t *testing.T) {
	addresses := func(list ...string) (out []netip.Addr) {
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	s := Server{Fixed: addresses("10.20.0.11", "fd00::b")}
	if !s.HasAny(addresses("10.20.0.1", "fd00::b")) || s.HasAny(addresses("10.20.0.1")) || s.HasAny(nil) || (Server{}).HasAny(addresses("10.20.0.11")) {
		t.Error("HasAny disagrees with the addresses")
	}
}

// A server's body may hold user data, which may hold secrets.
func TestR9UserDataIsNotKept(t *testing.T) {
	w := newWorld(t)
	s, err := w.client.Server(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range verbs() {
		wantSilence(t, fmt.Sprintf(verb, s), verb, otctest.UserData, "I2Nsb3VkLWNvbmZpZz")
	}
	wantSilence(t, w.log.String(), "the log", otctest.UserData, "I2Nsb3VkLWNvbmZpZ")
}

func TestPorts(t *testing.T) {
	for _, tt := range []struct {
		pairs []string
		want  SourceCheck
	}{
		{nil, CheckOn}, {[]string{"10.128.0.0/14"}, checkPairs}, {[]string{"10.129.0.0/23"}, CheckOn}, {[]string{"1.1.1.1"}, CheckOn}, {[]string{"x"}, CheckOn},
		{[]string{otctest.CheckOff}, CheckOff}, {[]string{"10.128.0.0/14", otctest.CheckOff}, CheckOff},
	} {
		w := newWorld(t)
		w.AddServer(otctest.Instance{ID: two, Name: "worker-2", Fixed: []string{"10.20.0.12"}, AllowedPairs: tt.pairs, NICs: []otctest.NIC{{NetworkID: "n2", Addresses: []string{"10.30.0.5"}}}})
		ports, err := w.client.Ports(t.Context(), two)
		if err != nil || len(ports) != 2 {
			t.Fatalf("got %v, %v; want two ports", ports, err)
		}
		if p := ports[0]; p.SourceCheck([]netip.Prefix{netip.MustParsePrefix("10.128.2.0/23")}) != tt.want || p.NetworkID != otctest.SubnetID || len(p.Addresses) != 1 || p.Addresses[0].String() != "10.20.0.12" {
			t.Errorf("pairs %v: got %+v, want %s", tt.pairs, p, tt.want)
		}
		requests := w.Requests()
		last := requests[len(requests)-1]
		if last.Path != "/v2.0/ports" || last.Query.Encode() != "device_id="+two {
			t.Errorf("got %s?%s", last.Path, last.Query.Encode())
		}
	}
}

// The path of the ports follows an override with a path of its own.
func TestPortsBehindAnOverride(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.VPCEndpoint = "https://proxy.test/otc/vpc" })
	_, _ = w.client.Ports(t.Context(), one)
	requests := w.Requests()
	if got, want := requests[len(requests)-1].Host+requests[len(requests)-1].Path, "proxy.test/otc/vpc/v2.0/ports"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Without the permission there are no ports, which says nothing.
func TestPortsWithoutPermission(t *testing.T) {
	w := newWorld(t)
	w.Set(func(k *otctest.Knobs) { k.Deny = map[string]otctest.Denial{"vpc:ports:get": otctest.DenyEmpty} })
	if ports, err := w.client.Ports(t.Context(), one); err != nil || len(ports) != 0 {
		t.Errorf("got %v, %v; want none", ports, err)
	}
	w.Fail(otctest.Fault{Op: otctest.OpPortList, Body: []byte(`{"ports":[{"network_id":null,"fixed_ips":[{"ip_address":""},{"ip_address":null},{"ip_address":7}],"allowed_address_pairs":"none","port_security_enabled":"no"},{}]}`)})
	if ports, err := w.client.Ports(t.Context(), one); err != nil || len(ports) != 2 || ports[0].SourceCheck(nil) == CheckOff {
		t.Errorf("got %v, %v; want two ports of which little is known", ports, err)
	}
}
