package node

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"otc-route-manager/otc"
)

// A phase is what the Node asks for.
//
//	phase    when                                             ready     in sync  what runs
//	waiting  no Node or no annotation yet                     no        0        nothing
//	deleted  there was a Node                                 no        0        the removal, after 10 s
//	skipped  no worker, or no subnet in CLUSTER_CIDR          yes       0        nothing
//	invalid  the annotation is missing now, or unusable       as before 0        reads only, for its last good value
//	routed   at least one subnet is in CLUSTER_CIDR           by the [condition] the instance, then the tables
type phase int

const (
	waiting phase = iota
	deleted
	skipped
	invalid
	routed
)

// An intent is what the Node asks for, as far as it is known. It is a value.
type intent struct {
	phase  phase
	facts  *Facts         // the newest; nil: the Node is not there
	uid    string         // of the Node that asked for wanted
	wanted []netip.Prefix // the last good value of the annotation, inside CLUSTER_CIDR
	reason string         // why there is nothing to route, or why the annotation cannot be used
}

// A notice is what is to be recorded about a new intent.
type notice struct {
	severity severity
	event    string // reason of an Event; "": none
	key      string // what makes two notices the same; "": the text
	text     string
	pass     string // how it counts; "": not at all
	outside  string // subnets that are not routed beside some that are

	lacksFamily bool   // all subnets of an address family are outside
	networks    string // user-defined ones that are not routed although they lie inside
}

// routes reports whether there is anything to bring into the tables.
func (in intent) routes() bool {
	return (in.phase == routed || in.phase == invalid) && len(in.wanted) > 0
}

// next returns the intent after an event, and what to say about it. Facts of nil
// are a Node that is not there.
func (in intent) next(f *Facts, cfg *Config) (intent, notice) {
	switch {
	case f == nil:
		return in.withoutNode(cfg)
	case in.uid != "" && in.uid != f.UID:
		in = intent{} // another Node of that name
	}
	in.facts, in.uid = f, f.UID
	if !f.Worker {
		return in.skip("not a worker", nodeSkipped, "skipping node "+cfg.NodeName+", it is not a worker")
	}
	subnets, err := f.subnets()
	if err != nil {
		return in.unusable(err)
	}
	inside, outside := divide(subnets, cfg.Ranges)
	if len(inside) == 0 {
		return in.skip("no subnet is cluster traffic", subnetSkipped, fmt.Sprintf("skipping node %s, subnet %s is not cluster traffic (CLUSTER_CIDR %s)",
			cfg.NodeName, join(outside), join(cfg.Ranges)))
	}
	n := notice{outside: join(outside), lacksFamily: slices.ContainsFunc(outside, func(p netip.Prefix) bool {
		return !slices.ContainsFunc(inside, func(o netip.Prefix) bool { return o.Addr().Is4() == p.Addr().Is4() })
	})}
	n.networks = otherNetworks(f.Annotation, cfg.Ranges)
	if in.phase != routed {
		n.severity, n.text = info, "node "+cfg.NodeName+" has the pod subnets "+join(inside)
	}
	in.phase, in.wanted, in.reason = routed, inside, ""
	return in, n
}

// withoutNode: the routes of a Node that was deleted are removed after a while, if it is still gone then.
func (in intent) withoutNode(cfg *Config) (intent, notice) {
	in.facts = nil
	if in.uid == "" {
		in.reason = "there is no Node " + cfg.NodeName + ": check NODE_NAME"
		return in, notice{severity: warning, text: in.reason}
	}
	in.phase, in.reason = deleted, "the Node was deleted"
	return in, notice{severity: warning, text: fmt.Sprintf("node %s was deleted; its routes go in %v unless it comes back", cfg.NodeName, removalDelay)}
}

func (in intent) skip(reason, event, text string) (intent, notice) {
	in.phase, in.reason = skipped, reason
	return in, notice{severity: warning, event: event, text: text, pass: "skipped"}
}

// unusable: an annotation without subnets moves nothing (R4).
func (in intent) unusable(err error) (intent, notice) {
	in.reason = err.Error()
	if isWaiting(err) && in.wanted == nil {
		in.phase = waiting
		return in, notice{severity: info, text: "waiting: " + err.Error()}
	}
	in.phase = invalid
	return in, notice{severity: warning, event: annotationInvalid, key: "invalid: " + class(err), text: err.Error() + "; routes are unchanged", pass: "error"}
}

// class is what stays the same while only the text of a bad annotation changes.
func class(err error) string {
	for _, kind := range []error{errNotSet, errNoDefault, errMalformed, errEmpty, errBadCIDR, errTooMany} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return err.Error()
}

// isWaiting: OVN-Kubernetes has not come to this Node yet.
func isWaiting(err error) bool { return errors.Is(err, errNotSet) || errors.Is(err, errNoDefault) }

// divide parts subnets into those strictly inside the ranges and the others.
func divide(subnets, ranges []netip.Prefix) (inside, outside []netip.Prefix) {
	for _, p := range subnets {
		if otc.Inside(p, ranges) {
			inside = append(inside, p)
		} else {
			outside = append(outside, p)
		}
	}
	return inside, outside
}

func join[T fmt.Stringer](values []T) string {
	var s []string
	for _, v := range values {
		s = append(s, v.String())
	}
	return strings.Join(s, ", ")
}

// equal compares two readings of a Node; nil is a Node that is not there.
func (f *Facts) equal(o *Facts) bool {
	if f == nil || o == nil {
		return f == o
	}
	return f.UID == o.UID && f.Worker == o.Worker &&
		f.Annotated == o.Annotated && f.Annotation == o.Annotation && f.sameMachine(o)
}

// sameMachine reports whether all that points to the instance is the same; a nil
// Node points to none.
func (f *Facts) sameMachine(o *Facts) bool {
	return o != nil && f.ProviderID == o.ProviderID && f.SystemUUID == o.SystemUUID && slices.Equal(f.Addresses, o.Addresses)
}

// movedFrom reports whether the Node names another instance than the known one,
// and did not before.
func (f *Facts) movedFrom(old *Facts, instance string) bool {
	id := f.named()
	return id != "" && id != old.named() && id != instance
}

// named returns the ECS id that the Node itself names, or "".
func (f *Facts) named() string {
	if f == nil {
		return ""
	}
	if id := f.providerInstance(); id != "" {
		return id
	}
	return f.systemInstance()
}
