package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc"
)

// TestCondition walks the table of conditions: what was known before a pass ("10s": confirmed so long
// ago; "3x": put-backs; "error": the pass before failed), what the pass has seen and what is configured
// make the condition, whether that is ready and in sync, how the pass counts, when the next read is due,
// what that may do, and what is remembered.
func TestCondition(t *testing.T) {
	const (
		retry    = "500ms to 1s"
		interval = "12m0s to 18m0s"
		conflict = "12m0s to 15m0s"
	)
	for _, tt := range []struct{ before, pass, cfg, want string }{
		{"", "error", "", "failed no 0 error, " + retry + ", writes"},
		{"", "missing error", "", "failed no 0 error, " + retry + ", writes"},
		{"", "conflict error", "", "failed no 0 error, " + retry + ", writes"},
		{"", "error", "dry", "failed no 0 error, " + retry + ", reads"},
		{"error", "error", "", "failed no 0 error, 1s to 2s, writes"},
		{"20s missing", "wrote missing error", "", "failed no 0 error, " + retry + ", writes 1x"},
		{"20s 2x missing", "missing error", "", "failed no 0 error, " + retry + ", writes 2x"},
		{"settled", "missing error", "repair", "failed no 0 error, " + retry + ", writes settled"},
		{"settled missing", "error", "repair", "failed no 0 error, " + retry + ", writes settled"},
		{"20s", "missing error", "keep", "drifted yes 0 error, " + interval + ", reads"},

		{"", "conflict", "", "conflict no 0 error, " + conflict + ", writes"},
		{"", "conflict", "0s", "conflict no 0 error, " + conflict + ", writes"},
		{"", "conflict", "dry", "conflict no 0 error, " + conflict + ", reads"},
		{"", "wrote conflict", "", "conflict no 0 error, " + conflict + ", writes"},
		{"settled", "conflict", "24h", "conflict no 0 error, " + conflict + ", writes"},
		{"settled missing", "conflict", "repair", "conflict no 0 error, " + conflict + ", writes"},
		{"conflict", "error", "", "failed no 0 error, " + retry + ", writes"},

		{"", "right", "dry", "dry run yes 1 success, " + interval + ", reads renewed"},
		{"", "missing", "dry", "dry run yes 0 success, " + interval + ", reads"},
		{"missing", "right", "dry", "dry run yes 1 success, " + interval + ", reads renewed"},
		{"", "missing", "dry 0s", "dry run yes 0 success, never, reads"},

		{"", "right", "", "confirmed yes 1 success, 10s, writes renewed"},
		{"", "wrote right", "", "confirmed yes 1 success, 10s, writes renewed"},
		{"deleted error", "deleted right", "", "confirmed yes 1 success, 10s, writes renewed, 2 removed"},
		{"error", "right", "0s", "confirmed yes 1 success, 10s, writes renewed"},
		{"conflict", "right", "", "confirmed yes 1 success, 10s, writes renewed"},
		{"2x missing", "wrote right", "", "confirmed yes 1 success, 10s, writes renewed 2x"},
		{"", "right", "24h", "confirmed yes 1 success, 10s, writes renewed"},
		{"10s", "right", "", "confirmed yes 1 success, 1m5s, writes"},
		{"74s", "right", "", "confirmed yes 1 success, 1s, writes"},
		{"10s", "right", "20s", "confirmed yes 1 success, 16s to 24s, writes"},
		{"74s", "right", "20s", "confirmed yes 1 success, 1s, writes"},
		{"20s error", "right", "", "confirmed yes 1 success, 55s, writes"},
		{"20s", "wrote right", "", "confirmed yes 1 success, 55s, writes 1x"},
		{"20s missing", "wrote right", "", "confirmed yes 1 success, 10s, writes renewed 1x"},
		{"20s 2x missing", "wrote right", "", "confirmed yes 1 success, 10s, reads renewed 3x"},
		{"20s 3x missing", "wrote right", "repair", "confirmed yes 1 success, 10s, reads renewed 3x"},
		{"settled missing", "wrote right", "repair", "confirmed yes 1 success, 10s, writes renewed"},
		{"settled missing", "right", "", "confirmed yes 1 success, 10s, writes renewed"},
		{"20s shadowed", "right", "", "confirmed yes 1 success, 55s, writes"},
		{"75s", "right", "", "confirmed yes 1 success, " + interval + ", reads settled"},
		{"75s 3x", "right", "", "confirmed yes 1 success, " + interval + ", reads settled"},
		{"75s", "right", "0s", "confirmed yes 1 success, never, reads settled"},
		{"75s", "right", "20s", "confirmed yes 1 success, 16s to 24s, reads settled"},
		{"settled", "right", "repair", "confirmed yes 1 success, " + interval + ", writes settled"},
		{"80s error", "right", "", "confirmed yes 1 success, " + interval + ", reads settled"},
		{"80s", "slow right", "", "confirmed yes 1 success, now, writes"}, // asked for after 74 s
		{"75s", "right", "removal", "confirmed yes 1 success, never, reads settled"},

		{"10s", "error", "", "confirmed yes 1 error, " + retry + ", writes"},
		{"74.8s", "error", "", "confirmed yes 1 error, 200ms, writes"},
		{"15s hopeless", "hopeless", "", "confirmed yes 1 error, 1m0s, writes"},
		{"76s hopeless", "hopeless", "", "confirmed yes 1 error, 1m0s to 1m15s, writes"},
		{"89s", "error", "0s", "confirmed yes 1 error, " + retry + ", writes"},
		{"90s", "error", "0s", "confirmed yes 0 error, " + retry + ", writes"},
		{"settled", "error", "", "confirmed yes 1 error, " + interval + ", reads settled"},
		{"settled error", "error", "0s", "confirmed yes 1 error, never, reads settled"},

		{"", "shadowed", "", "shadowed yes 0 error, 10s, writes renewed"},
		{"75s", "shadowed", "", "shadowed yes 0 error, " + interval + ", reads settled"},
		{"settled shadowed", "error", "repair", "shadowed yes 0 error, " + interval + ", writes settled"},
		{"20s shadowed", "hopeless", "", "shadowed yes 0 error, 30s to 55s, writes"},

		{"10s 3x", "missing", "", "drifted yes 0 error, " + interval + ", reads 3x"},
		{"75s 3x", "missing", "repair", "drifted yes 0 error, " + interval + ", writes 3x"},
		{"settled", "missing", "", "drifted yes 0 error, " + interval + ", reads settled"},
		{"settled", "missing", "dry", "dry run yes 0 success, " + interval + ", reads settled"},
		{"settled error", "missing", "", "drifted yes 0 error, " + interval + ", reads settled"},
		{"settled missing", "error", "", "drifted yes 0 error, " + interval + ", reads settled"},
		{"settled missing", "error", "0s", "drifted yes 0 error, never, reads settled"},
		{"20s 3x missing", "error", "", "drifted yes 0 error, " + interval + ", reads 3x"},
		{"20s", "missing", "keep", "drifted yes 0 error, " + interval + ", reads"},
		{"", "missing", "keep", "drifted no 0 error, " + interval + ", reads"},
	} {
		t.Run(tt.before+" | "+tt.pass+" | "+tt.cfg, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{DriftInterval: 15 * time.Minute}
				to := target{wanted: []netip.Prefix{subnetOf(1)}, server: otc.Server{ID: ecsID(1)}}
				for word := range strings.FieldsSeq(tt.cfg) {
					switch d, err := time.ParseDuration(word); {
					case err == nil:
						cfg.DriftInterval = d
					case word == "removal":
						to.wanted = nil
					}
					cfg.DryRun, cfg.DriftRepair, to.keep = cfg.DryRun || word == "dry", word == "repair", word == "keep"
				}
				var waits []time.Duration
				var after tableState
				for range 2000 {
					table := &table{env: env{cfg: &cfg}, tableState: stateOf(tt.before, to)}
					after, _ = table.afterPass(tt.pass)
					waits = append(waits, time.Until(after.at))
				}
				if got := after.sentence(&cfg, waits); got != tt.want {
					t.Errorf("got  %q\nwant %q", got, tt.want)
				}
			})
		})
	}
}

