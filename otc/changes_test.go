package otc

import (
	"net/netip"
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	routes := func(from, n int) (list []Route) {
		for i := range n {
			list = append(list, Route{Type: TypeECS, NextHop: one, Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128, byte(from + i), 0}), 24)})
		}
		return list
	}
	for _, tt := range []struct {
		name          string
		add, mod, del int
		n             int
		want          []int
	}{
		{"fits", 1, 1, 1, 5, []int{3}},
		{"exactly", 2, 1, 2, 5, []int{5}},
		{"one more", 2, 1, 3, 5, []int{5, 1}},
		{"adds only", 12, 0, 0, 5, []int{5, 5, 2}},
		{"deletes only", 0, 0, 6, 5, []int{5, 1}},
		{"one by one", 1, 1, 2, 1, []int{1, 1, 1, 1}},
		{"no limit", 9, 9, 9, 0, []int{27}},
		{"nothing", 0, 0, 0, 5, []int{0}},
	} {
		ch := Changes{Add: routes(0, tt.add), Mod: routes(50, tt.mod), Del: routes(100, tt.del)}
		var sizes []int
		var all Changes
		for _, part := range ch.Split(tt.n) {
			sizes = append(sizes, part.Len())
			if len(all.Del) > 0 && len(part.Add)+len(part.Mod) > 0 {
				t.Errorf("%s: something is deleted before all is added", tt.name)
			}
			all.Add, all.Mod, all.Del = append(all.Add, part.Add...), append(all.Mod, part.Mod...), append(all.Del, part.Del...)
		}
		if !slices.Equal(sizes, tt.want) {
			t.Errorf("%s: got parts of %v, want %v", tt.name, sizes, tt.want)
		}
		if !all.Equal(ch) {
			t.Errorf("%s: got %v together, want %v", tt.name, all, ch)
		}
	}
}

func TestChangesInWords(t *testing.T) {
	spelled := route("10.128.8.0/23")
	spelled.Spelling = "10.128.8.9/23"
	ch := Changes{Add: []Route{route("10.128.4.0/23")}, Mod: []Route{route("10.128.6.0/23")}, Del: []Route{spelled}}
	want := "add 10.128.4.0/23 → " + one + ", modify 10.128.6.0/23 → " + one + ", delete 10.128.8.9/23"
	if got := ch.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (Changes{}).String(); got != "no change" {
		t.Errorf("got %q", got)
	}
	if !(Changes{}).Empty() || ch.Empty() || ch.Len() != 3 {
		t.Error("Empty and Len disagree with the changes")
	}
	other := ch
	other.Del = nil
	if !ch.Equal(ch) || ch.Equal(other) {
		t.Error("Equal disagrees with the changes")
	}
}

func TestRouteEqual(t *testing.T) {
	a, b := route("10.128.4.0/23"), route("10.128.4.0/23")
	b.Description, b.Spelling = "other", "10.128.4.1/23"
	if !a.Equal(b) {
		t.Error("description and spelling do not change where traffic goes")
	}
	for _, c := range []Route{{"nat", a.Destination, a.NextHop, mark, ""}, route("10.128.6.0/23"), {TypeECS, a.Destination, two, mark, ""}} {
		if a.Equal(c) {
			t.Errorf("%v equals %v", a, c)
		}
	}
}

func TestParseDestination(t *testing.T) {
	for s, want := range map[string]string{
		"10.128.4.0/23": "10.128.4.0/23", "10.128.5.7/23": "10.128.4.0/23", "10.128.4.7": "10.128.4.7/32", "0.0.0.0/0": "0.0.0.0/0",
		"FD01:0:0:4:0:0:0:1/64": "fd01:0:0:4::/64", "fd01::1": "fd01::1/128", "::ffff:10.128.4.0/119": "::ffff:10.128.4.0/119",
		"": "", "-": "", "10.128.4.0/33": "", "10.128.4.0/023": "", "10.128.4/23": "", " 10.128.4.0/23": "", "fe80::1%eth0": "", "fe80::1%eth0/64": "",
	} {
		got := ParseDestination(s)
		if want == "" && got != (netip.Prefix{}) || want != "" && got != netip.MustParsePrefix(want) {
			t.Errorf("%q: got %v, want %q", s, got, want)
		}
	}
}

func TestInside(t *testing.T) {
	ranges := []netip.Prefix{netip.MustParsePrefix("10.128.0.0/14"), netip.MustParsePrefix("fd01::/48"), {}}
	for s, want := range map[string]bool{
		"10.128.0.0/15": true, "10.131.255.0/24": true, "10.131.255.255/32": true, "fd01::/64": true, "fd01:0:0:ffff::/64": true,
		"10.128.0.0/14": false, "10.128.0.0/13": false, "10.132.0.0/24": false, "0.0.0.0/0": false, "::/0": false,
		"10.0.0.0/8": false, "fd01::/48": false, "fd01:0:1::/64": false, "::ffff:10.128.4.0/119": false,
	} {
		if got := Inside(netip.MustParsePrefix(s), ranges); got != want {
			t.Errorf("%s: got %v, want %v", s, got, want)
		}
	}
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	if Inside(netip.MustParsePrefix("0.0.0.0/0"), everything) || Inside(netip.MustParsePrefix("::/0"), everything) || Inside(netip.Prefix{}, everything) {
		t.Error("the default route is inside of something")
	}
}
