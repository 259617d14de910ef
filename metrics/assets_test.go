package metrics

import (
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

//go:embed alerts.yaml
var alertsYAML string

//go:embed dashboard.json
var dashboardJSON []byte

// A schema says which labels and values each series has.
type schema map[string]map[string][]string

// exported is the schema of what a scrape brings: our registry, what Prometheus
// makes of histograms, and the labels of the target.
func exported(m *Metrics) schema {
	series := schema{}
	for _, s := range m.samples() {
		for _, name := range []string{s.name, s.name + "_bucket", s.name + "_sum", s.name + "_count"} {
			if series[name] == nil {
				series[name] = map[string][]string{"namespace": nil, "node": nil, "pod": nil}
			}
			for label, value := range s.labels {
				series[name][label] = append(series[name][label], value)
			}
			if strings.HasSuffix(name, "_bucket") {
				series[name]["le"] = nil
			}
		}
	}
	return series
}

var (
	selector = regexp.MustCompile(`\b((?:route_manager|go|process)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	word     = regexp.MustCompile(`\w+`)
)

// checkQuery holds a PromQL expression against the schema. It returns how many
// of our series it names.
func checkQuery(t *testing.T, series schema, expr string) int {
	t.Helper()
	var labels []string // of all series in expr
	found := selector.FindAllStringSubmatch(expr, -1)
	for _, f := range found {
		known, ok := series[f[1]]
		if !ok {
			t.Errorf("%s: got series %v, want one that is exported", expr, f[1])
			continue
		}
		for label := range known {
			labels = append(labels, label)
		}
		for _, match := range matcher.FindAllStringSubmatch(f[2], -1) {
			checkMatcher(t, expr, known, match[1], match[3])
		}
	}
	for _, group := range grouping.FindAllStringSubmatch(expr, -1) {
		for _, label := range word.FindAllString(group[1], -1) {
			if !slices.Contains(labels, label) {
				t.Errorf("%s: got label %v, want one of %v", expr, label, labels)
			}
		}
	}
	return len(found)
}

// checkMatcher wants a label that the series has, and a value that one of the
// series has from the start, unless they are status codes, of which few are.
func checkMatcher(t *testing.T, expr string, known map[string][]string, label, pattern string) {
	t.Helper()
	values, ok := known[label]
	if !ok {
		t.Errorf("%s: got label %v, want one that the series has", expr, label)
	}
	pattern = strings.ReplaceAll(pattern, "$node", ".*")
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return
	}
	if values != nil && !slices.ContainsFunc(values, re.MatchString) {
		t.Errorf("%s: got %v %q, want a value among %v", expr, label, pattern, values)
	}
}

func TestAlerts(t *testing.T) {
	series := exported(testMetrics())
	var names []string
	for _, rule := range rules() {
		names = append(names, rule.name)
		if checkQuery(t, series, rule.expr) == 0 {
			t.Errorf("%s: got %q, want a query on our series", rule.name, rule.expr)
		}
		for _, field := range []string{"summary:", "description:", "severity:", "runbook_url: metrics/TROUBLESHOOTING.md#" + strings.ToLower(rule.name) + "\n"} {
			if !strings.Contains(rule.text, field) {
				t.Errorf("%s: got no %q, want it", rule.name, field)
			}
		}
		for _, label := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(rule.text, -1) {
			if !keeps(rule.expr, label[1]) {
				t.Errorf("%s: got label %v in the text, want one that the expression keeps", rule.name, label[1])
			}
		}
	}
	want := []string{"RouteManagerNotInSync", "RouteManagerNodeSkipped", "RouteManagerConflict", "RouteManagerDrift",
		"RouteManagerTableFilling", "RouteManagerOrphanedRoutes", "RouteManagerLoginRefused", "RouteManagerThrottled",
		"RouteManagerAPIErrors", "RouteManagerNoMetrics"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if strings.Contains(alertsYAML, "token_expiry") {
		t.Error("got an alert on the token's age, want none: an idle token may end")
	}
	if !strings.Contains(alertsYAML, "openshift.io/prometheus-rule-evaluation-scope: leaf-prometheus") {
		t.Error("got no evaluation scope, want leaf-prometheus")
	}
}

// keeps reports whether an expression groups by the label, so that it is still there
// to be shown.
func keeps(expr, label string) bool {
	return regexp.MustCompile(`by \([^)]*\b` + label + `\b`).MatchString(expr)
}

// TestRender: one variable says where people read what the alerts link to, another in
// which namespace they look.
func TestRender(t *testing.T) {
	for base, want := range map[string]string{
		"":                                      "metrics/TROUBLESHOOTING.md#routemanager",
		"https://git.example.com/a&b/blob/main": "https://git.example.com/a&b/blob/main/metrics/TROUBLESHOOTING.md#routemanager",
	} {
		render := exec.CommandContext(t.Context(), "sh", "../.make/render", "alerts.yaml")
		render.Env = append(os.Environ(), "NAMESPACE=team-a", "RUNBOOKS="+base)
		out, err := render.CombinedOutput()
		if got := strings.Count(string(out), "        runbook_url: "+want); err != nil || got != len(rules()) {
			t.Errorf("RUNBOOKS=%s: %v, got %d links to %s, want %d in %s", base, err, got, want, len(rules()), out)
		}
		if looks, all := strings.Count(string(out), "kubectl -n team-a "), strings.Count(string(out), "kubectl -n "); looks != all || all == 0 {
			t.Errorf("got %d of %d commands in namespace team-a, want all", looks, all)
		}
	}
}

// A rule is one alert of alerts.yaml: its lines, and its expression.
type rule struct{ name, expr, text string }

func rules() []rule {
	var all []rule
	for _, text := range strings.Split(alertsYAML, "- alert: ")[1:] {
		name, rest, _ := strings.Cut(text, "\n")
		_, rest, _ = strings.Cut(rest, "      expr: ")
		expr := regexp.MustCompile(`(?m)^      \w+:`).Split(rest, 2)[0]
		all = append(all, rule{name, strings.TrimPrefix(expr, "|"), text})
	}
	return all
}

// walk visits every member of v that is a string, at any depth.
func walk(v any, visit func(key, value string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if s, ok := value.(string); ok {
				visit(key, s)
			}
			walk(value, visit)
		}
	case []any:
		for _, value := range v {
			walk(value, visit)
		}
	}
}

func TestDashboard(t *testing.T) {
	var dashboard map[string]any
	if err := json.Unmarshal(dashboardJSON, &dashboard); err != nil {
		t.Fatal(err)
	}
	series := exported(testMetrics())
	queries := 0
	walk(dashboard, func(key, value string) {
		switch key {
		case "expr":
			queries++
			if checkQuery(t, series, value) == 0 {
				t.Errorf("got %q, want a query on our series", value)
			}
		case "definition":
			checkQuery(t, series, value)
		case "uid":
			if value != "${datasource}" && value != "otc-route-manager" {
				t.Errorf("got data source %q, want the variable", value)
			}
		}
	})
	if queries < 20 {
		t.Errorf("got %v queries, want those of all panels", queries)
	}
}

// TestPanels: they are within the width, and their legends name labels of their query.
func TestPanels(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(dashboardJSON, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		if panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("%s: got %v, want a panel within 24 columns", panel.Title, panel.GridPos)
		}
		for _, target := range panel.Targets {
			for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !keeps(target.Expr, label[1]) {
					t.Errorf("%s: got legend %v, want a label that %v keeps", panel.Title, target.LegendFormat, target.Expr)
				}
			}
		}
	}
}
