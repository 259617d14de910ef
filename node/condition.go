package node

import (
	"net/netip"
	"slices"
	"time"

	"otc-route-manager/otc"
)

const (
	firstSettling = 10 * time.Second // after a confirmation it is read again,
	lastSettling  = 75 * time.Second // and once more: a PUT that somebody gave up on is executed within 60 s
	settlingRead  = 15 * time.Second // what such a read may take
	maxPutBacks   = 3                // of what was confirmed, until a table is settled: more is a fight
	conflictPause = 15 * time.Minute // between reads of a table with a foreign route in the way
)

// A condition says how a route table stands. It is computed once, at the end of
// a pass over the table, and all else follows from it: what is ready and in
// sync, how the pass counts, when the table is read next and what is recorded.
type condition int

// The conditions. "Read next" is in [memory.nextRead] and [memory.retry], what is recorded in
// [table.record].
//
//	condition   when                                            ready in_sync pass     read next
//	unread      nothing read since start, new target, instance  no    0       -        now
//	failed      something is missing or unknown after an error  no    0       error    back-off
//	conflicted  a foreign route, or a living claimant, is there no    0       error    12-15 min
//	applied     written, not yet seen                           no    0       -        now
//	planned     dry run                                         yes   1 or 0  success  interval
//	confirmed   a read after the last write shows everything    yes   1       success  10 s and 75 s after that
//	settled     so did the read at 75 s                         yes   1       success  interval
//	drifted     was confirmed, and a later read lacks something yes   0       error    interval; now, to put it back
//	unsure      was confirmed, and reading it failed            yes   1       error    back-off, interval if settled
//
// In dry run in_sync is 1 if nothing would change; unsure is 1 only if the read
// at 75 s was not among those that failed.
const (
	unread condition = iota
	failed
	conflicted
	applied
	planned
	confirmed
	settled
	drifted
	unsure
)

// A trait is what a condition means for those who ask.
type trait struct {
	name          string
	ready, inSync bool
	pass          string // how the pass counts; "": not at all
	right         bool   // every route has been there since the target changed
}

func (c condition) trait() trait {
	return [...]trait{
		unread:     {"not read yet", false, false, "", false},
		failed:     {"failed", false, false, "error", false},
		conflicted: {"conflict", false, false, "error", false},
		applied:    {"written, not confirmed yet", false, false, "", false},
		planned:    {"dry run", true, true, "success", false},
		confirmed:  {"confirmed", true, true, "success", true},
		settled:    {"confirmed", true, true, "success", true},
		drifted:    {"drifted", true, false, "error", true},
		unsure:     {"confirmed; the last read failed", true, true, "error", true},
	}[c]
}

// A memory is what survives a pass over a table. The zero value: nothing was
// read since the process, the target or the instance is what it is.
type memory struct {
	condition   condition
	confirmedAt time.Time // when a read first showed everything after the last write
	settled     bool      // a read 75 s after that, or later, lacked nothing
	putBacks    int       // since it was last settled
	plan        Plan      // as of the last read
	removed     []otc.Route
	owned       map[netip.Prefix]bool // destinations seen pointing to this instance
}

// An outcome is what one pass over a table has brought.
type outcome struct {
	view     otc.RouteTable // as last read; ID "": it could not be read
	plan     Plan           // as of that read
	owned    map[netip.Prefix]bool
	accepted otc.Changes     // by the cloud
	rejected otc.Changes     // not accepted
	maybe    bool            // something was sent and not answered
	aged     int             // reads that were too old to write on
	asked    bool            // about contested next hops
	gone     map[string]bool // by ECS id: what the cloud said then
	cut      bool            // the pass was ended for something newer, or for the process's end
	err      error
}

func (o outcome) isRead() bool { return o.view.ID != "" }

func (o outcome) wrote() bool { return len(o.accepted) > 0 || o.maybe }

// writes reports whether the next pass may write: what was confirmed is only
// read, and what is missing since is put back if somebody asked for that, or if it
// was confirmed so recently that a late write may have taken it away. A shadow is
// nothing that a write could mend.
func (m memory) writes(cfg *Config) bool {
	switch m.condition {
	case confirmed, settled, unsure:
		return false
	case drifted:
		return m.plan.lacks() && (cfg.DriftRepair || m.isSettling() && m.putBacks < maxPutBacks)
	}
	return true
}

