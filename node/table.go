package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"otc-route-manager/otc"
)

// maxPauses bounds the waits of one pass for a table to show what was sent: 1, 2
// and 4 seconds. Reads may be stale that long.
const maxPauses = 3

// maxHeld bounds the waits of one pass for a cloud that throttles PUTs. It was not
// executed then, but what is wanted, or the table, may be another when it would be:
// this takes a new look as after any other failure.
const maxHeld = 2

// A table is one route table as far as this Node is concerned.
type table struct {
	retry
	id        string
	confirmed bool                  // has shown everything that is wanted, since that last changed
	held      map[netip.Prefix]bool // destinations seen pointing to this instance
	view      otc.RouteTable        // as last read; ID "" before
	plan      Plan                  // as of the last read
	refused   []error               // routes that the cloud does not take
	err       error                 // of the last pass
	removed   []otc.Route           // deleted by the last pass
	taken     bool                  // a destination was taken over from another instance since the last settled pass
	handover  time.Time             // when a look makes sure that it has lasted, see rest; zero: none is due
	orphans   []otc.Route           // marked routes of instances that are gone
}

// restart makes the table due for another target or instance.
func (t *table) restart() {
	t.confirmed, t.handover, t.retry = false, time.Time{}, retry{due: time.Now()}
}

// Errors of a pass over one table.
var (
	errUnconfirmed = errors.New("the change was accepted, but the route table does not show it: wait; if it lasts, somebody else changes it back")
	errOtherVPC    = errors.New("the route table belongs to another VPC than the instance")
	errOutdated    = errors.New("the Node has changed meanwhile")
)

// A refusedError names routes that the cloud does not take while others are fine.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// look reads the table and plans.
func (r *Reconciler) look(ctx context.Context, t *table, want []netip.Prefix) (Plan, error) {
	view, err := r.cloud.RouteTable(ctx, t.id)
	if err != nil {
		return Plan{}, err
	}
	if vpc := r.instance.VPCID; vpc != "" && view.VPCID != "" && vpc != view.VPCID {
		return Plan{}, fmt.Errorf("%w: table %s is in VPC %s, instance %s in %s: check ROUTE_TABLE_ID", errOtherVPC, t.id, view.VPCID, r.instance.ID, vpc)
	}
	t.view = view
	r.obs.TableRoutes(t.id, len(view.Routes))
	q := Question{Wanted: want, Self: r.instance.ID, NodeName: r.cfg.NodeName, Ranges: r.cfg.Ranges, Table: view.Routes, Confirmed: t.held}
	if len(want) == 0 {
		q.Confirmed = nil // behind a deleted Node only what carries our mark goes
	}
	p := MakePlan(q)
	if len(p.Contested) > 0 {
		q.Gone = r.gone(ctx, p.Contested)
		p = MakePlan(q)
	}
	t.remember(want, r.instance.ID)
	t.plan = p
	return p, nil
}

// gone asks which next hops the cloud says are gone. In doubt they live.
func (r *Reconciler) gone(ctx context.Context, routes []otc.Route) map[string]bool {
	gone := map[string]bool{}
	for _, route := range routes {
		if id := uuid(route.NextHop); id != "" {
			_, err := r.cloud.Server(ctx, id)
			gone[id] = otc.IsNotFound(err)
		}
	}
	return gone
}

// remember updates which destinations have been seen pointing to this instance;
// one that no longer does and is not wanted is nobody's business any more.
func (t *table) remember(want []netip.Prefix, self string) {
	seen := map[netip.Prefix]bool{}
	for _, route := range t.view.Routes {
		if route.Type == otc.TypeECS && route.NextHop == self && (t.held[route.Destination] || slices.Contains(want, route.Destination)) {
			seen[route.Destination] = true
		}
	}
	for _, p := range want {
		if t.held[p] {
			seen[p] = true
		}
	}
	t.held = seen
}

// An attempt is the state of one pass over one table.
type attempt struct {
	limit   int         // operations per PUT; 0: no limit
	pauses  int         // taken
	sent    bool        // the last PUT was accepted
	lost    error       // the last PUT may have been applied or not
	last    otc.Changes // what it carried
	spoilt  otc.Changes // refused as a whole; sent one by one if still wanted
	spoils  int         // how often that happened; at last one by one in any case
	held    int         // how often a throttled PUT was waited for
	refused map[otc.Op]error
}

