package metrics

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadme: README.md has one row for each series, TROUBLESHOOTING.md one section for
// each alert, and they name nothing else.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("README.md")
	c, err2 := os.ReadFile("TROUBLESHOOTING.md")
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	readme := string(b) + string(c)
	var rows, sections []string
	families, _ := testMetrics().reg.Gather()
	for _, family := range families {
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+label.GetName()+"`")
		}
		if name := family.GetName(); strings.HasPrefix(name, "route_manager_") {
			rows = append(rows, fmt.Sprintf("\n| `%s` | %s | %s | ", name, strings.ToLower(family.GetType().String()), cmp.Or(strings.Join(labels, ", "), "–")))
		}
	}
	for _, rule := range rules() {
		severity := regexp.MustCompile(`severity: (\w)(\w+)`).FindStringSubmatch(rule.text)
		sections = append(sections, "\n### "+rule.name+"\n\n"+strings.ToUpper(severity[1])+severity[2]+", ")
	}
	for start, want := range map[string][]string{"\n| `route_manager_": rows, "\n### ": sections} {
		if got := strings.Count(readme, start); got != len(want) {
			t.Errorf("got %d of %q, want %d", got, start, len(want))
		}
		for _, w := range want {
			if !strings.Contains(readme, w) {
				t.Errorf("got no %q, want it", w)
			}
		}
	}
	for _, section := range strings.Split(readme, "\n### ")[1:] {
		if !strings.Contains(section, " Do: ") {
			t.Errorf("%.30q… does not say what to do", section)
		}
	}
	series := exported(testMetrics())
	for _, name := range regexp.MustCompile(`\broute_manager_\w+`).FindAllString(readme, -1) {
		if series[name] == nil {
			t.Errorf("got %s, want a series that is exported", name)
		}
	}
}
