package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc"
)

// conditions are the names of the constants, in their order.
var conditions = strings.Fields("unread failed conflicted applied planned confirmed settled drifted unsure")

// noon is when the pass ends.
var noon = time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)

// TestCondition walks the table of conditions: what was known before a pass ("10s":
// since it was confirmed; "3x": put-backs), what the pass has brought and what is
// configured make the condition, whether that is ready and in sync, how the pass
// counts, when the next read is due, what that may do, and what is remembered.
func TestCondition(t *testing.T) {
	for _, tt := range []struct{ before, pass, cfg, want string }{
		{"unread", "cut", "", "unread no 0 -, now, writes"},
		{"unread", "shadowed cut", "", "unread no 0 -, now, writes"},

		{"unread", "error", "", "failed no 0 error, 4s, writes"},
		{"unread", "error", "0s", "failed no 0 error, 4s, writes"},
		{"unread", "missing error", "", "failed no 0 error, 4s, writes"},
		{"unread", "conflict error", "", "failed no 0 error, 4s, writes"},
		{"unread", "error", "dry run", "failed no 0 error, 4s, writes"},
		{"failed", "error 5m", "", "failed no 0 error, 5m0s, writes"},
		{"applied", "error", "", "failed no 0 error, 4s, writes"},
		{"conflicted", "error", "", "failed no 0 error, 4s, writes"},
		{"planned", "error", "", "failed no 0 error, 4s, writes"},
		{"drifted 20s missing", "error", "", "failed no 0 error, 4s, writes"},
		{"drifted 20s missing", "wrote missing error", "", "failed no 0 error, 4s, writes 1x"},
		{"drifted settled missing", "error", "repair", "failed no 0 error, 4s, writes settled"},

		{"unread", "conflict", "", "conflicted no 0 error, 12m0s to 15m0s, writes"},
		{"unread", "conflict", "0s", "conflicted no 0 error, 12m0s to 15m0s, writes"},
		{"unread", "conflict", "dry run", "conflicted no 0 error, 12m0s to 15m0s, writes"},
		{"unread", "wrote conflict", "", "conflicted no 0 error, 12m0s to 15m0s, writes"},
		{"confirmed 10s", "conflict", "", "conflicted no 0 error, 12m0s to 15m0s, writes"},
		{"settled", "conflict", "24h", "conflicted no 0 error, 12m0s to 15m0s, writes settled"},
		{"drifted settled missing", "conflict", "repair", "conflicted no 0 error, 12m0s to 15m0s, writes settled"},

		{"unread", "wrote cut", "", "applied no 0 -, now, writes"},
		{"unread", "lost cut", "", "applied no 0 -, now, writes"},
		{"drifted 20s missing 2x", "wrote cut", "", "applied no 0 -, now, writes 2x"},

		{"unread", "right", "dry run", "planned yes 1 success, 12m0s to 18m0s, writes"},
		{"unread", "missing", "dry run", "planned yes 0 success, 12m0s to 18m0s, writes"},
		{"planned missing", "right", "dry run", "planned yes 1 success, 12m0s to 18m0s, writes"},
		{"planned missing", "cut", "dry run", "planned yes 0 -, now, writes"},
		{"unread", "missing", "dry run 0s", "planned yes 0 success, never, writes"},

		{"unread", "right", "", "confirmed yes 1 success, 10s, reads renewed"},
		{"unread", "wrote right", "", "confirmed yes 1 success, 10s, reads renewed"},
		{"failed deleted", "deleted right", "", "confirmed yes 1 success, 10s, reads renewed, 2 removed"},
		{"failed", "right", "0s", "confirmed yes 1 success, 10s, reads renewed"},
		{"conflicted settled", "right", "", "confirmed yes 1 success, 10s, reads renewed"},
		{"applied 20s 2x", "right", "", "confirmed yes 1 success, 10s, reads renewed 2x"},
		{"unread", "right", "24h", "confirmed yes 1 success, 10s, reads renewed"},
		{"confirmed 10s", "right", "", "confirmed yes 1 success, 1m5s, reads"},
		{"confirmed 74s", "right", "", "confirmed yes 1 success, 1s, reads"},
		{"confirmed 10s", "right", "20s", "confirmed yes 1 success, 16s to 24s, reads"},
		{"confirmed 74s", "right", "20s", "confirmed yes 1 success, 1s, reads"},
		{"confirmed 10s", "cut", "", "confirmed yes 1 -, now, reads"},
		{"unsure 20s", "right", "", "confirmed yes 1 success, 55s, reads"},
		{"drifted 20s missing", "wrote right", "", "confirmed yes 1 success, 10s, reads renewed 1x"},
		{"drifted 20s missing 2x", "lost right", "", "confirmed yes 1 success, 10s, reads renewed 3x"},
		{"drifted settled missing", "wrote right", "repair", "confirmed yes 1 success, 10s, reads renewed 1x"},
		{"drifted settled missing", "right", "", "confirmed yes 1 success, 10s, reads renewed"},
		{"drifted 20s shadowed", "right", "", "confirmed yes 1 success, 55s, reads"},

		{"confirmed 75s", "right", "", "settled yes 1 success, 12m0s to 18m0s, reads settled"},
		{"confirmed 75s 3x", "right", "", "settled yes 1 success, 12m0s to 18m0s, reads settled"},
		{"confirmed 75s", "right", "0s", "settled yes 1 success, never, reads settled"},
		{"confirmed 75s", "right", "20s", "settled yes 1 success, 16s to 24s, reads settled"},
		{"settled", "right", "repair", "settled yes 1 success, 12m0s to 18m0s, reads settled"},
		{"settled", "cut", "", "settled yes 1 -, now, reads settled"},
		{"unsure 80s", "right", "", "settled yes 1 success, 12m0s to 18m0s, reads settled"},
		{"unsure settled", "right", "", "settled yes 1 success, 12m0s to 18m0s, reads settled"},
		{"drifted settled shadowed", "right", "", "settled yes 1 success, 12m0s to 18m0s, reads settled"},

		{"unread", "shadowed", "", "drifted yes 0 error, 10s, reads renewed"},
		{"unread", "shadowed", "repair", "drifted yes 0 error, 10s, reads renewed"},
		{"confirmed 75s", "shadowed", "", "drifted yes 0 error, 12m0s to 18m0s, reads settled"},
		{"settled", "shadowed", "repair", "drifted yes 0 error, 12m0s to 18m0s, reads settled"},
		{"drifted settled shadowed", "error", "repair", "drifted yes 0 error, 12m0s to 18m0s, reads settled"},
		{"drifted 20s shadowed", "error", "", "drifted yes 0 error, 55s, reads"},
		{"confirmed 10s", "missing", "", "drifted yes 0 error, now, writes"},
		{"confirmed 10s 2x", "missing shadowed", "0s", "drifted yes 0 error, now, writes 2x"},
		{"confirmed 10s 3x", "missing", "", "drifted yes 0 error, 12m0s to 18m0s, reads 3x"},
		{"confirmed 75s 3x", "missing", "", "drifted yes 0 error, 12m0s to 18m0s, reads 3x"},
		{"confirmed 75s 3x", "missing", "repair", "drifted yes 0 error, 12m0s to 18m0s, writes 3x"},
		{"unsure 80s", "missing", "", "drifted yes 0 error, now, writes"},
		{"settled", "missing", "", "drifted yes 0 error, 12m0s to 18m0s, reads settled"},
		{"settled", "missing", "repair", "drifted yes 0 error, now, writes settled"},
		{"unsure settled", "missing", "", "drifted yes 0 error, 12m0s to 18m0s, reads settled"},
		{"drifted settled missing", "missing", "", "drifted yes 0 error, 12m0s to 18m0s, reads settled"},
		{"drifted settled missing", "error", "", "drifted yes 0 error, 12m0s to 18m0s, reads settled"},
		{"drifted settled missing", "error", "0s", "drifted yes 0 error, never, reads settled"},
		{"drifted 20s missing 3x", "error", "", "drifted yes 0 error, 12m0s to 18m0s, reads 3x"},
		{"drifted 20s missing", "cut", "", "drifted yes 0 -, now, writes"},

		{"confirmed 10s", "error", "", "unsure yes 1 error, 4s, reads"},
		{"confirmed 10s", "error 5m", "", "unsure yes 1 error, 1m5s, reads"},
		{"confirmed 74s", "error 5m", "", "unsure yes 1 error, 1s, reads"},
		{"confirmed 75s", "error 5m", "", "unsure yes 0 error, 1m15s, reads"},
		{"unsure 74s", "error", "", "unsure yes 1 error, 1s, reads"},
		{"unsure 75s", "error", "0s", "unsure yes 0 error, 4s, reads"},
		{"settled", "error", "", "unsure yes 1 error, 12m0s to 18m0s, reads settled"},
		{"settled", "error", "0s", "unsure yes 1 error, never, reads settled"},
		{"unsure settled", "error", "repair", "unsure yes 1 error, 12m0s to 18m0s, reads settled"},
	} {
		t.Run(tt.before+" | "+tt.pass+" | "+tt.cfg, func(t *testing.T) {
			before, o, cfg, backoff := memoryOf(tt.before), outcome{}, Config{DriftInterval: 15 * time.Minute}, 4*time.Second
			o.pass(tt.pass, &backoff)
			for word := range strings.FieldsSeq(tt.cfg) {
				if d, err := time.ParseDuration(word); err == nil {
					cfg.DriftInterval = d
				}
				cfg.DryRun, cfg.DriftRepair = cfg.DryRun || word == "dry", word == "repair"
			}
			after := before.after(o, &cfg, noon)
			if got := after.sentence(o, &cfg, backoff); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			known := before.plan
			if o.isRead() {
				known = o.plan
			}
			if after.plan.drift() != known.drift() {
				t.Errorf("remembers %q, want %q", after.plan.drift(), known.drift())
			}
		})
	}
}

