package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A sample is one series of the registry at one moment.
type sample struct {
	name   string
	labels map[string]string
	value  float64 // of a histogram: the sum
	count  uint64  // of a histogram: how many observations
}

// samples returns all series of the registry that can be read now, by name.
func (m *Metrics) samples() []sample {
	families, _ := m.reg.Gather() // an error comes with what could be read
	var all []sample
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			s := sample{name: family.GetName(), labels: map[string]string{}}
			for _, label := range metric.GetLabel() {
				s.labels[label.GetName()] = label.GetValue()
			}
			// Only one of the kinds is set; the others read as zero.
			s.value = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() +
				metric.GetHistogram().GetSampleSum()
			s.count = metric.GetHistogram().GetSampleCount()
			all = append(all, s)
		}
	}
	return all
}

// calls returns what became of each operation of the cloud that was asked for at
// least once, by name: "vpc get_route_table", "200 ×3, 429 ×1", the mean duration.
func calls(all []sample) []values {
	answers, means := map[string][]string{}, map[string]string{}
	for _, s := range all {
		name := s.labels["service"] + " " + s.labels["operation"]
		switch {
		case s.name == "route_manager_otc_requests_total" && s.value > 0:
			answers[name] = append(answers[name], times(s.labels["code"], s.value))
		case s.name == "route_manager_otc_request_duration_seconds" && s.count > 0:
			means[name] = fmt.Sprintf("%.0f ms", 1000*s.value/float64(s.count))
		}
	}
	var out []values
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		out = append(out, values{"name": name, "answers": strings.Join(answers[name], ", "), "mean": means[name]})
	}
	return out
}

// the returns the only series with a name.
func the(all []sample, name string) sample {
	return all[slices.IndexFunc(all, func(s sample) bool { return s.name == name })]
}

// tally returns the series of a counter that are not zero, as "timeout ×2,
// throttled ×1", or "none".
func tally(all []sample, name string) string {
	var out []string
	for _, s := range all {
		if s.name == name && s.value > 0 {
			var what []string
			for _, label := range slices.Sorted(maps.Keys(s.labels)) {
				what = append(what, s.labels[label])
			}
			out = append(out, times(strings.Join(what, " "), s.value))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

func times(what string, n float64) string { return fmt.Sprintf("%s ×%.0f", what, n) }
