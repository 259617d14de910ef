package metrics

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/metrics/status"
)

const (
	me    = "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26"
	other = "e27d5c80-9f1b-4a36-8d4e-61b3f0c9a752"
)

var subnet = netip.MustParsePrefix("10.128.4.0/23")

// inSync is the Status of a Node at rest.
func inSync(now time.Time) status.Status {
	return status.Status{
		Ready: true, InSync: true, Reasons: []status.Reason{{Text: "1 route confirmed"}},
		Node: "worker-1", Instance: me, InstanceName: "worker-1.example",
		Subnets: []netip.Prefix{subnet},
		Tables: []status.Table{{ID: tableA, Name: "rtb-netops", State: "1 route confirmed", LastRead: now.Add(-3 * time.Minute), Used: 63,
			Routes: []status.Route{{Destination: subnet, Wanted: me, Seen: me}}}},
		LastRead: now.Add(-3 * time.Minute), NextRead: now.Add(12 * time.Minute),
		Changes: []status.Change{{Time: now.Add(-3 * time.Minute), Level: "success", Text: "route 10.128.4.0/23 confirmed"}},
	}
}

func render(t *testing.T, m *Metrics, s status.Status) string {
	t.Helper()
	return body(t, ask(m.Handler(func() status.Status { return s }, func() error { return nil }), "GET", "/"))
}

// text returns what a reader sees: the body without its tags, blanks folded.
func text(page string) string {
	_, page, _ = strings.Cut(page, "<body>")
	page = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " ")
	return strings.Join(strings.Fields(page), " ")
}

// A pageCase changes the Status of a Node at rest, and says what the page shows then.
type pageCase struct {
	name   string
	change func(*status.Status)
	want   []string
	not    []string
}

// checkPages runs at 2000-01-01 00:00:00 UTC, the time at which synctest begins.
func checkPages(t *testing.T, cases []pageCase) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		for _, test := range cases {
			s := inSync(time.Now())
			test.change(&s)
			got := text(render(t, testMetrics(), s))
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("%s: got %q, want %q in it", test.name, got, want)
				}
			}
			for _, not := range test.not {
				if strings.Contains(got, not) {
					t.Errorf("%s: got %q, want no %q in it", test.name, got, not)
				}
			}
		}
	})
}

func TestPageTellsState(t *testing.T) {
	checkPages(t, []pageCase{
		{"in sync", func(s *status.Status) {}, []string{
			"OTC Route Manager v1.2.3, as of 00:00:00 UTC, refreshed every 10 seconds ✓ In sync ready 1 route confirmed Instance worker-1.example " + me,
			"State 10.128.4.0/23 " + me + " this node " + me + " this node ✓ as wanted",
			"3 min ago 1999-12-31 23:57:00 UTC ✓ success route 10.128.4.0/23 confirmed",
		}, []string{"dry run", "Planned changes"}},
		{"conflict", func(s *status.Status) {
			s.Ready, s.InSync, s.Reasons = false, false, []status.Reason{{Table: "rtb-netops", Text: "conflict", Hint: "delete it"}}
		}, []string{"✗ Not in sync not ready Route table rtb-netops: conflict Do: delete it Instance"}, nil},
		{"three tables", func(s *status.Status) {
			s.Ready, s.InSync, s.Reasons = false, false, []status.Reason{{Table: "rtb-a", Text: "full", Hint: "wait"}, {Table: "rtb-b", Text: "forbidden", Hint: "grant it"}, {Table: "rtb-c", Text: "forbidden", Hint: "grant it"}}
		}, []string{"✗ Not in sync not ready Route table rtb-a: full Do: wait Route table rtb-b: forbidden Route table rtb-c: forbidden Do: grant it Instance"}, nil},
		{"dry run with changes", func(s *status.Status) { s.InSync, s.DryRun = false, true },
			[]string{"≠ Changes planned ready dry run: nothing is written"}, nil},
		{"dry run without", func(s *status.Status) { s.DryRun = true },
			[]string{"✓ In sync ready dry run: nothing is written"}, nil},
		{"dry run that fails", func(s *status.Status) { s.Ready, s.InSync, s.DryRun = false, false, true },
			[]string{"✗ Not in sync not ready dry run: nothing is written"}, nil},
		{"drift", func(s *status.Status) { s.InSync = false }, []string{"! Not in sync ready"}, nil},
		{"never reached, and somebody has to act", func(s *status.Status) {
			*s = status.Status{Reasons: []status.Reason{{Text: "the API server cannot be reached: refused", Hint: "check the network"}}}
		}, []string{"✗ Not in sync not ready the API server cannot be reached: refused Do: check the network Instance"}, []string{"Starting"}},
		{"starting", func(s *status.Status) { *s = status.Status{Reasons: []status.Reason{{Text: "waiting for the Node"}}} }, []string{
			"unknown node", "… Starting not ready waiting for the Node", "No route table read yet.",
			"Recent changes of state None yet."}, nil},
	})
}

