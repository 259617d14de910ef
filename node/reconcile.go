// Package node keeps one Node's pod subnets in the VPC's route tables.
//
// It watches its own Node, reads the k8s.ovn.org/node-subnets annotation, plans
// what each route table lacks and asks a [Cloud] for it, and then looks whether
// the table says so. It never lists other Nodes.
//
// A Node event becomes an [intent], whose [phase] says what runs; a pass brings
// each due table in line by the steps of an [attempt], and its [condition], next
// read and [status.Status] are computed once at the end.
package node

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"otc-route-manager/metrics/status"
)

const (
	passTimeout  = 5 * time.Minute  // one pass over the Node, however many calls it takes
	shortPass    = 10 * time.Second // what a pass over some tables has at least while another waits to be read again
	removalDelay = 10 * time.Second // between a Node's deletion and the look whether it is back
	loginPoll    = 30 * time.Second // how often refused credentials are compared with the files
)

// A Reconciler brings the route tables in line with what Observe last said. One
// goroutine, in Run, does all the work; everything below "worker" is its own.
type Reconciler struct {
	env
	mailbox
	pulse
	status atomic.Pointer[status.Status]

	// worker
	intent    intent
	instance  locator
	removal   clock // due while the Node is deleted
	tables    []*table
	aim       target    // what the tables are brought to
	changedAt time.Time // when the aim changed; zero: it is confirmed
	readAt    time.Time // the last pass ended
	quotaAt   time.Time // when the quota was asked for; zero: never
	inventory inventory
}

// New returns a Reconciler; Run starts it. A nil Recorder discards.
func New(cloud Cloud, kube Kubernetes, obs Observer, rec *Recorder, cfg Config) *Reconciler {
	if rec == nil {
		rec = NewRecorder(nil, nil)
	}
	r := &Reconciler{mailbox: mailbox{wake: make(chan struct{}, 1)}}
	r.env = env{cloud, kube, obs, rec, &cfg, r.isStale}
	r.forget()
	r.status.Store(&status.Status{Node: cfg.NodeName, DryRun: cfg.DryRun, Reasons: []status.Reason{{Text: waitingForAPI}}})
	return r
}

// Status returns what is known as of the last pass, and all that was recorded.
func (r *Reconciler) Status() status.Status {
	s := *r.status.Load()
	s.Changes = r.rec.recent()
	return s
}

// Run works until ctx ends. Routes stay as they are then.
func (r *Reconciler) Run(ctx context.Context) {
	if wait(ctx, rand.N(r.cfg.StartupJitter+1)) != nil { // the first call; events wait
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
		r.work(ctx)
		timer.Reset(r.rest())
	}
}

// work takes the newest event and does what is due.
func (r *Reconciler) work(ctx context.Context) {
	if f, at, fresh := r.take(); fresh {
		r.turnTo(f, at)
	}
	r.pollLogin()
	if slices.ContainsFunc(r.active(), (*clock).isDue) {
		r.publish()
		r.beat(time.Now(), time.Time{})
		r.pass(ctx)
		r.readAt = time.Now()
	}
	if ctx.Err() == nil {
		r.publish()
	}
	r.beat(time.Time{}, earliest(r.active()))
}

// rest returns how long there is nothing to do.
func (r *Reconciler) rest() time.Duration {
	clocks := r.active()
	next := earliest(clocks)
	if next.IsZero() {
		return time.Hour
	}
	if slices.ContainsFunc(clocks, (*clock).isRefused) {
		return min(until(next), loginPoll)
	}
	return until(next)
}

// active returns the clocks that run in the Node's phase.
func (r *Reconciler) active() (clocks []*clock) {
	switch {
	case r.intent.phase == deleted:
		return []*clock{&r.removal}
	case !r.intent.routes():
		return nil
	case !r.instance.found:
		return []*clock{&r.instance.clock}
	}
	for _, t := range r.tables {
		clocks = append(clocks, &t.clock)
	}
	return clocks
}

// pollLogin tries at once when refused credentials have been replaced.
func (r *Reconciler) pollLogin() {
	clocks := r.active()
	if slices.ContainsFunc(clocks, (*clock).isRefused) && r.cloud.CredentialsChanged() {
		for _, c := range clocks {
			c.again(0)
		}
	}
}

// pass does what is due: removing what a deleted Node left, or finding the
// instance and bringing each due table in line.
func (r *Reconciler) pass(ctx context.Context) {
	ctx, done := r.during(ctx, passTimeout)
	defer done()
	switch {
	case r.intent.phase == deleted:
		r.remove(ctx)
		return
	case !r.instance.found && !r.instance.locate(ctx, r.env, *r.intent.facts):
		if !errors.Is(ctx.Err(), context.Canceled) {
			r.obs.Pass("error")
		}
		return
	}
	r.aimAt(r.intent.wanted, cmp.Or(r.changedAt, time.Now()))
	r.reconcile(ctx)
}

