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

// maxAge is how old a read may be that a PUT rests on, counted from when it was asked
// for: executed 60 s late, the PUT still comes before whoever has the route since reads
// it for the last time, 75 s after the confirmation.
const (
	maxAge  = 10 * time.Second
	maxAged = 2 // reads of one pass that are too old when they come
)

// Errors of a pass over one table.
var (
	errOtherVPC = errors.New("the route table belongs to another VPC than the instance")
	errStale    = errors.New("the Node has changed meanwhile")
	errSlow     = fmt.Errorf("the route table takes longer than %v to answer, so nothing is written: what it shows may be another's by now", maxAge)
)

// A target is what the tables are brought to. No wanted subnets: the routes of a
// deleted Node go.
type target struct {
	wanted []netip.Prefix
	server otc.Server
}

// A table is one route table as far as this Node is concerned.
type table struct {
	id string
	clock
	memory
	view    otc.RouteTable // as last read; ID "": never
	readAt  time.Time      // zero: never
	orphans []otc.Route    // marked routes of instances that are gone
}

// newTables returns tables that nothing is known of.
func newTables(ids []string) (tables []*table) {
	for _, id := range ids {
		tables = append(tables, &table{id: id})
	}
	return tables
}

// restart makes the table due for another target.
func (t *table) restart() {
	t.memory = memory{owned: t.owned}
	t.start(time.Now())
}

// sync reads the table and, if it may, changes it until a read shows what is
// wanted. It changes nothing in t.
func (t *table) sync(ctx context.Context, e env, to target) outcome {
	a := &attempt{write: t.writes(e.cfg) && !e.cfg.DryRun, refused: map[otc.Op]error{}, sent: map[netip.Prefix]bool{}}
	o := outcome{owned: t.owned}
	if !a.write && t.isSettling() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, settlingRead)
		defer cancel()
	}
	var s step
	for !s.done && s.err == nil {
		s = t.perform(ctx, e, to, a, s, &o)
	}
	o.err = s.err
	o.cut = errors.Is(o.err, errStale) || o.err != nil && errors.Is(ctx.Err(), context.Canceled)
	o.accepted, o.rejected, o.maybe = a.accepted, a.failed, a.unknown != nil
	if o.maybe {
		o.rejected = append(o.rejected, a.last...)
	}
	return o
}

// perform does one step and returns the next.
func (t *table) perform(ctx context.Context, e env, to target, a *attempt, s step, o *outcome) step {
	switch {
	case s.wait > 0:
		return step{err: wait(ctx, s.wait)}
	case s.put != nil && e.stale():
		return step{err: errStale}
	case s.put != nil && tooOld(o.view) && o.aged < maxAged:
		o.aged++
		return step{}
	case s.put != nil && tooOld(o.view):
		return step{err: errSlow}
	case s.put != nil:
		return a.answered(s.put, e.cloud.UpdateRoutes(ctx, o.view, s.put))
	}
	if err := t.read(ctx, e, to, o); err != nil {
		return step{err: err}
	}
	return a.read(o.plan.Changes)
}

// tooOld reports whether a PUT must not rest on a read any more.
func tooOld(view otc.RouteTable) bool { return time.Since(view.AsOf) > maxAge }

// read reads the table and plans.
func (t *table) read(ctx context.Context, e env, to target, o *outcome) error {
	view, err := e.cloud.RouteTable(ctx, t.id)
	if err != nil {
		return err
	}
	if elsewhere(view, to.server) {
		return fmt.Errorf("%w: table %s is in VPC %s, instance %s in %s: check ROUTE_TABLE_ID", errOtherVPC, t.id, view.VPCID, to.server.ID, to.server.VPCID)
	}
	q := Question{Wanted: to.wanted, Self: to.server.ID, NodeName: e.cfg.NodeName, Ranges: e.cfg.Ranges, Table: view.Routes, Confirmed: o.owned}
	if len(to.wanted) == 0 {
		q.Confirmed = nil // behind a deleted Node only what carries our mark goes
	}
	o.view, o.plan = view, MakePlan(q)
	if len(o.plan.Contested) > 0 {
		if !o.asked { // once a pass, so that a PUT can follow the read at once
			o.asked, o.gone = true, missing(ctx, e.cloud, to.server.ID, o.plan.Contested)
		}
		q.Gone = o.gone
		o.plan = MakePlan(q)
	}
	o.owned = owned(o.owned, to, view.Routes)
	return nil
}

// elsewhere reports whether a table belongs to another VPC than an instance, if
// both are known.
func elsewhere(view otc.RouteTable, s otc.Server) bool {
	return s.VPCID != "" && view.VPCID != "" && s.VPCID != view.VPCID
}

// missing asks which next hops the cloud says are gone. In doubt they live: a cloud
// that does not know our own instance either is not to be believed (R11).
func missing(ctx context.Context, cloud Cloud, self string, routes []otc.Route) map[string]bool {
	gone := map[string]bool{}
	for _, route := range routes {
		id := uuid(route.NextHop)
		if _, asked := gone[id]; id != "" && !asked {
			gone[id] = isGone(ctx, cloud, id)
		}
	}
	if slices.Contains(slices.Collect(maps.Values(gone)), true) {
		if _, err := cloud.Server(ctx, self); err != nil {
			return nil
		}
	}
	return gone
}

