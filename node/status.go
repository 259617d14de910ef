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
	hintConflict = "find out who wrote that route (Cloud Trace Service tells) and delete it in the OTC console, or correct CLUSTER_CIDR"
	hintDrift    = "find out who changed the table; to put the routes back once, delete this pod, for good, set DRIFT_REPAIR to true"
	hintShadow   = "remove the more specific route, or the VPC subnet that overlaps the pod subnet, in the OTC console: this program touches neither"
	hintAbsent   = "is NODE_NAME right?"
)

// A verdict is whether a Node is ready and in sync, and why.
type verdict struct {
	ready, inSync bool
	reasons       []status.Reason // never empty
}

// judge decides by phase, instance and conditions.
func judge(in intent, l locator, tables []*table, cfg *Config, now time.Time) verdict {
	because := func(ready bool, text, hint string) verdict {
		return verdict{ready, false, []status.Reason{{Text: oneLine(text), Hint: hint}}}
	}
	switch {
	case in.phase == unknown:
		return because(false, waitingForAPI, "")
	case in.phase == absent:
		return because(false, in.reason, hintAbsent)
	case in.phase == skipped:
		return because(true, "skipped: "+in.reason, "")
	case !in.routes():
		return because(false, in.reason, "")
	case !l.found:
		return because(false, l.state(), "")
	}
	v := judgeTables(tables, cfg, now)
	if in.phase == invalid {
		v.inSync = false
		v.reasons = append([]status.Reason{{Text: oneLine(in.reason + "; the routes of its last good value stay")}}, v.reasons...)
	}
	return v
}

// judgeTables gives a reason for every table that is not as it should be.
func judgeTables(tables []*table, cfg *Config, now time.Time) verdict {
	v := verdict{ready: true, inSync: true}
	for _, t := range tables {
		ready, inSync := t.condition.trait().ready, t.memory.inSync(now)
		v.ready, v.inSync = v.ready && ready, v.inSync && inSync
		if !ready || !inSync || t.err != nil {
			v.reasons = append(v.reasons, status.Reason{Table: cmp.Or(t.view.Name, t.id), Text: t.state(), Hint: t.hint(cfg)})
		}
	}
	if len(v.reasons) == 0 {
		v.reasons = []status.Reason{{Text: "all routes are confirmed"}}
	}
	return v
}

// refusal returns the error by which IAM refused the password that one of the clocks
// waits for. An ID token locks nobody.
func refusal(clocks []*clock) string {
	for _, c := range clocks {
		if e, refused := errors.AsType[*otc.LoginRefusedError](c.err); refused && e.Err.Operation == "login" && e.Err.Status != 0 {
			return e.Error()
		}
	}
	return ""
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

// failure returns what the last attempt failed with. A login that IAM has refused is
// named, for people and for whoever asks before another try.
func (c *clock) failure() string {
	refused, ok := errors.AsType[*otc.LoginRefusedError](c.err)
	switch {
	case ok && refused.Err.Status != 0:
		return "login refused: " + c.err.Error()
	case ok:
		return "no login: " + c.err.Error()
	}
	return c.err.Error()
}

// isLogin reports whether something failed because there is no token.
func isLogin(err error) bool {
	e, ok := errors.AsType[*otc.Error](err)
	return ok && e.Service == "iam"
}

// unlessLogin returns what could not be done, or that there was no login for it.
func unlessLogin(err error, what string) string {
	if isLogin(err) {
		return "could not log in"
	}
	return what
}

// state returns in one line how the table stands.
func (t *table) state() string {
	text := t.condition.trait().name
	switch t.condition {
	case failed:
		text = t.failure()
	case conflicted:
		text += ": a route of somebody else is in the way"
	case drifted:
		text += ": " + t.plan.drift()
	case planned:
		text += ": would " + t.plan.Changes.String()
	case unsure:
		text += ": " + t.failure()
	}
	return oneLine(text)
}

// hint returns what a person can do about the table's condition; "" if nothing,
// or if the state says it.
func (t *table) hint(cfg *Config) string {
	switch {
	case t.condition == conflicted:
		return hintConflict
	case t.condition == drifted && !t.plan.lacks():
		return hintShadow
	case t.condition == drifted && !t.writes(cfg):
		return hintDrift
	}
	return ""
}

// status shows the table and each wanted route in it.
func (t *table) status(cfg *Config, wanted []netip.Prefix, self string) status.Table {
	s := status.Table{ID: t.id, Name: t.view.Name, State: t.state(), LastRead: t.readAt, Used: t.view.Used()}
	if cfg.DryRun {
		for _, op := range t.plan.Changes {
			s.Planned = append(s.Planned, op.String())
		}
	}
	for _, want := range wanted {
		s.Routes = append(s.Routes, t.compare(want, self))
	}
	return s
}

// compare looks one wanted destination up in the table as last read.
func (t *table) compare(want netip.Prefix, self string) status.Route {
	s := status.Route{Destination: want, Wanted: self}
	for _, route := range t.view.Routes {
		if route.Destination != want {
			continue
		}
		if s.Seen = route.NextHop; route.Type != otc.TypeECS {
			s.Seen = route.Type + " " + route.NextHop
		}
		if s.Note = "somebody else's"; s.Seen == self {
			s.Note = ""
			break
		}
	}
	return s
}
