// Package metrics turns what the program did into numbers and a page.
//
// It holds every Prometheus series in one registry of its own, the HTTP handler
// for /metrics, /health and the status page, the alert rules (alerts.yaml) and
// the Grafana dashboard (dashboard.json). It knows neither the cloud nor
// Kubernetes: callers report with builtin types and hand over a [Status].
package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// A Build says which program this is. The Go version comes from the runtime.
type Build struct{ Version, Commit string }

// Metrics holds all series. Its methods may be called concurrently. The zero
// value is of no use; call [New].
type Metrics struct {
	reg     *prometheus.Registry
	version string

	passes, changes *prometheus.CounterVec
	lastSuccess     prometheus.Gauge
	toRoute         prometheus.Histogram
	tableRoutes     *prometheus.GaugeVec
	tableLimit      atomic.Int64
	state           *state

	requests, retries *prometheus.CounterVec
	duration          *prometheus.HistogramVec
	tokenEnd          atomic.Int64 // Unix time; 0: no token
}

// New returns Metrics with a registry of its own. Every series exists at zero
// from the start, for rate() and increase() do not see a counter's first step
// if the series begins with it. tables are the IDs of the route tables, limit is
// how many routes one may hold unless [Metrics.RouteLimit] says otherwise.
func New(b Build, tables []string, limit int) *Metrics {
	m := &Metrics{reg: prometheus.NewRegistry(), version: b.Version, state: newState()}
	m.reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.state,
	)
	f := promauto.With(m.reg)
	m.addRoutes(f)
	m.addCloud(f)
	f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "route_manager_build_info",
		Help: "Always 1; the labels say which program this is.",
	}, []string{"version", "commit", "goversion"}).
		WithLabelValues(b.Version, b.Commit, runtime.Version()).Set(1)
	m.RouteLimit(limit)
	m.zero(tables)
	return m
}

// addRoutes registers what is known about the Node and its routes.
func (m *Metrics) addRoutes(f promauto.Factory) {
	m.passes = counters(f, "route_manager_nodes_processed_total",
		"Finished passes over a route table by result; each table counts its own.", "status")
	m.changes = counters(f, "route_manager_route_changes_total",
		"Route changes sent to the cloud by kind and result.", "operation", "result")
	m.lastSuccess = f.NewGauge(prometheus.GaugeOpts{
		Name: "route_manager_last_success_timestamp_seconds",
		Help: "Unix time of the last pass that succeeded, 0 if there was none.",
	})
	m.toRoute = f.NewHistogram(prometheus.HistogramOpts{
		Name:    "route_manager_annotation_to_route_seconds",
		Help:    "Time from the sight of a new annotation value to its confirmed routes in one route table.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600},
	})
	m.tableRoutes = f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "route_manager_route_table_routes",
		Help: "Routes in the route table when it was last read that count towards the limit, foreign ones included.",
	}, []string{"route_table"})
	gaugeOf(f, "route_manager_route_table_limit",
		"Routes that one route table may hold: the quota of the project, or 200 if it cannot be read.", &m.tableLimit)
}

// addCloud registers what is known about the calls to the cloud.
func (m *Metrics) addCloud(f promauto.Factory) {
	m.requests = counters(f, "route_manager_otc_requests_total",
		"HTTP requests to the cloud by status code, error if there was no answer, other for a status that does not exist.",
		"service", "operation", "code")
	m.duration = f.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "route_manager_otc_request_duration_seconds",
		Help:    "Duration of one HTTP request to the cloud.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
	}, []string{"service", "operation"})
	m.retries = counters(f, "route_manager_otc_retries_total",
		"Requests to the cloud that were sent again by reason.", "reason")
	gaugeOf(f, "route_manager_token_expiry_timestamp_seconds",
		"Unix time at which the token ends, 0 without a token. An idle token may end unused.", &m.tokenEnd)
}

// zero makes every combination of labels that is known in advance.
func (m *Metrics) zero(tables []string) {
	for _, status := range []string{"success", "error", "skipped"} {
		m.passes.WithLabelValues(status)
	}
	for _, operation := range []string{"add", "modify", "delete"} {
		m.changes.WithLabelValues(operation, "success")
		m.changes.WithLabelValues(operation, "error")
	}
	for _, reason := range []string{"connection", "throttled", "server_error", "transient", "relogin"} {
		m.retries.WithLabelValues(reason)
	}
	for _, table := range tables {
		m.tableRoutes.WithLabelValues(table)
	}
	m.zeroRequest("iam", "login", "201")
	m.zeroRequest("vpc", "get_route_table", "200")
	m.zeroRequest("vpc", "update_route_table", "200")
	m.zeroRequest("ecs", "get_server", "200")
	m.zeroRequest("ecs", "list_servers", "200")
}

// zeroRequest makes the series of one call: its good answer and the refusals
// that alert rules count from the first one on.
func (m *Metrics) zeroRequest(service, operation, ok string) {
	m.duration.WithLabelValues(service, operation)
	for _, code := range []string{ok, "401", "403", "429", "error"} {
		m.requests.WithLabelValues(service, operation, code)
	}
}

// Pass counts a finished pass over a route table, "success" or "error", or a Node that
// is "skipped". A success also sets the time of the last success.
func (m *Metrics) Pass(result string) {
	m.passes.WithLabelValues(result).Inc()
	if result == "success" {
		m.lastSuccess.SetToCurrentTime()
	}
}

// RouteChange counts n changes of one kind, operation "add", "modify" or
// "delete", that ended with result "success" or "error". n below 1 counts nothing.
func (m *Metrics) RouteChange(operation, result string, n int) {
	m.changes.WithLabelValues(operation, result).Add(float64(max(n, 0)))
}

// AnnotationToRoute records how long a new annotation value took from the first
// sight of it to its confirmed routes in one route table.
func (m *Metrics) AnnotationToRoute(d time.Duration) { m.toRoute.Observe(d.Seconds()) }

// TableRoutes sets how many routes a route table holds, foreign ones included.
// Those of type local do not count towards the limit: leave them out.
func (m *Metrics) TableRoutes(table string, n int) {
	m.tableRoutes.WithLabelValues(table).Set(float64(n))
}

// RouteLimit sets how many routes one route table may hold.
func (m *Metrics) RouteLimit(n int) { m.tableLimit.Store(int64(n)) }

// Request counts one HTTP request to the service "iam", "vpc" or "ecs". The
// operation is in snake case, such as "login" or "get_route_table"; code is the
// HTTP status, or "error" if there was no answer. A status that is not registered
// is "other": who answers must not decide how many series there are.
func (m *Metrics) Request(service, operation, code string, d time.Duration) {
	if n, _ := strconv.Atoi(code); code != "error" && http.StatusText(n) == "" {
		code = "other"
	}
	m.requests.WithLabelValues(service, operation, code).Inc()
	m.duration.WithLabelValues(service, operation).Observe(d.Seconds())
}

// Retry counts a request that is sent again, by reason: "connection",
// "throttled", "server_error", "transient" or "relogin".
func (m *Metrics) Retry(reason string) { m.retries.WithLabelValues(reason).Inc() }

// TokenExpiry sets when the token ends. The zero time, long before Unix time begins,
// means there is no token.
func (m *Metrics) TokenExpiry(t time.Time) { m.tokenEnd.Store(max(t.Unix(), 0)) }

func counters(f promauto.Factory, name, help string, labels ...string) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// gaugeOf registers a gauge of a number that the page shows, too.
func gaugeOf(f promauto.Factory, name, help string, n *atomic.Int64) {
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(n.Load()) })
}
