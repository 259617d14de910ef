package otc

import (
	"net/netip"
	"slices"
	"testing"
)

func TestChangesInWords(t *testing.T) {
	spelled := route("10.128.8.0/23")
	spelled.Raw = "10.128.8.9/23"
	ch := slices.Concat(Ops(Add, route("10.128.4.0/23")), Ops(Modify, route("10.128.6.0/23")), Ops(Delete, spelled))
	want := "add 10.128.4.0/23 → " + one + ", modify 10.128.6.0/23 → " + one + ", delete 10.128.8.9/23"
	if got := ch.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (Changes{}).String(); got != "no change" {
		t.Errorf("got %q", got)
	}
}

func TestRouteEqual(t *testing.T) {
	a, b := route("10.128.4.0/23"), route("10.128.4.0/23")
	b.Description, b.Raw = "other", "10.128.4.1/23"
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
