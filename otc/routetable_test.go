package otc

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"otc-route-manager/otc/otctest"
)

func routeTo(kind, destination, nextHop, description, spelling string) Route {
	r := Route{Type: kind, NextHop: nextHop, Description: description, Raw: spelling}
	if destination != "" {
		r.Destination = netip.MustParsePrefix(destination)
	}
	return r
}

// The API shows a table in several ways; none of them is an error.
func TestDecodeRouteTable(t *testing.T) {
	const head = `{"id":"` + otctest.TableID + `","name":"rtb-netops","vpc_id":"` + otctest.VPCID + `","tenant_id":"x",`
	for _, tt := range []struct {
		name, body string
		want       []Route
		main       bool
	}{
		{"as documented", head + `"default":true,"description":"","subnets":[{"id":"` + otctest.SubnetID + `"}],"created_at":"2026-05-04T07:31:09",
			"updated_at":"2026-09-19T22:10:55","routes":[{"type":"local","destination":"10.20.0.0/24","nexthop":"-"},
			{"type":"ecs","destination":"10.128.4.0/23","nexthop":"` + one + `","description":"a"},
			{"type":"nat","destination":"0.0.0.0/0","nexthop":"nat-1","description":""}]}`,
			[]Route{routeTo("local", "10.20.0.0/24", "-", "", "10.20.0.0/24"), routeTo("ecs", "10.128.4.0/23", one, "a", "10.128.4.0/23"),
				routeTo("nat", "0.0.0.0/0", "nat-1", "", "0.0.0.0/0")}, true},
		{"no default, no subnets, no times", head + `"routes":[]}`, nil, false},
		{"no routes", head + `"default":false}`, nil, false},
		{"routes null", head + `"routes":null,"subnets":null}`, nil, false},
		{"null members and more of them", head + `"extend_info":{"zone":"center"},"routes":[{"type":"local","destination":"127.0.0.0/8",
			"nexthop":null,"description":null,"extra_info":{},"nexthop_mac":null,"metric":100}],"subnets":[{"id":"x","network_id":"y"}]}`,
			[]Route{routeTo("local", "127.0.0.0/8", "", "", "127.0.0.0/8")}, false},
		{"unknown type", head + `"routes":[{"type":"cc","destination":"10.9.0.0/16","nexthop":"cc-1"}]}`,
			[]Route{routeTo("cc", "10.9.0.0/16", "cc-1", "", "10.9.0.0/16")}, false},
		{"host bits", head + `"routes":[{"type":"ecs","destination":"10.128.4.7/23","nexthop":"x"}]}`,
			[]Route{routeTo("ecs", "10.128.4.0/23", "x", "", "10.128.4.7/23")}, false},
		{"long IPv6", head + `"routes":[{"type":"ecs","destination":"FD01:0000:0000:0000:0000:0000:0000:0000/64","nexthop":"x"}]}`,
			[]Route{routeTo("ecs", "fd01::/64", "x", "", "FD01:0000:0000:0000:0000:0000:0000:0000/64")}, false},
		{"a bare address", head + `"routes":[{"type":"ecs","destination":"10.128.4.7","nexthop":"x"}]}`,
			[]Route{routeTo("ecs", "10.128.4.7/32", "x", "", "10.128.4.7")}, false},
		{"members of another kind", `{"id":"` + otctest.TableID + `","name":"rtb-netops","vpc_id":"` + otctest.VPCID + `","default":"true","subnets":[7],"routes":[7,null,"x",
			{"type":"ecs","destination":"10.128.4.0/23","nexthop":{},"description":"a\u001b[2J\u202e"}]}`,
			[]Route{{}, {}, {}, routeTo("ecs", "10.128.4.0/23", "", "a?[2J?", "10.128.4.0/23")}, true},
		{"no CIDR, no text", head + `"routes":[{"type":"ecs","destination":"pl-1","nexthop":"x"},{"type":"ecs","destination":null},{"type":7}]}`,
			[]Route{routeTo("ecs", "", "x", "", "pl-1"), routeTo("ecs", "", "", "", ""), routeTo("", "", "", "", "")}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.Fail(otctest.Fault{Op: otctest.OpTableGet, Body: []byte(`{"routetable":` + tt.body + `}`)})
			got, err := w.client.RouteTable(t.Context(), otctest.TableID)
			if err != nil {
				t.Fatalf("got %v", err)
			}
			if !slices.Equal(got.Routes, tt.want) {
				t.Errorf("got  %v\nwant %v", got.Routes, tt.want)
			}
			if got.ID != otctest.TableID || got.Name != "rtb-netops" || got.VPCID != otctest.VPCID || got.Default != tt.main {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// The knobs of the simulator are another table of the same kind.
func TestRouteTableFromTheSimulator(t *testing.T) {
	for name, set := range map[string]func(*otctest.Knobs){
		"plain":    func(*otctest.Knobs) {},
		"null":     func(k *otctest.Knobs) { k.NullNextHop = true },
		"bare":     func(k *otctest.Knobs) { k.NoDefault = true },
		"rich":     func(k *otctest.Knobs) { k.ExtraMembers = true },
		"shuffled": func(k *otctest.Knobs) { k.Shuffle = true },
	} {
		w := newWorld(t)
		w.Set(set)
		w.SetRoutes(otctest.TableID, otctest.Route{Type: "ecs", Destination: "10.128.4.0/23", NextHop: one, Description: mark})
		got, err := w.client.RouteTable(t.Context(), otctest.TableID)
		if err != nil || len(got.Routes) != 5 || !slices.ContainsFunc(got.Routes, route("10.128.4.0/23").Equal) {
			t.Errorf("%s: got %v, %v; want four local routes and one of ours", name, got.Routes, err)
		}
		if got.Default == (name == "bare") || len(got.Subnets) != 1 || got.Subnets[0] != otctest.SubnetID {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// An answer about something else is an error, never an empty table.
func TestAnswersThatHoldNoTable(t *testing.T) {
	for _, body := range []string{`{}`, `null`, `[]`, `{"routetable":null}`, `{"routetable":{}}`, `{"routetables":[]}`, `{"code":"VPC.0008"}`,
		`{"routetable":{"id":"` + two + `","routes":[]}}`, `{"routetable":{"id":"` + otctest.TableID + `","routes":{}}}`, ``} {
		inBubble(t, func(t *testing.T, w *world) {
			w.Fail(otctest.Fault{Op: otctest.OpTableGet, Body: []byte(body), Times: -1})
			if err := w.read(); err == nil || ReactionTo(err) != Transient || !strings.Contains(err.Error(), "HTTPS_PROXY") {
				t.Errorf("%s: got %v, want an error", body, err)
			}
		})
	}
}

// Ids are compared by ==, so that each has one form here, whoever writes it.
func TestIdsAreInLowerCase(t *testing.T) {
	const upper = "ABCDEF00-4F72-4D90-9C6E-B2A7D0F3E518"
	lower := strings.ToLower(upper)
	w := newWorld(t)
	w.AddTable(lower, "x", otctest.VPCID)
	w.Fail(otctest.Fault{Op: otctest.OpTableGet, Body: []byte(`{"routetable":{"id":"` + upper + `","vpc_id":"` + upper + `","subnets":[{"id":"` + upper + `"}],"routes":[` +
		`{"type":"ecs","destination":"10.128.4.0/23","nexthop":"` + upper + `"},{"type":"cc","destination":"10.128.6.0/23","nexthop":"CC-1"}]}}`)})
	got, err := w.client.RouteTable(t.Context(), upper)
	if err != nil || got.ID != lower || got.VPCID != lower || got.Subnets[0] != lower || got.Routes[0].NextHop != lower || got.Routes[1].NextHop != "CC-1" {
		t.Errorf("got %+v, %v", got, err)
	}
	got.ID = upper
	if err := w.client.UpdateRoutes(t.Context(), got, Ops(Add, route("10.128.8.0/23"))); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := w.client.RouteTable(t.Context(), upper); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := w.client.Server(t.Context(), strings.ToUpper(one)); err != nil {
		t.Errorf("got %v", err)
	}
	w.Fail(otctest.Fault{Op: otctest.OpPortList, Body: []byte(`{"ports":[{"network_id":"` + upper + `"}]}`)})
	if ports, err := w.client.Ports(t.Context(), one); err != nil || ports[0].NetworkID != lower {
		t.Errorf("got %v, %v", ports, err)
	}
}

// The body of a PUT, byte for byte: no empty lists, no HTML escapes, a delete
// names only the destination.
func TestChangesOnTheWire(t *testing.T) {
	spelled := route("10.128.8.0/23")
	spelled.Raw = "10.128.8.9/23"
	described := route("fd01:0:0:4::/64")
	described.Description = `otc-route-manager "ü" & co`
	for _, tt := range []struct {
		name string
		ch   Changes
		want string
	}{
		{"add", Ops(Add, route("10.128.4.0/23")),
			`{"add":[{"type":"ecs","destination":"10.128.4.0/23","nexthop":"` + one + `","description":"` + mark + `"}]}`},
		{"mod in the table's spelling", Ops(Modify, spelled),
			`{"mod":[{"type":"ecs","destination":"10.128.8.9/23","nexthop":"` + one + `","description":"` + mark + `"}]}`},
		{"del in the table's spelling", Ops(Delete, spelled), `{"del":[{"destination":"10.128.8.9/23"}]}`},
		{"a move and a description", slices.Concat(Ops(Add, described), Ops(Delete, route("10.128.6.0/23"))),
			`{"add":[{"type":"ecs","destination":"fd01:0:0:4::/64","nexthop":"` + one + `","description":"otc-route-manager \"ü\" & co"}],` +
				`"del":[{"destination":"10.128.6.0/23"}]}`},
	} {
		w := newWorld(t)
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: 200, Body: []byte(`{}`)})
		if err := w.put(tt.ch); err != nil {
			t.Errorf("%s: got %v", tt.name, err)
			continue
		}
		requests := w.Requests()
		put := requests[len(requests)-1]
		if got, want := strings.TrimSpace(string(put.Body)), `{"routetable":{"routes":`+tt.want+`}}`; got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, want)
		}
		if encoded, err := json.Marshal(tt.ch); err != nil || !json.Valid(encoded) {
			t.Errorf("%s: got %s, %v", tt.name, encoded, err)
		}
	}
}

// What a PUT answers says nothing: the API's own sample is incomplete.
func TestUpdateIgnoresTheAnswer(t *testing.T) {
	for _, body := range []string{`{}`, `{"routetable":{"id":"x","routes":[]}}`, `[]`, ``} {
		w := newWorld(t)
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Applied: true, Status: 200, Body: []byte(body)})
		if err := w.write(); err != nil {
			t.Errorf("%s: got %v", body, err)
		}
	}
}

// Trap 33: a destination that the table spells in its own way is found again
// only by that spelling.
func TestOwnSpellingOfTheTable(t *testing.T) {
	w := newWorld(t)
	w.Set(func(k *otctest.Knobs) { k.Respell, k.ExactSpelling = otctest.LongForm, true })
	add := Ops(Add, route("fd01:0:0:4::/64"), route("fd01:0:0:8::/64"))
	if err := w.put(add); err != nil {
		t.Fatal(err)
	}
	table, err := w.client.RouteTable(t.Context(), otctest.TableID)
	if err != nil {
		t.Fatal(err)
	}
	ours := slices.DeleteFunc(table.Routes, func(r Route) bool { return r.Type != TypeECS })
	if len(ours) != 2 || ours[0].Destination != add[0].Destination || ours[0].Raw == ours[0].Destination.String() {
		t.Fatalf("got %+v, want two routes in another spelling", ours)
	}
	ours[0].NextHop = two
	if err := w.put(slices.Concat(Ops(Modify, ours[:1]...), Ops(Delete, ours[1:]...))); err != nil {
		t.Errorf("got %v", err)
	}
	if got := w.Routes(otctest.TableID); len(got) != 1 || got[0].NextHop != two {
		t.Errorf("got %v, want one route via %s", got, two)
	}
}

// The quota is the API's own number; -1 is no limit.
func TestRouteQuota(t *testing.T) {
	w := newWorld(t)
	for _, limit := range []int{200, 0, -1} {
		w.Set(func(k *otctest.Knobs) { k.TableLimit = limit })
		if got, err := w.client.RouteQuota(t.Context()); got != limit || err != nil {
			t.Errorf("got %d, %v; want %d", got, err, limit)
		}
	}
	if r := w.Requests()[1]; r.Query.Encode() != "type=routetableContainRoutes" {
		t.Errorf("got the query %v", r.Query)
	}
	for _, body := range []string{`{"quotas":{"resources":[{"type":"vpc","quota":150}]}}`, `{"quotas":{"resources":[]}}`, `{}`, `[]`,
		`{"quotas":{"resources":[{"type":"routetableContainRoutes"}]}}`, `{"quotas":{"resources":[{"type":"routetableContainRoutes","quota":"x"}]}}`, `{"quotas":{"resources":[{"quota":` + strings.Repeat("1", 1000) + `}]}}`} {
		w.Fail(otctest.Fault{Op: otctest.OpQuotas, Body: []byte(body)})
		if got, err := w.client.RouteQuota(t.Context()); err == nil || !strings.Contains(err.Error(), "unusable answer") || len(err.Error()) > 500 {
			t.Errorf("%s: got %d, %v; want an error", body, got, err)
		}
	}
}
