package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"otc-route-manager/node/e2e/controlplane"
)

// faster is how many times faster than in production the clock of the rules runs: a minute of
// theirs is a second of the test.
const faster = 60

// prometheusConfig names the files beside it. In production a scrape comes every 30 s; sixty times
// faster would be too fast for a busy machine.
const prometheusConfig = `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [alerts.rules.yaml]
scrape_configs:
- job_name: otc-route-manager
  file_sd_configs: [{files: [targets.json]}]
`

// A prometheus is a running Prometheus with the alert rules of this project.
type prometheus struct {
	*controlplane.Process
	dir string
	url string
}

// A target is what Prometheus scrapes, with the labels that the operator would add.
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// An alert is one of /api/v1/alerts.
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
}

// tool returns the path of a program of the Debian package prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; it comes with: apt-get install -y --no-install-recommends prometheus", err)
	}
	return path
}

// startPrometheus starts one that scrapes nothing yet, until the test ends.
func startPrometheus(t *testing.T, rules string) *prometheus {
	t.Helper()
	path := tool(t, "prometheus")
	address := "127.0.0.1:" + strconv.Itoa(freePorts(t, 1)[0])
	p := &prometheus{dir: filepath.Join(scratch, t.Name(), "prometheus"), url: "http://" + address}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p.write(t, "prometheus.yaml", []byte(prometheusConfig))
	p.write(t, "alerts.rules.yaml", []byte(rules))
	p.scrape(t)
	var err error
	p.Process, err = controlplane.StartProcess(p.dir, "prometheus", nil, path, "--log.level=warn",
		"--config.file="+filepath.Join(p.dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(p.dir, "data"),
		"--web.listen-address="+address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("what Prometheus printed:\n%s", p.Output())
		}
	})
	eventually(t, 30*time.Second, func(ctx context.Context) error { return p.get(ctx, "/-/ready", nil) })
	return p
}

// write replaces one of Prometheus' files at once.
func (p *prometheus) write(t *testing.T, name string, text []byte) {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := errors.Join(os.WriteFile(path+".new", text, 0o644), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// scrape says what to scrape from now on. Prometheus may take some seconds to notice.
func (p *prometheus) scrape(t *testing.T, targets ...target) {
	t.Helper()
	text, err := json.Marshal(slices.Concat([]target{}, targets)) // [], not null
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "targets.json", text)
}

// get asks the HTTP API; data nil ignores the answer.
func (p *prometheus) get(ctx context.Context, path string, data any) error {
	if !p.Running() {
		return fmt.Errorf("Prometheus ended: %s", p.Output())
	}
	text, err := get(ctx, p.url+path)
	if err != nil || data == nil {
		return err
	}
	return json.Unmarshal([]byte(text), &struct{ Data any }{data})
}

// firing returns the alerts that fire now.
func (p *prometheus) firing(ctx context.Context) ([]alert, error) {
	var data struct{ Alerts []alert }
	err := p.get(ctx, "/api/v1/alerts", &data)
	return slices.DeleteFunc(data.Alerts, func(a alert) bool { return a.State != "firing" }), err
}

// query returns the labels of the series that an expression finds.
func (p *prometheus) query(ctx context.Context, expression string) ([]map[string]string, error) {
	var data struct {
		Result []struct{ Metric map[string]string }
	}
	err := p.get(ctx, "/api/v1/query?query="+url.QueryEscape(expression), &data)
	var found []map[string]string
	for _, series := range data.Result {
		found = append(found, series.Metric)
	}
	return found, err
}

// fastRules returns the rules of metrics/alerts.yaml as Prometheus reads them, and the names of
// the alerts. Each "for" and each range in brackets is sixty times shorter; all else is as it is.
func fastRules(t *testing.T) (rules string, names []string) {
	t.Helper()
	text, err := os.ReadFile("../../metrics/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, groups, found := strings.Cut(string(text), "\nspec:\n  groups:\n")
	if !found {
		t.Fatal("alerts.yaml has no spec.groups")
	}
	rules = "groups:\n" + regexp.MustCompile(`(?m)^  `).ReplaceAllString(groups, "")
	rules = regexp.MustCompile(`(?m)(^ +for: |\[)\d+[smh](\]|$)`).ReplaceAllStringFunc(rules, func(s string) string {
		value := strings.TrimLeft(s, " for:[")
		d, err := time.ParseDuration(strings.TrimSuffix(value, "]"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Replace(s, strings.TrimSuffix(value, "]"), fmt.Sprintf("%dms", (d/faster).Milliseconds()), 1)
	})
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		names = append(names, m[1])
	}
	return rules, names
}

// checkMetrics has promtool read what the program shows on /metrics.
func checkMetrics(t *testing.T, w *worker) {
	t.Helper()
	text, err := get(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/metrics", w.port))
	if err != nil || !strings.Contains(text, "\nroute_manager_orphaned_routes 0\n") {
		t.Fatalf("%v: the series that %s needs is missing\n%s", err, orphaned, text)
	}
	cmd := exec.CommandContext(t.Context(), tool(t, "promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
