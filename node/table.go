package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"otc-route-manager/otc"
)

// Why a pass ended early.
var (
	errOtherVPC   = errors.New("the route table belongs to another VPC than the instance")
	errSuperseded = errors.New("there is a newer target")
	errNodeIsBack = errors.New("the deleted Node is back")
)

// A table is the worker of one route table.
type table struct {
	env
	runner
	tracker *orphanTracker

	mu sync.Mutex
	tableState
}

func newTable(id string, e env) *table {
	return &table{env: e, runner: newRunner(), tracker: newOrphanTracker(id, e), tableState: tableState{id: id}}
}

// state returns how the table stands now.
func (t *table) state() tableState {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tableState
}

// setTarget gives the worker something else to bring about. The same target costs no call, even if
// something else about the Node has changed (R8). No target suspends the worker, which forgets nothing.
func (t *table) setTarget(to target, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	isNone, isSame := to.server.ID == "", to.equal(t.target)
	if isNone == t.suspended && (isNone || isSame) {
		return
	}
	if !isNone && !isSame {
		t.retarget(to, now)
	}
	t.suspended = isNone
	t.revision++
	t.wake()
}

// work does the next pass if it is due. It returns when to come back.
func (t *table) work(ctx context.Context) time.Time {
	before, next := t.next()
	if next.IsZero() || next.After(time.Now()) {
		return next
	}
	t.reconcile(ctx, &before)
	_, next = t.next()
	return next
}

// next returns the state and when the next pass is due; the zero time: it is not.
func (t *table) next() (tableState, time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.suspended:
		return t.tableState, time.Time{}
	case t.err != nil:
		return t.tableState, t.poll(t.cloud, time.Now())
	}
	return t.tableState, t.at
}

// reconcile does one pass, and reports what it has led to.
func (t *table) reconcile(ctx context.Context, before *tableState) {
	a := newAttempt(before.mayWrite(t.cfg))
	err := t.pass(ctx, before, a)
	for result, changes := range map[string]otc.Changes{"success": a.accepted, "error": a.failed()} {
		for _, op := range changes {
			t.obs.RouteChange(string(op.Kind), result, 1)
		}
	}
	after, isInterrupted := t.end(ctx, before, a.accepted, err)
	if isInterrupted {
		return
	}
	t.obs.Pass(after.result(t.cfg))
	if since := before.target.since; !since.IsZero() && after.target.since.IsZero() {
		t.obs.AnnotationToRoute(time.Since(since))
	}
	t.record(before, &after)
	if err == nil && len(a.accepted) == 0 && before.isAtRest(t.cfg) {
		t.quota.ask(ctx, t.env)
		orphans := t.tracker.check(ctx, after.read, after.target.server.ID)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.orphans = orphans
	}
}

// pass reads the table and, if it may, changes it until a read shows what is wanted.
func (t *table) pass(ctx context.Context, before *tableState, a *attempt) error {
	if before.target.isRemoval() {
		if err := t.isNodeGone(ctx); err != nil {
			return err
		}
	}
	var shown otc.RouteTable
	var gone map[string]bool
	for s := (step{}); ; {
		var err error
		switch s.action {
		case stepRead:
			var plan Plan
			if shown, plan, err = t.inspect(ctx, before, &gone); err == nil {
				s, err = a.afterRead(plan.Changes), t.observed(before, shown, plan)
			}
		case stepPut:
			if t.state().revision != before.revision {
				return errSuperseded
			}
			s = a.afterPut(s.changes, t.cloud.UpdateRoutes(ctx, shown, s.changes))
		case stepPause:
			s, err = step{}, wait(ctx, s.wait)
		default:
			return s.err
		}
		if err != nil {
			return err
		}
	}
}

// isNodeGone returns nil if the deleted Node, whose routes are to go, is still gone.
func (t *table) isNodeGone(ctx context.Context) error {
	exists, err := t.kube.NodeExists(ctx, t.cfg.NodeName)
	switch {
	case err != nil:
		return fmt.Errorf("could not see whether node %s is back: %w", t.cfg.NodeName, err)
	case exists:
		return errNodeIsBack
	}
	return nil
}

