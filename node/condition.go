package node

// A condition says how a route table stands. It is computed from the [tableState] whenever
// somebody asks.
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