func TestPageTellsFacts(t *testing.T) {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	checkPages(t, []pageCase{
		{"all known", func(s *status.Status) {}, []string{
			"Pod subnets 10.128.4.0/23 Last read 3 min ago 1999-12-31 23:57:00 UTC",
			"Next read in 12 min 2000-01-01 00:12:00 UTC"}, nil},
		{"none known", func(s *status.Status) { *s = status.Status{} }, []string{
			"Instance not found yet Pod subnets none yet Last read none yet Next read none planned",
			"Token ends no token held"}, nil},
		{"local times", func(s *status.Status) { s.LastRead = start.In(time.FixedZone("", 7200)) },
			[]string{"Last read now 2000-01-01 00:00:00 UTC"}, nil},
		{"overdue", func(s *status.Status) { s.NextRead = start.Add(-time.Second) },
			[]string{"Next read now"}, nil},
		{"this process", func(s *status.Status) {
			s.Program.Started, s.Program.Settings = start.Add(-3*time.Hour), []status.Setting{{Name: "CLUSTER_CIDR", Value: "10.128.0.0/14"}, {Name: "DRY_RUN", Value: "false"}}
		}, []string{"Running since 3 h ago 1999-12-31 21:00:00 UTC", "Settings CLUSTER_CIDR 10.128.0.0/14 DRY_RUN false"}, []string{"curl"}},
		{"its address", func(s *status.Status) { s.Program.Address = netip.MustParseAddrPort("10.128.4.7:8080") },
			[]string{"from a client in the VPC curl http://10.128.4.7:8080/health"}, nil},
	})
}

func TestPageTellsTokenEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for end, want := range map[time.Time]string{
			{}:                              "no token held",
			time.Now().Add(20 * time.Hour):  "in 20 h 2000-01-01 20:00:00 UTC",
			time.Now().Add(-25 * time.Hour): "1 d 1 h ago 1999-12-30 23:00:00 UTC",
		} {
			m := testMetrics()
			m.TokenExpiry(end)
			if got := text(render(t, m, inSync(time.Now()))); !strings.Contains(got, "Token ends "+want) {
				t.Errorf("got %q, want %q in it", got, want)
			}
		}
	})
}

func TestPageTellsRoutes(t *testing.T) {
	checkPages(t, []pageCase{
		{"table", func(s *status.Status) {},
			[]string{"Route table rtb-netops " + tableA + " 1 route confirmed 63 of 200 routes, 31 %"}, nil},
		{"table not read", func(s *status.Status) { s.Tables = []status.Table{{ID: tableA}} },
			[]string{"Route table " + tableA + " not read yet", "No route wanted or seen yet."}, []string{"routes, 0 %"}},
		{"other next hop", func(s *status.Status) {
			s.Tables[0].Routes[0] = status.Route{Destination: subnet, Wanted: me, Seen: other, Note: "type nat"}
		}, []string{me + " this node " + other + " ✗ differs type nat"}, nil},
		{"missing", func(s *status.Status) { s.Tables[0].Routes[0].Seen = "" },
			[]string{me + " this node missing ✗ missing"}, nil},
		{"left over", func(s *status.Status) { s.Tables[0].Routes[0].Wanted = "" },
			[]string{"10.128.4.0/23 not wanted " + me + " this node ! not wanted"}, nil},
		{"planned", func(s *status.Status) {
			s.DryRun, s.Tables[0].Planned = true, []string{"add 10.128.4.0/23", "delete 10.128.8.0/23"}
		}, []string{"Planned changes add 10.128.4.0/23 delete 10.128.8.0/23"}, nil},
		{"instance not found, table not read", func(s *status.Status) {
			s.Instance, s.Tables[0].LastRead, s.Tables[0].Routes[0] = "", time.Time{}, status.Route{Destination: subnet}
		}, []string{"10.128.4.0/23 instance not found yet not read yet … not known yet"}, []string{"as wanted", "of 200 routes"}},
		{"table not read", func(s *status.Status) { s.Tables[0].LastRead, s.Tables[0].Routes[0].Seen = time.Time{}, "" },
			[]string{me + " this node not read yet … not known yet"}, []string{"missing"}},
		{"nothing planned", func(s *status.Status) { s.DryRun = true }, []string{"Planned changes none"}, nil},
	})
}

func TestPageShowsTwentyChanges(t *testing.T) {
	var s status.Status
	for i := range 30 {
		s.Changes = append(s.Changes, status.Change{Level: "info", Text: fmt.Sprintf("change-%d.", i)})
	}
	page := render(t, testMetrics(), s)
	if got := strings.Count(page, "change-"); got != 20 || !strings.Contains(page, "change-19.") {
		t.Errorf("got %v changes, want the first 20", got)
	}
}

