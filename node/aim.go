package node

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// turnTo takes over what the Node asks for now, and makes due what that changes.
// What is the same costs no call, whatever else happened to the Node (R8).
func (r *Reconciler) turnTo(f *Facts, at time.Time) {
	before := r.intent
	if before.phase != unknown && f.equal(before.facts) {
		return
	}
	var n notice
	r.intent, n = before.next(f, r.cfg)
	r.announce(n)
	if n.pass != "" && (r.intent.phase != before.phase || r.intent.reason != before.reason) {
		r.obs.Pass(n.pass)
	}
	if f != nil {
		r.turnFrom(before, at)
	} else if r.intent.phase == deleted && r.instance.server.ID != "" {
		r.removal.start(at.Add(removalDelay))
	}
}

// turnFrom compares what a Node that is there asks for with what it asked for.
func (r *Reconciler) turnFrom(before intent, at time.Time) {
	f := r.intent.facts
	if before.uid != "" && before.uid != f.UID || r.instance.found && f.movedFrom(before.facts, r.instance.server.ID) {
		r.forget()
		r.changedAt = at
	}
	same := slices.Equal(r.intent.wanted, before.wanted)
	if !same {
		r.changedAt = at
	}
	if before.phase == skipped { // somebody else may have had the subnets meanwhile
		r.forgetTables()
	}
	switch {
	case r.instance.found && r.intent.routes():
		r.aimAt(r.intent.wanted, at)
	case !r.instance.found && (r.instance.due.IsZero() || !same || !f.sameMachine(before.facts)):
		r.instance.start(at)
	}
}

// announce records what there is to say about a new intent.
func (r *Reconciler) announce(n notice) {
	if n.outside != "" {
		r.rec.state("skipped", info, subnetSkipped, "skipping route "+n.outside+", not cluster traffic")
	}
	if n.text != "" {
		r.rec.record("node", cmp.Or(n.key, n.text), n.severity, n.event, n.text)
	}
}

// forget drops all that was learnt about another Node of this name, or another
// instance. Only the instance whose routes may have to be removed stays known.
func (r *Reconciler) forget() {
	r.instance = locator{server: r.instance.server}
	r.forgetTables()
}

// forgetTables drops what was seen of the tables.
func (r *Reconciler) forgetTables() { r.tables, r.aim = newTables(r.cfg.Tables), target{} }

// aimAt makes the tables due if they are to show something else than so far.
func (r *Reconciler) aimAt(wanted []netip.Prefix, at time.Time) {
	if r.aim.server.ID == r.instance.server.ID && slices.Equal(wanted, r.aim.wanted) {
		return
	}
	r.aim, r.changedAt = target{wanted, r.instance.server}, at
	for _, t := range r.tables {
		t.restart()
	}
}

// measure reports how long the routes took since the Node asked for them.
func (r *Reconciler) measure() {
	all := !slices.ContainsFunc(r.tables, func(t *table) bool { return !t.condition.trait().right })
	if all && !r.changedAt.IsZero() {
		r.obs.AnnotationToRoute(time.Since(r.changedAt))
		r.changedAt = time.Time{}
	}
}