// observed takes over at once what a read has shown, and records what a confirmed table lacks.
func (t *table) observed(before *tableState, shown otc.RouteTable, plan Plan) error {
	t.mu.Lock()
	if t.revision != before.revision {
		t.mu.Unlock()
		return errSuperseded
	}
	t.observe(shown, plan)
	after := t.tableState
	t.mu.Unlock()
	t.obs.TableRoutes(t.id, shown.Used())
	if !after.confirmedAt.IsZero() && len(plan.Changes) > 0 {
		t.recordDrift(&after)
	}
	return nil
}

// end takes over how a pass has ended. An interrupted one claims nothing and forgets nothing.
func (t *table) end(ctx context.Context, before *tableState, accepted otc.Changes, err error) (after tableState, isInterrupted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.revision != before.revision {
		return t.tableState, true
	}
	if len(accepted) > 0 && before.mayPutBack() {
		t.putBacks++
	}
	t.removed = append(slices.Clip(t.removed), accepted.Routes(otc.Delete)...)
	switch {
	case errors.Is(err, errNodeIsBack):
		t.set(time.Time{}) // the informer brings the event
		return t.tableState, true
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return t.tableState, true
	}
	t.finish(err, t.cfg, time.Now())
	if !t.confirmedAt.IsZero() && !t.target.isRemoval() {
		t.target.since = time.Time{}
	}
	after = t.tableState
	if after.condition(t.cfg) == confirmed {
		t.removed = nil // recorded with this confirmation
	}
	return after, false
}

// inspect reads a table and plans. Which next hops are gone is asked once a pass, so that a PUT can
// follow the read at once.
func (e env) inspect(ctx context.Context, s *tableState, gone *map[string]bool) (otc.RouteTable, Plan, error) {
	shown, err := e.cloud.RouteTable(ctx, s.id)
	if err != nil {
		return shown, Plan{}, err
	}
	server := s.target.server
	if isOtherVPC(shown, server) {
		return shown, Plan{}, fmt.Errorf("%w: table %s is in VPC %s, instance %s in %s: check ROUTE_TABLE_ID", errOtherVPC, s.id, shown.VPCID, server.ID, server.VPCID)
	}
	q := Question{Wanted: s.target.wanted, Self: server.ID, NodeName: e.cfg.NodeName, Ranges: e.cfg.Ranges, Table: shown.Routes,
		Confirmed: s.confirmed, Gone: *gone, Contested: s.putBacks >= maxPutBacks, Keep: s.target.keep}
	if s.target.isRemoval() {
		q.Confirmed = nil // only what carries our mark goes
	}
	plan := MakePlan(q)
	if len(plan.Claimed) > 0 && *gone == nil {
		*gone = goneHops(ctx, e.cloud, server.ID, plan.Claimed)
		q.Gone = *gone
		plan = MakePlan(q)
	}
	return shown, plan, nil
}

// isOtherVPC reports whether a table belongs to another VPC than an instance, if both are known.
func isOtherVPC(shown otc.RouteTable, s otc.Server) bool {
	return s.VPCID != "" && shown.VPCID != "" && s.VPCID != shown.VPCID
}

// A quota is asked for once a day, by whichever table is at rest first. Who may not read it goes on
// assuming [TableLimit].
type quota struct {
	mu    sync.Mutex
	asked time.Time // zero: never
}

func (q *quota) ask(ctx context.Context, e env) {
	q.mu.Lock()
	isDue := q.asked.IsZero() || time.Since(q.asked) >= 24*time.Hour
	if isDue {
		q.asked = time.Now()
	}
	q.mu.Unlock()
	if !isDue {
		return
	}
	if limit, err := e.cloud.RouteQuota(ctx); err == nil && limit > 0 {
		e.obs.RouteLimit(limit)
	}
}