// reconcile brings each due table in line; they do not wait for each other.
func (r *Reconciler) reconcile(ctx context.Context) {
	due, limit := r.dueTables()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	outcomes := make([]outcome, len(due))
	var wg sync.WaitGroup
	for i, t := range due {
		wg.Go(func() { outcomes[i] = t.sync(ctx, r.env, r.aim) })
	}
	wg.Wait()
	result, drift := "success", []*table{}
	for i, t := range due {
		before := t.memory
		t.finish(r.env, outcomes[i])
		t.record(r.env, r.aim, before.condition, outcomes[i])
		if (before.settled || before.condition == planned) && outcomes[i].err == nil && !outcomes[i].wrote() {
			drift = append(drift, t)
		}
		result = worse(result, cmp.Or(t.condition.trait().pass, result), outcomes[i].cut)
	}
	if result == "" {
		return // ended for something newer, or asked to stop: claims nothing
	}
	r.obs.Pass(result)
	r.measure()
	r.askQuota(ctx, drift)
	if r.intent.phase != deleted {
		r.inventory.round(ctx, r.env, r.aim.server.ID, r.tables, drift)
	}
}

// askQuota asks, once a day, how many routes a table takes, if one that was read at
// rest is nearly as full as is assumed: from then on that matters. Who may not read
// it goes on assuming.
func (r *Reconciler) askQuota(ctx context.Context, read []*table) {
	filling := slices.ContainsFunc(read, func(t *table) bool { return t.view.Used() > TableLimit*3/4 })
	if !filling || !r.quotaAt.IsZero() && time.Since(r.quotaAt) < 24*time.Hour {
		return
	}
	r.quotaAt = time.Now()
	if limit, err := r.cloud.RouteQuota(ctx); err == nil && limit > 0 {
		r.obs.RouteLimit(limit)
	}
}

// dueTables returns the tables that are due, and how long their pass may take. A table
// that claims to be in sync and has yet to be read again goes first, and waits for
// the others no longer than a short pass takes: what it claims would be older than
// R6 allows.
func (r *Reconciler) dueTables() (due []*table, limit time.Duration) {
	limit = passTimeout
	claims := func(t *table) bool { return t.isSettling() && !t.writes(r.cfg) }
	for _, t := range r.tables {
		switch {
		case t.isDue():
			due = append(due, t)
		case claims(t):
			limit = min(limit, max(until(t.due), shortPass))
		}
	}
	if slices.ContainsFunc(due, claims) {
		due = slices.DeleteFunc(due, func(t *table) bool { return !claims(t) })
	}
	return due, limit
}

// worse returns how a pass counts whose tables so far and whose next table counted
// like this; "" if one of them was cut short.
func worse(a, b string, cut bool) string {
	switch {
	case cut || a == "":
		return ""
	case a == "error" || b == "error":
		return "error"
	}
	return "success"
}

// remove takes away what a deleted Node leaves behind: the routes to this very
// instance that carry our mark. It is a target as any other, and read again as
// often; the Node must be gone each time.
func (r *Reconciler) remove(ctx context.Context) {
	exists, err := r.kube.NodeExists(ctx, r.cfg.NodeName)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return
	case err != nil:
		wait := r.removal.backOff(err)
		r.rec.failure("node", "", "could not see whether node "+r.cfg.NodeName+" is back", err, wait)
		return
	case exists:
		r.removal.stop() // the informer brings the event
		return
	}
	r.aimAt(nil, time.Time{})
	r.reconcile(ctx)
	var clocks []*clock
	left, done := []string{}, true
	for _, t := range r.tables {
		if t.condition != settled && t.condition != planned {
			clocks = append(clocks, &t.clock)
		}
		done = done && (t.condition.trait().right || t.condition == planned)
		left = append(left, t.remains()...)
	}
	r.removal.start(earliest(clocks))
	if done {
		r.recordRemoved(left)
	}
}

// recordRemoved says once what a deleted Node has left.
func (r *Reconciler) recordRemoved(left []string) {
	event, what := routeRemoved, cmp.Or(strings.Join(left, ", "), "it left no routes")
	if r.cfg.DryRun {
		event = ""
	}
	r.rec.record("node", "node is gone", info, event, "node "+r.cfg.NodeName+" is gone; "+what)
}

// publish makes a Status of what is known.
func (r *Reconciler) publish() {
	now := time.Now()
	s := status.Status{DryRun: r.cfg.DryRun, Node: r.cfg.NodeName, Subnets: r.intent.wanted,
		LastRead: r.readAt, NextRead: earliest(r.active())}
	if r.instance.found {
		s.Instance, s.InstanceName = r.instance.server.ID, r.instance.server.Name
	}
	v := judge(r.intent, r.instance, r.tables, r.cfg, now)
	s.Ready, s.InSync, s.Reasons, s.LoginRefused = v.ready, v.inSync, v.reasons, refusal(r.active())
	for _, t := range r.tables {
		s.Tables = append(s.Tables, t.status(r.cfg, r.intent.wanted, s.Instance))
		s.Conflicts += len(t.plan.Conflicts)
		s.Drift += t.drifts()
		s.Orphans += len(t.orphans)
	}
	r.status.Store(&s)
}
