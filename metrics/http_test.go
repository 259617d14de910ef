package metrics

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"otc-route-manager/metrics/status"
)

func handler(s status.Status, alive error) http.Handler {
	return testMetrics().Handler(func() status.Status { return s }, func() error { return alive })
}

func ask(h http.Handler, method, target string) *http.Response {
	return askHost(h, "10.128.4.7:8080", method, target)
}

func askHost(h http.Handler, host, method, target string) *http.Response {
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, target, nil)
	r.Host = host
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHealth(t *testing.T) {
	ready := status.Status{Ready: true, Reasons: []status.Reason{{Text: "1 route confirmed"}}}
	failing := status.Status{Reasons: []status.Reason{{Text: "login refused\nby\tOTC\x1b[31m"}}}
	wedged := errors.New("an attempt has not ended for 10m0s")
	tests := []struct {
		name   string
		status status.Status
		alive  error
		target string
		code   int
		body   string
	}{
		{"alive", ready, nil, "/health", 200, "ok"},
		{"alive though not ready", failing, nil, "/health", 200, "ok"},
		{"wedged", ready, wedged, "/health", 503, "an attempt has not ended for 10m0s"},
		{"ready", ready, nil, "/health?ready=1", 200, "1 route confirmed"},
		{"ready though wedged", ready, wedged, "/health?ready=1", 200, "1 route confirmed"},
		{"not ready, in one line", failing, nil, "/health?ready=1", 503, "login refused by OTC\uFFFD[31m"},
		{"ready without a reason", status.Status{Ready: true}, nil, "/health?ready=1", 200, "ready"},
		{"not ready without a reason", status.Status{}, nil, "/health?ready=1", 503, "not ready"},
		{"ready=true", failing, nil, "/health?ready=true", 503, "login refused by OTC\uFFFD[31m"},
		{"bare ready", status.Status{}, nil, "/health?ready", 503, "not ready"},
		{"status, all well", status.Status{Ready: true, InSync: true, Reasons: ready.Reasons}, wedged, "/health?status=1", 200,
			`{"ready":true,"in_sync":true,"login_refused":"","reason":"1 route confirmed"}`},
		{"status, drift", ready, nil, "/health?status=1", 200, `{"ready":true,"in_sync":false,"login_refused":"","reason":"1 route confirmed"}`},
		{"status, failing", failing, nil, "/health?status=1", 200, `{"ready":false,"in_sync":false,"login_refused":"","reason":"login refused by OTC` + "\uFFFD" + `[31m"}`},
		{"status, refused", status.Status{LoginRefused: "\n401 \"<&>\"\u2028"}, nil, "/health?status=1", 200, `{"ready":false,"in_sync":false,"login_refused":" 401 \"<&>\" ","reason":"not ready"}`},
		{"ready=0 is liveness", status.Status{}, nil, "/health?ready=0", 200, "ok"},
	}
	for _, test := range tests {
		r := ask(handler(test.status, test.alive), "GET", test.target)
		if got := body(t, r); r.StatusCode != test.code || got != test.body+"\n" {
			t.Errorf("%s: got %v %q, want %v %q", test.name, r.StatusCode, got, test.code, test.body+"\n")
		}
		kind := "text/plain; charset=utf-8"
		if strings.HasPrefix(test.body, "{") {
			kind = "application/json"
		}
		if got := r.Header.Get("Content-Type"); got != kind {
			t.Errorf("%s: got %v, want %v", test.name, got, kind)
		}
	}
}

func TestPathsAndMethods(t *testing.T) {
	h := handler(status.Status{Ready: true}, nil)
	tests := []struct {
		method, target string
		code           int
	}{
		{"GET", "/", 200}, {"GET", "/metrics", 200}, {"GET", "/health", 200}, {"GET", "/?x=1", 200},
		{"HEAD", "/", 200}, {"HEAD", "/metrics", 200}, {"HEAD", "/health?ready=1", 200},
		{"GET", "/metrics/", 404}, {"GET", "/health/live", 404}, {"GET", "/index.html", 404},
		{"GET", "/favicon.ico", 404}, {"GET", "/debug/pprof/", 404}, {"POST", "/nothing", 404},
		{"POST", "/", 405}, {"PUT", "/health", 405}, {"DELETE", "/metrics", 405},
		{"PATCH", "/health?ready=1", 405}, {"OPTIONS", "/", 405}, {"TRACE", "/", 405},
	}
	for _, test := range tests {
		r := ask(h, test.method, test.target)
		if r.StatusCode != test.code {
			t.Errorf("%s %s: got %v, want %v", test.method, test.target, r.StatusCode, test.code)
		}
		if got := r.Header.Get("Allow"); test.code == 405 && got != "GET, HEAD" {
			t.Errorf("%s %s: got Allow %q, want GET, HEAD", test.method, test.target, got)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s %s: got %s %q, want %q", test.method, test.target, name, got, want)
			}
		}
	}
}