// planOf reads what a table lacks.
func planOf(word string, p *Plan) (known bool) {
	route := otc.Route{Type: otc.TypeECS, Destination: subnetOf(1), NextHop: ecsID(1)}
	switch word {
	case "missing":
		p.Changes = otc.Ops(otc.Add, route)
	case "shadowed":
		p.Shadows = []otc.Route{route}
	case "conflict":
		p.Conflicts = []otc.Route{route}
	default:
		return word == "right"
	}
	return true
}

func memoryOf(s string) (m memory) {
	words := strings.Fields(s)
	m.condition = condition(slices.Index(conditions, words[0]))
	for _, word := range words {
		switch d, err := time.ParseDuration(word); {
		case err == nil:
			m.confirmedAt = noon.Add(-d)
		case word == "deleted":
			m.removed = make([]otc.Route, 1)
		case word == "settled":
			m.settled, m.confirmedAt = true, noon.Add(-time.Hour)
		case !planOf(word, &m.plan):
			fmt.Sscanf(word, "%dx", &m.putBacks)
		}
	}
	return m
}

// pass reads what a pass has brought, and the back-off after its error.
func (o *outcome) pass(s string, backoff *time.Duration) {
	for word := range strings.FieldsSeq(s) {
		switch d, err := time.ParseDuration(word); {
		case err == nil:
			*backoff = d
		case word == "error":
			o.err = errors.New("no answer")
		case word == "cut":
			o.cut, o.err = true, errStale
		case word == "wrote":
			o.accepted = otc.Ops(otc.Add, otc.Route{Destination: subnetOf(1)})
		case word == "deleted":
			o.accepted = otc.Ops(otc.Delete, otc.Route{Destination: subnetOf(1)})
		case word == "lost":
			o.maybe = true
		case planOf(word, &o.plan):
			o.view.ID = mainTable
		}
	}
}

