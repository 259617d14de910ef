package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"otc-route-manager/otc"
)

// settle draws the consequences of a pass over one table: what state it is in,
// who is told, and when it is looked at again. It reports whether the table is as
// it should be.
func (r *Reconciler) settle(t *table) bool {
	switch {
	case t.err != nil && t.onlyLooked(r.cfg):
		t.rest(r.cfg.DriftInterval)
		r.tell.failure(t.topic("look"), "", "could not check route table "+t.id, t.err, time.Until(t.due))
		return false
	case t.err != nil:
		wait := t.failed(t.err)
		r.tell.failure(t.topic(""), "RouteFailed", "could not update route table "+t.id, t.err, wait)
		return false
	case len(t.plan.Conflicts) > 0:
		t.retry = retry{due: time.Now().Add(spread(conflictPause))}
		r.tell.say(t.topic(""), failing, "RouteConflict", r.conflict(t), "table", t.id, "next_attempt", time.Until(t.due).Round(time.Second))
		return false
	}
	switch now := time.Now(); {
	case t.taken:
		t.taken, t.handover = false, now.Add(handoverPause)
	case !t.handover.After(now):
		t.handover = time.Time{}
	}
	t.rest(r.cfg.DriftInterval)
	return r.tellSettled(t)
}

// onlyLooked reports whether a failure cost no more than a look: the routes were
// right, or nobody is to repair them.
func (t *table) onlyLooked(cfg Config) bool {
	return t.confirmed && len(t.plan.Conflicts) == 0 && (len(t.plan.Changes) == 0 || !t.repairs(cfg))
}

// repairs reports whether a look puts back what a table that was right has lost.
func (t *table) repairs(cfg Config) bool { return cfg.DriftRepair || !t.handover.IsZero() }

// tellSettled tells how a table without failure or conflict looks.
func (r *Reconciler) tellSettled(t *table) bool {
	routes := join(r.wanted) + " → " + r.cfg.NodeName
	switch {
	case t.confirmed && t.drift() > 0:
		r.tellDrift(t, r.cfg.DriftRepair)
		return false
	case len(t.plan.Changes) > 0: // dry run
		r.tell.say(t.topic(""), info, "", "dry run, nothing was written: would "+t.plan.Changes.String(), "table", t.id)
		return true
	}
	t.confirmed = true
	if len(t.plan.Shadows) > 0 {
		r.tell.say(t.topic(""), warning, "RouteDrifted", "route "+routes+" is in the table, but "+t.describeDrift(), "table", t.id)
		return false
	}
	state, gone, reason := "route "+routes+" confirmed", "", "RouteConfirmed"
	if len(t.removed) > 0 {
		gone, reason = ", removed "+destinations(t.removed), "RouteMoved"
	}
	r.tell.news(t.topic(""), state, success, reason, state+gone, "table", t.id, "next_hop", r.instance.ID)
	return true
}

func (t *table) topic(kind string) string { return "table " + t.id + kind }

// rest plans the next look, interval apart with a fifth of jitter; never if the
// interval is 0.
//
// A take-over asks for one look more: the instance that had the destination may
// have read the table before the take-over and deleted its own route after it; a
// delete names only the destination. Looks until then put back what is missing.
func (t *table) rest(interval time.Duration) {
	t.retry = retry{}
	if interval > 0 {
		t.due = time.Now().Add(interval*4/5 + rand.N(interval*2/5+1))
	}
	if t.handover.IsZero() {
		return
	}
	if !t.handover.After(time.Now()) { // that look has failed
		t.handover = time.Now().Add(handoverPause)
	}
	if t.due.IsZero() || t.handover.Before(t.due) {
		t.due = t.handover
	}
}

// spread is a random wait of at most d and at least four fifths of it.
func spread(d time.Duration) time.Duration { return d*4/5 + rand.N(d/5) }

// drift counts what a table that was right has lost since.
func (t *table) drift() int {
	if !t.confirmed {
		return len(t.plan.Shadows)
	}
	return len(t.plan.Changes) + len(t.plan.Shadows)
}

// describeDrift says what is missing, changed, left over or shadowed.
func (t *table) describeDrift() string {
	var parts []string
	what := map[otc.OpKind]string{otc.Add: "is missing", otc.Modify: "points elsewhere", otc.Delete: "is left over"}
	for _, op := range t.plan.Changes {
		parts = append(parts, op.Destination.String()+" "+what[op.Kind])
	}
	for _, route := range t.plan.Shadows {
		parts = append(parts, fmt.Sprintf("%s route %s → %s takes its traffic", route.Type, route.Destination, route.NextHop))
	}
	return strings.Join(parts, ", ")
}

func (r *Reconciler) tellDrift(t *table, repaired bool) {
	hint := ""
	if !repaired {
		hint = " (set DRIFT_REPAIR=true to have it put back)"
	}
	r.tell.say(t.topic(""), warning, "RouteDrifted", "route table "+t.id+" has drifted: "+t.describeDrift()+hint, "table", t.id)
}

// conflict says what is in the way.
func (r *Reconciler) conflict(t *table) string {
	var parts []string
	for _, route := range t.plan.Conflicts {
		parts = append(parts, fmt.Sprintf("%s route %s → %s", route.Type, route.Destination, route.NextHop))
	}
	return fmt.Sprintf("route table %s has a route of somebody else where %s should be: %s; nothing was written there: remove that route, or find out whose it is", t.id, r.cfg.NodeName, strings.Join(parts, ", "))
}

func destinations(routes []otc.Route) string {
	var s []string
	for _, route := range routes {
		s = append(s, route.Destination.String())
	}
	return strings.Join(s, ", ")
}

// remove takes away what a deleted Node leaves behind: the routes to this very
// instance that carry our mark or were confirmed by this process.
func (r *Reconciler) remove(ctx context.Context) {
	exists, err := r.kube.NodeExists(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	if err != nil {
		wait := r.removal.failed(err)
		r.tell.failure("node", "", "could not see whether node "+r.cfg.NodeName+" is back", err, wait)
		return
	}
	if exists {
		r.removal = retry{} // the informer brings the news
		return
	}
	r.inParallel(r.tables, func(t *table) {
		t.restart() // if the Node comes back half way through
		t.err = r.sync(ctx, t, nil, true)
	})
	if abandoned(r.tables) {
		return
	}
	var left []string
	for _, t := range r.tables {
		if t.err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			wait := r.removal.failed(t.err)
			r.tell.failure(t.topic(""), "RouteFailed", "could not clean up route table "+t.id, t.err, wait)
			r.obs.Pass("error")
			return
		}
		if r.cfg.DryRun {
			left = append(left, "dry run, would "+t.plan.Changes.String())
		} else if len(t.removed) > 0 {
			left = append(left, "removed "+destinations(t.removed)+" from route table "+t.id)
		}
	}
	r.tell.say("node", info, "RouteRemoved", "node "+r.cfg.NodeName+" is gone; "+cmp.Or(strings.Join(left, ", "), "it left no routes"))
	r.obs.Pass("success")
	r.forget()
	r.skip, r.removal = "the Node was deleted", retry{}
}
