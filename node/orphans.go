package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc"
)

const (
	orphanAfter   = 10 * time.Minute // between two checks that miss an instance, at least
	forgetAbsence = 24 * time.Hour   // that no check has renewed
)

// errDistrust is a list of servers that cannot be right.
var errDistrust = errors.New("the list of servers lacks this Node's own instance: grant ecs:cloudServers:list. No instance counts as gone")

// An orphanTracker looks for marked routes of one table whose instance is gone, and remembers which
// instances the cloud has been missing, by ECS id. An instance is gone only if two checks at least ten
// minutes apart say so (R11).
type orphanTracker struct {
	env
	table      string
	absent     map[string]absence
	passedOver map[string]time.Time // owners that were gone when the leader was looked for
}

func newOrphanTracker(table string, e env) *orphanTracker {
	return &orphanTracker{e, table, map[string]absence{}, map[string]time.Time{}}
}

// An absence is when an instance was first and last missed by a check.
type absence struct{ since, last time.Time }

// note takes over what a check says about an instance, and reports whether it is gone.
func (o *orphanTracker) note(id string, exists bool, now time.Time) (isGone bool) {
	if exists {
		delete(o.absent, id)
		return false
	}
	known := o.absent[id]
	if now.Sub(known.last) > forgetAbsence {
		known.since = now
	}
	o.absent[id] = absence{known.since, now}
	return now.Sub(known.since) >= orphanAfter
}

// isKnownGone reports whether two checks have found an instance gone. Until it is listed again that is not
// asked any more, except right before a route is removed.
func (o *orphanTracker) isKnownGone(id string) bool {
	return o.absent[id].last.Sub(o.absent[id].since) >= orphanAfter
}

// keep forgets all instances but these.
func (o *orphanTracker) keep(ids map[string]bool) {
	maps.DeleteFunc(o.absent, func(id string, _ absence) bool { return !ids[id] })
	maps.DeleteFunc(o.passedOver, func(id string, _ time.Time) bool { return !ids[id] })
}

// isGone asks for one instance; only the cloud's own "not found" counts.
func isGone(ctx context.Context, cloud Cloud, id string) bool {
	_, err := cloud.Server(ctx, id)
	return otc.IsNotFound(err)
}

// goneHops asks which next hops the cloud says are gone. In doubt they exist: a cloud that does not
// know our own instance either is not believed (R11).
func goneHops(ctx context.Context, cloud Cloud, self string, routes []otc.Route) map[string]bool {
	gone := map[string]bool{}
	for _, route := range routes {
		id := uuid(route.NextHop)
		if _, isAsked := gone[id]; id != "" && !isAsked {
			gone[id] = isGone(ctx, cloud, id)
		}
	}
	if slices.Contains(slices.Collect(maps.Values(gone)), true) {
		if _, err := cloud.Server(ctx, self); err != nil {
			return map[string]bool{}
		}
	}
	return gone
}

// check returns the routes in the table as it was read whose instance is gone, and removes them before that
// if it may.
func (o *orphanTracker) check(ctx context.Context, shown otc.RouteTable, self string) []otc.Route {
	routes, owners := marked(shown.Routes, o.cfg.Ranges), map[string]bool{}
	for _, r := range routes {
		owners[r.NextHop] = true
	}
	o.keep(owners)
	topic := "table " + o.table + " orphans"
	var orphans []otc.Route
	if len(owners) > 1 && o.isLeader(ctx, routes, self) {
		var err error
		if orphans, err = o.find(ctx, routes, self); err != nil {
			clear(o.absent)
			if !errors.Is(ctx.Err(), context.Canceled) {
				o.rec.failure("servers", "", "could not see which instances exist", err, 0)
			}
			return nil
		}
		o.rec.clear("servers")
	}
	switch {
	case len(orphans) == 0:
		o.rec.clear(topic)
	case !o.cfg.OrphanCleanup || o.cfg.DryRun:
		o.rec.state(topic, warning, orphansFound, fmt.Sprintf("route table %s has routes of instances that are gone: %s (ORPHAN_CLEANUP=true removes them)",
			o.table, otc.Ops(otc.Delete, orphans...)), "table", o.table)
	default:
		return o.cleanUp(ctx, topic, orphans)
	}
	return orphans
}

// isLeader reports whether this pod looks after the orphans of the table. Without a lock one does: that
// of the first owner, in the order of the marked destinations, that exists.
func (o *orphanTracker) isLeader(ctx context.Context, routes []otc.Route, self string) bool {
	for _, r := range routes {
		switch {
		case r.NextHop == self || r.Description == description(o.cfg.NodeName):
			return true
		case time.Since(o.passedOver[r.NextHop]) < forgetAbsence:
			continue
		case o.exists(ctx, r, self):
			return false
		}
		o.passedOver[r.NextHop] = time.Now()
	}
	return false
}

// exists reports whether an owner's Node exists: without a Node no pod runs there. If the route names none, or
// the API server cannot say, the instance counts.
func (o *orphanTracker) exists(ctx context.Context, r otc.Route, self string) bool {
	if name, ok := describedNode(r); ok {
		if exists, err := o.kube.NodeExists(ctx, name); err == nil {
			return exists
		}
	}
	return !goneHops(ctx, o.cloud, self, []otc.Route{r})[r.NextHop]
}

