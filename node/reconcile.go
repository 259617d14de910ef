// Package node keeps one Node's pod subnets in the VPC's route tables.
//
// It watches its own Node, reads the k8s.ovn.org/node-subnets annotation, plans
// what each route table lacks and asks a [Cloud] for it, and then looks whether
// the table says so. It never lists other Nodes.
package node

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"otc-route-manager/otc"
)

const (
	passTimeout   = 5 * time.Minute  // one pass over the Node, however many calls it takes
	newsPatience  = 10 * time.Second // what a pass is left with when there are news; more than its pauses
	removalDelay  = 10 * time.Second // between a Node's deletion and the look whether it is back
	loginPoll     = 30 * time.Second // how often refused credentials are compared with the files
	stuckAfter    = 10 * time.Minute // a worker that has not moved for this long is not alive
	handoverPause = 75 * time.Second // after a take-over; a PUT ends within 60 s
	conflictPause = 15 * time.Minute // between looks at a table with a stranger's route in the way
)

// Cloud is all that this package asks of the cloud; *otc.Client is one.
type Cloud interface {
	RouteTable(ctx context.Context, id string) (otc.RouteTable, error)
	UpdateRoutes(ctx context.Context, id string, ch otc.Changes) error
	Server(ctx context.Context, id string) (otc.Server, error)
	ServersByIP(ctx context.Context, ip netip.Addr) ([]otc.Server, error)
	ServersByName(ctx context.Context, name string) ([]otc.Server, error)
	Servers(ctx context.Context) ([]otc.Server, error)
	CredentialsChanged() bool
}

// Kubernetes is all that the Reconciler asks of the API server; *Kube is one.
type Kubernetes interface {
	// NodeExists reads the Node; only a plain 404 means false.
	NodeExists(ctx context.Context) (bool, error)
	// Event records an Event about the Node. It does not wait.
	Event(warning bool, reason, message string)
}

// An Observer counts. Its methods do not block.
type Observer interface {
	Pass(result string)                          // success, error, skipped
	RouteChange(operation, result string, n int) // add, modify, delete; success, error
	AnnotationToRoute(d time.Duration)           // from the Node event to the confirmed routes
	TableRoutes(table string, n int)             // entries in a route table, as last read
	State(inSync bool, conflicts, drift, orphans int)
}

// Config says what to do for which Node.
type Config struct {
	NodeName      string
	Ranges        []netip.Prefix // CLUSTER_CIDR
	Tables        []string       // route table ids
	DryRun        bool           // plan and tell, write nothing
	DriftInterval time.Duration  // between looks at a table that was right; 0: never look
	DriftRepair   bool           // put back what such a look misses
	OrphanCleanup bool           // remove marked routes of instances that are gone
	StartupJitter time.Duration  // the first call waits a random part of this
}

// A Reconciler brings the route tables in line with what Observe last said. One
// goroutine, in Run, does all the work; everything below "worker" is its own.
type Reconciler struct {
	cloud Cloud
	kube  Kubernetes
	obs   Observer
	cfg   Config
	tell  *teller
	wake  chan struct{} // holds one value while there is news

	mu     sync.Mutex
	news   *Facts // nil: the Node is not there
	known  bool   // news means something
	taken  *Facts // the news that the worker has seen
	at     time.Time
	began  time.Time // of the pass in progress; zero: none
	due    time.Time // of the next pass; zero: none
	status Status

	// worker
	facts     *Facts
	uid       string         // of the Node that all below belongs to
	wanted    []netip.Prefix // last valid value, inside Ranges
	skip      string         // why there is nothing to route for this Node; "" if there is
	bad       error          // why the annotation cannot be used now
	instance  otc.Server     // ID "": not known yet
	lookup    retry
	lookupErr error
	tables    []*table
	changedAt time.Time            // when the wanted routes changed; zero: they are confirmed
	removal   retry                // due while the Node is deleted
	passedAt  time.Time            // the last pass ended
	rounds    int                  // looks for orphans so far
	missing   map[string]time.Time // ECS ids by when the cloud first said that they are gone
}

