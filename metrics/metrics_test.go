package metrics

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	tableA = "8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518"
	tableB = "0f2d8a4c-6b1e-4c73-9d58-3a7e5b9c1f60"
)

func testMetrics() *Metrics {
	return New(Build{Version: "v1.2.3", Commit: "4c1fa97"}, []string{tableA, tableB}, 200)
}

// own returns the program's own series as name{label="value",...} with value,
// or count for histograms.
func own(m *Metrics) map[string]float64 {
	all := map[string]float64{}
	for _, s := range m.samples() {
		if strings.HasPrefix(s.name, "route_manager_") {
			all[key(s)] = s.value + float64(s.count)
		}
	}
	return all
}

func key(s sample) string {
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(s.labels)) {
		labels = append(labels, name+"="+s.labels[name])
	}
	return strings.TrimPrefix(s.name, "route_manager_") + "{" + strings.Join(labels, ",") + "}"
}

func TestEverySeriesExistsAtZero(t *testing.T) {
	want := map[string]float64{
		"nodes_processed_total{status=success}":          0,
		"nodes_processed_total{status=error}":            0,
		"nodes_processed_total{status=skipped}":          0,
		"in_sync{}":                                      0,
		"last_success_timestamp_seconds{}":               0,
		"annotation_to_route_seconds{}":                  0,
		"token_expiry_timestamp_seconds{}":               0,
		"route_table_routes{route_table=" + tableA + "}": 0,
		"route_table_routes{route_table=" + tableB + "}": 0,
		"route_table_limit{}":                            200,
		"conflicts{}":                                    0,
		"drift{}":                                        0,
		"orphaned_routes{}":                              0,
		"build_info{commit=4c1fa97,goversion=" + runtime.Version() + ",version=v1.2.3}": 1,
	}
	for _, operation := range []string{"add", "modify", "delete"} {
		want["route_changes_total{operation="+operation+",result=success}"] = 0
		want["route_changes_total{operation="+operation+",result=error}"] = 0
	}
	for _, reason := range []string{"connection", "throttled", "server_error", "transient", "relogin"} {
		want["otc_retries_total{reason="+reason+"}"] = 0
	}
	for _, call := range []struct{ service, operation, ok string }{
		{"iam", "login", "201"}, {"vpc", "get_route_table", "200"}, {"vpc", "update_route_table", "200"},
		{"ecs", "get_server", "200"}, {"ecs", "list_servers", "200"},
	} {
		labels := "operation=" + call.operation + ",service=" + call.service + "}"
		want["otc_request_duration_seconds{"+labels] = 0
		for _, code := range []string{call.ok, "401", "403", "429", "error"} {
			want["otc_requests_total{code="+code+","+labels] = 0
		}
	}
	if got := own(testMetrics()); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCounting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := float64(time.Now().Unix())
		tests := []struct {
			name   string
			report func(*Metrics)
			want   map[string]float64 // what is not as at the start
		}{
			{"an error is no success", func(m *Metrics) { m.Pass("error") },
				map[string]float64{"nodes_processed_total{status=error}": 1}},
			{"a success has a time", func(m *Metrics) { m.Pass("success") },
				map[string]float64{"nodes_processed_total{status=success}": 1, "last_success_timestamp_seconds{}": now}},
			{"a skipped pass has none", func(m *Metrics) { m.Pass("skipped") },
				map[string]float64{"nodes_processed_total{status=skipped}": 1}},
			{"changes come in numbers", func(m *Metrics) { m.RouteChange("add", "success", 2); m.RouteChange("delete", "error", 1) },
				map[string]float64{"route_changes_total{operation=add,result=success}": 2, "route_changes_total{operation=delete,result=error}": 1}},
			{"no change and less count nothing", func(m *Metrics) { m.RouteChange("add", "success", 0); m.RouteChange("add", "error", -1) },
				map[string]float64{}},
			{"annotation to route", func(m *Metrics) { m.AnnotationToRoute(1500 * time.Millisecond) },
				map[string]float64{"annotation_to_route_seconds{}": 1.5 + 1}},
			{"one table of two", func(m *Metrics) { m.TableRoutes(tableB, 17) },
				map[string]float64{"route_table_routes{route_table=" + tableB + "}": 17}},
			{"the quota is known", func(m *Metrics) { m.RouteLimit(500) },
				map[string]float64{"route_table_limit{}": 500}},
			{"a request", func(m *Metrics) { m.Request("vpc", "list_ports", "403", 2*time.Second) },
				map[string]float64{"otc_requests_total{code=403,operation=list_ports,service=vpc}": 1,
					"otc_request_duration_seconds{operation=list_ports,service=vpc}": 2 + 1}},
			{"odd answers are one series", func(m *Metrics) {
				for _, code := range []string{"299", "600", "1000", "-1", "none"} {
					m.Request("vpc", "list_ports", code, 0)
				}
			}, map[string]float64{"otc_requests_total{code=other,operation=list_ports,service=vpc}": 5,
				"otc_request_duration_seconds{operation=list_ports,service=vpc}": 5}},
			{"a retry", func(m *Metrics) { m.Retry("relogin") },
				map[string]float64{"otc_retries_total{reason=relogin}": 1}},
			{"a token", func(m *Metrics) { m.TokenExpiry(time.Unix(1800000000, 0)) },
				map[string]float64{"token_expiry_timestamp_seconds{}": 1800000000}},
			{"the token is gone", func(m *Metrics) { m.TokenExpiry(time.Unix(1800000000, 0)); m.TokenExpiry(time.Time{}) },
				map[string]float64{}},
		}
		for _, test := range tests {
			m := testMetrics()
			want := own(m)
			maps.Copy(want, test.want)
			test.report(m)
			if got := own(m); !maps.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", test.name, got, want)
			}
		}
	})
}
