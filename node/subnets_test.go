package node

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func prefixes(cidrs ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range cidrs {
		out = append(out, netip.MustParsePrefix(c))
	}
	return out
}

func TestParseSubnets(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"string", `{"default":"10.132.4.0/23"}`, "10.132.4.0/23"},
		{"list", `{"default":["10.132.4.0/23"]}`, "10.132.4.0/23"},
		{"dual stack", `{"default":["10.132.4.0/23","fd01:0:0:7::/64"]}`, "10.132.4.0/23, fd01:0:0:7::/64"},
		{"converted from IPv6", `{"default":["fd01:0:0:7::/64","10.132.4.0/23"]}`, "10.132.4.0/23, fd01:0:0:7::/64"},
		{"IPv6 alone", `{"default":"fd01:0:0:7::/64"}`, "fd01:0:0:7::/64"},
		{"several of one family, in any order", `{"default":["10.132.8.0/23","10.132.4.0/23"]}`, "10.132.4.0/23, 10.132.8.0/23"},
		{"duplicates", `{"default":["10.132.4.0/23","10.132.4.0/23"]}`, "10.132.4.0/23"},
		{"duplicates but for host bits", `{"default":["10.132.4.0/23","10.132.5.7/23"]}`, "10.132.4.0/23"},
		{"host bits", `{"default":"192.168.1.12/24"}`, "192.168.1.0/24"},
		{"host bits, IPv6", `{"default":"fd02:0:0:2::2895/64"}`, "fd02:0:0:2::/64"},
		{"long and upper-case IPv6", `{"default":"FD01:0000:0000:0007:0:0:0:0/64"}`, "fd01:0:0:7::/64"},
		{"other networks", `{"default":["10.132.4.0/23"],"cluster_udn_blue":["10.60.3.0/24"],"team-a_net1":"10.61.0.0/20"}`, "10.132.4.0/23"},
		{"garbage in another network", `{"a_b":7,"c_d":{"x":[]},"default":"10.132.4.0/23","e_f":"nonsense"}`, "10.132.4.0/23"},
		{"white space", " {\n\t\"default\" : \t[ \"10.132.4.0/23\" ] } ", "10.132.4.0/23"},
		{"white space before a string", `{"default":   "10.132.4.0/23"}`, "10.132.4.0/23"},
		{"default route, which others refuse", `{"default":"0.0.0.0/0"}`, "0.0.0.0/0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseSubnets(tt.value)
			if err != nil || join(got) != tt.want {
				t.Errorf("ParseSubnets(%s) = %v, %v; want %s", tt.value, got, err, tt.want)
			}
		})
	}
}

func TestParseSubnetsRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        error
	}{
		{"empty object", `{}`, errNoDefault},
		{"null", `null`, errNoDefault},
		{"only other networks", `{"team-a_net1":["10.61.0.0/20"]}`, errNoDefault},
		{"keys are case sensitive", `{"Default":["10.132.4.0/23"]}`, errNoDefault},
		{"the original's ipv6 key", `{"ipv6":["fd01:0:0:7::/64"]}`, errNoDefault},
		{"empty string", ``, errMalformed},
		{"bare CIDR", `10.132.4.0/23`, errMalformed},
		{"list", `["10.132.4.0/23"]`, errMalformed},
		{"string", `"10.132.4.0/23"`, errMalformed},
		{"number", `7`, errMalformed},
		{"cut off", `{"default":["10.132.4.0/23"`, errMalformed},
		{"single quotes", `{'default':'10.132.4.0/23'}`, errMalformed},
		{"two values", `{"default":"10.132.4.0/23"}{}`, errMalformed},
		{"number under default", `{"default":10}`, errMalformed},
		{"object under default", `{"default":{"v4":"10.132.4.0/23"}}`, errMalformed},
		{"number in the list", `{"default":["10.132.4.0/23",7]}`, errMalformed},
		{"null in the list", `{"default":["10.132.4.0/23",null]}`, errMalformed},
		{"list in the list", `{"default":[["10.132.4.0/23"]]}`, errMalformed},
		{"empty list", `{"default":[]}`, errEmpty},
		{"null under default", `{"default":null}`, errEmpty},
		{"no CIDR", `{"default":""}`, errBadCIDR},
		{"address", `{"default":"10.132.4.0"}`, errBadCIDR},
		{"one bad entry spoils all", `{"default":["10.132.4.0/23","10.132.4.0/33"]}`, errBadCIDR},
		{"empty entry", `{"default":["10.132.4.0/23",""]}`, errBadCIDR},
		{"leading zeros", `{"default":"010.132.4.0/23"}`, errBadCIDR},
		{"white space in a CIDR", `{"default":" 10.132.4.0/23"}`, errBadCIDR},
		{"zone", `{"default":"fe80::1%eth0/64"}`, errBadCIDR},
		{"IPv4 in IPv6", `{"default":"::ffff:10.132.4.0/119"}`, errBadCIDR},
		{"host name", `{"default":"worker-1/23"}`, errBadCIDR},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseSubnets(tt.value)
			if !errors.Is(err, tt.want) || got != nil {
				t.Errorf("ParseSubnets(%s) = %v, %v; want %v", tt.value, got, err, tt.want)
			}
		})
	}
}

// What a stranger wrote is quoted, but not at length.
func TestParseSubnetsClips(t *testing.T) {
	_, err := ParseSubnets(strings.Repeat("[", 10_000))
	if err == nil || len(err.Error()) > 300 {
		t.Errorf("got %d bytes of error, want at most 300", len(err.Error()))
	}
}

func FuzzParseSubnets(f *testing.F) {
	for _, seed := range []string{`{"default":"10.132.4.0/23"}`, `{"default":["fd01:0:0:7::/64","10.132.5.7/23"],"x":1}`,
		`{"default":null}`, `{"default":["10.0.0.0/8","10.0.0.0/8",""]}`, `null`, ``, `{"default":[null]}`, `{"default":"::ffff:1.2.3.4/97"}`} {
		f.Add(seed)
	}
	kinds := []error{errNoDefault, errMalformed, errEmpty, errBadCIDR}
	f.Fuzz(func(t *testing.T, value string) {
		subnets, err := ParseSubnets(value)
		if err != nil {
			if subnets != nil || !slices.ContainsFunc(kinds, func(k error) bool { return errors.Is(err, k) }) {
				t.Errorf("ParseSubnets(%q) = %v, %v: not one of the kinds", value, subnets, err)
			}
			return
		}
		odd := func(p netip.Prefix) bool { return !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() }
		increasing := slices.IsSortedFunc(subnets, netip.Prefix.Compare) && len(slices.Compact(slices.Clone(subnets))) == len(subnets)
		if len(subnets) == 0 || slices.ContainsFunc(subnets, odd) || !increasing {
			t.Errorf("ParseSubnets(%q) = %v: want masked prefixes, each once, in order", value, subnets)
		}
		var cidrs []string
		for _, p := range subnets {
			cidrs = append(cidrs, p.String())
		}
		if again, err := ParseSubnets(annotation(cidrs...)); err != nil || !slices.Equal(again, subnets) {
			t.Errorf("its own answer %v reads as %v, %v", subnets, again, err)
		}
	})
}