// New returns a Reconciler; Run starts it. A nil log discards.
func New(cloud Cloud, kube Kubernetes, obs Observer, log *slog.Logger, cfg Config) *Reconciler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Reconciler{cloud: cloud, kube: kube, obs: obs, cfg: cfg, wake: make(chan struct{}, 1), missing: map[string]time.Time{},
		tell: &teller{log: log.With("node", cfg.NodeName), kube: kube, last: map[string]told{}}}
	for _, id := range cfg.Tables {
		r.tables = append(r.tables, &table{id: id, held: map[netip.Prefix]bool{}})
	}
	r.status = Status{Node: cfg.NodeName, DryRun: cfg.DryRun, Reason: "waiting for the Kubernetes API"}
	return r
}

// Observe takes the Node as it is now; nil means that it is not there. News that
// say nothing new wake nobody.
func (r *Reconciler) Observe(f *Facts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known && f.equal(r.news) {
		return
	}
	r.news, r.known, r.at = f, true, time.Now()
	r.signal()
}

// signal wakes the worker, now or as soon as it rests.
func (r *Reconciler) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// hurry cancels a pass that still waits for the cloud some time after there are
// news: one table that hangs must not hold up what the others get next.
func (r *Reconciler) hurry(ctx context.Context, cancel context.CancelFunc) {
	for !r.outdated() {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
	}
	r.signal() // for Run
	if wait(ctx, newsPatience) == nil {
		cancel()
	}
}

// Run works until ctx ends. Routes stay as they are then.
func (r *Reconciler) Run(ctx context.Context) {
	timer := time.NewTimer(rand.N(r.cfg.StartupJitter + 1))
	defer timer.Stop()
	select { // the first call; news wait
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	for {
		r.work(ctx)
		timer.Reset(r.rest())
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// work takes the news and does what is due.
func (r *Reconciler) work(ctx context.Context) {
	r.mu.Lock()
	news, known, at := r.news, r.known, r.at
	r.taken = news
	r.mu.Unlock()
	if known {
		r.digest(news, at)
	}
	r.pollLogin()
	if next := r.next(); !next.IsZero() && !time.Now().Before(next) {
		r.publish()
		r.setProgress(time.Now(), time.Time{})
		r.pass(ctx)
		r.passedAt = time.Now()
	}
	if ctx.Err() == nil {
		r.publish()
	}
	r.setProgress(time.Time{}, r.next())
}

// outdated reports whether there are news that the worker has not seen.
func (r *Reconciler) outdated() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known && r.news != r.taken
}

// rest returns how long there is nothing to do.
func (r *Reconciler) rest() time.Duration {
	next := r.next()
	if next.IsZero() {
		return time.Hour
	}
	wait := max(time.Until(next), 0)
	if r.loginRefused() {
		wait = min(wait, loginPoll)
	}
	return wait
}

// active reports whether there is a Node to make routes for.
func (r *Reconciler) active() bool {
	return r.facts != nil && r.skip == "" && r.bad == nil && len(r.wanted) > 0
}

// next returns when something is due; the zero time if nothing is.
func (r *Reconciler) next() time.Time {
	switch {
	case !r.removal.due.IsZero():
		return r.removal.due
	case !r.active():
		return time.Time{}
	case r.instance.ID == "":
		return r.lookup.due
	}
	var next time.Time
	for _, t := range r.tables {
		if next.IsZero() || !t.due.IsZero() && t.due.Before(next) {
			next = t.due
		}
	}
	return next
}

// pass does what is due: the clean-up behind a deleted Node, or finding the
// instance and bringing each due table in line. Tables do not wait for each other.
func (r *Reconciler) pass(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	go r.hurry(ctx, cancel)
	if !r.removal.due.IsZero() {
		r.remove(ctx)
		return
	}
	if r.instance.ID == "" && !r.findInstance(ctx) {
		r.obs.Pass("error")
		return
	}
	var due []*table
	for _, t := range r.tables {
		if !t.due.IsZero() && !t.due.After(time.Now()) {
			due = append(due, t)
		}
	}
	looked := slices.DeleteFunc(slices.Clone(due), func(t *table) bool { return !t.confirmed || t.due.Equal(t.handover) })
	r.inParallel(due, func(t *table) { t.err = r.sync(ctx, t, r.wanted, !t.confirmed || t.repairs(r.cfg)) })
	if errors.Is(ctx.Err(), context.Canceled) || abandoned(due) {
		return // asked to stop, or to do something else: not a failure
	}
	result := "success"
	for _, t := range due {
		if !r.settle(t) {
			result = "error"
		}
	}
	r.obs.Pass(result)
	r.measure()
	r.findOrphans(ctx, looked)
}

func (r *Reconciler) inParallel(tables []*table, f func(*table)) {
	var wg sync.WaitGroup
	for _, t := range tables {
		wg.Go(func() { f(t) })
	}
	wg.Wait()
}

// findInstance looks for the ECS instance behind the Node.
func (r *Reconciler) findInstance(ctx context.Context) bool {
	server, err := findInstance(ctx, r.cloud, *r.facts)
	r.lookupErr = err
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return false
		}
		wait := r.lookup.failed(err)
		r.tell.failure("instance", "RouteFailed", "could not find the ECS instance of "+r.cfg.NodeName, err, wait)
		return false
	}
	r.instance = server
	r.lookup = retry{}
	r.tell.say("instance", info, "", "node "+r.cfg.NodeName+" is ECS instance "+server.ID+" ("+server.Name+")")
	for _, t := range r.tables {
		t.restart()
	}
	return true
}

