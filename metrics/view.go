package metrics

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/metrics/status"
)

const maxChanges = 20

// A verdict says in colour, sign and words how things stand.
type verdict struct{ class, mark, words string }

func judge(s status.Status) verdict {
	switch {
	case s.InSync:
		return verdict{"good", "✓", "In sync"}
	case s.DryRun && s.Ready:
		return verdict{"plan", "≠", "Changes planned"}
	case s.Ready:
		return verdict{"warn", "!", "Not in sync"}
	case s.LastRead.IsZero() && !slices.ContainsFunc(s.Reasons, func(r status.Reason) bool { return r.Hint != "" }):
		return verdict{"idle", "…", "Starting"}
	}
	return verdict{"bad", "✗", "Not in sync"}
}

// render returns the whole page.
func (p page) render(s status.Status, all []sample, now time.Time) markup {
	v := judge(s)
	limit := int(the(all, "route_manager_route_table_limit").value)
	changes := s.Changes[:min(len(s.Changes), maxChanges)]
	return p.fill("page", values{
		"node":    cmp.Or(s.Node, "unknown node"),
		"class":   v.class,
		"mark":    v.mark,
		"verdict": v.words,
		"reasons": each(p, "reason", "no-reason", once(s.Reasons), p.reason),
		"chips":   p.chips(s),
		"facts":   p.facts(s, the(all, "route_manager_token_expiry_timestamp_seconds").value, now),
		"tables":  each(p, "table", "no-table", s.Tables, func(t status.Table) values { return p.table(s, t, limit) }),
		"changes": each(p, "change", "no-change", changes, func(c status.Change) values { return p.change(c, now) }),
		"calls":   each(p, "call", "no-call", calls(all), func(c values) values { return c }),
		"settings": each(p, "setting", "no-setting", s.Program.Settings, func(s status.Setting) values {
			return values{"name": s.Name, "value": s.Value}
		}),
		"retries": tally(all, "route_manager_otc_retries_total"),
		"passes":  tally(all, "route_manager_nodes_processed_total"),
		"written": tally(all, "route_manager_route_changes_total"),
		"now":     now.UTC().Format(time.TimeOnly),
		"version": the(all, "route_manager_build_info").labels["version"],
	})
}

func (p page) chips(s status.Status) markup {
	text := "not ready"
	if s.Ready {
		text = "ready"
	}
	chips := p.text("chip", text)
	if s.DryRun {
		chips += p.text("chip", "dry run: nothing is written")
	}
	return chips
}

func (p page) facts(s status.Status, tokenEnd float64, now time.Time) markup {
	var token time.Time
	if tokenEnd > 0 {
		token = time.Unix(int64(tokenEnd), 0)
	}
	name := markup("not found yet")
	if s.Instance != "" {
		name = p.fill("instance", values{"name": s.InstanceName, "id": s.Instance})
	}
	subnets := each(p, "code", "no-subnet", s.Subnets, func(n netip.Prefix) values { return values{"text": n} })
	return p.fact("Instance", name) + p.fact("Pod subnets", subnets) +
		p.fact("Last read", p.moment(s.LastRead, now, "none yet")) +
		p.fact("Next read", p.next(s, now)) +
		p.fact("Token ends", p.moment(token, now, "no token held")) +
		p.fact("Running since", p.moment(s.Program.Started, now, "not known")) +
		p.proof(s.Program.Address)
}

// proof shows how a client in the VPC sees for itself that the routes lead here.
func (p page) proof(here netip.AddrPort) markup {
	if !here.IsValid() {
		return ""
	}
	return p.fact("To prove the way, from a client in the VPC", p.text("code", "curl http://"+here.String()+"/health"))
}

func (p page) next(s status.Status, now time.Time) markup {
	next := p.moment(s.NextRead, now, "none planned")
	if !s.NextRead.IsZero() && !s.NextRead.After(now) {
		next = "now"
	}
	return next
}

func (p page) fact(name string, value markup) markup {
	return p.fill("fact", values{"name": name, "value": value})
}

