package metrics

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