// measure reports how long the routes took since the Node asked for them.
func (r *Reconciler) measure() {
	all := !slices.ContainsFunc(r.tables, func(t *table) bool { return !t.confirmed })
	if all && !r.changedAt.IsZero() {
		r.obs.AnnotationToRoute(time.Since(r.changedAt))
		r.changedAt = time.Time{}
	}
}

// loginRefused reports whether anything waits for better credentials.
func (r *Reconciler) loginRefused() bool {
	refused := func(err error) bool { _, ok := errors.AsType[*otc.LoginRefusedError](err); return ok }
	return refused(r.lookupErr) || slices.ContainsFunc(r.tables, func(t *table) bool { return refused(t.err) })
}

// pollLogin tries at once when refused credentials have been replaced.
func (r *Reconciler) pollLogin() {
	if !r.loginRefused() || !r.cloud.CredentialsChanged() {
		return
	}
	now := time.Now()
	for _, b := range r.retries() {
		if !b.due.IsZero() {
			*b = retry{due: now}
		}
	}
}

// retries returns every clock of this Node.
func (r *Reconciler) retries() []*retry {
	all := []*retry{&r.lookup, &r.removal}
	for _, t := range r.tables {
		all = append(all, &t.retry)
	}
	return all
}

// firstErr returns why the Node is not in sync, if that is an error.
func (r *Reconciler) firstErr() error {
	if r.lookupErr != nil {
		return r.lookupErr
	}
	for _, t := range r.tables {
		if t.err != nil {
			return t.err
		}
	}
	return nil
}

func (r *Reconciler) setProgress(began, due time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began, r.due = began, due
}

// Alive returns an error if the worker is stuck: a pass that began has not ended
// for ten minutes, or one that is due has not begun for as long. Waiting for the
// cloud, a login or a stranger's route is life.
func (r *Reconciler) Alive() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.began.IsZero() && time.Since(r.began) > stuckAfter:
		return errors.New("an attempt began at " + clock(r.began) + " and has not ended")
	case !r.due.IsZero() && time.Since(r.due) > stuckAfter:
		return errors.New("an attempt was due at " + clock(r.due) + " and has not begun")
	}
	return nil
}

// Status returns what is known, as of the last pass.
func (r *Reconciler) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}
