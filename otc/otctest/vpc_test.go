package otctest

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// wire is the table that New makes, as the documentation of the VPC API writes one.
const wire = `{"routetable":{"id":"8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518","name":"rtb-netops","default":true,
"description":"","vpc_id":"2d9c4f7a-61b8-4e3f-8a25-7c0e9b14d6f1","tenant_id":"5b0c9a7e2f4d4c1e9d8a6b3f7c2e1d04",
"routes":[{"type":"local","destination":"10.20.0.0/24","nexthop":"-"},
{"type":"local","destination":"198.19.128.0/20","nexthop":"-"},
{"type":"local","destination":"127.0.0.0/8","nexthop":"-"},
{"type":"local","destination":"100.64.0.0/10","nexthop":"-"},
{"type":"ecs","destination":"10.244.3.0/24","nexthop":"a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26","description":"worker-1"},
{"type":"nat","destination":"0.0.0.0/0","nexthop":"e27d5c80-9f1b-4a36-8d4e-61b3f0c9a752","description":""}],
"subnets":[{"id":"f06a2d81-9c34-47be-a5d7-3e8b1c60f942"}],
"created_at":"2026-05-04T07:31:09","updated_at":"2026-09-19T22:10:55"}}`

// canonical returns JSON with sorted members and no white space.
func canonical(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestTableOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 9, 19, 22, 10, 55, 0, time.UTC)))
		b := newBed(t)
		b.SetRoutes(TableID, Route{"ecs", "10.244.3.0/24", one, "worker-1"},
			Route{"nat", "0.0.0.0/0", "e27d5c80-9f1b-4a36-8d4e-61b3f0c9a752", ""})
		equal(t, "table", canonical(t, b.get(tbl).want(200).body), canonical(t, wire))
	})
}

func TestListTables(t *testing.T) {
	b := newBed(t)
	const third = "11111111-2222-4333-8444-555555555555"
	b.AddTable(one, "custom", VPCID)
	b.AddTable(third, "elsewhere", "another-vpc")
	b.AddSubnet(VPCID, Subnet{ID: "net-2", CIDR: "10.20.1.0/24", TableID: one})
	tests := []struct {
		query string
		want  []string
	}{
		{"", []string{TableID, one, third}},
		{"?vpc_id=" + VPCID, []string{TableID, one}},
		{"?id=" + third, []string{third}},
		{"?subnet_id=" + SubnetID, []string{TableID}},
		{"?subnet_id=net-2", []string{one}},
		{"?limit=2", []string{TableID, one}},
		{"?limit=2&marker=" + one, []string{third}},
		{"?limit=2&marker=" + third, nil},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			var list struct {
				Tables []struct{ ID string } `json:"routetables"`
			}
			if err := json.Unmarshal([]byte(b.get(tables+tt.query).want(200).body), &list); err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, l := range list.Tables {
				ids = append(ids, l.ID)
			}
			equal(t, "ids", fmt.Sprint(ids), fmt.Sprint(tt.want))
		})
	}
	b.get(tables + "?limit=2001").want(400)
	equal(t, "default", b.get(tables+"/"+one).at("routetable", "default"), any(false))
	equal(t, "default of the other VPC", b.get(tables+"/"+third).at("routetable", "default"), any(true))
}

func TestTableIsItsOwn(t *testing.T) {
	b := newBed(t)
	mine := []Route{ecsRoute("10.1.0.0/16")}
	b.AddTable(TableID, "again", VPCID, mine...)
	mine[0].Destination = "10.2.0.0/16"
	b.Routes(TableID)[0].Destination = "10.3.0.0/16"
	b.table("10.1.0.0/16")
	equal(t, "still the default", b.get(tbl).at("routetable", "default"), any(true))
}

func TestStrangers(t *testing.T) {
	b := newBed(t)
	odd := Route{"ecs", "fd00:0010::/64", one, "as <I> like it"}
	b.PutRoute(TableID, odd)
	b.PutRoute(TableID, ecsRoute("10.1.0.0/16"))
	equal(t, "byte for byte", b.Routes(TableID)[0], odd)
	b.PutRoute(TableID, Route{"nat", "fd00:10::/64", two, ""})
	b.table("fd00:10::/64 10.1.0.0/16")
	b.DeleteRoute(TableID, "fd00:0010:0::/64")
	b.DeleteRoute(TableID, "10.2.0.0/16")
	b.table("10.1.0.0/16")
	equal(t, "unknown table", b.Routes(one) == nil, true)
}

func TestPermissions(t *testing.T) {
	tests := []struct {
		action, url string
		how         Denial
		status      int
		want        string
	}{
		{"vpc:routeTables:get", tbl, DenyPolicy, 403, `"code":"VPC.2201"`},
		{"vpc:routeTables:get", tbl, DenyEmpty, 403, `vpc:routeTables:get`},
		{"vpc:routeTables:list", tables, DenyEmpty, 200, `{"routetables":[]}`},
		{"vpc:ports:get", vpc + "/v2.0/ports", DenyEmpty, 200, `{"ports":[]}`},
		{"ecs:cloudServers:list", servers + "/detail", DenyEmpty, 200, `{"count":0,"servers":[]}`},
		{"ecs:cloudServers:list", servers + "/detail", DenyPolicy, 403, `"error":{"code":"Pdp.0001"`},
		{"ecs:cloudServers:showServer", servers + "/" + one, DenyPolicy, 403, `ecs:cloudServers:showServer`},
		{"ecs:cloudServers:showServer", servers + "/" + one, DenyNova, 403, `{"forbidden":{"code":403,`},
		{"ecs:cloudServers:listServerInterfaces", servers + "/" + one + "/os-interface", DenyEmpty, 200, `[]`},
	}
	for _, tt := range tests {
		t.Run(tt.action, func(t *testing.T) {
			b := newBed(t)
			b.AddServer(Instance{ID: one, Fixed: []string{"10.20.0.11"}})
			b.get(tt.url).want(200)
			b.Set(func(k *Knobs) { k.Deny = map[string]Denial{tt.action: tt.how} })
			b.get(tt.url).want(tt.status, tt.want)
			b.Set(func(k *Knobs) { k.Deny = nil })
			b.get(tt.url).want(200)
		})
	}
	b := newBed(t)
	b.Set(func(k *Knobs) { k.Deny = map[string]Denial{"vpc:routeTables:update": 0} })
	b.put("add 10.244.3.0/24").want(403)
	b.table("")
}

func TestQuotas(t *testing.T) {
	const quotas = vpc + "/v1/" + ProjectID + "/quotas"
	b := newBed(t)
	b.get(quotas).want(200, `"type":"vpc"`, `"type":"routetableContainRoutes"`)
	for limit, want := range map[int]string{200: `"quota":200`, 0: `"quota":0`, -1: `"quota":-1`} {
		b.Set(func(k *Knobs) { k.TableLimit = limit })
		b.get(quotas+"?type=routetableContainRoutes").want(200, `{"quotas":{"resources":[{`, want).without(`"vpc"`)
		b.put("add 10.3.0.0/16").want(map[bool]int{true: 409, false: 200}[limit == 0])
		b.DeleteRoute(TableID, "10.3.0.0/16")
	}
	b.get(quotas+"?type=router").want(400, "VPC.1207")
	b.Set(func(k *Knobs) { k.Deny = map[string]Denial{"vpc:quotas:list": DenyPolicy} })
	b.get(quotas).want(403, "vpc:quotas:list")
}