// owned returns which destinations have been seen pointing to this instance; one
// that no longer does and is not wanted is nobody's business any more.
func owned(before map[netip.Prefix]bool, to target, routes []otc.Route) map[netip.Prefix]bool {
	after := map[netip.Prefix]bool{}
	for _, route := range routes {
		if route.Type == otc.TypeECS && route.NextHop == to.server.ID && (before[route.Destination] || slices.Contains(to.wanted, route.Destination)) {
			after[route.Destination] = true
		}
	}
	for _, p := range to.wanted {
		if before[p] {
			after[p] = true
		}
	}
	return after
}

// finish takes over what a pass has brought, and plans the next.
func (t *table) finish(e env, o outcome) {
	now := time.Now()
	t.memory = t.after(o, e.cfg, now)
	if o.isRead() {
		t.view, t.readAt = o.view, now
		e.obs.TableRoutes(t.id, t.view.Used())
	}
	for result, ch := range map[string]otc.Changes{"success": o.accepted, "error": o.rejected} {
		for _, op := range ch {
			e.obs.RouteChange(string(op.Kind), result, 1)
		}
	}
	switch {
	case o.cut: // what has another target now is due at once
		t.again(time.Second)
	case o.err != nil:
		t.failed(o.err, t.retry(t.pause(o.err), e.cfg, now))
	default:
		t.start(t.nextRead(e.cfg, now))
	}
}

// about is the topic under which the table is recorded.
func (t *table) about(what string) string { return "table " + t.id + what }

// record says what a pass has brought, if that is new. before is what was known
// before it.
func (t *table) record(e env, to target, before condition, o outcome) {
	what := "could not update route table " + t.id
	switch {
	case o.cut: // claims nothing
	case o.err != nil && t.condition.trait().right:
		e.rec.failure(t.about(""), "", "could not check route table "+t.id, o.err, until(t.due))
	case o.err != nil && len(to.wanted) == 0:
		e.rec.failure(t.about(""), routeFailed, "could not clean up route table "+t.id, o.err, until(t.due))
	case o.err != nil:
		if !o.isRead() {
			what = unlessLogin(o.err, "could not read route table "+t.id)
		}
		e.rec.failure(t.about(""), routeFailed, what, o.err, until(t.due))
	case t.condition == conflicted:
		e.rec.state(t.about(""), failing, routeConflict, t.conflict(e.cfg.NodeName), "table", t.id, "next_attempt", until(t.due).Round(time.Second))
	case len(to.wanted) == 0: // recorded for all tables at once
	case t.condition == planned && t.plan.lacks():
		e.rec.state(t.about(""), info, "", "dry run, nothing was written: would "+t.plan.Changes.String(), "table", t.id)
	case t.condition == drifted:
		e.rec.state(t.about(""), warning, routeDrifted, t.drifting(e.cfg, to), "table", t.id)
	default:
		t.recordConfirmed(e, to, before, o)
	}
}

// recordConfirmed says that all routes are right, and once that the table can be
// read again.
func (t *table) recordConfirmed(e env, to target, before condition, o outcome) {
	state := "route " + join(to.wanted) + " → " + e.cfg.NodeName + " confirmed"
	attrs := []any{"table", t.id, "next_hop", to.server.ID}
	gone := t.removed
	if before.trait().right {
		gone = o.accepted.Routes(otc.Delete)
	}
	switch {
	case before == unsure:
		e.rec.record(t.about(""), state, info, "", "route table "+t.id+" can be read again: "+state, attrs...)
	case len(gone) > 0:
		e.rec.record(t.about(""), state, success, routeMoved, state+", removed "+destinations(gone), attrs...)
	default:
		e.rec.record(t.about(""), state, success, routeConfirmed, state, attrs...)
	}
}

// drifting says how the table has drifted, and what would mend it.
func (t *table) drifting(cfg *Config, to target) string {
	if !t.plan.lacks() {
		return "route " + join(to.wanted) + " → " + cfg.NodeName + " is in the table, but " + t.plan.drift()
	}
	hint := ""
	if !t.writes(cfg) {
		hint = " (set DRIFT_REPAIR=true to have it put back)"
	}
	return "route table " + t.id + " has drifted: " + t.plan.drift() + hint
}

// conflict says what is in the way.
func (t *table) conflict(nodeName string) string {
	var parts []string
	for _, route := range t.plan.Conflicts {
		parts = append(parts, fmt.Sprintf("%s route %s → %s", route.Type, route.Destination, route.NextHop))
	}
	return fmt.Sprintf("route table %s has a route of somebody else where %s should be: %s; nothing was written there: remove that route, or find out whose it is", t.id, nodeName, strings.Join(parts, ", "))
}

// drifts counts what a table that was right has lost since.
func (t *table) drifts() int {
	if t.condition == drifted {
		return len(t.plan.Changes) + len(t.plan.Shadows)
	}
	return len(t.plan.Shadows)
}

func destinations(routes []otc.Route) string {
	var s []string
	for _, route := range routes {
		s = append(s, route.Destination.String())
	}
	return strings.Join(s, ", ")
}

// until is how long it is until t; 0 if that is past or never.
func until(t time.Time) time.Duration { return max(time.Until(t), 0) }

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// remains says what of a deleted Node's routes was or would be removed.
func (t *table) remains() (text []string) {
	switch {
	case t.condition == planned && t.plan.lacks():
		text = append(text, "dry run, would "+t.plan.Changes.String())
	case len(t.removed) > 0:
		text = append(text, "removed "+destinations(t.removed)+" from route table "+t.id)
	}
	return text
}
