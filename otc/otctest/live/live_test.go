package live

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

const (
	tableID    = "3d5e7f90-1a2b-4c3d-8e4f-5a6b7c8d9e0f"
	instanceID = "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26"
)

// A world is a simulator that is asked all questions, over a wire that may be cut.
type world struct {
	*otctest.Server
	Config
	out, log bytes.Buffer
	wire     func(*http.Request) error // before a request arrives; nil: all is well
	spy      func(text string)         // called with what goes over the wire; nil: not called
}

func newWorld(t *testing.T, env map[string]string) *world {
	t.Helper()
	w := &world{Config: Config{OTC: otc.Config{AuthURL: "https://iam.eu-de.otc.t-systems.com/v3", Region: "eu-de"}}}
	all := map[string]string{"LIVE_ROUTE_TABLE": tableID, "LIVE_INSTANCE": instanceID, "LIVE_CIDR": "10.77.4.0/22, fd00:77::/64"}
	for name, value := range env {
		all[name] = value
	}
	if problems := w.Read(func(name string) string { return all[name] }); problems != nil {
		t.Fatal(problems)
	}
	w.Server = w.Simulator(all["OS_IDENTITY_PROVIDER"])
	w.Out, w.Log, w.OTC.Transport = &w.out, &w.log, w
	return w
}

// RoundTrip is between the gate and the simulator.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.wire != nil {
		if err := w.wire(r); err != nil {
			return nil, err
		}
	}
	resp, err := w.Server.RoundTrip(r)
	if err == nil && w.spy != nil {
		b, _ := io.ReadAll(resp.Body)
		resp.Body = io.NopCloser(bytes.NewReader(b))
		w.spy(fmt.Sprint(r.URL, r.Header, resp.Header, string(b)))
	}
	return resp, err
}

// check checks what holds of every run, however it ended.
func (w *world) check(t *testing.T) {
	t.Helper()
	all := w.Requests()
	if len(all) > maxCalls || w.Count(otctest.OpLogin) > maxLogins {
		t.Errorf("%d calls, %d of them logins", len(all), w.Count(otctest.OpLogin))
	}
	for i := 1; i < len(all); i++ {
		if d := all[i].Time.Sub(all[i-1].Time); d < pace {
			t.Errorf("%s %s came %v after the call before", all[i].Method, all[i].Path, d)
		}
	}
	if left := w.Routes(tableID); len(left) != 0 {
		t.Errorf("left in the table: %v", left)
	}
}

