package otctest

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An updateRow is a PUT to a table that holds 10.1.0.0/16 and 10.2.0.0/16.
type updateRow struct {
	name, words string
	set         func(*Knobs) // nil: nothing
	status      int
	want, table string // in the answer, and afterwards in the table
}

const kept = "10.1.0.0/16 10.2.0.0/16"

func runUpdates(t *testing.T, rows []updateRow) {
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			b.SetRoutes(TableID, Route{"ecs", "10.1.0.0/16", two, ""}, Route{"ecs", "10.2.0.0/16", two, ""})
			if tt.set != nil {
				b.Set(tt.set)
			}
			b.put(tt.words).want(tt.status, tt.want)
			b.table(tt.table)
		})
	}
}

func TestUpdate(t *testing.T) {
	runUpdates(t, []updateRow{
		{"add", "add 10.3.0.0/16", nil, 200, "10.3.0.0/16", kept + " 10.3.0.0/16"},
		{"delete", "del 10.1.0.0/16", nil, 200, `"routes":[]`, "10.2.0.0/16"},
		{"modify keeps the place", "mod 10.1.0.0/16", nil, 200, `"routes":[]`, kept},
		{"all three", "add 10.3.0.0/16 mod 10.2.0.0/16 del 10.1.0.0/16", nil, 200, "", "10.2.0.0/16 10.3.0.0/16"},
		{"nothing", "", nil, 200, "", kept},
		{"default route", "add 0.0.0.0/0", nil, 200, "", kept + " 0.0.0.0/0"},
		{"IPv6", "add fd00:10::/64", nil, 200, "", kept + " fd00:10::/64"},
		{"add existing", "add 10.1.0.0/16", nil, 400, "VPC.2812", kept},
		{"add existing in another spelling", "add 10.1.2.3/16", nil, 400, "VPC.2812", kept},
		{"twice", "add 10.3.0.0/16 10.3.0.0/16", nil, 400, "VPC.2809", kept},
		{"replace", "del 10.1.0.0/16 add 10.1.0.0/16", nil, 200, "", "10.2.0.0/16 10.1.0.0/16"},
		{"modify and delete", "del 10.1.0.0/16 mod 10.1.0.0/16", nil, 400, "VPC.2809", kept},
		{"overlap", "add 10.3.0.0/16 10.20.0.128/25", nil, 400, "VPC.2809", kept},
		{"system range", "add 100.64.0.0/10", nil, 400, "VPC.2809", kept},
		{"covers a local route", "add 10.20.0.0/16", nil, 200, "", kept + " 10.20.0.0/16"},
		{"no CIDR", "add 10.3.0.0", nil, 400, "VPC.2809", kept},
		{"mod missing", "mod 10.3.0.0/16", nil, 400, "VPC.2809", kept},
		{"del missing", "del 10.3.0.0/16", nil, 400, "VPC.2809", kept},
		{"as sent", "add 10.3.7.1/16 FD00:0:1::/64", nil, 200, "", kept + " 10.3.7.1/16 FD00:0:1::/64"},
		{"any spelling modifies", "mod 10.1.2.3/16", nil, 200, "", kept},
		{"any spelling deletes", "del 10.1.2.3/16", nil, 200, "", "10.2.0.0/16"},
	})
}

func TestUpdateKnobs(t *testing.T) {
	runUpdates(t, []updateRow{
		{"add existing, 409", "add 10.1.0.0/16", func(k *Knobs) { k.DuplicateStatus = 409 }, 409, "VPC.2812", kept},
		{"replace, add first", "del 10.1.0.0/16 add 10.1.0.0/16", func(k *Knobs) { k.AddFirst = true }, 400, "VPC.2812", kept},
		{"mod missing adds", "mod 10.3.0.0/16", func(k *Knobs) { k.ModMissing = ModMissingAdds }, 200, "", kept + " 10.3.0.0/16"},
		{"mod missing ignored", "mod 10.3.0.0/16", func(k *Knobs) { k.ModMissing = ModMissingIgnored }, 200, "", kept},
		{"del missing ignored", "del 10.3.0.0/16", func(k *Knobs) { k.DelMissingOK = true }, 200, "", kept},
		{"del local", "del 100.64.0.0/10", func(k *Knobs) { k.DelMissingOK = true }, 400, "VPC.2809", kept},
		{"too many", "add 10.3.0.0/16 10.4.0.0/16 10.5.0.0/16 del 10.1.0.0/16 mod 10.2.0.0/16 add 10.6.0.0/16",
			func(k *Knobs) { k.MaxRoutesPerRequest = 5 }, 400, "The num of routes to update is more than 5.", kept},
		{"just enough", "add 10.3.0.0/16 10.4.0.0/16 10.5.0.0/16 del 10.1.0.0/16 mod 10.2.0.0/16",
			func(k *Knobs) { k.MaxRoutesPerRequest = 5 }, 200, "", "10.2.0.0/16 10.3.0.0/16 10.4.0.0/16 10.5.0.0/16"},
		{"keeps the part before", "del 10.1.0.0/16 add 10.2.0.0/16", func(k *Knobs) { k.KeepPart = true }, 400, "VPC.2812", "10.2.0.0/16"},
		{"no IPv6", "add fd00:10::/64", func(k *Knobs) { k.RefuseIPv6 = map[string]bool{TableID: true} }, 400, "VPC.2809", kept},
		{"no IPv6 elsewhere", "add fd00:10::/64", func(k *Knobs) { k.RefuseIPv6 = map[string]bool{one: true} }, 200, "", kept + " fd00:10::/64"},
		{"unknown next hop", "add 10.3.0.0/16", func(k *Knobs) { k.CheckNextHop = true }, 400, "VPC.2809", kept},
		{"long form", "add fd00:10::/64", func(k *Knobs) { k.Respell = LongForm }, 200, "",
			kept + " fd00:0010:0000:0000:0000:0000:0000:0000/64"},
		{"exact, add existing", "add 10.1.2.3/16", func(k *Knobs) { k.ExactSpelling = true }, 400, "VPC.2812", kept},
		{"only its spelling deletes", "del 10.1.2.3/16", func(k *Knobs) { k.ExactSpelling = true }, 400, "VPC.2809", kept},
	})
}

