package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

const answers = "../answers"

var rewrite = flag.Bool("update", false, "write the example recording anew")

// differences are the answers of recordings in which the simulator differs, by file and
// question, each with the reason why it stays as it is.
func differences() map[string]map[string]string { return nil }

// record returns the recording of a run.
func (w *world) record(t *testing.T) *Recording {
	t.Helper()
	rec, err := Run(t.Context(), w.Config)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// TestExample: the recording in the tree is what the simulator answers, and names
// its source.
func TestExample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := newWorld(t, nil).record(t)
		file := filepath.Join(answers, rec.Name())
		if *rewrite {
			if err := os.WriteFile(file, rec.Encode(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if b, err := os.ReadFile(file); err != nil || !bytes.Equal(b, rec.Encode()) || rec.Cloud != simulatedCloud {
			t.Errorf("%s: %v, or it is not what the simulator answers: go test ./otc/otctest/live -run TestExample -update", file, err)
		}
	})
}

// TestNothingPrivate: no id, address, name or secret that went over the wire is in the
// recording, and what stands for one is always the same.
func TestNothingPrivate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		private := []string{otctest.User, otctest.Password, otctest.Account, otctest.Account[3:], otctest.Project, "rtb-live", "rtb-netops", "live-1", "fa:16:3e", "fd00:77::5", "to nobody else",
			"FD00:0077", "I2Nsb3VkLWNvbm"} // the last: user data
		w.SetRoutes(otctest.TableID, otctest.Route{Type: "ecs", Destination: "172.31.7.0/24", NextHop: tableID, Description: "to nobody else"})
		w.Fail(otctest.Fault{Op: otctest.OpServerGet, After: 1, Status: 404, Code: "Ecs.0114", Echo: func(r otctest.Request) string {
			return "User " + strings.ToUpper(otctest.User) + " of " + otctest.Account + " at 80.158.0.77, fa:16:3e:4a:7c:91, fd00:77::5: " + r.Header.Get("X-Auth-Token")
		}})
		shaped := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|\d+\.\d+\.\d+\.\d+|fd00:77[0-9a-f:]*|MII[\w+/=]{30,}`)
		w.spy = func(text string) { private = append(private, shaped.FindAllString(text, -1)...) }
		rec := w.record(t)
		text := strings.ToLower(string(rec.Encode()))
		for _, p := range private {
			if strings.Contains(text, strings.ToLower(p)) && p != noServer && !slices.Contains(public(), p) {
				t.Errorf("%s is in the recording", p)
			}
		}
		if len(private) < 500 || !strings.Contains(text, "user name-3 of name-4 at 240.") {
			t.Errorf("only %d private texts, or a name was not replaced by its own replacement", len(private))
		}
		paths, hops := map[string]bool{}, map[string]bool{}
		for _, x := range rec.Exchanges {
			if x.Method == http.MethodPut {
				paths[x.Path] = true
				for _, m := range regexp.MustCompile(`"nexthop":"([^"]+)`).FindAllStringSubmatch(string(x.Sent), -1) {
					hops[m[1]] = true
				}
			}
		}
		if len(paths) != 1 || len(hops) != 2 {
			t.Errorf("the table is called %v, the next hops %v", paths, hops)
		}
	})
}

// TestCheck: a recording that holds one private text, however it came there, is not written.
func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		r := newRun(w.Config)
		if err := errors.Join(r.logIn(t.Context()), r.check(t.Context())); err != nil {
			t.Fatal(err)
		}
		rec, err := r.record()
		if err != nil {
			t.Fatal(err)
		}
		s := newScrubber(r)
		for _, e := range r.gate.exchanges {
			s.exchange(e)
		}
		for _, private := range []string{otctest.User, strings.ToUpper(otctest.User), otctest.Password, r.token, otctest.Account, "rtb-live", tableID, otctest.ProjectID, "10.20.0.11"} {
			for where, put := range map[string]func(*Exchange){
				"body":   func(x *Exchange) { x.Body, _ = json.Marshal([]string{"it was " + private + "."}) },
				"header": func(x *Exchange) { x.Header = map[string]string{"X-Request-Id": private} },
				"sent":   func(x *Exchange) { x.Sent, _ = json.Marshal(map[string]string{"a": private}) },
			} {
				leaky := *rec
				leaky.Exchanges = slices.Clone(rec.Exchanges)
				put(&leaky.Exchanges[1])
				if s.check(rec) != nil || s.check(&leaky) == nil {
					t.Errorf("%s in the %s is not found", private, where)
				}
			}
		}
	})
}

// TestRecordings: the program understands every answer in the tree, and the simulator
// answers the same.
func TestRecordings(t *testing.T) {
	files, err := filepath.Glob(answers + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var rec Recording
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&rec); err != nil || rec.Name() != filepath.Base(file) {
			t.Errorf("%s: %v, or its name is not %s", file, err, rec.Name())
		}
		for _, p := range rec.problems(t, differences()[rec.Name()]) {
			t.Errorf("%s: %s", rec.Name(), p)
		}
	}
}

// TestProblems: an unforeseen answer is named.
func TestProblems(t *testing.T) {
	for want, breaks := range map[string]func(*otctest.Server){
		`"2, 5, 6, 10 and 50 operations in one write": the simulator says "all are applied", the recording "6 are refused: 400 VPC.2800"`: func(s *otctest.Server) {
			s.Set(func(k *otctest.Knobs) { k.MaxRoutesPerRequest = 5 })
		},
		`"add a route that is there, to the same next hop": HTTP 400 VPC.9999 is not in the policy table`: func(s *otctest.Server) {
			s.Fail(otctest.Fault{Op: otctest.OpTableUpdate, After: 1, Status: 400, Code: "VPC.9999"})
		},
		`"a token that was never issued, at VPC and ECS": got permanent`: func(s *otctest.Server) {
			s.Fail(otctest.Fault{Op: otctest.OpTableGet, After: 2, Status: 403, Code: "VPC.2201"})
		},
		`"quota of routes in a table": it does not decode`: func(s *otctest.Server) {
			s.Fail(otctest.Fault{Op: otctest.OpQuotas, Body: []byte(`{"quotas":[]}`)})
		},
	} {
		var rec *Recording
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			breaks(w.Server)
			rec = w.record(t)
		})
		if all := rec.problems(t, nil); !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("got %q, want %s", all, want)
		}
	}
}

// problems returns where the simulator differs, known differences apart, and which
// answers the program does not take as it should.
func (rec *Recording) problems(t *testing.T, known map[string]string) (all []string) {
	for _, row := range rec.Rows {
		i := slices.IndexFunc(questions(), func(q question) bool { return q.name == row.Question })
		if i < 0 || row.Mark() == "–" || known[row.Question] == row.Seen {
			continue
		}
		if is := questions()[i].assumed; is != row.Seen {
			all = append(all, fmt.Sprintf("%q: the simulator says %q, the recording %q: change the simulator, or list it in differences", row.Question, is, row.Seen))
		}
	}
	for _, x := range rec.Exchanges {
		if err := x.replay(t); err != nil {
			all = append(all, fmt.Sprintf("%q: %v", x.Question, err))
		}
	}
	return all
}

// replay gives the answer to the program's client. It returns what is wrong with the
// result.
func (x Exchange) replay(t *testing.T) (wrong error) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.OTC.Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		w.OTC.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method != x.Method { // the login before the call
				return w.Server.RoundTrip(r)
			}
			h := http.Header{}
			for name, value := range x.Header {
				h.Set(name, value)
			}
			return &http.Response{StatusCode: x.Status, Header: h, Body: io.NopCloser(bytes.NewReader(x.Body)), Request: r}, nil
		})
		wrong = x.judge(x.call(t, otc.New(w.OTC, nil)))
	})
	return wrong
}

// call makes the program's own call of that kind.
func (x Exchange) call(t *testing.T, c *otc.Client) (err error) {
	path, _, _ := strings.Cut(x.Path, "?")
	_, id, _ := strings.Cut(path, "/routetables/")
	switch {
	case x.Method == http.MethodPost:
		_, _, _, err = c.Login(t.Context())
	case x.Method == http.MethodPut:
		route := otc.Route{Type: otc.TypeECS, Destination: netip.MustParsePrefix("10.1.0.0/16"), NextHop: noServer}
		err = c.UpdateRoutes(t.Context(), otc.RouteTable{ID: id, AsOf: time.Now()}, otc.Ops(otc.Add, route))
	case id != "":
		_, err = c.RouteTable(t.Context(), id)
	case strings.HasSuffix(path, "/quotas"):
		_, err = c.RouteQuota(t.Context())
	case strings.Contains(path, "/cloudservers/"):
		_, id, _ = strings.Cut(strings.TrimSuffix(path, "/os-interface"), "/cloudservers/")
		if x.Status == http.StatusOK && strings.HasSuffix(path, "/os-interface") {
			return nil // the program does not ask for it
		}
		_, err = c.Server(t.Context(), id)
	}
	return err
}

// judge compares what the program makes of an answer with what it should.
func (x Exchange) judge(err error) error {
	e, _ := errors.AsType[*otc.Error](err)
	switch {
	case x.Status/100 == 2 && err == nil:
		return nil
	case e == nil || e.Status == 0:
		return fmt.Errorf("it does not decode: %v", err)
	case strings.Contains(e.Hint, "unexpected response"):
		return fmt.Errorf("HTTP %d %s is not in the policy table", e.Status, e.Code)
	}
	ok := e.Reaction == otc.Permanent
	switch {
	case strings.HasPrefix(x.Question, "a token that was never issued"):
		ok = e.Reaction == otc.Relogin
	case x.Method == http.MethodPut:
		ok = slices.Contains([]otc.Reaction{otc.Rejected, otc.Conflict, otc.Quota}, e.Reaction)
	case strings.HasPrefix(x.Question, "a route table that"):
		ok = ok && strings.Contains(e.Hint, "ROUTE_TABLE_ID")
	case strings.HasPrefix(x.Question, "an instance that"):
		ok = otc.IsNotFound(err)
	case x.Status == http.StatusForbidden:
		ok = ok && strings.Contains(e.Hint, "grant ")
	}
	if !ok {
		return fmt.Errorf("got %v, %v", e.Reaction, err)
	}
	return nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