// rows returns the marks of a run by question.
func (w *world) rows(t *testing.T) map[string]Row {
	t.Helper()
	r := newRun(w.Config)
	if err := r.all(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.check(t)
	rows := map[string]Row{}
	for _, row := range r.rows {
		rows[row.Question] = row
		if line := fmt.Sprintf("| %s | %s | %s | %s |\n", row.Question, row.Assumed, row.Seen, row.Mark()); !strings.Contains(w.out.String(), line) {
			t.Errorf("the table lacks %s", line)
		}
	}
	if len(rows) != len(questions()) || !strings.Contains(w.log.String(), "shows 4 local routes and no other") {
		t.Errorf("%d of %d questions, %s", len(rows), len(questions()), w.log.String())
	}
	return rows
}

// TestSimulator: it answers every question that can be asked as it is assumed.
func TestSimulator(t *testing.T) {
	for _, tt := range []struct {
		env      map[string]string
		notAsked int
		odd      otctest.Fault // but to be understood
	}{
		{nil, 9, otctest.Fault{}},
		{map[string]string{"OS_IDENTITY_PROVIDER": "cluster-1"}, 9, otctest.Fault{}},
		{nil, 9, otctest.Fault{Op: otctest.OpQuotas, Body: []byte(`{"quotas":{"resources":[{"type":"vpc","quota":5},{"type":"routetableContainRoutes","quota":200}]}}`)}},
		{nil, 10, otctest.Fault{Op: otctest.OpTableList, Status: 403}},        // no permission to list tables
		{map[string]string{"LIVE_CIDR": "10.20.0.0/16"}, 11, otctest.Fault{}}, // no IPv6, and the simulator's subnet is another
	} {
		synctest.Test(t, func(t *testing.T) {
			notAsked := 0
			w := newWorld(t, tt.env)
			if tt.odd.Op != "" {
				w.Fail(tt.odd)
			}
			for _, row := range w.rows(t) {
				switch row.Mark() {
				case "≠":
					t.Errorf("%s: seen %s, assumed %s", row.Question, row.Seen, row.Assumed)
				case "–":
					notAsked++
				}
			}
			if unchecked := strings.Contains(w.log.String(), "other tables could not be read"); unchecked != (tt.odd.Op == otctest.OpTableList) {
				t.Errorf("got %s", w.log.String())
			}
			if notAsked != tt.notAsked {
				t.Errorf("%d not asked, want %d", notAsked, tt.notAsked)
			}
		})
	}
}

// broken are simulators that differ from the assumptions, and the rows that show it.
func broken() map[string]func(*otctest.Server) {
	knob := func(f func(*otctest.Knobs)) func(*otctest.Server) { return func(s *otctest.Server) { s.Set(f) } }
	fault := func(op, part string, f otctest.Fault) func(*otctest.Server) {
		f.Op, f.Times = op, -1
		f.Match = func(r otctest.Request) bool { return strings.Contains(r.Path+r.Query.Encode()+string(r.Body), part) }
		return func(s *otctest.Server) { s.Fail(f) }
	}
	const get, put = otctest.OpTableGet, otctest.OpTableUpdate
	taken := otctest.Fault{Body: []byte(`{"routetable":{"routes":[]}}`)}
	refused := otctest.Fault{Status: 400, Code: "VPC.9999"}
	full := `"description":"` + mark + strings.Repeat("x", 255-len(mark)) + `"`
	return map[string]func(*otctest.Server){
		"login, by password or ID token as set":                         knob(func(k *otctest.Knobs) { k.TokenLifetime = time.Hour }),
		"catalog of that login":                                         knob(func(k *otctest.Knobs) { k.FlatCatalog = true }),
		"a route table that does not exist":                             fault(get, noServer, otctest.Fault{Status: 404, Code: "APIGW.0101"}),
		"an instance that does not exist":                               fault(otctest.OpServerGet, noServer, otctest.Fault{Status: 404, Shape: otctest.ShapeNova}),
		"a token that was never issued, at VPC and ECS":                 knob(func(k *otctest.Knobs) { k.BadToken = otctest.BadToken0301 }),
		"a missing permission (ecs:cloudServers:listServerInterfaces)":  knob(func(k *otctest.Knobs) { k.Deny["ecs:cloudServers:listServerInterfaces"] = otctest.DenyNova }),
		"header with the request id":                                    fault(get, noServer, otctest.Fault{Status: 404, Code: "VPC.2808", Message: "x", Header: http.Header{"X-Openstack-Request-Id": {"req-1"}}}),
		"quota of routes in a table":                                    knob(func(k *otctest.Knobs) { k.TableLimit = 100 }),
		"members of a route table | members of a route table in a list": knob(func(k *otctest.Knobs) { k.ExtraMembers = true }),
		"next hop of a local route":                                     knob(func(k *otctest.Knobs) { k.NullNextHop = true }),
		"10 reads at once after a write: how many lack it":              knob(func(k *otctest.Knobs) { k.StaleReads = 2 * time.Second }),
		"routes in the answer to a write":                               knob(func(k *otctest.Knobs) { k.PutAnswer = otctest.PutAnswerWhole }),
		"add a route that is there, to the same next hop | add a route that is there, to another next hop": knob(func(k *otctest.Knobs) { k.DuplicateStatus = 409 }),
		"one bad route among good ones (a duplicate)":                                                      knob(func(k *otctest.Knobs) { k.KeepPart = true }),
		"add a route to a next hop that does not exist":                                                    knob(func(k *otctest.Knobs) { k.CheckNextHop = true }),
		"delete and add of one destination in one write | delete and add in one write to a full table":     knob(func(k *otctest.Knobs) { k.AddFirst = true }),
		"modify without a description":                                                                     fault(put, `"mod":[{"type":"ecs","destination":"10.77.4.0/26","nexthop":"`+instanceID+`"}]`, taken),
		"modify a route that is not there":                                                                 knob(func(k *otctest.Knobs) { k.ModMissing = otctest.ModMissingAdds }),
		"delete a route that is not there":                                                                 knob(func(k *otctest.Knobs) { k.DelMissingOK = true }),
		"a destination twice in one write":                                                                 fault(put, `"destination":"10.77.4.192/26"`, taken),
		"a bare address as destination":                                                                    fault(put, `"destination":"10.77.6.64"`, taken),
		"description of 256 characters":                                                                    fault(put, strings.Repeat("x", 256-len(mark)), taken),
		"description with angle brackets":                                                                  fault(put, `\u003cx\u003e`, taken),
		"description of 255 characters":                                                                    fault(put, full, refused),
		"description of 255 characters in more bytes":                                                      fault(put, "éé", refused),
		"destination with host bits set":                                                                   knob(func(k *otctest.Knobs) { k.Respell = canonical("10.77.6.1/26") }),
		"delete by another spelling of the destination":                                                    knob(func(k *otctest.Knobs) { k.ExactSpelling = true }),
		"IPv6 destination in canonical form":                                                               knob(func(k *otctest.Knobs) { k.Respell = longIfShort }),
		"IPv6 destination in full length and capitals":                                                     knob(func(k *otctest.Knobs) { k.Respell = canonical("FD00:0077:0000:0000:B000:0000:0000:0000/68") }),
		"2, 5, 6, 10 and 50 operations in one write":                                                       knob(func(k *otctest.Knobs) { k.MaxRoutesPerRequest = 5 }),
		"order of the routes in a read":                                                                    knob(func(k *otctest.Knobs) { k.Shuffle = true }),
		"routes that fit into a table":                                                                     knob(func(k *otctest.Knobs) { k.CountLocal = true }),
		"one more than fit":                                                                                knob(func(k *otctest.Knobs) { k.FullStatus = 400 }),
	}
}

// canonical is a Respell that writes one destination in canonical form.
func canonical(spelling string) func(string) string {
	return func(d string) string {
		if d == spelling {
			return otc.ParseDestination(d).String()
		}
		return d
	}
}

func longIfShort(d string) string {
	if d == otc.ParseDestination(d).String() {
		return otctest.LongForm(d)
	}
	return d
}

// TestBrokenAssumption: where one assumption is wrong, the table shows just that. A row
// of each question that can be asked is shown to be different once.
func TestBrokenAssumption(t *testing.T) {
	shown := map[string]bool{}
	for names, breaks := range broken() {
		t.Run(names, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				breaks(w.Server)
				var different []string
				for _, q := range questions() {
					shown[q.name] = shown[q.name] || strings.Contains(names, q.name)
				}
				for _, row := range w.rows(t) {
					if row.Mark() == "≠" {
						different = append(different, row.Question)
						t.Logf("%s: %s", row.Question, row.Seen)
					}
				}
				want := strings.Split(names, " | ")
				slices.Sort(different)
				slices.Sort(want)
				if !slices.Equal(different, want) {
					t.Errorf("got %q", different)
				}
			})
		})
	}
	for _, row := range simulatedRows(t) {
		if row.Mark() == "✅" && !shown[row.Question] {
			t.Errorf("nothing breaks %q", row.Question)
		}
	}
}

func simulatedRows(t *testing.T) (rows map[string]Row) {
	synctest.Test(t, func(t *testing.T) { rows = newWorld(t, nil).rows(t) })
	return rows
}
