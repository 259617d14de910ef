package node

import (
	"cmp"
	"errors"
	"net/netip"
	"time"

	"otc-route-manager/metrics/status"
	"otc-route-manager/otc"
)

const waitingForAPI = "waiting for the Kubernetes API"

// What a person can do about conditions that do not cure themselves.
const (
	hintConflict = "find out who wrote that route (see Cloud Trace Service) and delete it in the OTC console, or correct CLUSTER_CIDR"
	hintDrift    = "find out who changed the table; to put the routes back once, delete this pod, for good, set DRIFT_REPAIR to true"
	hintShadow   = "remove the more specific route, or the VPC subnet that overlaps the pod subnet, in the OTC console: this program touches neither"
)

// Status returns how the Node stands now, and all that was recorded.
func (r *Reconciler) Status() status.Status {
	r.mu.Lock()
	in, l := r.intent, r.instance
	r.mu.Unlock()
	now := time.Now()
	s := status.Status{DryRun: r.cfg.DryRun, Node: r.cfg.NodeName, Subnets: in.wanted, Changes: r.rec.recent()}
	if s.LastRead = l.ended; in.routes() && !l.found {
		s.NextRead = l.at
	}
	if s.LoginRefused = l.refusal(); l.found {
		s.Instance, s.InstanceName = l.server.ID, l.server.Name
	}
	var tables []*tableState
	for _, t := range r.tables {
		state := t.state()
		tables = append(tables, &state)
		s.Tables = append(s.Tables, state.shown(r.cfg, in.wanted, s.Instance))
		s.LoginRefused = cmp.Or(s.LoginRefused, state.refusal())
		if s.LastRead.Before(state.ended) {
			s.LastRead = state.ended
		}
		if state.suspended {
			continue
		}
		s.NextRead = sooner(s.NextRead, state.at)
		s.Conflicts += len(state.plan.Conflicts)
		s.Drift += len(state.plan.Shadows)
		if !state.confirmedAt.IsZero() {
			s.Drift += len(state.plan.Changes)
		}
		s.Orphans += len(state.orphans)
	}
	v := readiness(in, l, tables, r.cfg, now)
	s.Ready, s.InSync, s.Reasons = v.ready, v.inSync, v.reasons
	return s
}

// A verdict is whether a Node is ready and in sync, and why.
type verdict struct {
	ready, inSync bool
	reasons       []status.Reason // never empty
}

// readiness follows from phase, instance and conditions.
func readiness(in intent, l locator, tables []*tableState, cfg *Config, now time.Time) verdict {
	because := func(ready bool, text string) verdict {
		return verdict{ready, false, []status.Reason{{Text: oneLine(text)}}}
	}
	switch {
	case in.phase == skipped:
		return because(true, "skipped: "+in.reason)
	case !in.routes():
		return because(false, in.reason)
	case !l.found:
		return because(false, l.state())
	}
	v := verdict{ready: true, inSync: true}
	for _, s := range tables {
		ready, inSync := s.isReady(cfg), s.inSync(cfg, now)
		v.ready, v.inSync = v.ready && ready, v.inSync && inSync
		if !ready || !inSync || s.err != nil || len(s.plan.GivenUp) > 0 {
			v.reasons = append(v.reasons, status.Reason{Table: cmp.Or(s.read.Name, s.id), Text: s.line(cfg, now), Hint: s.hint(cfg)})
		}
	}
	if in.phase == invalid {
		v.inSync = false
		v.reasons = append([]status.Reason{{Text: oneLine(in.reason + "; nothing is written until it is usable")}}, v.reasons...)
	}
	if len(v.reasons) == 0 {
		v.reasons = []status.Reason{{Text: "all routes are confirmed"}}
	}
	return v
}

// state returns in one line where looking for the instance stands.
func (l *locator) state() string {
	switch {
	case l.isRefused():
		return l.failure()
	case l.err != nil && isLogin(l.err):
		return "no login: " + l.err.Error()
	case l.err != nil:
		return "ECS instance not found: " + l.err.Error()
	}
	return "looking for the ECS instance"
}

// failure returns what the last pass failed with. A login that IAM has refused is named.
func (s *schedule) failure() string {
	refused, ok := errors.AsType[*otc.LoginRefusedError](s.err)
	switch {
	case ok && refused.Err.Status != 0:
		return "login refused: " + s.err.Error()
	case ok:
		return "no login: " + s.err.Error()
	}
	return s.err.Error()
}

// refusal returns the error by which IAM refused the password that the next pass waits for; "" if none
// does. A refused ID token locks no user.
func (s *schedule) refusal() string {
	if e, ok := errors.AsType[*otc.LoginRefusedError](s.err); ok && e.Err.Operation == "login" && e.Err.Status != 0 {
		return e.Error()
	}
	return ""
}

// line returns in one line how the table stands.
func (s *tableState) line(cfg *Config, now time.Time) string {
	c := s.condition(cfg)
	text := c.String()
	switch {
	case c == failed:
		text = s.failure()
	case c == conflicted:
		text += ": a foreign route is in the way"
	case c == drifted, c == shadowed:
		text += ": " + s.plan.drift()
	case c == planned:
		text += ": would " + s.plan.Changes.String()
	case s.err != nil && !s.inSync(cfg, now):
		text += "; not read again since: " + s.failure()
	case s.err != nil:
		text += "; the last read failed: " + s.failure()
	}
	if given := s.plan.givenUp(); given != "" {
		text += "; given up, since it leads to another instance: " + given
	}
	return oneLine(text)
}

// hint returns what a person can do about the table's condition; "" if nothing, or if the line says it.
func (s *tableState) hint(cfg *Config) string {
	switch c := s.condition(cfg); {
	case c == conflicted:
		return hintConflict
	case c == shadowed:
		return hintShadow
	case c == drifted && !s.mayWrite(cfg) && !s.target.keep:
		return hintDrift
	}
	return ""
}

// shown is what the page shows of the table and of each wanted route in it.
func (s *tableState) shown(cfg *Config, wanted []netip.Prefix, self string) status.Table {
	out := status.Table{ID: s.id, Name: s.read.Name, State: s.line(cfg, time.Now()), LastRead: s.read.AsOf, Used: s.read.Used()}
	if cfg.DryRun {
		for _, op := range s.plan.Changes {
			out.Planned = append(out.Planned, op.String())
		}
	}
	for _, want := range wanted {
		out.Routes = append(out.Routes, compare(s.read.Routes, want, self))
	}
	return out
}

// compare looks one wanted destination up in a table.
func compare(routes []otc.Route, want netip.Prefix, self string) status.Route {
	out := status.Route{Destination: want, Wanted: self}
	for _, route := range routes {
		if route.Destination != want {
			continue
		}
		if out.Seen = route.NextHop; route.Type != otc.TypeECS {
			out.Seen = route.Type + " " + route.NextHop
		}
		if out.Note = "foreign"; out.Seen == self {
			out.Note = ""
			break
		}
	}
	return out
}
