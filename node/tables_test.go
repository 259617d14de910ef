package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// at matches requests about one route table.
func at(table string) func(otctest.Request) bool {
	return func(r otctest.Request) bool { return strings.HasSuffix(r.Path, table) }
}

// One of three tables fails; the others are right at once and stay so.
func TestOneTableFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault otctest.Fault
		told  string
	}{
		{"unknown table", otctest.Fault{Status: 404, Code: "VPC.2808"}, "read … there is no such table"},
		{"no such API", otctest.Fault{Status: 404, Code: "APIGW.0101"}, "read … HTTP 404"},
		{"forbidden to read", otctest.Fault{Op: otctest.OpTableGet, Status: 403}, "read … grant vpc:routeTables:get"},
		{"forbidden to write", otctest.Fault{Op: otctest.OpTableUpdate, Status: 403}, "update … grant vpc:routeTables:update"},
		{"full", otctest.Fault{Op: otctest.OpTableUpdate, Status: 409, Message: "Quota exceeded for resources: ['route']"}, "update … is full"},
		{"unavailable", otctest.Fault{Status: 503}, "read … HTTP 503"},
		{"no answer", otctest.Fault{Hang: true}, "read … vpc get route table"},
		{"no answer to the PUT", otctest.Fault{Op: otctest.OpTableUpdate, Hang: true}, "update … vpc update route table"},
		{"garbage", otctest.Fault{Op: otctest.OpTableGet, Body: []byte("<html>")}, "read … HTTP 200 with an HTML page"},
		{"another table's answer", otctest.Fault{Op: otctest.OpTableGet, Body: []byte(`{"routetable":{"id":"x"}}`)}, "read … it holds no route table"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				tt.fault.Match, tt.fault.Times = at(tableID(2)), -1
				w.Fail(tt.fault)
				a := w.up(1, w.tables(3))
				for _, id := range []string{mainTable, tableID(3)} {
					w.wantTable(id, "10.128.2.0/23 → worker-1 *")
				}
				w.pass(2 * time.Minute)
				a.wantState(false, false)
				head, told, _ := strings.Cut(tt.told, " … ")
				a.wantTold(1, "error could not "+head+" route table "+tableID(2), told)
				a.wantTold(1, "success", mainTable)
				a.wantTold(1, "success", tableID(3))
				if s := a.Status(); !strings.Contains(s.Line(), "route table rtb-2") && !strings.Contains(s.Line(), "route table "+tableID(2)) || s.Tables[0].State != "confirmed" || s.Tables[2].State != "confirmed" {
					t.Errorf("%q, %+v", s.Line(), s.Tables)
				}
				a.move("10.129.0.0/23")
				w.pass(3 * time.Minute)
				for _, id := range []string{mainTable, tableID(3)} {
					w.wantTable(id, "10.129.0.0/23 → worker-1 *")
				}
				w.Heal()
				w.pass(16 * time.Minute)
				w.wantTable(tableID(2), "10.129.0.0/23 → worker-1 *")
				a.wantState(true, true)
				for _, id := range a.cfg.Tables {
					if got := a.counts.get("routes " + id); got != 1 { // the local ones do not count
						t.Errorf("metric: %d routes in table %s, want 1", got, id)
					}
				}
			})
		})
	}
}

// The real limit is asked for once a day, however full a table is.
func TestRouteLimit(t *testing.T) {
	for _, tt := range []struct {
		name          string
		routes, asked int
		denied        bool
		limit         int // that is known in the end; 0: none
	}{
		{"room enough", 1, 2, false, 500},
		{"more routes than the usual limit", 201, 2, false, 500},
		{"not for this user", 1, 2, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.Set(func(k *otctest.Knobs) {
					k.TableLimit = 500
					if tt.denied {
						k.Deny = map[string]otctest.Denial{"vpc:quotas:list": otctest.DenyPolicy}
					}
				})
				for i := range tt.routes {
					w.PutRoute(mainTable, foreignRoute("peering", fmt.Sprintf("10.130.%d.0/24", i), "p-1"))
				}
				a := w.up(1)
				w.pass(36 * time.Hour)
				if asked, limit := w.Count(otctest.OpQuotas), a.counts.get("limit"); asked != tt.asked || limit != tt.limit {
					t.Errorf("asked %d times, limit %d; want %d, %d", asked, limit, tt.asked, tt.limit)
				}
				a.wantState(true, true)
			})
		})
	}
}
