package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc"
)

// orphanAfter is how long the cloud must have said that an instance is gone
// before its routes count as orphans. The second look is the one after that.
const orphanAfter = 10 * time.Minute

// A census knows which ECS instances exist: from one list, and from a read of
// each that the list lacks. Only the cloud's own "not found" means gone; an
// empty list may be a missing permission.
type census struct {
	cloud  Cloud
	listed map[string]bool // nil: not asked yet
	gone   map[string]bool
}

func (c *census) isGone(ctx context.Context, id string) bool {
	if gone, known := c.gone[id]; known {
		return gone
	}
	if c.listed[id] {
		return false
	}
	_, err := c.cloud.Server(ctx, id)
	c.gone[id] = otc.IsNotFound(err)
	return c.gone[id]
}

// list spares a read for each server that the project's list has.
func (c *census) list(ctx context.Context) {
	if c.listed != nil {
		return
	}
	c.listed = map[string]bool{}
	servers, err := c.cloud.Servers(ctx)
	if err != nil {
		return
	}
	for _, s := range servers {
		c.listed[s.ID] = true
	}
}

// findOrphans looks for marked routes whose instance is gone, in tables that
// have just been looked at. One pod of all does it, without a lock: the one whose
// route has the lowest marked destination of the table. The others look every
// n-th time whether the n before them are gone, so that somebody takes over and
// the fleet asks little.
func (r *Reconciler) findOrphans(ctx context.Context, looked []*table) {
	if len(looked) == 0 {
		return
	}
	r.rounds++
	c := &census{cloud: r.cloud, gone: map[string]bool{}}
	for _, t := range looked {
		routes := marked(t.view.Routes, r.cfg.Ranges)
		if t.err != nil || !r.leads(ctx, c, routes) {
			t.orphans = nil
			continue
		}
		if slices.ContainsFunc(routes, func(route otc.Route) bool { return uuid(route.NextHop) != r.instance.ID }) {
			c.list(ctx)
		}
		t.orphans = slices.DeleteFunc(routes, func(route otc.Route) bool { return !r.isOrphan(ctx, c, uuid(route.NextHop)) })
		r.tellOrphans(ctx, t)
	}
	for id := range r.missing {
		if gone, asked := c.gone[id]; asked && !gone || c.listed[id] {
			delete(r.missing, id) // it is back; not to have asked this time says nothing
		}
	}
}

// leads reports whether this pod cares for a table's orphans: all owners of
// lower destinations are gone.
func (r *Reconciler) leads(ctx context.Context, c *census, routes []otc.Route) bool {
	var before []string
	for _, route := range routes {
		id := uuid(route.NextHop)
		if id == r.instance.ID {
			if n := len(before); n > 0 && r.rounds%n != 0 {
				return false
			}
			return !slices.ContainsFunc(before, func(id string) bool { return !c.isGone(ctx, id) })
		}
		if !slices.Contains(before, id) {
			before = append(before, id)
		}
	}
	return false
}

// isOrphan reports whether the cloud says for the second time, ten minutes after
// the first, that an instance is gone.
func (r *Reconciler) isOrphan(ctx context.Context, c *census, id string) bool {
	if id == r.instance.ID || !c.isGone(ctx, id) {
		return false
	}
	first, suspected := r.missing[id]
	if !suspected {
		r.missing[id] = time.Now()
	}
	return suspected && time.Since(first) >= orphanAfter
}

// marked returns the routes of a table that this program wrote for any Node,
// lowest destination first.
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

// tellOrphans names the orphans, and removes them if it may.
func (r *Reconciler) tellOrphans(ctx context.Context, t *table) {
	topic := t.topic(" orphans")
	switch {
	case len(t.orphans) == 0:
		r.tell.forget(topic)
	case !r.cfg.OrphanCleanup || r.cfg.DryRun:
		r.tell.say(topic, warning, "OrphansFound", fmt.Sprintf("route table %s has routes of instances that are gone: %s (ORPHAN_CLEANUP=true removes them)",
			t.id, otc.Ops(otc.Delete, t.orphans...)), "table", t.id)
	default:
		r.removeOrphans(ctx, t, topic)
	}
}

// removeOrphans deletes orphans that a new read of the table still shows.
func (r *Reconciler) removeOrphans(ctx context.Context, t *table, topic string) {
	view, err := r.cloud.RouteTable(ctx, t.id)
	ch := otc.Ops(otc.Delete, slices.DeleteFunc(slices.Clone(t.orphans), func(o otc.Route) bool { return !slices.Contains(view.Routes, o) })...)
	if err == nil {
		for part := range slices.Chunk(ch, 5) {
			if err = r.cloud.UpdateRoutes(ctx, t.id, part); err != nil {
				r.count(part, true, "error")
				break
			}
			r.count(part, true, "success")
		}
	}
	if err == nil {
		view, err = r.cloud.RouteTable(ctx, t.id)
	}
	if err != nil {
		r.tell.failure(topic, "RouteFailed", "could not remove routes of instances that are gone from route table "+t.id, err, time.Until(t.due))
		return
	}
	t.view = view
	t.orphans = slices.DeleteFunc(t.orphans, func(o otc.Route) bool { return !slices.Contains(view.Routes, o) })
	r.tell.say(topic, info, "OrphansRemoved", fmt.Sprintf("removed routes of instances that are gone from route table %s: %s", t.id, destinations(ch.Routes(otc.Delete))), "table", t.id)
}
