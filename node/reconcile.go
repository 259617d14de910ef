// Package node keeps one Node's pod subnets in the VPC's route tables.
//
// It watches its own Node, reads the k8s.ovn.org/node-subnets annotation, plans what each route table
// lacks, asks a [Cloud] for it and reads the table until it says so. It never lists other Nodes.
//
// A Node event becomes an [intent]; with the Node's ECS instance that is a [target] for the [table]
// workers, one per route table. Each brings its table in line by the steps of an [attempt]. How the
// Node stands is computed from what they have seen, at each request for the status.
package node

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"otc-route-manager/otc"
)

const (
	removalDelay = 10 * time.Second // between a Node's deletion and the first read for the removal of its routes
	flapWindow   = time.Minute      // a value of the annotation that was given up less than this ago
	flapPause    = 5 * time.Second  // is followed after this, if it still stands
)

// A Reconciler brings the route tables in line with what Observe was last given.
type Reconciler struct {
	env
	runner // finds the instance
	tables []*table

	mu        sync.Mutex
	observed  bool // Observe was called
	intent    intent
	instance  locator
	epoch     int           // of the targets
	since     time.Time     // when the Node event came that the targets follow
	holdUntil time.Time     // no targets are set before
	former    []formerValue // of the annotation, less than a minute old
}

// A formerValue is what the Node asked for until another value came.
type formerValue struct {
	wanted []netip.Prefix
	until  time.Time
}

// New returns a Reconciler; Run starts it. A nil Recorder discards.
func New(cloud Cloud, kube Kubernetes, obs Observer, rec *Recorder, cfg Config) *Reconciler {
	if rec == nil {
		rec = NewRecorder(nil, nil)
	}
	r := &Reconciler{env: env{cloud, kube, obs, rec, &cfg, &quota{}}, runner: newRunner()}
	r.intent.reason = waitingForAPI
	for _, id := range cfg.Tables {
		r.tables = append(r.tables, newTable(id, r.env))
	}
	return r
}

// Run works until ctx ends. Routes stay as they are then.
func (r *Reconciler) Run(ctx context.Context) {
	if wait(ctx, rand.N(r.cfg.StartupJitter+1)) != nil { // before the first call, not before the first event
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.run(ctx, r.work) })
	for _, t := range r.tables {
		wg.Go(func() { t.run(ctx, t.work) })
	}
	wg.Wait()
}

// Alive returns an error if a worker is stuck.
func (r *Reconciler) Alive() error {
	err := r.alive()
	for _, t := range r.tables {
		err = cmp.Or(err, t.alive())
	}
	return err
}

// Observe takes the Node as it is now; nil means that it is not there. An event that changes
// nothing costs no call (R8).
func (r *Reconciler) Observe(f *Facts) {
	r.mu.Lock()
	before := r.intent
	if r.observed && f.equal(before.facts) {
		r.mu.Unlock()
		return
	}
	after, n := before.next(f, r.cfg)
	r.observed, r.intent = true, after
	r.mu.Unlock()
	r.recordIntent(before, after, n)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.follow(before, time.Now())
}

// recordIntent records what a Node event has changed.
func (r *Reconciler) recordIntent(before, after intent, n notice) {
	if n.outside != "" {
		severity, hint := info, ""
		if n.lacksFamily {
			severity, hint = warning, " (CLUSTER_CIDR "+join(r.cfg.Ranges)+" leaves an address family of the pods without routes)"
		}
		r.rec.state("skipped", severity, subnetSkipped, "skipping route "+n.outside+", not cluster traffic"+hint)
	}
	if n.networks != "" {
		r.rec.state("networks", info, "", "networks inside CLUSTER_CIDR that are not routed, since only the default network is: "+n.networks)
	}
	if n.text != "" {
		r.rec.record("node", cmp.Or(n.key, n.text), n.severity, n.event, n.text)
	}
	if n.pass != "" && (after.phase != before.phase || after.reason != before.reason) {
		r.obs.Pass(n.pass)
	}
}