// TestHosts: no page under a name that somebody else may let lead to this address.
func TestHosts(t *testing.T) {
	for host, code := range map[string]int{
		"10.128.4.7:8080": 200, "10.128.4.7": 200, "[fd01::7]:8080": 200, "[fd01::7]": 200, "127.0.0.1:8080": 200, "": 200,
		"localhost:8080": 200, "LOCALHOST": 200, "otc-route-manager-x7k2p": 200, "otc-route-manager-metrics:8080": 200,
		"otc-route-manager-metrics.otc-route-manager.svc:8080":                200,
		"10-128-4-7.otc-route-manager-metrics.team-a.svc.cluster.local.:8080": 200,
		"rebound.example:8080": 421, "rebound.example": 421, "10.128.4.7.example": 421, "metrics.svc.example": 421,
		"x.svc.cluster.local.example": 421, "localhost.example:8080": 421,
	} {
		h := handler(inSync(time.Now()), nil)
		r := askHost(h, host, "GET", "/")
		if shown := strings.Contains(body(t, r), "worker-1"); r.StatusCode != code || shown != (code == 200) {
			t.Errorf("%q: got %v, page shown %v, want %v", host, r.StatusCode, shown, code)
		}
		for _, target := range []string{"/metrics", "/health", "/health?status=1"} { // through the API server
			if r := askHost(h, host, "GET", target); r.StatusCode != 200 {
				t.Errorf("%s of %q: got %v, want 200", target, host, r.StatusCode)
			}
		}
	}
}

func TestMetricsAreServed(t *testing.T) {
	m := testMetrics()
	m.RouteChange("add", "success", 2)
	h := m.Handler(func() status.Status { return status.Status{} }, func() error { return nil })
	got := body(t, ask(h, "GET", "/metrics"))
	for _, want := range []string{
		"# TYPE route_manager_route_changes_total counter\n",
		`route_manager_route_changes_total{operation="add",result="success"} 2` + "\n",
		`route_manager_otc_requests_total{code="401",operation="login",service="iam"} 0` + "\n",
		`route_manager_annotation_to_route_seconds_bucket{le="600"} 0` + "\n",
		"\ngo_goroutines ", "\nprocess_resident_memory_bytes ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
}

// TestStateIsAskedAtEachScrape: the four gauges are what status says at that moment, by
// one call, so that a scrape agrees with itself.
func TestStateIsAskedAtEachScrape(t *testing.T) {
	asked := 0
	h := testMetrics().Handler(func() status.Status {
		asked++
		return status.Status{InSync: asked%2 == 1, Conflicts: asked, Drift: asked + 10, Orphans: asked + 20}
	}, func() error { return nil })
	for scrape, inSync := range []int{1, 0, 1} {
		got := body(t, ask(h, "GET", "/metrics"))
		n := scrape + 1
		for series, want := range map[string]int{"in_sync": inSync, "conflicts": n, "drift": n + 10, "orphaned_routes": n + 20} {
			if line := fmt.Sprintf("# TYPE route_manager_%s gauge\nroute_manager_%[1]s %d\n", series, want); !strings.Contains(got, line) {
				t.Errorf("scrape %d: got %s, want %q in it", n, got, line)
			}
		}
		if asked != n {
			t.Errorf("scrape %d: asked %d times, want once a scrape", n, asked)
		}
	}
}

// serve runs a server on a loopback port until the test ends.
func serve(t *testing.T, srv *http.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

func TestServerRefusesLongHeaders(t *testing.T) {
	srv := Server(handler(status.Status{}, nil), slog.New(slog.DiscardHandler))
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+serve(t, srv)+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 64<<10))
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %v, want %v", r.StatusCode, http.StatusRequestHeaderFieldsTooLarge)
	}
}

// TestServerTimeouts: an idle connection outlives the minute between two scrapes; a
// silent one is closed before the kubelet's probe gives up after 5 s.
func TestServerTimeouts(t *testing.T) {
	srv := Server(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	for name, timeout := range map[string]struct{ got, least, most time.Duration }{
		"ReadHeaderTimeout": {srv.ReadHeaderTimeout, time.Second, 5 * time.Second},
		"ReadTimeout":       {srv.ReadTimeout, time.Second, 10 * time.Second},
		"WriteTimeout":      {srv.WriteTimeout, 5 * time.Second, 30 * time.Second},
		"IdleTimeout":       {srv.IdleTimeout, 61 * time.Second, 2 * time.Minute},
	} {
		if timeout.got < timeout.least || timeout.got > timeout.most {
			t.Errorf("%s: got %v, want %v to %v", name, timeout.got, timeout.least, timeout.most)
		}
	}
}

// TestServerLogsForDebugging: anybody can make a connection go wrong.
func TestServerLogsForDebugging(t *testing.T) {
	for level, want := range map[slog.Level]string{slog.LevelInfo: "", slog.LevelDebug: "level=DEBUG msg=broken\n"} {
		var out strings.Builder
		Server(nil, slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))).ErrorLog.Print("broken")
		_, got, _ := strings.Cut(out.String(), " ") // the time
		if got != want {
			t.Errorf("%v: got %q, want %q", level, out.String(), want)
		}
	}
}
