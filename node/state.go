package node

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"otc-route-manager/otc"
)

const (
	firstCheck    = 10 * time.Second // what was confirmed is read again after this,
	lastCheck     = 75 * time.Second // and after this: a PUT that its sender gave up on is executed within 60 s
	claimExpires  = 90 * time.Second // a confirmation that lastCheck has not renewed counts no longer (R6)
	maxPutBacks   = 3                // of what was confirmed, until a table is settled: more is a fight between two writers
	conflictPause = 15 * time.Minute // between reads of a table with a foreign route in the way
)

// A target is what a table worker has to bring about. One without a server is none: the table is left
// alone.
type target struct {
	wanted []netip.Prefix // none: the routes of a deleted Node go
	server otc.Server
	epoch  int       // another one: what was learned about the table no longer counts
	keep   bool      // the annotation is missing or unusable: only read, and write nothing
	since  time.Time // when the Node event came that asks for it; zero: confirmed since
}

func (to target) equal(o target) bool {
	return to.epoch == o.epoch && to.keep == o.keep && to.sameRoutes(o)
}

func (to target) sameRoutes(o target) bool {
	return to.server.ID == o.server.ID && slices.Equal(to.wanted, o.wanted)
}

// isRemoval reports whether the routes of a deleted Node have to go.
func (to target) isRemoval() bool { return len(to.wanted) == 0 }

// A tableState is what the passes over a table have left. It is a value: what is ready, in sync
// and due follows from it, the settings and the time, and is stored nowhere.
type tableState struct {
	id        string
	target    target
	suspended bool // there is no target now
	revision  int  // how often the target has changed
	schedule
	read        otc.RouteTable        // as last read; ID "": never
	plan        Plan                  // as of that read
	isPlanned   bool                  // plan is about this target
	confirmedAt time.Time             // when the first read was asked for that showed everything since the last write; zero: none did
	settled     bool                  // so did a read 75 s later, or after that
	putBacks    int                   // since it was last settled
	confirmed   map[netip.Prefix]bool // destinations seen with this server as next hop; true: settled since
	removed     []otc.Route           // since the last record of a confirmation
	orphans     []otc.Route           // routes with our mark whose instance is gone
}

// retarget makes another target due at that time. What was learned stays as far as it still counts.
func (s *tableState) retarget(to target, due time.Time) {
	isSameEpoch := to.epoch == s.target.epoch
	if isSameEpoch && to.sameRoutes(s.target) { // only whether it is kept or brought about
		to.since = s.target.since
		if s.target = to; !to.keep && (!s.plan.isComplete() || len(s.plan.GivenUp) > 0) {
			s.set(due)
		}
		return
	}
	next := tableState{id: s.id, revision: s.revision, target: to, schedule: schedule{at: due, ended: s.ended}, read: s.read}
	if isSameEpoch {
		next.confirmed, next.putBacks, next.orphans = s.confirmed, s.putBacks, s.orphans
	}
	*s = next
}

// observe takes over what a read shows.
func (s *tableState) observe(read otc.RouteTable, plan Plan) {
	lacked := !s.isPlanned || !s.plan.isComplete()
	s.read, s.plan, s.isPlanned = read, plan, true
	s.confirmed = s.seen(read.Routes)
	for _, route := range plan.GivenUp {
		delete(s.confirmed, route.Destination)
	}
	switch {
	case len(plan.Conflicts) > 0:
		s.confirmedAt, s.settled = time.Time{}, false
	case !plan.isComplete():
	case lacked || s.confirmedAt.IsZero():
		s.confirmedAt = read.AsOf
		s.settle(false)
	case read.AsOf.Sub(s.confirmedAt) >= lastCheck:
		s.putBacks = 0
		s.settle(true)
	}
}

// settle records whether late writes can still take away what was confirmed.
func (s *tableState) settle(settled bool) {
	s.settled = settled
	for p := range s.confirmed {
		s.confirmed[p] = settled
	}
}

// seen returns the destinations that this server has been the next hop of. One that no longer
// is and that is not wanted is dropped.
func (s *tableState) seen(routes []otc.Route) map[netip.Prefix]bool {
	after := maps.Clone(s.confirmed)
	maps.DeleteFunc(after, func(p netip.Prefix, _ bool) bool { return !slices.Contains(s.target.wanted, p) })
	for _, route := range routes {
		p := route.Destination
		wasSettled, isKnown := s.confirmed[p]
		if route.Type == otc.TypeECS && route.NextHop == s.target.server.ID && (isKnown || slices.Contains(s.target.wanted, p)) {
			if after == nil {
				after = map[netip.Prefix]bool{}
			}
			after[p] = wasSettled
		}
	}
	return after
}

