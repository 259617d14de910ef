package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"otc-route-manager/metrics/status"
)

// A state collects the gauges that say how the Node stands. They are not kept: each
// scrape asks for one Status, so that they agree with each other, with /health and
// with the page, and a claim that has expired is not repeated.
type state struct {
	status func() status.Status
	gauges []stateGauge
}

type stateGauge struct {
	desc  *prometheus.Desc
	value func(status.Status) int
}

// newState returns the gauges of a Node of which nothing is known.
func newState() *state {
	s := &state{status: func() status.Status { return status.Status{} }}
	add := func(name, help string, value func(status.Status) int) {
		s.gauges = append(s.gauges, stateGauge{prometheus.NewDesc(name, help, nil, nil), value})
	}
	add("route_manager_in_sync", "1 if every route table is known to hold all routes of the Node, else 0.",
		func(s status.Status) int {
			if s.InSync {
				return 1
			}
			return 0
		})
	add("route_manager_conflicts", "Wanted destinations that are taken by a route this program must not change.",
		func(s status.Status) int { return s.Conflicts })
	add("route_manager_drift", "Confirmed routes that the last check found missing or changed.",
		func(s status.Status) int { return s.Drift })
	add("route_manager_orphaned_routes", "Routes with this program's mark whose instance is gone.",
		func(s status.Status) int { return s.Orphans })
	return s
}

// Describe implements [prometheus.Collector].
func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range s.gauges {
		ch <- g.desc
	}
}

// Collect implements [prometheus.Collector].
func (s *state) Collect(ch chan<- prometheus.Metric) {
	now := s.status()
	for _, g := range s.gauges {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(g.value(now)))
	}
}
