package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"otc-route-manager/otc"
)

// routes reads a table as "10.130.0.0/23 via me *" separated by semicolons: an
// ecs route, its next hop, and an asterisk for our mark. "nat 0.0.0.0/0 via gw"
// is a route of type nat.
func routes(s string) (out []otc.Route) {
	for _, one := range strings.Split(s, ";") {
		words := strings.Fields(one)
		if len(words) == 0 {
			continue
		}
		r := otc.Route{Type: otc.TypeECS}
		if words[1] != "via" {
			r.Type, words = words[0], words[1:]
		}
		r.Raw, r.Destination, r.NextHop = words[0], otc.ParseDestination(words[0]), words[2]
		if len(words) > 3 {
			r.Description = description("worker-1")
		}
		out = append(out, r)
	}
	return out
}

func TestPlan(t *testing.T) {
	const (
		a, b     = "10.130.0.0/23", "10.130.2.0/23"
		foreign  = "nat 0.0.0.0/0 via gw; peering 172.16.0.0/12 via p1; local 10.20.0.0/24 via -; er 10.131.0.0/16 via er"
		confirms = a
	)
	for _, tt := range []struct{ name, wanted, table, confirmed, gone, want string }{
		{"nothing wanted, nothing there", "", "", "", "", "no change"},
		{"added", a, foreign, "", "", "add 10.130.0.0/23 → me"},
		{"already right", a, a + " via me *", "", "", "no change"},
		{"right without our mark", a, a + " via me", "", "", "no change"},
		{"right in another spelling", a, "10.130.1.7/23 via me", "", "", "no change"},
		{"moved", b, a + " via me *", "", "", "add 10.130.2.0/23 → me, delete 10.130.0.0/23"},
		{"taken over", a, a + " via old", "", "", "modify 10.130.0.0/23 → me"},
		{"taken over in the table's spelling", a, "10.130.0.9/23 via old", "", "", "modify 10.130.0.9/23 → me"},
		{"moved to a freed subnet", b, a + " via me *; " + b + " via old *", "", "", "modify 10.130.2.0/23 → me, delete 10.130.0.0/23"},
		{"moved, the old one in its spelling", b, "10.130.1.1/23 via me *", "", "", "add 10.130.2.0/23 → me, delete 10.130.1.1/23"},
		{"unmarked and not wanted", b, a + " via me", "", "", "add 10.130.2.0/23 → me"},
		{"unmarked, but confirmed by this process", b, a + " via me", confirms, "", "add 10.130.2.0/23 → me, delete 10.130.0.0/23"},
		{"marked, but to another instance", b, a + " via other *", "", "", "add 10.130.2.0/23 → me"},
		{"confirmed, but to another instance now", b, a + " via other *", confirms, "", "add 10.130.2.0/23 → me"},
		{"marked, but outside the range", a, a + " via me; 10.99.0.0/23 via me *", "", "", "no change"},
		{"marked, but the whole range", a, a + " via me; 10.128.0.0/14 via me *", "", "", "no change"},
		{"marked default route", a, a + " via me; 0.0.0.0/0 via me *", "", "", "no change"},
		{"marked, but of another type", a, a + " via me; vip 10.130.8.0/23 via me *", "", "", "no change"},
		{"mark of a longer past", a, a + " via me *; 10.130.8.0/23 via me *; 10.129.0.0/23 via me *", "", "", "delete 10.129.0.0/23, delete 10.130.8.0/23"},
		{"another type in the way", a, "peering " + a + " via p1", "", "", "no change; conflict peering"},
		{"unknown type in the way", a, "cfw " + a + " via x", "", "", "no change; conflict cfw"},
		{"local route in the way", a, "local " + a + " via -", "", "", "no change; conflict local"},
		{"another type to this instance", a, "vip " + a + " via me *", "", "", "no change; conflict vip"},
		{"was ours, living claimant", a, a + " via other", confirms, "", "no change; conflict ecs held by another"},
		{"was ours, dead claimant", a, a + " via other", confirms, "other", "modify 10.130.0.0/23 → me"},
		{"one in conflict, the other added", a + " " + b, "peering " + a + " via p1", "", "", "add 10.130.2.0/23 → me; conflict peering"},
		{"dual stack", a + " fd01:0:0:7::/64", "fd01:0000:0:7:0::/64 via old", "", "", "add 10.130.0.0/23 → me, modify fd01:0000:0:7:0::/64 → me"},
		{"more specific stranger", a, a + " via me; 10.130.1.0/24 via other", "", "", "no change; shadow 10.130.1.0/24"},
		{"more specific peering", a, a + " via me; peering 10.130.1.128/25 via p1", "", "", "no change; shadow 10.130.1.128/25"},
		{"more specific to this instance", a, a + " via me; 10.130.1.0/24 via me", "", "", "no change"},
		{"wider stranger", a, a + " via me; er 10.130.0.0/16 via er", "", "", "no change"},
		{"wider local range", a, a + " via me; local 10.130.0.0/16 via -", "", "", "no change; shadow 10.130.0.0/16"},
		{"unreadable destination", a, a + " via me; ecs nonsense via me *", "", "", "no change"},
		{"one destination in two spellings, one right", a, a + " via me; 10.130.0.1/23 via old", "", "", "no change"},
		{"own leftovers in two spellings", b, b + " via me; " + a + " via me *; 10.130.0.1/23 via me *", "", "", "delete 10.130.0.0/23"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := Question{Wanted: prefixes(strings.Fields(tt.wanted)...), Self: "me", NodeName: "worker-1", Table: routes(tt.table),
				Ranges: prefixes("10.128.0.0/14", "fd01::/48"), Confirmed: map[netip.Prefix]bool{}, Gone: map[string]bool{tt.gone: true}}
			for _, p := range prefixes(strings.Fields(tt.confirmed)...) {
				q.Confirmed[p] = true
			}
			if got := describe(MakePlan(q)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func describe(p Plan) string {
	s := p.Changes.String()
	for _, r := range p.Conflicts {
		s += "; conflict " + r.Type
	}
	if len(p.Claimed) > 0 {
		s += " held by another"
	}
	for _, r := range p.Shadows {
		s += "; shadow " + r.Destination.String()
	}
	return s
}

// What the page shows of a destination that the table lists more than once is this instance's entry.
func TestCompare(t *testing.T) {
	const mine, other = "10.130.0.0/23 via me", "10.130.0.0/23 via other"
	for table, want := range map[string]string{mine: "me", other: "other foreign", other + "; " + mine: "me", mine + "; " + other: "me", "peering 10.130.0.0/23 via p": "peering p foreign", "": ""} {
		got := compare(routes(table), netip.MustParsePrefix("10.130.0.0/23"), "me")
		if s := strings.TrimSpace(got.Seen + " " + got.Note); s != want {
			t.Errorf("%s: got %q, want %q", table, s, want)
		}
	}
}

func TestDescriptionFits(t *testing.T) {
	for _, n := range []int{1, 200, 253} {
		if d := description(strings.Repeat("n", n)); len(d) > 255 || !strings.HasPrefix(d, Mark) {
			t.Errorf("a Node name of %d bytes makes a description of %d: %s", n, len(d), d)
		}
	}
}

// fuzzed makes a Question of bytes: small numbers, so that things collide.
func fuzzed(data []byte) Question {
	next := func(n int) int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b) % n
	}
	hops := []string{"me", "other", "old", "ME", ""}
	cidrs := []string{"10.130.0.0/23", "10.130.2.0/23", "10.130.2.0/24", "10.130.3.9/23", "10.128.0.0/14", "10.99.0.0/23", "0.0.0.0/0", "nonsense", "fd01:0:0:7::/64", "FD01:0:0:7:0::1/64", "::/0", "10.130.2.7"}
	q := Question{Self: "me", NodeName: "worker-1", Ranges: prefixes("10.128.0.0/14", "fd01::/48"), Confirmed: map[netip.Prefix]bool{}, Gone: map[string]bool{}}
	wanted := prefixes("10.130.0.0/23", "10.130.2.0/23", "fd01:0:0:7::/64", "10.130.2.0/24")
	for i, p := range wanted {
		if bits := next(4); bits&1 > 0 {
			q.Wanted = append(q.Wanted, wanted[i])
		} else if bits&2 > 0 {
			q.Confirmed[p] = true
		}
	}
	q.Gone["other"] = next(2) > 0
	for range next(12) {
		spelled := cidrs[next(len(cidrs))]
		q.Table = append(q.Table, otc.Route{Type: []string{"ecs", "ecs", "ecs", "peering", "local"}[next(5)], Raw: spelled, Destination: otc.ParseDestination(spelled),
			NextHop: hops[next(len(hops))], Description: []string{"", Mark + ": worker-1", "by hand"}[next(3)]})
	}
	return q
}

// apply does to a table what the cloud would do.
func apply(table []otc.Route, ch otc.Changes) []otc.Route {
	table = slices.Clone(table)
	at := func(r otc.Route) int {
		return slices.IndexFunc(table, func(t otc.Route) bool { return t.Raw == r.Raw })
	}
	for _, r := range ch.Routes(otc.Delete) {
		table = slices.Delete(table, at(r), at(r)+1)
	}
	for _, r := range ch.Routes(otc.Modify) {
		table[at(r)] = r
	}
	for _, r := range ch.Routes(otc.Add) {
		r.Raw = r.Destination.String()
		table = append(table, r)
	}
	return table
}

// FuzzPlan holds of every plan what no plan may break: it stays inside the rules,
// leaves every foreign route alone, and applied once there is nothing left to do.
func FuzzPlan(f *testing.F) {
	f.Add([]byte{1, 1, 1, 0, 1, 3, 0, 0, 0, 1, 1, 0, 1, 2, 8, 0, 0, 0})
	f.Add([]byte{0, 0, 1, 0, 0, 2, 0, 0, 0, 1, 3, 0, 0, 1})
	f.Add([]byte{1, 0, 0, 2, 1, 4, 0, 3, 1, 0, 9, 1, 1, 2, 6, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		q := fuzzed(data)
		unique := map[string]bool{}
		q.Table = slices.DeleteFunc(q.Table, func(r otc.Route) bool { seen := unique[r.Raw]; unique[r.Raw] = true; return seen })
		rounds := 1
		if twice(q.Table) { // one operation per destination and PUT
			rounds = 12
		}
		for round := 0; ; round++ {
			p := MakePlan(q)
			for _, fault := range outsideRules(q, p.Changes) {
				t.Error(fault)
			}
			if len(p.Changes) == 0 {
				break
			}
			if round == rounds {
				t.Fatalf("applied %d times it still plans %v in %v", rounds, p.Changes, q.Table)
			}
			q.Table = apply(q.Table, p.Changes)
		}
	})
}

// twice reports whether a table names a destination in two spellings.
func twice(table []otc.Route) bool {
	seen := map[netip.Prefix]bool{}
	for _, r := range table {
		if seen[r.Destination] {
			return true
		}
		seen[r.Destination] = true
	}
	return false
}

func outsideRules(q Question, ch otc.Changes) (out []string) {
	named := map[netip.Prefix]bool{}
	for _, r := range ch {
		if named[r.Destination] || !otc.Inside(r.Destination, q.Ranges) {
			out = append(out, fmt.Sprintf("R1, R2: %v in %v", r, ch))
		}
		named[r.Destination] = true
	}
	for _, r := range slices.Concat(ch.Routes(otc.Add), ch.Routes(otc.Modify)) {
		if !slices.Contains(q.Wanted, r.Destination) || r.NextHop != q.Self || r.Type != "ecs" || !strings.HasPrefix(r.Description, Mark) {
			out = append(out, fmt.Sprintf("writes %+v", r))
		}
	}
	for _, r := range ch.Routes(otc.Modify) {
		if i := slices.IndexFunc(q.Table, func(t otc.Route) bool { return t.Raw == r.Raw }); i < 0 || q.Table[i].Type != "ecs" {
			out = append(out, fmt.Sprintf("modifies %+v", r))
		}
	}
	for _, r := range ch.Routes(otc.Delete) {
		if !slices.Contains(q.Table, r) || r.Type != "ecs" || !strings.EqualFold(r.NextHop, q.Self) || slices.Contains(q.Wanted, r.Destination) ||
			!strings.HasPrefix(r.Description, Mark) && !q.Confirmed[r.Destination] {
			out = append(out, fmt.Sprintf("deletes %+v", r))
		}
	}
	return out
}