// A condition says how a route table stands. It is computed from the [tableState] whenever
// it is asked for.
//
//	condition   when                                                  ready      in sync  pass     next read
//	pending     no target, not read for it, or written and not read   no         0        -        now
//	failed      something is missing or unknown after an error        no         0        error    back-off
//	conflicted  a foreign route is at a wanted destination            no         0        error    12-15 min
//	planned     dry run                                               yes        1 or 0   success  interval
//	drifted     was confirmed; a later read lacks something           as before  0        error    interval
//	shadowed    confirmed, but another route takes its traffic        yes        0        error    as confirmed
//	confirmed   a read after the last write shows everything          yes        1, 90 s  success  10 s and 75 s after it, then interval
//
// In a dry run in_sync is 1 if nothing would change. A claim of 90 s becomes one without end by
// the read at 75 s. A confirmed table that could not be read stays confirmed.
type condition int

const (
	pending condition = iota
	failed
	conflicted
	planned
	drifted
	shadowed
	confirmed
)

// condition returns how the table stands.
func (s *tableState) condition(cfg *Config) condition {
	lacks, wasConfirmed := len(s.plan.Changes) > 0, !s.confirmedAt.IsZero()
	switch {
	case s.suspended:
		return pending
	case s.err != nil && (!wasConfirmed || lacks && s.mayWrite(cfg)):
		return failed
	case !s.isPlanned:
		return pending
	case len(s.plan.Conflicts) > 0:
		return conflicted
	case cfg.DryRun:
		return planned
	case lacks && (wasConfirmed || s.target.keep):
		return drifted
	case lacks:
		return pending
	case len(s.plan.Shadows) > 0:
		return shadowed
	}
	return confirmed
}

// isReady reports whether the table is as it was asked for, or was and is only watched now.
func (s *tableState) isReady(cfg *Config) bool {
	switch s.condition(cfg) {
	case planned, confirmed, shadowed:
		return true
	case drifted:
		return !s.confirmedAt.IsZero()
	}
	return false
}

// result returns how the last pass counts in nodes_processed_total.
func (s *tableState) result(cfg *Config) string {
	switch c := s.condition(cfg); {
	case s.err == nil && (c == planned || c == confirmed):
		return "success"
	}
	return "error"
}

func (c condition) String() string {
	return [...]string{"pending", "failed", "conflict", "dry run", "drifted", "shadowed", "confirmed"}[c]
}

// mayWrite reports whether a pass may write what the table lacks: what was never confirmed for
// this target; what late writes may have taken away since; what DRIFT_REPAIR puts back. After three
// put-backs before it was settled, that is only what a read before has missed already.
func (s *tableState) mayWrite(cfg *Config) bool {
	return !cfg.DryRun && !s.target.keep &&
		(s.confirmedAt.IsZero() || s.mayPutBack() || cfg.DriftRepair && (s.settled || !s.plan.isComplete()))
}

// mayPutBack reports whether what is missing, or leads to another instance, was confirmed so
// recently that a late write may have done that.
func (s *tableState) mayPutBack() bool {
	return !s.confirmedAt.IsZero() && !s.settled && s.putBacks < maxPutBacks
}

// isAtRest reports whether nothing is to be done about the table but to read it now and then.
func (s *tableState) isAtRest(cfg *Config) bool {
	c := s.condition(cfg)
	return !s.target.isRemoval() && (s.settled || c == planned || c == conflicted)
}

// inSync reports whether the table is known to show everything: a claim that expires unless the
// read 75 s after the confirmation renews it.
func (s *tableState) inSync(cfg *Config, now time.Time) bool {
	switch s.condition(cfg) {
	case planned:
		return s.plan.isComplete()
	case confirmed:
		return s.settled || now.Sub(s.confirmedAt) < claimExpires
	}
	return false
}

// finish ends a pass, with err or well (nil), and plans the next read.
func (s *tableState) finish(err error, cfg *Config, now time.Time) {
	retry := now.Add(time.Second)
	if err != nil {
		retry = now.Add(s.failed(err, now))
	} else {
		s.set(now)
		s.ended = now
	}
	var rest time.Time
	if cfg.DriftInterval > 0 && !s.target.isRemoval() {
		rest = now.Add(around(cfg.DriftInterval))
	}
	switch c := s.condition(cfg); {
	case c == failed, c == pending, c == conflicted && err != nil:
		s.at = retry
	case c == conflicted:
		s.at = now.Add(upTo(conflictPause))
	case c == drifted, c == planned, s.settled:
		s.at = rest
	case err != nil:
		s.at = sooner(s.nextCheck(now), sooner(retry, now.Add(lastCheck)))
	default:
		s.at = sooner(s.nextCheck(s.read.AsOf), rest)
	}
}

// nextCheck returns when, later than a time, what was confirmed is to be read again; the zero time:
// not any more.
func (s *tableState) nextCheck(after time.Time) time.Time {
	for _, d := range []time.Duration{firstCheck, lastCheck} {
		if at := s.confirmedAt.Add(d); at.After(after) {
			return at
		}
	}
	return time.Time{}
}
