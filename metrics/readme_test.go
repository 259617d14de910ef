package metrics

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readme returns the part of README.md below a heading of the second level, or
// all of it.
func readme(t *testing.T, heading string) string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if heading == "" {
		return string(b)
	}
	_, part, found := strings.Cut(string(b), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("README.md has no section %q", heading)
	}
	part, _, _ = strings.Cut(part, "\n## ")
	return part
}

var quoted = regexp.MustCompile("`([^`]+)`")

// spans returns what stands between backquotes.
func spans(text string) (all []string) {
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// described returns each series of the README's table as "type label label".
func described(t *testing.T) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(readme(t, "Metrics")) {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| `") || len(cells) != 5 {
			continue
		}
		labels := spans(cells[2])
		slices.Sort(labels)
		name := spans(cells[0])[0]
		if all[name] != "" {
			t.Errorf("README.md describes %s twice", name)
		}
		all[name] = strings.Join(append([]string{cells[1]}, labels...), " ")
	}
	return all
}

func TestReadmeDescribesEverySeries(t *testing.T) {
	families, err := testMetrics().reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "route_manager_") {
			continue
		}
		words := []string{strings.ToLower(fmt.Sprint(family.GetType()))}
		for _, label := range family.GetMetric()[0].GetLabel() {
			words = append(words, label.GetName())
		}
		want[family.GetName()] = strings.Join(words, " ")
	}
	got := described(t)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: README.md says %q, want %q", name, got[name], want[name])
		}
	}
	for name := range got {
		if want[name] == "" {
			t.Errorf("README.md describes %s, which is not exported", name)
		}
	}
}

func TestReadmeNamesOnlyWhatIsExported(t *testing.T) {
	series := exported(testMetrics())
	for _, name := range regexp.MustCompile(`\broute_manager_\w+`).FindAllString(readme(t, ""), -1) {
		if series[name] == nil {
			t.Errorf("README.md names %s, want a series that is exported", name)
		}
	}
}

// TestReadmeHasEveryAlert: the runbook of an alert is the section with its name.
func TestReadmeHasEveryAlert(t *testing.T) {
	var want, got []string
	for _, rule := range rules() {
		want = append(want, rule.name)
	}
	section := readme(t, "Alerts")
	for _, m := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(section, -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("README.md has the alerts %v, want %v", got, want)
	}
	for i, text := range strings.Split(section, "\n### ")[1:] {
		severity := regexp.MustCompile(`severity: (\w+)`).FindStringSubmatch(rules()[i].text)[1]
		_, body, _ := strings.Cut(text, "\n\n")
		if !strings.HasPrefix(strings.ToLower(body), severity) || !strings.Contains(body, "Do: ") {
			t.Errorf("%s: README.md says %.20q…, want %s first, and what to do", want[i], body, severity)
		}
	}
}
