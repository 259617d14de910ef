package node

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc"
)

// topic is what the table is recorded under.
func (s *tableState) topic(about string) string { return "table " + s.id + about }

// record logs and reports what a pass has led to, if that is new.
func (t *table) record(before, after *tableState) {
	if given := after.givenUp(); given != "" {
		t.rec.state(after.topic(" given up"), warning, routeDrifted, "given up while the annotation of node "+t.cfg.NodeName+" is missing or unusable: route table "+t.id+" has "+given)
	}
	switch c := after.condition(t.cfg); {
	case after.err != nil:
		t.recordFailure(after, c)
	case c == conflicted:
		t.rec.state(after.topic(""), failing, routeConflict, after.conflict(t.cfg.NodeName), "table", t.id, "next_attempt", until(after.at).Round(time.Second))
	case after.target.isRemoval():
		t.recordRemoved(after)
	case c == planned && len(after.plan.Changes) > 0:
		t.rec.state(after.topic(""), info, "", "dry run, nothing was written: would "+after.plan.Changes.String(), "table", t.id)
	case c == drifted:
		t.recordDrift(after)
	case c == shadowed:
		t.rec.state(after.topic(""), warning, routeDrifted, "route "+after.held()+" → "+t.cfg.NodeName+" is in the table, but "+after.plan.drift(), "table", t.id)
	default:
		t.recordConfirmed(before, after)
	}
}

func (t *table) recordFailure(after *tableState, c condition) {
	event, what := routeFailed, "could not update route table "+t.id
	switch {
	case c != failed:
		event, what = "", "could not check route table "+t.id
	case after.target.isRemoval():
		what = "could not clean up route table " + t.id
	case !after.isPlanned:
		what = unlessLogin(after.err, "could not read route table "+t.id)
	}
	t.rec.failure(after.topic(""), event, what, after.err, until(after.at))
}

// recordDrift says what a table that was confirmed lacks.
func (t *table) recordDrift(after *tableState) {
	hint := ""
	if !after.mayWrite(t.cfg) && !after.target.keep {
		hint = " (set DRIFT_REPAIR=true to have it put back)"
	}
	t.rec.state(after.topic(""), warning, routeDrifted, "route table "+t.id+" has drifted: "+after.plan.drift()+hint, "table", t.id)
}

// recordConfirmed says that all routes are right, and once that the table can be read again.
func (t *table) recordConfirmed(before, after *tableState) {
	if after.held() == "" {
		return
	}
	state := "route " + after.held() + " → " + t.cfg.NodeName + " confirmed"
	attrs := []any{"table", t.id, "next_hop", after.target.server.ID}
	switch {
	case before.err != nil && before.condition(t.cfg) == confirmed:
		t.rec.record(after.topic(""), state, info, "", "route table "+t.id+" can be read again: "+state, attrs...)
	case len(after.removed) > 0:
		t.rec.record(after.topic(""), state, success, routeMoved, state+", removed "+destinations(after.removed), attrs...)
	default:
		t.rec.record(after.topic(""), state, success, routeConfirmed, state, attrs...)
	}
}

// recordRemoved says once what a deleted Node has left in the table.
func (t *table) recordRemoved(after *tableState) {
	event, what := routeRemoved, "it left no routes in route table "+t.id
	switch {
	case t.cfg.DryRun:
		event = ""
		if len(after.plan.Changes) > 0 {
			what = "dry run, would " + after.plan.Changes.String() + " in route table " + t.id
		}
	case len(after.removed) > 0:
		what = "removed " + destinations(after.removed) + " from route table " + t.id
	}
	t.rec.record(after.topic(""), "node is gone", info, event, "node "+t.cfg.NodeName+" is gone; "+what)
}

// conflict says what is in the way.
func (s *tableState) conflict(nodeName string) string {
	var parts []string
	for _, r := range s.plan.Conflicts {
		if r.Type == otc.TypeECS {
			parts = append(parts, fmt.Sprintf("%s leads to instance %s, which exists", r.Destination, r.NextHop))
		} else {
			parts = append(parts, fmt.Sprintf("%s has a %s route to %s", r.Destination, r.Type, cmp.Or(r.NextHop, "the VPC")))
		}
	}
	return fmt.Sprintf("route table %s has a foreign route where %s should be: %s; nothing was written there: remove that route, or find out who wrote it", s.id, nodeName, strings.Join(parts, ", "))
}

// givenUp says what leads elsewhere while the annotation is not usable; "" if nothing does.
func (s *tableState) givenUp() string {
	var parts []string
	for _, r := range s.plan.GivenUp {
		parts = append(parts, r.String())
	}
	return strings.Join(parts, ", ")
}

// held returns the wanted destinations that are not given up.
func (s *tableState) held() string {
	return join(slices.DeleteFunc(slices.Clone(s.target.wanted), func(p netip.Prefix) bool {
		return slices.ContainsFunc(s.plan.GivenUp, func(r otc.Route) bool { return r.Destination == p })
	}))
}

func destinations(routes []otc.Route) string {
	var s []string
	for _, route := range routes {
		s = append(s, route.Destination.String())
	}
	return strings.Join(s, ", ")
}