// find returns the routes whose instance this check misses and one ten minutes ago did, too. A
// list without our own instance is not believed: it may be a missing permission, or a cloud that has
// forgotten.
func (o *orphanTracker) find(ctx context.Context, routes []otc.Route, self string) (orphans []otc.Route, err error) {
	servers, err := o.cloud.Servers(ctx)
	if err != nil {
		return nil, err
	}
	exists, gone := map[string]bool{}, map[string]bool{}
	for _, server := range servers {
		exists[server.ID] = true
	}
	if !exists[self] {
		return nil, errDistrust
	}
	for _, r := range routes {
		if _, isNoted := gone[r.NextHop]; !isNoted {
			exists := exists[r.NextHop] || !o.isKnownGone(r.NextHop) && !isGone(ctx, o.cloud, r.NextHop)
			gone[r.NextHop] = o.note(r.NextHop, exists, time.Now())
		}
		if gone[r.NextHop] {
			orphans = append(orphans, r)
		}
	}
	return orphans, nil
}

// marked returns the routes of a table that this program wrote for any Node, lowest destination first.
func marked(routes []otc.Route, ranges []netip.Prefix) []otc.Route {
	var out []otc.Route
	for _, route := range routes {
		if route.Type == otc.TypeECS && strings.HasPrefix(route.Description, Mark) && otc.Inside(route.Destination, ranges) && uuid(route.NextHop) != "" {
			out = append(out, route)
		}
	}
	slices.SortFunc(out, byDestination)
	return out
}

// describedNode returns the Node that a route's description names; false if it names none, or was cut off.
func describedNode(r otc.Route) (name string, ok bool) {
	name, ok = strings.CutPrefix(r.Description, Mark+": ")
	return name, ok && len(r.Description) < otc.MaxDescription
}

// cleanUp removes orphans, records that, and returns those that are left.
func (o *orphanTracker) cleanUp(ctx context.Context, topic string, orphans []otc.Route) []otc.Route {
	removed, left, err := o.remove(ctx, orphans)
	if len(removed) > 0 {
		o.rec.state(topic, info, orphansRemoved, fmt.Sprintf("removed routes of instances that are gone from route table %s: %s", o.table, destinations(removed)), "table", o.table)
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled): // interrupted, which says nothing
	case err != nil:
		o.rec.failure(topic, routeFailed, "could not remove routes of instances that are gone from route table "+o.table, err, 0)
	case len(left) > 0:
		o.rec.state(topic, warning, orphansFound, fmt.Sprintf("route table %s has routes of instances that are gone, which stay because their Node is still there, or they name none: %s",
			o.table, otc.Ops(otc.Delete, left...)), "table", o.table)
	}
	return left
}

// remove deletes those orphans whose Node is gone, too, a few at a time. It returns what a read
// behind the PUTs no longer shows, and the rest.
func (o *orphanTracker) remove(ctx context.Context, orphans []otc.Route) (removed, left []otc.Route, err error) {
	left = slices.Clone(orphans)
	for batch := range slices.Chunk(orphans, otc.MaxOps) {
		shown, batch, err := o.confirm(ctx, batch)
		if err != nil {
			return removed, left, err
		}
		if len(batch) == 0 {
			continue
		}
		changes, result := otc.Ops(otc.Delete, batch...), "success"
		if err = o.cloud.UpdateRoutes(ctx, shown, changes); err != nil {
			result = "error"
		}
		o.obs.RouteChange(string(otc.Delete), result, len(changes))
		shown, readErr := o.cloud.RouteTable(ctx, o.table)
		if err = errors.Join(err, readErr); err != nil {
			return removed, left, err
		}
		isLeft := func(r otc.Route) bool { return slices.Contains(shown.Routes, r) }
		left = slices.DeleteFunc(left, func(r otc.Route) bool { return slices.Contains(batch, r) && !isLeft(r) })
		removed = append(removed, slices.DeleteFunc(batch, isLeft)...)
	}
	return removed, left, nil
}

// confirm returns those of a few routes that may be deleted now: the cloud misses their instance,
// the API server their Node, and the read, which it returns, shows them as they were (R11).
func (o *orphanTracker) confirm(ctx context.Context, batch []otc.Route) (shown otc.RouteTable, out []otc.Route, err error) {
	for _, r := range batch {
		name, ok := describedNode(r)
		if !ok || !isGone(ctx, o.cloud, r.NextHop) {
			continue
		}
		exists, err := o.kube.NodeExists(ctx, name)
		if err != nil {
			return shown, nil, err
		}
		if !exists {
			out = append(out, r)
		}
	}
	if shown, err = o.cloud.RouteTable(ctx, o.table); err != nil { // last, so that the PUT follows it at once
		return shown, nil, err
	}
	return shown, slices.DeleteFunc(out, func(r otc.Route) bool { return !slices.Contains(shown.Routes, r) }), nil
}