// follow makes due what the change from another intent calls for.
func (r *Reconciler) follow(before intent, now time.Time) {
	if r.intent.facts == nil {
		if r.intent.phase == deleted && before.phase != deleted {
			r.holdUntil = now.Add(removalDelay)
		}
	} else {
		if before.phase == deleted {
			r.holdUntil = time.Time{} // of the removal
		}
		r.followNode(before, now)
		r.holdUntil = now.Add(r.flapDelay(before.wanted, r.intent.wanted, now))
	}
	r.setTargets(now)
	if r.holdUntil.After(now) || !r.instance.found {
		r.wake()
	}
}

// followNode drops what was learned about another Node of that name, or another instance, and makes the
// search for the instance due.
func (r *Reconciler) followNode(before intent, now time.Time) {
	f, isSame := r.intent.facts, slices.Equal(r.intent.wanted, before.wanted)
	isMachine := f.sameMachine(before.facts)
	isOther := before.uid != "" && before.uid != f.UID || r.instance.found && !isMachine && f.movedFrom(before.facts, r.instance.server.ID)
	if isOther {
		r.instance = locator{server: r.instance.server} // its routes may have to be removed
	}
	if isOther || before.phase == skipped { // another Node may have had the subnets meanwhile
		r.epoch++
	}
	if !isSame || isOther || before.phase == skipped {
		r.since = now
	}
	if !r.instance.found && (r.instance.at.IsZero() || !isSame || !isMachine) {
		r.instance.set(now)
	}
}

// flapDelay returns how long to wait with a value of the annotation that replaces another: one that
// was given up a moment ago may be given up again in the next (R13).
func (r *Reconciler) flapDelay(before, wanted []netip.Prefix, now time.Time) time.Duration {
	if slices.Equal(before, wanted) {
		return max(r.holdUntil.Sub(now), 0)
	}
	isOld := func(v formerValue) bool { return now.Sub(v.until) >= flapWindow || slices.Equal(v.wanted, before) }
	isBack := func(v formerValue) bool { return slices.Equal(v.wanted, wanted) }
	r.former = append(slices.DeleteFunc(r.former, isOld), formerValue{before, now})
	if len(wanted) > 0 && slices.ContainsFunc(r.former, isBack) {
		return flapPause
	}
	return 0
}

// setTargets gives the tables their targets: nothing for as long as the targets are held back or
// the instance is not known.
func (r *Reconciler) setTargets(now time.Time) {
	to := target{epoch: r.epoch, since: r.since}
	switch {
	case now.Before(r.holdUntil):
	case r.intent.phase == deleted:
		to.server = r.instance.server
	case r.intent.routes() && r.instance.found:
		to.server, to.wanted, to.keep = r.instance.server, r.intent.wanted, r.intent.phase == invalid
	}
	for _, t := range r.tables {
		t.setTarget(to, now)
	}
}

// work sets the targets that were held back, and finds the instance if that is due. It returns when to
// come back.
func (r *Reconciler) work(ctx context.Context) time.Time {
	r.mu.Lock()
	now := time.Now()
	r.setTargets(now)
	facts, isDue := r.intent.facts, r.instance.isDue(now) && r.intent.routes() && !r.instance.found
	r.mu.Unlock()
	if isDue {
		server, err := findInstance(ctx, r.cloud, *facts)
		r.located(ctx, *facts, server, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var next time.Time
	if now = time.Now(); now.Before(r.holdUntil) {
		next = r.holdUntil
	}
	if r.intent.routes() && !r.instance.found {
		next = sooner(next, r.instance.poll(r.cloud, now))
	}
	return next
}

// located takes over which instance was found, or why none was.
func (r *Reconciler) located(ctx context.Context, facts Facts, server otc.Server, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !facts.sameMachine(r.intent.facts) || facts.UID != r.intent.facts.UID: // superseded, and due again
	case err == nil:
		r.instance = locator{server: server, found: true}
		r.rec.state("instance", info, "", "node "+r.cfg.NodeName+" is ECS instance "+server.ID+" ("+server.Name+")")
		r.setTargets(time.Now())
	case !errors.Is(ctx.Err(), context.Canceled): // else it was interrupted, which says nothing
		wait := r.instance.failed(err, time.Now())
		r.obs.Pass("error")
		r.rec.failure("instance", routeFailed, unlessLogin(err, "could not find the ECS instance of "+r.cfg.NodeName), err, wait)
	}
}
