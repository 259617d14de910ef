package node

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"otc-route-manager/otc"
)

// Mark begins the description of every route that this program writes; the
// Node's name follows for people.
const Mark = "otc-route-manager"

// description returns what a route of a Node is described with.
func description(nodeName string) string {
	d := Mark + ": " + nodeName
	return d[:min(len(d), otc.MaxDescription)]
}

// A Question is what a plan is made from.
type Question struct {
	Wanted    []netip.Prefix        // this Node's subnets
	Self      string                // this Node's ECS id
	NodeName  string                // for the description
	Ranges    []netip.Prefix        // CLUSTER_CIDR
	Table     []otc.Route           // what the route table holds
	Confirmed map[netip.Prefix]bool // destinations that this process has seen with Self as next hop; true: settled, so no late write takes them
	Gone      map[string]bool       // ECS ids of instances that do not exist
	Contested bool                  // what another instance has taken was put back often enough: no late write took it
	Keep      bool                  // the annotation is not usable: what leads to another instance is given up
}

// A Plan is what a route table lacks, and what is in the way.
type Plan struct {
	Changes   otc.Changes
	Conflicts []otc.Route // at a wanted destination, and not ours to change
	Claimed   []otc.Route // of these, ecs routes where ours was confirmed: no conflict if their instance is gone
	GivenUp   []otc.Route // at destinations that are not wanted any more
	Shadows   []otc.Route // take traffic of a wanted destination although its route is right
}

// isComplete reports whether the table holds all that is wanted, and nothing of ours besides.
func (p *Plan) isComplete() bool { return len(p.Changes) == 0 && len(p.Conflicts) == 0 }

// drift names what is missing, changed, left over or shadowed.
func (p *Plan) drift() string {
	what := map[otc.OpKind]string{otc.Add: "is missing", otc.Modify: "leads to another instance", otc.Delete: "is left over"}
	var parts []string
	for _, op := range p.Changes {
		parts = append(parts, op.Destination.String()+" "+what[op.Kind])
	}
	for _, route := range p.Shadows {
		parts = append(parts, fmt.Sprintf("%s route %s takes its traffic", route.Type, route))
	}
	return strings.Join(parts, ", ")
}

// conflict names what is in the way.
func (p *Plan) conflict() string {
	var parts []string
	for _, r := range p.Conflicts {
		if r.Type == otc.TypeECS {
			parts = append(parts, fmt.Sprintf("%s leads to instance %s, which exists", r.Destination, r.NextHop))
		} else {
			parts = append(parts, fmt.Sprintf("%s has a %s route to %s", r.Destination, r.Type, cmp.Or(r.NextHop, "the VPC")))
		}
	}
	return strings.Join(parts, ", ")
}

// givenUp names what leads elsewhere while the annotation is not usable; "" if nothing does.
func (p *Plan) givenUp() string {
	var parts []string
	for _, r := range p.GivenUp {
		parts = append(parts, r.String())
	}
	return strings.Join(parts, ", ")
}

// MakePlan decides and does nothing. It adds what is missing, takes a wanted destination over
// from another instance, and deletes what is provably this instance's and no longer wanted.
// Everything else stays as it is.
func MakePlan(q Question) Plan {
	var p Plan
	for _, want := range q.Wanted {
		p.place(q, want)
		p.shadow(q, want)
	}
	var left []otc.Route
	for _, r := range q.Table {
		if r.NextHop == q.Self && !slices.Contains(q.Wanted, r.Destination) && q.owns(r) {
			left = append(left, r)
		}
	}
	slices.SortFunc(left, byDestination)
	left = slices.CompactFunc(left, func(a, b otc.Route) bool { return a.Destination == b.Destination }) // the rest next time
	p.Changes = append(p.Changes, otc.Ops(otc.Delete, left...)...)                                       // last, so that there is no gap (R5)
	return p
}

// place decides about one wanted destination. A table may list it more than once, spelled
// differently.
func (p *Plan) place(q Question, want netip.Prefix) {
	route := otc.Route{Type: otc.TypeECS, Destination: want, NextHop: q.Self, Description: description(q.NodeName)}
	var there []otc.Route
	for _, r := range q.Table {
		if r.Equal(route) {
			return // no matter who wrote it, and how it is described
		}
		if r.Destination == want {
			there = append(there, r)
		}
	}
	if len(there) == 0 {
		p.Changes = append(p.Changes, otc.Op{Kind: otc.Add, Route: route})
		return
	}
	wasSettled, wasConfirmed := q.Confirmed[want]
	for _, r := range there {
		switch {
		case q.Keep:
			p.GivenUp = append(p.GivenUp, r)
			return
		case r.Type != otc.TypeECS:
			p.Conflicts = append(p.Conflicts, r)
			return
		case wasConfirmed && (wasSettled || q.Contested) && !q.Gone[r.NextHop]:
			p.Conflicts = append(p.Conflicts, r)
			p.Claimed = append(p.Claimed, r)
			return
		}
	}
	route.Raw = there[0].Raw
	p.Changes = append(p.Changes, otc.Op{Kind: otc.Modify, Route: route})
}

// shadow collects what takes traffic away from a destination: more specific
// routes (the longest prefix wins) and the system's local routes (they have
// priority over ours).
func (p *Plan) shadow(q Question, want netip.Prefix) {
	for _, r := range q.Table {
		if !r.Destination.IsValid() || !r.Destination.Overlaps(want) || r.Destination == want || r.NextHop == q.Self {
			continue
		}
		if r.Destination.Bits() > want.Bits() || r.Type == otc.TypeLocal {
			p.Shadows = append(p.Shadows, r)
		}
	}
}

// owns reports whether a route may be deleted: inside the cluster's range, to
// this instance, and either marked or confirmed by this process for an earlier
// value of the annotation.
func (q Question) owns(r otc.Route) bool {
	_, wasConfirmed := q.Confirmed[r.Destination]
	return r.Type == otc.TypeECS && r.NextHop == q.Self && q.Self != "" &&
		otc.Inside(r.Destination, q.Ranges) &&
		(strings.HasPrefix(r.Description, Mark) || wasConfirmed)
}

func byDestination(a, b otc.Route) int { return a.Destination.Compare(b.Destination) }
