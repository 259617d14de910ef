package metrics

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"otc-route-manager/metrics/status"
)

const maxChanges = 20

// A view is what page.html shows: a Status, and what else the page needs. The template
// calls its methods.
type view struct {
	status.Status
	Now      time.Time
	TokenEnd time.Time // zero: no token
	Version  string
	Limit    int // routes that one route table may hold
	Style    template.CSS
	Script   template.JS
}

// view returns what the page shows of s at the time now.
func (m *Metrics) view(s status.Status, now time.Time) view {
	s.Reasons = collapseHints(s.Reasons)
	s.Changes = s.Changes[:min(len(s.Changes), maxChanges)]
	v := view{Status: s, Now: now, Version: m.version, Limit: int(m.tableLimit.Load()),
		Style: template.CSS(pageCSS), Script: template.JS(pageJS)}
	if end := m.tokenEnd.Load(); end > 0 {
		v.TokenEnd = time.Unix(end, 0)
	}
	return v
}

// collapseHints returns the reasons with a hint that several share in a row at the last of them.
func collapseHints(reasons []status.Reason) []status.Reason {
	out := slices.Clone(reasons)
	for i := range max(len(out), 1) - 1 {
		if out[i].Hint == out[i+1].Hint {
			out[i].Hint = ""
		}
	}
	return out
}

// A label is a state in color, sign and words.
type label struct{ Class, Mark, Text string }

// Headline is the state of the Node.
func (v view) Headline() label {
	switch {
	case v.InSync:
		return label{"good", "✓", "In sync"}
	case v.DryRun && v.Ready:
		return label{"plan", "≠", "Changes planned"}
	case v.Ready:
		return label{"warn", "!", "Not in sync"}
	case v.LastRead.IsZero() && !slices.ContainsFunc(v.Reasons, func(r status.Reason) bool { return r.Hint != "" }):
		return label{"idle", "…", "Starting"}
	}
	return label{"bad", "✗", "Not in sync"}
}

// Level is how a change of state is shown.
func (v view) Level(level string) label {
	switch level {
	case "success":
		return label{"good", "✓", level}
	case "warning":
		return label{"warn", "!", level}
	case "error":
		return label{"bad", "✗", level}
	}
	return label{"idle", "•", level}
}

// A use is how full a table is.
type use struct {
	Used, Limit, Percent int
	Width                int  // of the bar, in percent
	High                 bool // above 80 %, as in the alert
}

// Use returns how full a table with that many routes is.
func (v view) Use(used int) use {
	percent := 100 * used / max(v.Limit, 1)
	return use{used, v.Limit, percent, min(percent, 100), used*10 > v.Limit*8}
}

// A route is a row of a table.
type route struct {
	status.Route
	Wanted, Seen nextHop
	State        label
}

// A nextHop is the id of a next hop, or a remark in its place or beside it.
type nextHop struct{ ID, Remark string }

// Route compares what is wanted of a route with what the table showed.
func (v view) Route(t status.Table, r status.Route) route {
	notWanted, missing := "not wanted", "missing"
	if v.Instance == "" {
		notWanted = "instance not found yet"
	}
	if t.LastRead.IsZero() {
		missing = "not read yet"
	}
	row := route{Route: r, Wanted: v.nextHop(r.Wanted, notWanted), Seen: v.nextHop(r.Seen, missing)}
	switch {
	case v.Instance == "" || t.LastRead.IsZero():
		row.State = label{"idle", "…", "not known yet"}
	case r.Wanted == r.Seen:
		row.State = label{"good", "✓", "as wanted"}
	case r.Wanted == "":
		row.State = label{"warn", "!", "not wanted"}
	case r.Seen == "":
		row.State = label{"bad", "✗", "missing"}
	default:
		row.State = label{"bad", "✗", "differs"}
	}
	return row
}

func (v view) nextHop(id, missing string) nextHop {
	switch id {
	case "":
		return nextHop{Remark: missing}
	case v.Instance:
		return nextHop{id, "this node"}
	}
	return nextHop{ID: id}
}

// A moment is a time as people ask for it, "in 4 min", and in UTC for the log; or Text
// in its place.
type moment struct{ Text, Relative, UTC, Machine string }

// Moment returns t, or the text for a zero time.
func (v view) Moment(t time.Time, missing string) moment {
	if t.IsZero() {
		return moment{Text: missing}
	}
	t = t.UTC()
	return moment{Relative: relative(t.Sub(v.Now)), UTC: t.Format(time.DateTime), Machine: t.Format(time.RFC3339)}
}

// Next returns when the next read is due.
func (v view) Next() moment {
	if !v.NextRead.IsZero() && !v.NextRead.After(v.Now) {
		return moment{Text: "now"}
	}
	return v.Moment(v.NextRead, "none planned")
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
