package node

import (
	"net/netip"
	"time"

	"otc-route-manager/otc"
)

// A Status is what is known about the Node's routes, for people and probes.
type Status struct {
	Ready        bool
	InSync       bool
	DryRun       bool
	Reason       string // in one line, why (not)
	Node         string
	Instance     string // ECS id; "" if not found
	InstanceName string
	Subnets      []netip.Prefix
	Tables       []TableStatus
	LastAttempt  time.Time // zero: none yet
	NextAttempt  time.Time // zero: nothing is due
	LastError    string
	Changes      []Change // newest first
}

// A TableStatus is one route table in a Status.
type TableStatus struct {
	ID, Name string
	State    string // in one line
	Used     int    // entries, the system's included
	Routes   []RouteStatus
	Planned  string // in a dry run: what would be changed; "" if nothing
}

// A RouteStatus compares one wanted route with what the table says.
type RouteStatus struct {
	Destination string
	Wanted      string // next hop
	Seen        string // next hop, behind its type if that is not ecs; "" if there is no route
	Note        string
}

// publish makes a Status of the worker's state and reports it.
func (r *Reconciler) publish() {
	s := Status{
		DryRun:       r.cfg.DryRun,
		Node:         r.cfg.NodeName,
		Instance:     r.instance.ID,
		InstanceName: r.instance.Name,
		Subnets:      r.wanted,
		LastAttempt:  r.passedAt,
		NextAttempt:  r.next(),
		Changes:      r.tell.recent(),
	}
	if err := r.firstErr(); err != nil {
		s.LastError = oneLine(err.Error())
	}
	s.Ready, s.InSync, s.Reason = r.judge()
	conflicts, drift, orphans := 0, 0, 0
	for _, t := range r.tables {
		s.Tables = append(s.Tables, t.status(r))
		conflicts += len(t.plan.Conflicts)
		drift += t.drift()
		orphans += len(t.orphans)
	}
	r.obs.State(s.InSync, conflicts, drift, orphans)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = s
}

// judge decides on ready and in sync, and says why in one line. A drift or a bad
// annotation after the routes were confirmed leaves ready as it was.
func (r *Reconciler) judge() (ready, inSync bool, reason string) {
	switch {
	case r.facts == nil && r.skip == "":
		return false, false, "waiting for the Kubernetes API"
	case r.facts == nil:
		return false, false, r.skip
	case r.skip != "":
		return true, false, "skipped: " + r.skip
	case r.wanted == nil && r.bad != nil:
		return false, false, r.bad.Error()
	case r.instance.ID == "" && r.loginRefused():
		return false, false, "login refused: " + oneLine(r.firstErr().Error())
	case r.instance.ID == "" && r.lookupErr != nil:
		return false, false, "ECS instance not found: " + oneLine(r.lookupErr.Error())
	case r.instance.ID == "":
		return false, false, "looking for the ECS instance"
	}
	ready, inSync, reason = true, true, "all routes are confirmed"
	for _, t := range r.tables {
		state, ok, synced := t.state(r.cfg)
		if !ok || !synced && inSync {
			reason = "route table " + t.id + ": " + state
		}
		ready, inSync = ready && ok, inSync && synced
	}
	if r.bad != nil {
		return ready, false, r.bad.Error() + "; the routes of its last good value stay"
	}
	return ready, inSync, reason
}

// state returns in one line how the table is, whether that is ready, and whether
// it is in sync.
func (t *table) state(cfg Config) (line string, ready, inSync bool) {
	switch {
	case t.err != nil && !t.onlyLooked(cfg):
		return oneLine(t.err.Error()), false, false
	case len(t.plan.Conflicts) > 0:
		return "conflict: a route of somebody else is in the way", false, false
	case t.view.ID == "":
		return "not read yet", false, false
	case t.confirmed && t.drift() > 0:
		return "drifted: " + t.describeDrift(), true, false
	case t.confirmed && t.err != nil:
		return "confirmed; the last look failed: " + oneLine(t.err.Error()), true, true
	case t.confirmed:
		return "confirmed", true, true
	case cfg.DryRun:
		return "dry run: would " + t.plan.Changes.String(), true, len(t.plan.Changes) == 0
	}
	return "not confirmed yet", false, false
}

func (t *table) status(r *Reconciler) TableStatus {
	s := TableStatus{ID: t.id, Name: t.view.Name, Used: len(t.view.Routes)}
	s.State, _, _ = t.state(r.cfg)
	if r.cfg.DryRun && len(t.plan.Changes) > 0 {
		s.Planned = t.plan.Changes.String()
	}
	for _, want := range r.wanted {
		s.Routes = append(s.Routes, t.compare(want, r.instance.ID))
	}
	return s
}

// compare looks one wanted destination up in the table as last read.
func (t *table) compare(want netip.Prefix, self string) RouteStatus {
	s := RouteStatus{Destination: want.String(), Wanted: self}
	for _, route := range t.view.Routes {
		if route.Destination == want {
			if s.Seen = route.NextHop; route.Type != otc.TypeECS {
				s.Seen = route.Type + " " + route.NextHop
			}
			if s.Note = "somebody else's"; s.Seen == self {
				s.Note = ""
				break
			}
		}
	}
	return s
}
