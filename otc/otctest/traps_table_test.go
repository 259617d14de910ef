package otctest

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"
)

// readTraps are about reading a route table.
func readTraps() []trap {
	return []trap{
		{"21 odd tables", func(t *testing.T, b *bed) {
			foreign := Route{"cc", "172.16.0.0/12", "e27d5c80", ""}
			b.AddTable(TableID, "again", VPCID, foreign, ecsRoute("10.3.0.0/16"))
			b.Set(func(k *Knobs) { k.NullNextHop, k.NoDefault, k.ExtraMembers = true, true, true })
			g := b.get(tbl).want(200, `"nexthop":null`, `"type":"cc"`, `"metric":100`, `"extend_info"`).without(`"default"`, `"-"`)
			b.Set(func(k *Knobs) { k.Shuffle = true })
			orders := map[string]bool{}
			for range 10 {
				orders[b.get(tbl).want(200).body] = true
			}
			equal(t, "several orders", len(orders) > 3, true)
			equal(t, "routes", len(g.at("routetable", "routes").([]any)), 6)
			equal(t, "foreign route", b.Routes(TableID)[0], foreign)
		}},
		{"32 stale reads", func(t *testing.T, b *bed) {
			b.Set(func(k *Knobs) { k.StaleReads = 5 * time.Second })
			b.put("add 10.3.0.0/16").want(200)
			time.Sleep(3 * time.Second)
			b.put("add 10.4.0.0/16").want(200)
			b.get(tbl).want(200).without("10.3.0.0/16", "10.4.0.0/16")
			b.table("10.3.0.0/16 10.4.0.0/16")
			time.Sleep(2 * time.Second)
			b.get(tbl).want(200, "10.3.0.0/16").without("10.4.0.0/16")
			time.Sleep(3 * time.Second)
			b.get(tbl).want(200, "10.3.0.0/16", "10.4.0.0/16")
		}},
		{"33 another spelling", func(t *testing.T, b *bed) {
			b.Set(func(k *Knobs) { k.Respell, k.ExactSpelling = LongForm, true })
			b.put("add fd00:10::/64 10.3.0.1/16").want(200)
			b.get(tbl).want(200, `"fd00:0010:0000:0000:0000:0000:0000:0000/64"`, `"10.3.0.1/16"`)
			b.put("del fd00:10::/64").want(400)
			b.put("del fd00:0010:0000:0000:0000:0000:0000:0000/64").want(200)
		}},
		{"34 a later subnet", func(t *testing.T, b *bed) {
			b.put("add 10.3.0.0/24").want(200)
			b.AddSubnet(VPCID, Subnet{ID: "net-2", CIDR: "10.3.0.0/16"})
			b.get(tbl).want(200, `"destination":"10.3.0.0/16"`, `"destination":"10.3.0.0/24"`)
			b.put("add 10.3.1.0/24").want(400, "VPC.2809")
		}},
		{"35 a table that serves nothing", func(t *testing.T, b *bed) {
			b.AddTable(two, "custom", VPCID)
			b.get(tables+"/"+two).want(200, `"subnets":[]`)
			b.AddSubnet(VPCID, Subnet{ID: SubnetID, CIDR: SubnetCIDR, TableID: two})
			b.get(tbl).want(200, `"subnets":[]`)
			b.get(tables+"/"+two).want(200, SubnetID)
		}},
		{"40 table or API gone", func(t *testing.T, b *bed) {
			b.DeleteTable(TableID)
			b.get(tbl).want(404, `{"code":"VPC.2808"`)
			b.put("add 10.3.0.0/16").want(404, `{"code":"VPC.2808"`)
			b.Set(func(k *Knobs) { k.NoTableAPI = true })
			b.get(tbl).want(404, `{"error_code":"APIGW.0101"`)
		}},
	}
}

// writeTraps are about changing a route table.
func writeTraps() []trap {
	return []trap{
		{"22 answer of a PUT", func(t *testing.T, b *bed) {
			b.put("add 10.3.0.0/16").want(200, "10.3.0.0/16").without("local", `"name"`)
			b.Set(func(k *Knobs) { k.PutAnswer = PutAnswerStale })
			b.put("add 10.4.0.0/16").want(200, "10.3.0.0/16").without("10.4.0.0/16")
		}},
		{"23 add what exists", func(t *testing.T, b *bed) {
			b.put("add 10.3.0.0/16").want(200)
			b.put("add 10.3.0.0/16").want(400, `"code":"VPC.2812"`)
		}},
		{"24 two operations on one destination", func(t *testing.T, b *bed) {
			b.PutRoute(TableID, ecsRoute("10.3.0.0/16"))
			b.put("del 10.3.0.0/16 add 10.3.0.0/16").want(200)
			b.Set(func(k *Knobs) { k.AddFirst = true })
			b.put("del 10.3.0.0/16 add 10.3.0.0/16").want(400, "VPC.2812")
			b.put("add 10.4.0.0/16 10.4.0.0/16").want(400, "VPC.2809")
		}},
		{"25 too many operations", func(t *testing.T, b *bed) {
			words := "add 10.3.0.0/16 10.4.0.0/16 10.5.0.0/16 10.6.0.0/16 10.7.0.0/16 10.8.0.0/16"
			b.Set(func(k *Knobs) { k.MaxRoutesPerRequest = 5 })
			b.put(words).want(400, `"code":"VPC.2800"`)
			b.Set(func(k *Knobs) { k.MaxRoutesPerRequest = 0 })
			b.put(words).want(200)
		}},
		{"26 one bad route", func(t *testing.T, b *bed) {
			b.put("add 10.3.0.0/16 10.20.0.0/24").want(400, `"code":"VPC.2809"`)
			b.table("")
		}},
		{"27 in part", func(t *testing.T, b *bed) {
			b.Fail(Fault{Op: OpTableUpdate, ApplyFirst: 1})
			b.put("add 10.3.0.0/16 10.4.0.0/16").want(500, "VPC.0105")
			b.table("10.3.0.0/16")
		}},
		{"28 answer lost", func(t *testing.T, b *bed) {
			b.Fail(Fault{Op: OpTableUpdate, Applied: true, Reset: true})
			equal(t, "lost", b.put("add 10.3.0.0/16").err != nil, true)
			b.table("10.3.0.0/16")
		}},
	}
}