// sync reads the table and, if write is set, changes it until a read shows what
// is wanted. Whatever a PUT answers, the next thing is a read: nothing is assumed
// and nothing is sent blindly again.
func (r *Reconciler) sync(ctx context.Context, t *table, want []netip.Prefix, write bool) error {
	a := attempt{refused: map[otc.Op]error{}}
	t.removed = nil
	for {
		plan, err := r.look(ctx, t, want)
		if err != nil {
			r.count(a.last, a.lost != nil, "error")
			return err
		}
		ch := a.remaining(plan.Changes)
		if a.lost != nil { // now it shows whether it was applied
			if len(ch) > 0 {
				r.count(a.last, true, "error")
				return a.lost
			}
			r.applied(t, a.last)
			a.lost = nil
		}
		t.refused = slices.Collect(maps.Values(a.refused))
		if len(ch) == 0 || !write || r.cfg.DryRun {
			return a.verdict(plan.Changes)
		}
		if a.sent && a.pauses == maxPauses {
			return errUnconfirmed
		}
		if a.sent {
			if err := a.pause(ctx); err != nil {
				return err
			}
			continue
		}
		if t.confirmed && len(want) > 0 {
			r.tellDrift(t, true) // a repair hides it from the next look
		}
		if r.outdated() { // what is wanted may be another Node's by now
			return errOutdated
		}
		if err := r.send(ctx, t, &a, ch); err != nil {
			return err
		}
	}
}

// abandoned reports whether a pass over tables ended for news, and forgets that.
func abandoned(tables []*table) bool {
	any := false
	for _, t := range tables {
		if errors.Is(t.err, errOutdated) {
			t.err, any = nil, true
		}
	}
	return any
}

// send sends the changes, in several PUTs if the cloud wants them small, and
// notes in a what came of it. It returns an error if there is nothing to be won
// by reading the table again.
func (r *Reconciler) send(ctx context.Context, t *table, a *attempt, ch otc.Changes) error {
	if len(a.spoilt) > 1 && (slices.Equal(a.spoilt, ch) || a.spoils == maxPauses) {
		a.limit = 1
	}
	for part := range slices.Chunk(ch, cmp.Or(a.limit, len(ch))) {
		a.last = part
		err := r.cloud.UpdateRoutes(ctx, t.id, part)
		if err == nil {
			r.applied(t, part)
			continue
		}
		reaction := otc.ReactionTo(err)
		switch {
		case reaction == otc.Transient:
			a.lost = err
			return nil
		case reaction == otc.Throttled && a.held < maxHeld && otc.RetryAfter(err) <= time.Minute:
			a.held++
			return wait(ctx, cmp.Or(otc.RetryAfter(err), 10*time.Second+rand.N(50*time.Second)))
		}
		r.count(part, true, "error")
		rejected := reaction == otc.Rejected || reaction == otc.Split
		switch {
		case reaction == otc.Split && a.limit == 0:
			a.limit = 5
		case reaction == otc.Conflict && a.pauses < maxPauses:
			return a.pause(ctx)
		case rejected && len(part) > 1 && a.limit == 5:
			a.limit = 1
		case rejected && len(part) > 1:
			a.spoilt = ch // by one bad route, or the table has changed meanwhile
			a.spoils++
		case rejected:
			a.refused[part[0]] = err
		default:
			return err
		}
		return nil
	}
	a.sent = true
	return nil
}

// remaining returns the changes without those that were refused; while a family
// has a refused route nothing of that family is deleted.
func (a *attempt) remaining(ch otc.Changes) otc.Changes {
	if len(a.refused) == 0 {
		return ch
	}
	var blocked [2]bool
	for _, op := range ch {
		if a.refused[op] != nil {
			blocked[family(op.Route)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ch), func(op otc.Op) bool {
		return a.refused[op] != nil || op.Kind == otc.Delete && blocked[family(op.Route)]
	})
}

func family(r otc.Route) int {
	if r.Destination.Addr().Is4() {
		return 0
	}
	return 1
}

// verdict is nil unless operations were refused that the table still lacks.
func (a *attempt) verdict(lacks otc.Changes) error {
	var errs []error
	for _, op := range lacks {
		if err := a.refused[op]; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", op, err))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return refusedError{errors.Join(errs...)}
}

// pause waits a random part between half and all of 1, 2, 4 seconds.
func (a *attempt) pause(ctx context.Context) error {
	d := time.Second << a.pauses
	a.pauses++
	return wait(ctx, d/2+rand.N(d/2))
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// applied notes what the cloud has taken.
func (r *Reconciler) applied(t *table, ch otc.Changes) {
	t.removed = append(t.removed, ch.Routes(otc.Delete)...)
	t.taken = t.taken || len(ch.Routes(otc.Modify)) > 0
	r.count(ch, true, "success")
}

// count tells the Observer of changes, if there were any.
func (r *Reconciler) count(ch otc.Changes, sent bool, result string) {
	if !sent {
		return
	}
	for _, op := range ch {
		r.obs.RouteChange(string(op.Kind), result, 1)
	}
}
