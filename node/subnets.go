package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"otc-route-manager/otc"
)

// SubnetsAnnotation is where OVN-Kubernetes writes a Node's pod subnets.
const SubnetsAnnotation = "k8s.ovn.org/node-subnets"

// defaultNetwork is the key of the cluster's default network. Other keys are
// user-defined networks, which may overlap each other and are never routed.
const defaultNetwork = "default"

// maxSubnets is more than a Node is ever given: OVN-Kubernetes hands out one of
// each family. More is garbage that would fill the route table.
const maxSubnets = 32

// What an annotation may be instead of a list of subnets. The first two are
// normal while a Node starts, the others are mistakes.
var (
	errNotSet    = errors.New("annotation " + SubnetsAnnotation + " is not there yet")
	errNoDefault = errors.New("annotation " + SubnetsAnnotation + " has no \"default\" network yet")
	errMalformed = errors.New("annotation " + SubnetsAnnotation + " is malformed")
	errEmpty     = errors.New("annotation " + SubnetsAnnotation + " lists no subnet")
	errBadCIDR   = errors.New("annotation " + SubnetsAnnotation + " holds a bad CIDR")
	errTooMany   = fmt.Errorf("annotation %s lists more than %d subnets", SubnetsAnnotation, maxSubnets)
)

// ParseSubnets reads the value of the annotation: a JSON object from network name
// to one CIDR or a list of CIDRs. It returns the subnets of the default network,
// masked, sorted and without duplicates, or one of this package's errors: one bad
// entry makes the whole value bad, as in OVN-Kubernetes' own parser.
func ParseSubnets(value string) ([]netip.Prefix, error) {
	var networks map[string]json.RawMessage
	if err := json.Unmarshal([]byte(value), &networks); err != nil {
		return nil, fmt.Errorf("%w: %q is not a JSON object", errMalformed, clip(value))
	}
	raw, ok := networks[defaultNetwork]
	if !ok {
		return nil, errNoDefault
	}
	cidrs, err := stringOrList(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is neither a CIDR nor a list of CIDRs", errMalformed, clip(string(raw)))
	}
	if len(cidrs) == 0 {
		return nil, errEmpty
	}
	if len(cidrs) > maxSubnets {
		return nil, fmt.Errorf("%w: %d", errTooMany, len(cidrs))
	}
	subnets := make([]netip.Prefix, 0, len(cidrs))
	for _, cidr := range cidrs {
		p, err := netip.ParsePrefix(cidr)
		if err != nil || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%w: %q", errBadCIDR, clip(cidr))
		}
		subnets = append(subnets, p.Masked())
	}
	slices.SortFunc(subnets, netip.Prefix.Compare)
	return slices.Compact(subnets), nil
}

// otherNetworks names the user-defined networks of the annotation that have subnets inside the ranges, for
// example "blue 10.130.0.0/24": they are not routed, which an operator who advertises them may not expect.
func otherNetworks(value string, ranges []netip.Prefix) string {
	var networks map[string]json.RawMessage
	_ = json.Unmarshal([]byte(value), &networks) // the default network could be read
	var found []string
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		cidrs, _ := stringOrList(networks[name])
		for _, cidr := range cidrs[:min(len(cidrs), maxSubnets)] {
			if p := otc.ParseDestination(cidr); name != defaultNetwork && otc.Inside(p, ranges) {
				found = append(found, clip(name)+" "+p.String())
			}
		}
	}
	return strings.Join(found, ", ")
}

// stringOrList decodes a JSON string, a list of strings or null.
func stringOrList(raw json.RawMessage) ([]string, error) {
	if bytes.HasPrefix(raw, []byte(`"`)) {
		var one string
		err := json.Unmarshal(raw, &one)
		return []string{one}, err
	}
	var list []*string // null inside a list is not ""
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	out := make([]string, 0, len(list))
	for _, s := range list {
		if s == nil {
			return nil, errors.New("null in a list")
		}
		out = append(out, *s)
	}
	return out, nil
}

// clip shortens foreign text for an error message.
func clip(s string) string {
	if len(s) > 120 {
		return s[:117] + "..."
	}
	return s
}