// spoil sets every string in v to hostile.
func spoil(v reflect.Value, hostile string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(hostile)
	case reflect.Slice:
		for i := range v.Len() {
			spoil(v.Index(i), hostile)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() { // not the insides of times and prefixes
				spoil(v.Field(i), hostile)
			}
		}
	}
}

func TestPageEscapes(t *testing.T) {
	for _, hostile := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`,
		`</title></style><!-- `, `{{facts}}{{node}}`, "a\u202Eb\x00c\u2028d\xff", `&lt;b&gt;`, "javascript:alert(1)",
	} {
		clean := inSync(time.Now())
		clean.DryRun = true
		clean.Tables[0].Planned = []string{"add"}
		clean.Tables[0].Routes[0].Note = "note"
		spoiled := clean
		spoil(reflect.ValueOf(&spoiled).Elem(), "harmless")
		want := tags(render(t, testMetrics(), spoiled))
		spoil(reflect.ValueOf(&spoiled).Elem(), hostile)
		page := render(t, testMetrics(), spoiled)
		if got := tags(page); got != want {
			t.Errorf("%q: got tags %v, want %v", hostile, got, want)
		}
		for _, bad := range []string{"\x00", "\u202E", "\u2028", "\xff"} {
			if strings.Contains(page, bad) {
				t.Errorf("%q: got %q in the page, want it replaced", hostile, bad)
			}
		}
	}
}

// tags returns the tags of a page with their attributes: what a value must not change.
func tags(page string) string {
	_, page, _ = strings.Cut(page, "</style>")
	return strings.Join(regexp.MustCompile(`<[^>]*>`).FindAllString(page, -1), "")
}

func TestPageIsSelfContained(t *testing.T) {
	s := inSync(time.Now())
	s.DryRun = true
	page := render(t, testMetrics(), s)
	for _, bad := range []string{"://", "<script ", "<form", "@import", "url(", "style=\"", "{{", "}}", "<no value>"} {
		if strings.Contains(page, bad) {
			t.Errorf("got %q in the page, want none", bad)
		}
	}
	for _, want := range []string{`href="metrics"`, `href="health"`, `href="health?ready=1"`, "prefers-color-scheme: dark"} {
		if !strings.Contains(page, want) {
			t.Errorf("got no %q in the page, want it", want)
		}
	}
}

func TestPagePolicyAllowsOnlyItsStyleAndScript(t *testing.T) {
	r := ask(handler(inSync(time.Now()), nil), "GET", "/")
	page := body(t, r)
	want := "default-src 'none'; "
	for _, element := range []string{"style", "script"} {
		text := regexp.MustCompile(`(?s)<` + element + `>(.*?)</` + element + `>`).FindStringSubmatch(page)[1]
		sum := sha256.Sum256([]byte(text))
		want += element + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; "
	}
	if got := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, want) {
		t.Errorf("got %v, want %v...", got, want)
	}
}

// TestPageThatFails: no half of a page is sent.
func TestPageThatFails(t *testing.T) {
	w := httptest.NewRecorder()
	page{parsed: func() *template.Template { return template.Must(template.New("").Parse("half{{.None}}")) }}.write(w, view{})
	if got := w.Body.String(); w.Code != http.StatusInternalServerError || strings.HasPrefix(got, "half") {
		t.Errorf("got %v %q, want 500 and the error", w.Code, got)
	}
}

// TestUse: how full a table is, against the limit as it is known by then.
func TestUse(t *testing.T) {
	tests := []struct {
		used, limit int
		text, class string
	}{
		{160, 200, "160 of 200 routes, 80 %", `class="fill" width="80"`},
		{161, 200, "161 of 200 routes, 80 %", `class="fill high" width="80"`},
		{250, 200, "250 of 200 routes, 125 %", `class="fill high" width="100"`},
		{0, 200, "0 of 200 routes, 0 %", `class="fill" width="0"`},
		{63, 500, "63 of 500 routes, 12 %", `class="fill" width="12"`},
	}
	for _, test := range tests {
		m, s := testMetrics(), inSync(time.Now())
		m.RouteLimit(test.limit)
		s.Tables[0].Used = test.used
		if got := render(t, m, s); !strings.Contains(got, test.text) || !strings.Contains(got, test.class) {
			t.Errorf("%d of %d: got %v, want %v, %v", test.used, test.limit, got, test.text, test.class)
		}
	}
}

func TestRelative(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "now"},
		{-400 * time.Millisecond, "now"},
		{600 * time.Millisecond, "in 1 s"},
		{-59 * time.Second, "59 s ago"},
		{time.Minute, "in 1 min"},
		{61 * time.Second, "in 1 min 1 s"},
		{-(2*time.Hour + 3*time.Minute + 4*time.Second), "2 h 3 min ago"},
		{time.Hour + 4*time.Second, "in 1 h"},
		{49 * time.Hour, "in 2 d 1 h"},
	}
	for _, test := range tests {
		if got := relative(test.d); got != test.want {
			t.Errorf("%v: got %v, want %v", test.d, got, test.want)
		}
	}
}