// sentence says what a pass has led to, and what is remembered of it.
func (m memory) sentence(o outcome, cfg *Config, backoff time.Duration) string {
	say := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	is := m.condition.trait()
	s := fmt.Sprintf("%s %s %s %s, %s, %s", conditions[m.condition], say(is.ready, "yes", "no"), say(m.inSync(noon), "1", "0"),
		say(o.cut, "-", is.pass), m.when(o, cfg, backoff), say(m.writes(cfg), "writes", "reads"))
	s += say(m.confirmedAt.Equal(noon), " renewed", "") + say(m.settled, " settled", "")
	if m.putBacks > 0 {
		s += fmt.Sprintf(" %dx", m.putBacks)
	}
	if n := len(m.removed); n > 0 {
		s += fmt.Sprintf(", %d removed", n)
	}
	return s
}

// when is how long after the pass the next read is due: "12m0s to 18m0s".
func (m memory) when(o outcome, cfg *Config, backoff time.Duration) string {
	var all []time.Duration
	for range 5000 {
		at := m.nextRead(cfg, noon)
		if o.err != nil {
			at = m.retry(backoff, cfg, noon)
		}
		if all = append(all, at.Sub(noon)); at.IsZero() && !o.cut {
			return "never"
		}
	}
	low, high, unit := slices.Min(all), slices.Max(all), time.Second
	if high-low > time.Minute {
		unit = 10 * time.Second
	}
	switch low, high = low.Round(unit), high.Round(unit); {
	case o.cut || high == 0:
		return "now"
	case low != high:
		return fmt.Sprint(low, " to ", high)
	}
	return low.String()
}