// refusalTraps are about changes that the table does not allow.
func refusalTraps() []trap {
	return []trap{
		{"29 full", func(t *testing.T, b *bed) {
			b.fill(199)
			b.put("add 10.3.0.0/16").want(200)
			b.put("add 10.4.0.0/16").want(409, "Quota exceeded for resources")
			b.put("del 10.3.0.0/16 add 10.4.0.0/16").want(200)
			b.put("del 10.4.0.0/16").want(200)
			b.Set(func(k *Knobs) { k.CountLocal, k.FullStatus = true, 400 })
			b.put("add 10.4.0.0/16").want(400, "Quota exceeded for resources")
			b.fill(195)
			b.put("add 10.4.0.0/16").want(200)
			b.put("add 10.5.0.0/16").want(400)
		}},
		{"36 delivered routes", func(t *testing.T, b *bed) {
			for _, kind := range []string{"vpn", "dc", "egw"} {
				b.SetRoutes(TableID, Route{kind, "10.3.0.0/16", two, ""})
				b.put("add 10.4.0.0/16 mod 10.3.0.0/16").want(400, "VPC.2809")
				b.put("add 10.4.0.0/16 del 10.3.0.0/16").want(400, "VPC.2809")
				b.table("10.3.0.0/16")
			}
			b.AddTable(two, "custom", VPCID, Route{"vpn", "10.3.0.0/16", two, ""})
			b.send("PUT", tables+"/"+two, delta("del 10.3.0.0/16")).want(200)
		}},
		{"37 mod and del of what is missing", func(t *testing.T, b *bed) {
			b.put("mod 10.3.0.0/16").want(400)
			b.put("del 10.3.0.0/16").want(400)
			b.Set(func(k *Knobs) { k.ModMissing, k.DelMissingOK = ModMissingIgnored, true })
			b.put("mod 10.3.0.0/16 del 10.4.0.0/16").want(200)
			b.table("")
		}},
	}
}

// late lets a PUT meet the fault and gives up on it after 20 s.
func (b *bed) late(f Fault, words string) got {
	b.t.Helper()
	f.Op = OpTableUpdate
	b.Fail(f)
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	c := *b
	c.ctx = ctx
	return c.put(words)
}

// changeTraps are about others who change a route table.
func changeTraps() []trap {
	return []trap{
		{"30 another writer", func(t *testing.T, b *bed) {
			b.PutRoute(TableID, ecsRoute("10.3.0.0/16"))
			b.Fail(Fault{Op: OpTableUpdate, Before: func() { b.DeleteRoute(TableID, "10.3.0.0/16") }})
			b.put("mod 10.3.0.0/16").want(400)
			b.table("")
		}},
		{"31 server deleted", func(t *testing.T, b *bed) {
			b.AddServer(Instance{ID: one, Name: "worker-1"})
			b.PutRoute(TableID, ecsRoute("10.3.0.0/16"))
			b.PutRoute(TableID, Route{"nat", "10.4.0.0/16", one, ""})
			b.DeleteServer(one)
			b.table("10.3.0.0/16 10.4.0.0/16")
			b.AddServer(Instance{ID: one, Name: "worker-1"})
			b.Set(func(k *Knobs) { k.RoutesVanish = true })
			b.DeleteServer(one)
			b.table("10.4.0.0/16")
			b.AddServer(Instance{ID: two, Name: "worker-1"})
			b.get(servers+"/detail?name=worker-1").want(200, two)
		}},
		{"42 executed late", func(t *testing.T, b *bed) {
			equal(t, "no answer", b.late(Fault{Late: 61 * time.Second}, "add 10.3.0.0/16").err, context.DeadlineExceeded)
			b.late(Fault{Late: 11 * time.Second, Status: 504}, "add 10.4.0.0/16").want(504)
			equal(t, "reset", errors.Is(b.late(Fault{Late: 21 * time.Second, Reset: true}, "add 10.5.0.0/16").err, syscall.ECONNRESET), true)
			b.put("add 10.6.0.0/16").want(200)
			b.RevokeTokens() // they have been looked at
			b.late(Fault{Late: time.Second}, "add 10.7.0.0/16")
			for _, later := range []string{"10.6.0.0/16 10.4.0.0/16", "10.6.0.0/16 10.4.0.0/16 10.5.0.0/16", "10.6.0.0/16 10.4.0.0/16 10.5.0.0/16 10.3.0.0/16"} {
				b.table(later)
				time.Sleep(20 * time.Second)
			}
		}},
		{"43 takes the new owner's route", func(t *testing.T, b *bed) {
			b.PutRoute(TableID, ecsRoute("10.3.0.0/16"))
			b.late(Fault{Late: 4 * time.Second, Status: 504}, "del 10.3.0.0/16").want(504)
			b.PutRoute(TableID, Route{"ecs", "10.3.0.0/16", two, ""})
			b.table("10.3.0.0/16")
			time.Sleep(5 * time.Second)
			b.table("")
		}},
	}
}
