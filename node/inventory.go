package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"otc-route-manager/otc"
)

const (
	orphanAfter   = 10 * time.Minute // between two surveys that miss an instance, at least
	forgetSuspect = 24 * time.Hour   // a suspicion that nobody has renewed for so long
)

// An inventory knows which instances the cloud has been missing, and for how
// long. An instance is gone only if two surveys ten minutes apart say so (R11).
type inventory struct {
	rounds  int
	missing map[string]suspicion // by ECS id
}

// A suspicion is that an instance is gone.
type suspicion struct{ since, last time.Time }

// A survey is what the cloud says about instances in one round: one list, and a
// read of each that the list lacks.
type survey struct {
	cloud  Cloud
	listed map[string]bool
	gone   map[string]bool
}

// newSurvey lists the project's servers. A list without our own instance is not
// to be believed: it may be a missing permission, or a cloud that has forgotten.
func newSurvey(ctx context.Context, cloud Cloud, self string) (*survey, error) {
	servers, err := cloud.Servers(ctx)
	if err != nil {
		return nil, err
	}
	s := &survey{cloud: cloud, listed: map[string]bool{}, gone: map[string]bool{}}
	for _, server := range servers {
		s.listed[server.ID] = true
	}
	if !s.listed[self] {
		return nil, errDoubtful
	}
	return s, nil
}

// errDoubtful is a list of servers that cannot be right.
var errDoubtful = errors.New("the list of servers lacks this Node's own: is ecs:cloudServers:list granted? Nothing counts as gone")

// isGone asks for one instance once; only the cloud's own "not found" counts.
func (s *survey) isGone(ctx context.Context, id string) bool {
	if gone, asked := s.gone[id]; asked {
		return gone
	}
	if s.listed[id] {
		return false
	}
	s.gone[id] = isGone(ctx, s.cloud, id)
	return s.gone[id]
}

// isGone asks for one instance, whatever else the cloud knows.
func isGone(ctx context.Context, cloud Cloud, id string) bool {
	_, err := cloud.Server(ctx, id)
	return otc.IsNotFound(err)
}

// round looks for marked routes whose instance is gone in tables that have just
// been read, and removes them if it may.
func (v *inventory) round(ctx context.Context, e env, self string, tables, read []*table) {
	if len(read) == 0 {
		return
	}
	v.rounds++
	ask := sync.OnceValues(func() (*survey, error) { return newSurvey(ctx, e.cloud, self) })
	for _, t := range read {
		t.orphans = nil
		routes := marked(t.view.Routes, e.cfg.Ranges)
		if v.mayLead(routes, self) {
			s, err := ask()
			if err != nil {
				v.doubt(ctx, e, err)
				return
			}
			e.rec.clear("inventory")
			t.orphans = v.orphans(ctx, s, routes, self)
		}
		t.recordOrphans(ctx, e)
	}
	maps.DeleteFunc(v.missing, func(id string, _ suspicion) bool { // no table leads there any more
		return !slices.ContainsFunc(tables, func(t *table) bool { return leadsTo(t.view.Routes, id) })
	})
}

// mayLead reports whether this pod may be the one that cares for a table: one
// does it, without a lock, the one whose route has the lowest marked destination.
// The others look every n-th time whether the n before them are gone, so that
// somebody takes over and the fleet asks little.
func (v *inventory) mayLead(routes []otc.Route, self string) bool {
	before, ours := owners(routes, self)
	others := slices.ContainsFunc(routes, func(r otc.Route) bool { return uuid(r.NextHop) != self })
	return ours && others && (len(before) == 0 || v.rounds%len(before) == 0)
}

// doubt drops all suspicion: a cloud that cannot say which instances exist, or
// does not know our own, is not to be believed.
func (v *inventory) doubt(ctx context.Context, e env, err error) {
	v.missing = nil
	if !errors.Is(ctx.Err(), context.Canceled) {
		e.rec.failure("inventory", "", "could not see which instances exist", err, 0)
	}
}

// owners returns the instances before self in the order of their lowest marked
// destination, and whether self has one at all.
func owners(routes []otc.Route, self string) (before []string, ours bool) {
	for _, route := range routes {
		id := uuid(route.NextHop)
		if id == self {
			return before, true
		}
		if !slices.Contains(before, id) {
			before = append(before, id)
		}
	}
	return before, false
}

func leadsTo(routes []otc.Route, id string) bool {
	return slices.ContainsFunc(routes, func(r otc.Route) bool { return uuid(r.NextHop) == id })
}