// planOf reads what a read shows.
func planOf(word string) (p Plan, isKnown bool) {
	route := otc.Route{Type: otc.TypeECS, Destination: subnetOf(1), NextHop: ecsID(1)}
	switch word {
	case "missing":
		p.Changes = otc.Ops(otc.Add, route)
	case "shadowed":
		p.Shadows = []otc.Route{route}
	case "conflict":
		p.Conflicts = []otc.Route{route}
	default:
		return p, word == "right"
	}
	return p, true
}

// failureOf reads how a pass failed.
func failureOf(word string) error {
	return map[string]error{"error": errors.New("no answer"), "hopeless": errOtherVPC}[word]
}

func stateOf(words string, to target) (s tableState) {
	s.target = to
	for word := range strings.FieldsSeq(words) {
		plan, isPlan := planOf(word)
		switch d, err := time.ParseDuration(word); {
		case err == nil:
			s.confirmedAt, s.isPlanned = time.Now().Add(-d), true
		case word == "settled":
			s.settled, s.isPlanned, s.confirmedAt = true, true, time.Now().Add(-time.Hour)
		case word == "deleted":
			s.removed = make([]otc.Route, 1)
		case failureOf(word) != nil:
			s.err, s.failures = failureOf(word), 1
		case isPlan:
			s.plan, s.isPlanned = plan, true
		default:
			fmt.Sscanf(word, "%dx", &s.putBacks)
		}
	}
	return s
}