func TestUpdateReplacesNextHopAndDescription(t *testing.T) {
	b := newBed(t)
	b.SetRoutes(TableID, Route{"eni", "10.1.0.0/16", two, "theirs"})
	b.put("mod 10.1.0.0/16").want(200)
	equal(t, "route", b.Routes(TableID)[0], ecsRoute("10.1.0.0/16"))
}

func TestUpdateRefusesRoutes(t *testing.T) {
	long := strings.Repeat("é", 256)
	tests := []struct {
		name   string
		route  Route
		status int
	}{
		{"longest description", Route{"ecs", "10.3.0.0/16", one, long[2:]}, 200},
		{"too long", Route{"ecs", "10.3.0.0/16", one, long}, 400},
		{"angle bracket", Route{"ecs", "10.3.0.0/16", one, "a<b"}, 400},
		{"no next hop", Route{"ecs", "10.3.0.0/16", "", ""}, 400},
		{"local", Route{"local", "10.3.0.0/16", "-", ""}, 400},
		{"unknown type", Route{"abc", "10.3.0.0/16", one, ""}, 400},
		{"vpn in the default table", Route{"vpn", "10.3.0.0/16", one, ""}, 400},
		{"nat", Route{"nat", "10.3.0.0/16", one, ""}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			body := delta("add 10.3.0.0/16")
			body = strings.Replace(body, `"type":"ecs"`, `"type":"`+tt.route.Type+`"`, 1)
			body = strings.Replace(body, `"nexthop":"`+one, `"nexthop":"`+tt.route.NextHop, 1)
			body = strings.Replace(body, `"mark"`, `"`+tt.route.Description+`"`, 1)
			b.send(http.MethodPut, tbl, body).want(tt.status)
			equal(t, "routes", len(b.Routes(TableID)) == 1, tt.status == 200)
		})
	}
}

func TestUpdateAnswer(t *testing.T) {
	tests := []struct {
		answer PutAnswer
		want   []string
		not    []string
	}{
		{PutAnswerPartial, []string{"10.3.0.0/16"}, []string{"local", "10.1.0.0/16", `"name"`}},
		{PutAnswerStale, []string{"local", "10.1.0.0/16", `"name"`}, []string{"10.3.0.0/16"}},
		{PutAnswerWhole, []string{"local", "10.1.0.0/16", `"name"`, "10.3.0.0/16"}, nil},
	}
	for _, tt := range tests {
		b := newBed(t)
		b.Set(func(k *Knobs) { k.PutAnswer = tt.answer })
		b.PutRoute(TableID, ecsRoute("10.1.0.0/16"))
		b.put("mod 10.1.0.0/16 add 10.3.0.0/16").want(200, tt.want...).without(tt.not...)
		b.get(tbl).want(200, "local", "10.1.0.0/16", "10.3.0.0/16")
	}
}

func TestUpdateNames(t *testing.T) {
	b := newBed(t)
	b.send(http.MethodPut, tbl, `{"routetable":{"name":"new.name","description":"new"}}`).want(200)
	g := b.get(tbl)
	equal(t, "name", g.at("routetable", "name"), any("new.name"))
	equal(t, "description", g.at("routetable", "description"), any("new"))
	for _, body := range []string{`{"routetable":{"name":"a b"}}`, `{"routetable":{"description":"<"}}`, `{}`, `x`, ``,
		`{"routetable":{"routes":[]}}`} {
		b.send(http.MethodPut, tbl, body).want(400, `"code":"VPC.`)
	}
	b.send(http.MethodPut, tables+"/"+one, delta("")).want(404, "VPC.2808")
}

func TestUpdatedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		before := b.get(tbl).at("routetable", "updated_at")
		b.put("").want(200)
		b.put("add 100.64.0.0/10").want(400)
		equal(t, "after no change", b.get(tbl).at("routetable", "updated_at"), before)
		b.put("add 10.3.0.0/16").want(200)
		equal(t, "after a change", b.get(tbl).at("routetable", "updated_at"), any("2000-01-01T00:00:00"))
	})
}

// TestContended has two PUTs to one table on their way at the same time.
func TestContended(t *testing.T) {
	for _, status := range []int{0, 409, 500} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			b.Set(func(k *Knobs) { k.Latency, k.Contended = time.Second, status })
			done := make(chan int)
			for _, d := range []string{"10.3.0.0/16", "10.4.0.0/16"} {
				go func() { done <- b.put("add " + d).status }()
			}
			got := <-done + <-done
			want := 400
			if status != 0 {
				want = 200 + status
			}
			equal(t, "sum of statuses", got, want)
			b.put("add 10.5.0.0/16").want(200)
		})
	}
}