// orphans returns the routes whose instance a second survey misses; none unless
// all owners before us are gone.
func (v *inventory) orphans(ctx context.Context, s *survey, routes []otc.Route, self string) []otc.Route {
	before, _ := owners(routes, self)
	if slices.ContainsFunc(before, func(id string) bool { return !s.isGone(ctx, id) }) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(routes), func(r otc.Route) bool {
		return uuid(r.NextHop) == self || !v.isMissing(uuid(r.NextHop), s.isGone(ctx, uuid(r.NextHop)))
	})
}

// isMissing notes what a survey says about an instance, and reports whether one
// ten minutes ago said so, too.
func (v *inventory) isMissing(id string, gone bool) bool {
	if !gone {
		delete(v.missing, id)
		return false
	}
	if v.missing == nil {
		v.missing = map[string]suspicion{}
	}
	now, known := time.Now(), v.missing[id]
	if now.Sub(known.last) > forgetSuspect {
		known.since = now
	}
	v.missing[id] = suspicion{known.since, now}
	return now.Sub(known.since) >= orphanAfter
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

// recordOrphans names the orphans of a table, and removes them if it may.
func (t *table) recordOrphans(ctx context.Context, e env) {
	about := t.about(" orphans")
	switch {
	case len(t.orphans) == 0:
		e.rec.clear(about)
	case !e.cfg.OrphanCleanup || e.cfg.DryRun:
		e.rec.state(about, warning, orphansFound, fmt.Sprintf("route table %s has routes of instances that are gone: %s (ORPHAN_CLEANUP=true removes them)",
			t.id, otc.Ops(otc.Delete, t.orphans...)), "table", t.id)
	default:
		t.cleanUp(ctx, e)
	}
}

// cleanUp removes the orphans of a table, and says what it left.
func (t *table) cleanUp(ctx context.Context, e env) {
	about := t.about(" orphans")
	removed, err := t.removeOrphans(ctx, e)
	if len(removed) > 0 {
		e.rec.state(about, info, orphansRemoved, fmt.Sprintf("removed routes of instances that are gone from route table %s: %s", t.id, destinations(removed)), "table", t.id)
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled): // the pass was ended, which says nothing
	case err != nil:
		e.rec.failure(about, routeFailed, "could not remove routes of instances that are gone from route table "+t.id, err, until(t.due))
	case len(t.orphans) > 0:
		e.rec.state(about, warning, orphansFound, fmt.Sprintf("route table %s has routes of instances that are gone, which stay because their Node is still there, or they name none: %s",
			t.id, otc.Ops(otc.Delete, t.orphans...)), "table", t.id)
	}
}

// removeOrphans deletes the orphans that nobody else speaks for: before each PUT
// of a few, the table shows the same entry, the cloud misses its instance and the
// API server its Node (R11). It returns what a read no longer shows.
func (t *table) removeOrphans(ctx context.Context, e env) (removed []otc.Route, err error) {
	for batch := range slices.Chunk(slices.Clone(t.orphans), otc.MaxOps) {
		var read otc.RouteTable
		if read, batch, err = t.stillOrphans(ctx, e, batch); err != nil {
			return removed, err
		}
		if len(batch) == 0 {
			continue
		}
		ch, result := otc.Ops(otc.Delete, batch...), "success"
		if err = e.cloud.UpdateRoutes(ctx, read, ch); err != nil {
			result = "error"
		}
		for range ch {
			e.obs.RouteChange(string(otc.Delete), result, 1)
		}
		view, readErr := e.cloud.RouteTable(ctx, t.id)
		if err = errors.Join(err, readErr); err != nil {
			return removed, err
		}
		t.view = view
		shown := func(r otc.Route) bool { return slices.Contains(view.Routes, r) }
		t.orphans = slices.DeleteFunc(t.orphans, func(r otc.Route) bool { return slices.Contains(batch, r) && !shown(r) })
		removed = append(removed, slices.DeleteFunc(batch, shown)...)
	}
	return removed, nil
}

// stillOrphans returns the routes of a batch that may be deleted now, and the read
// that shows them.
func (t *table) stillOrphans(ctx context.Context, e env, batch []otc.Route) (view otc.RouteTable, out []otc.Route, err error) {
	for _, r := range batch {
		name, named := strings.CutPrefix(r.Description, Mark+": ")
		if !named || len(r.Description) >= maxDescription || !isGone(ctx, e.cloud, uuid(r.NextHop)) { // a long name is cut off
			continue
		}
		exists, err := e.kube.NodeExists(ctx, name)
		if err != nil {
			return view, nil, err
		}
		if !exists {
			out = append(out, r)
		}
	}
	view, err = e.cloud.RouteTable(ctx, t.id) // last, so that the PUT follows it at once
	if err == nil && tooOld(view) {
		err = errSlow
	}
	if err != nil {
		return view, nil, err
	}
	return view, slices.DeleteFunc(out, func(r otc.Route) bool { return !slices.Contains(view.Routes, r) }), nil
}