// isSettling reports whether what was confirmed still has to be read again.
func (m memory) isSettling() bool { return m.condition.trait().right && !m.settled }

// judge returns the condition of the table after a pass.
func (m memory) judge(o outcome, cfg *Config, now time.Time) condition {
	switch {
	case o.cut && !o.wrote():
		return m.condition // claims nothing, forgets nothing
	case o.cut:
		return applied
	case o.err != nil:
		return m.judgeFailure(o, cfg)
	case len(o.plan.Conflicts) > 0:
		return conflicted
	case cfg.DryRun:
		return planned
	case o.plan.lacks() || len(o.plan.Shadows) > 0:
		return drifted
	case !m.renewed() && now.Sub(m.confirmedAt) >= lastSettling:
		return settled
	}
	return confirmed
}

// judgeFailure returns the condition of the table after a pass that failed.
func (m memory) judgeFailure(o outcome, cfg *Config) condition {
	switch {
	case m.condition == drifted && !o.isRead() && !m.writes(cfg):
		return drifted
	case m.condition == drifted, !m.condition.trait().right, o.isRead() && o.plan.lacks():
		return failed
	}
	return unsure
}

// renewed reports whether a pass that ends well is a confirmation of its own: the
// first, or one after something was missing, which is all that is ever written.
func (m memory) renewed() bool {
	return !m.condition.trait().right || m.condition == drifted && m.plan.lacks()
}

// after returns the memory after a pass.
func (m memory) after(o outcome, cfg *Config, now time.Time) memory {
	next := m
	next.condition = m.judge(o, cfg, now)
	if o.isRead() {
		next.plan, next.owned = o.plan, o.owned
	}
	next.removed = append(slices.Clip(m.removed), o.accepted.Routes(otc.Delete)...)
	if !o.cut && m.condition == drifted && o.wrote() {
		next.putBacks++
	}
	if !next.condition.trait().right || o.err != nil || o.plan.lacks() {
		return next
	}
	if m.renewed() {
		next.confirmedAt, next.settled = now, false
	} else if now.Sub(m.confirmedAt) >= lastSettling {
		next.settled, next.putBacks = true, 0
	}
	return next
}

// inSync reports whether the table is known to show everything.
func (m memory) inSync(now time.Time) bool {
	switch m.condition {
	case planned:
		return !m.plan.lacks()
	case unsure:
		return m.settled || now.Sub(m.confirmedAt) < lastSettling
	}
	return m.condition.trait().inSync
}

// nextRead returns when the table is read next after a pass that did not fail; the
// zero time: never. A drift that may be put back is due at once.
func (m memory) nextRead(cfg *Config, now time.Time) time.Time {
	var drift time.Time
	if cfg.DriftInterval > 0 {
		drift = now.Add(around(cfg.DriftInterval))
	}
	switch {
	case m.condition == conflicted:
		return now.Add(spread(conflictPause))
	case m.condition == drifted && m.plan.lacks():
		if m.putBacks < maxPutBacks && m.writes(cfg) {
			return now
		}
	case m.isSettling():
		return sooner(m.nextSettling(now), drift)
	}
	return drift
}

// retry returns when the table is read next after a pass that failed.
func (m memory) retry(backoff time.Duration, cfg *Config, now time.Time) time.Time {
	switch {
	case m.condition == unsure && !m.settled:
		return sooner(now.Add(min(backoff, lastSettling)), m.nextSettling(now))
	case m.condition.trait().right:
		return m.nextRead(cfg, now)
	}
	return now.Add(backoff)
}

// nextSettling is when the next read that follows a confirmation is due; the
// zero time if none is any more.
func (m memory) nextSettling(now time.Time) time.Time {
	for _, d := range []time.Duration{firstSettling, lastSettling} {
		if at := m.confirmedAt.Add(d); at.After(now) {
			return at
		}
	}
	return time.Time{}
}