// afterPass has a pass see and do what the words say, and end.
func (t *table) afterPass(words string) (after tableState, interrupted bool) {
	before := t.state()
	var accepted otc.Changes
	var err error
	asked := time.Now()
	for word := range strings.FieldsSeq(words) {
		plan, isPlan := planOf(word)
		switch {
		case word == "slow":
			asked = asked.Add(-6 * time.Second)
		case word == "wrote":
			accepted = otc.Ops(otc.Add, otc.Route{Destination: subnetOf(1)})
		case word == "deleted":
			accepted = otc.Ops(otc.Delete, otc.Route{Destination: subnetOf(1)})
		case isPlan:
			t.observe(otc.RouteTable{ID: mainTable, AsOf: asked}, plan)
		default:
			err = failureOf(word)
		}
	}
	return t.end(context.Background(), &before, accepted, err)
}

// sentence says what a pass has led to, and what is remembered of it.
func (s *tableState) sentence(cfg *Config, waits []time.Duration) string {
	say := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	now := time.Now()
	out := fmt.Sprintf("%s %s %s %s, %s, %s", s.condition(cfg), say(s.isReady(cfg), "yes", "no"), say(s.inSync(cfg, now), "1", "0"),
		s.result(cfg), span(waits), say(s.mayWrite(cfg), "writes", "reads"))
	out += say(s.confirmedAt.Equal(now), " renewed", "") + say(s.settled, " settled", "")
	if s.putBacks > 0 {
		out += fmt.Sprintf(" %dx", s.putBacks)
	}
	if s.err == nil && s.failures > 0 {
		out += fmt.Sprintf(", %d failures", s.failures)
	}
	if n := len(s.removed); n > 0 {
		out += fmt.Sprintf(", %d removed", n)
	}
	return out
}

// span is the range of waits, "12m0s to 18m0s".
func span(waits []time.Duration) string {
	low, high, unit := slices.Min(waits), slices.Max(waits), 100*time.Millisecond
	switch {
	case low < -time.Hour:
		return "never"
	case high <= 0:
		return "now"
	case high-low > 10*time.Second:
		unit = 10 * time.Second
		if high < 2*time.Minute {
			unit = 5 * time.Second
		}
	}
	if low, high = low.Round(unit), high.Round(unit); low != high {
		return fmt.Sprint(low, " to ", high)
	}
	return low.String()
}
