package node

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc"
)

// topic is what the table is recorded under.
func (s *tableState) topic() string { return "table " + s.id }

// record logs and reports what a pass has led to, if that is new.
func (e env) record(before, after *tableState) {
	if given := after.plan.givenUp(); given != "" {
		e.rec.state(after.topic()+" given up", warning, routeDrifted, "given up while the annotation of node "+e.cfg.NodeName+" is missing or unusable: route table "+after.id+" has "+given)
	}
	switch c := after.condition(e.cfg); {
	case after.err != nil:
		e.recordFailure(after, c)
	case c == conflicted:
		e.rec.state(after.topic(), failing, routeConflict, fmt.Sprintf("route table %s has a foreign route where %s should be: %s; nothing was written there: remove that route, or find out who wrote it",
			after.id, e.cfg.NodeName, after.plan.conflict()), "table", after.id, "next_attempt", until(after.at).Round(time.Second))
	case after.target.isRemoval():
		e.recordRemoved(after)
	case c == planned && len(after.plan.Changes) > 0:
		e.rec.state(after.topic(), info, "", "dry run, nothing was written: would "+after.plan.Changes.String(), "table", after.id)
	case c == drifted:
		e.recordDrift(after)
	case c == shadowed:
		e.rec.state(after.topic(), warning, routeDrifted, "route "+after.routed()+" → "+e.cfg.NodeName+" is in the table, but "+after.plan.drift(), "table", after.id)
	default:
		e.recordConfirmed(before, after)
	}
}

func (e env) recordFailure(after *tableState, c condition) {
	event, what := routeFailed, "could not update route table "+after.id
	switch {
	case c != failed:
		event, what = "", "could not check route table "+after.id
	case after.target.isRemoval():
		what = "could not clean up route table " + after.id
	case !after.isPlanned:
		what = unlessLogin(after.err, "could not read route table "+after.id)
	}
	e.rec.failure(after.topic(), event, what, after.err, until(after.at))
}

// recordDrift says what a table that was confirmed lacks.
func (e env) recordDrift(after *tableState) {
	hint := ""
	if !after.mayWrite(e.cfg) && !after.target.keep {
		hint = " (set DRIFT_REPAIR=true to have it put back)"
	}
	e.rec.state(after.topic(), warning, routeDrifted, "route table "+after.id+" has drifted: "+after.plan.drift()+hint, "table", after.id)
}

// recordConfirmed says that all routes are right, and once that the table can be read again.
func (e env) recordConfirmed(before, after *tableState) {
	if after.routed() == "" {
		return
	}
	state := "route " + after.routed() + " → " + e.cfg.NodeName + " confirmed"
	attrs := []any{"table", after.id, "next_hop", after.target.server.ID}
	switch {
	case before.err != nil && before.condition(e.cfg) == confirmed:
		e.rec.record(after.topic(), state, info, "", "route table "+after.id+" can be read again: "+state, attrs...)
	case len(after.removed) > 0:
		e.rec.record(after.topic(), state, success, routeMoved, state+", removed "+destinations(after.removed), attrs...)
	default:
		e.rec.record(after.topic(), state, success, routeConfirmed, state, attrs...)
	}
}

// recordRemoved says once what a deleted Node has left in the table.
func (e env) recordRemoved(after *tableState) {
	event, what := routeRemoved, "it left no routes in route table "+after.id
	switch {
	case e.cfg.DryRun:
		event = ""
		if len(after.plan.Changes) > 0 {
			what = "dry run, would " + after.plan.Changes.String() + " in route table " + after.id
		}
	case len(after.removed) > 0:
		what = "removed " + destinations(after.removed) + " from route table " + after.id
	}
	e.rec.record(after.topic(), "node is gone", info, event, "node "+e.cfg.NodeName+" is gone; "+what)
}

// routed returns the wanted destinations that are not given up.
func (s *tableState) routed() string {
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

// isLogin reports whether something failed because there is no token.
func isLogin(err error) bool {
	e, ok := errors.AsType[*otc.Error](err)
	return ok && e.Service == "iam"
}

// unlessLogin returns what could not be done, or that there was no login for it.
func unlessLogin(err error, what string) string {
	if isLogin(err) {
		return "could not log in"
	}
	return what
}