func (p page) table(s status.Status, t status.Table, limit int) values {
	return values{
		"name":  t.Name,
		"id":    t.ID,
		"state": cmp.Or(t.State, "not read yet"),
		"use":   p.use(t, limit),
		"routes": each(p, "route", "no-route", t.Routes, func(r status.Route) values {
			return p.route(t, r, s.Instance)
		}),
		"planned": p.planned(s.DryRun, t.Planned),
	}
}

// use shows how full a table is; from 80 % on in another colour, as the alert does.
func (p page) use(t status.Table, limit int) markup {
	if t.LastRead.IsZero() {
		return ""
	}
	class := "fill"
	if t.Used*10 > limit*8 {
		class = "fill high"
	}
	percent := 100 * t.Used / limit
	return p.fill("use", values{"used": t.Used, "limit": limit, "percent": percent,
		"width": min(percent, 100), "class": class})
}

func (p page) route(t status.Table, r status.Route, instance string) values {
	noWish, noSight := "not wanted", "missing"
	if instance == "" {
		noWish = "instance not found yet"
	}
	if t.LastRead.IsZero() {
		noSight = "not read yet"
	}
	v := values{"destination": r.Destination, "note": r.Note,
		"wanted": p.hop(r.Wanted, noWish, instance), "seen": p.hop(r.Seen, noSight, instance)}
	switch {
	case instance == "" || t.LastRead.IsZero():
		v["class"], v["state"] = "idle", "… not known yet"
	case r.Wanted == r.Seen:
		v["class"], v["state"] = "good", "✓ as wanted"
	case r.Wanted == "":
		v["class"], v["state"] = "warn", "! not wanted"
	case r.Seen == "":
		v["class"], v["state"] = "bad", "✗ missing"
	default:
		v["class"], v["state"] = "bad", "✗ differs"
	}
	return v
}

// hop shows a next hop and says if it is the Node's own instance.
func (p page) hop(hop, none, instance string) markup {
	if hop == "" {
		return p.text("more", none)
	}
	shown := p.text("code", hop)
	if hop == instance {
		shown += p.text("more", "this node")
	}
	return shown
}

func (p page) planned(dryRun bool, planned []string) markup {
	if !dryRun && len(planned) == 0 {
		return ""
	}
	return p.fill("planned", values{"changes": each(p, "plan", "no-plan", planned,
		func(change string) values { return values{"text": change} })})
}

func (p page) change(c status.Change, now time.Time) values {
	class, mark := "idle", "•"
	switch c.Level {
	case "success":
		class, mark = "good", "✓"
	case "warning":
		class, mark = "warn", "!"
	case "error":
		class, mark = "bad", "✗"
	}
	return values{"class": class, "mark": mark, "level": c.Level, "text": c.Text,
		"when": p.moment(c.Time, now, "at an unknown time")}
}

// once returns the reasons with a hint that several share in a row at the last of them.
func once(reasons []status.Reason) []status.Reason {
	out := slices.Clone(reasons)
	for i := range max(len(out), 1) - 1 {
		if out[i].Hint == out[i+1].Hint {
			out[i].Hint = ""
		}
	}
	return out
}

// reason shows one reason, and below it what to do.
func (p page) reason(r status.Reason) values {
	return values{"table": p.text("where", r.Table), "text": r.Text, "hint": p.text("hint", r.Hint)}
}

// moment shows a time as people ask for it, "in 4 min", and in UTC for the log.
func (p page) moment(t, now time.Time, none string) markup {
	if t.IsZero() {
		return markup(none)
	}
	t = t.UTC()
	return p.fill("moment", values{"relative": relative(t.Sub(now)),
		"utc": t.Format("2006-01-02 15:04:05"), "machine": t.Format(time.RFC3339)})
}

// relative returns "in 4 min 10 s", "3 h ago" or "now", with the two units that matter.
func relative(d time.Duration) string {
	seconds := int(d.Abs().Round(time.Second) / time.Second)
	if seconds == 0 {
		return "now"
	}
	parts := []string{}
	for _, unit := range []struct {
		seconds int
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}} {
		if n := seconds / unit.seconds; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit.name))
			seconds %= unit.seconds
		} else if len(parts) > 0 {
			break // 1 d 0 h 5 min is 1 d
		}
	}
	text := strings.Join(parts[:min(len(parts), 2)], " ")
	if d < 0 {
		return text + " ago"
	}
	return "in " + text
}
