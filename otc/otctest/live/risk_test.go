package live

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// TestRefusals: what could do harm ends the run before the first write.
func TestRefusals(t *testing.T) {
	route := func(destination string) otctest.Route {
		return otctest.Route{Type: "ecs", Destination: destination, NextHop: instanceID}
	}
	subnet := func(cidr, table string) func(*world) {
		return func(w *world) {
			w.AddSubnet(otctest.VPCID, otctest.Subnet{ID: "0c0ffee0-1111-4222-8333-444455556666", CIDR: cidr, TableID: table})
		}
	}
	get := func(f otctest.Fault) func(*world) {
		return func(w *world) { f.Op = otctest.OpTableGet; w.Fail(f) }
	}
	for want, prepare := range map[string]func(*world){
		"LIVE_ROUTE_TABLE: it is the default table":                                            func(w *world) { w.AddTable(tableID, "first", "another VPC"); w.Table = otctest.TableID },
		"LIVE_ROUTE_TABLE: 1 subnets use it":                                                   subnet("10.30.0.0/24", tableID),
		"LIVE_ROUTE_TABLE: it is not empty, it holds 4 local routes, ecs 10.128.0.0/23;":       func(w *world) { w.SetRoutes(tableID, route("10.128.0.0/23")) },
		"it is not empty, it holds 4 local routes, ecs 10.77.4.0/26;":                          func(w *world) { w.SetRoutes(tableID, route("10.77.4.0/26")) },
		"does not say whether it is a default table":                                           func(w *world) { w.Set(func(k *otctest.Knobs) { k.NoDefault = true }) },
		"does not say whether it is a default table, which subnets":                            get(otctest.Fault{Body: []byte(`{"routetable":{"id":"` + tableID + `","vpc_id":"x","default":false,"routes":[{}]}}`)}),
		"or what the VPC's subnets are":                                                        get(otctest.Fault{Body: []byte(`{"routetable":{"id":"` + tableID + `","vpc_id":"x","default":false,"subnets":[]}}`)}),
		"the answer is about table":                                                            get(otctest.Fault{Body: []byte(`{"routetable":{"id":"` + instanceID + `","vpc_id":"x"}}`)}),
		"LIVE_ROUTE_TABLE: the route table cannot be read: HTTP 404 VPC.2808":                  func(w *world) { w.DeleteTable(tableID) },
		"LIVE_CIDR: it overlaps the local route to \"10.77.0.0/20\"":                           subnet("10.77.0.0/20", ""),
		"LIVE_CIDR: it overlaps the local route to \"10.77.7.128/25\"":                         subnet("10.77.7.128/25", ""),
		"LIVE_CIDR: it overlaps the local route to \"fd00:77::/64\"":                           subnet("fd00:77::/64", ""),
		"LIVE_CIDR: it overlaps the local route to \"nonsense\"":                               subnet("nonsense", ""),
		"LIVE_CIDR: it overlaps the ecs route to \"10.77.5.0/24\" in table " + otctest.TableID: func(w *world) { w.SetRoutes(otctest.TableID, route("0.0.0.0/0"), route("10.77.5.0/24")) },
		"LIVE_CIDR: it holds 10.77.4.11":                                                       func(w *world) { w.AddServer(otctest.Instance{ID: instanceID, Fixed: []string{"10.77.4.11"}}) },
		"LIVE_INSTANCE: instance": func(w *world) {
			w.AddServer(otctest.Instance{ID: instanceID, VPCID: "another", Fixed: []string{"10.9.0.1"}})
		},
		"LIVE_INSTANCE: it cannot be read: HTTP 404 Ecs.0114": func(w *world) { w.DeleteServer(instanceID) },
		"context canceled":    func(w *world) { w.Fail(otctest.Fault{Op: otctest.OpServerGet, Err: context.Canceled}) },
		"iam login: HTTP 401": func(w *world) { w.SetPassword("another") },
		"iam login: ":         func(w *world) { w.Fail(otctest.Fault{Op: otctest.OpLogin, Status: 429, Times: -1}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			prepare(w)
			_, err := Run(t.Context(), w.Config)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nothing was written") {
				t.Errorf("got %v, want %s", err, want)
			}
			if n, logins := w.Count(otctest.OpTableUpdate), w.Count(otctest.OpLogin); n > 0 || logins > maxLogins {
				t.Errorf("%s: %d writes, %d logins", want, n, logins)
			}
		})
	}
}

// TestSettings: a wrong setting is named, and nothing is sent.
func TestSettings(t *testing.T) {
	good := map[string]string{"LIVE_ROUTE_TABLE": tableID, "LIVE_INSTANCE": instanceID, "LIVE_CIDR": "10.77.4.0/22"}
	for _, tt := range []string{"LIVE_ROUTE_TABLE=", "LIVE_ROUTE_TABLE=rtb-live", "LIVE_INSTANCE=worker-1", "LIVE_CIDR=", "LIVE_CIDR=10.77.4.1/22", "LIVE_CIDR=10.0.0.0/8",
		"LIVE_CIDR=0.0.0.0/0", "LIVE_CIDR=10.77.4.0/25", "LIVE_CIDR=fd00:77::/64", "LIVE_CIDR=10.77.4.0/22,10.78.4.0/22", "LIVE_CIDR=10.77.4.0/22,fd00::/16", "LIVE_CIDR=10.77.4.0/22,fd00:77::/64,fd00:78::/64"} {
		name, value, _ := strings.Cut(tt, "=")
		problems := new(Config).Read(func(n string) string {
			if n == name {
				return value
			}
			return good[n]
		})
		if len(problems) != 1 || !strings.HasPrefix(problems[0], name+": want ") {
			t.Errorf("%s: got %q", tt, problems)
		}
	}
}

// TestGate: no question can send this.
func TestGate(t *testing.T) {
	w := newWorld(t, nil)
	r := newRun(w.Config)
	if err := r.logIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.gate.pace = 0
	vpc := r.base["vpc"]
	body := func(ops string) string { return `{"routetable":{"routes":{` + ops + `}}}` }
	one := body(`"add":[{"type":"ecs","destination":"10.77.4.0/26","nexthop":"` + instanceID + `"}]`)
	for _, tt := range []struct {
		name, method, url, body string
		open                    bool
	}{
		{"before the checks", "PUT", vpc + "/routetables/" + tableID, one, false},
		{"to another table", "PUT", vpc + "/routetables/" + otctest.TableID, one, true},
		{"outside LIVE_CIDR", "PUT", vpc + "/routetables/" + tableID, strings.Replace(one, "10.77.4.0/26", "10.77.8.0/26", 1), true},
		{"all of LIVE_CIDR", "PUT", vpc + "/routetables/" + tableID, strings.Replace(one, "10.77.4.0/26", "10.77.4.0/22", 1), true},
		{"more than LIVE_CIDR", "PUT", vpc + "/routetables/" + tableID, strings.Replace(one, "10.77.4.0/26", "10.77.4.0/8", 1), true},
		{"the default route", "PUT", vpc + "/routetables/" + tableID, strings.Replace(one, "10.77.4.0/26", "0.0.0.0/0", 1), true},
		{"no destination", "PUT", vpc + "/routetables/" + tableID, strings.Replace(one, "10.77.4.0/26", "", 1), true},
		{"to another server", "PUT", vpc + "/routetables/" + tableID, strings.Replace(one, instanceID, tableID, 1), true},
		{"of another type", "PUT", vpc + "/routetables/" + tableID, strings.Replace(one, "ecs", "nat", 1), true},
		{"a delete outside", "PUT", vpc + "/routetables/" + tableID, body(`"del":[{"destination":"10.128.0.0/23"}]`), true},
		{"a new name", "PUT", vpc + "/routetables/" + tableID, `{"routetable":{"name":"x"}}`, true},
		{"delete the table", "DELETE", vpc + "/routetables/" + tableID, "", true},
		{"a post that is no login", "POST", vpc + "/routetables", one, true},
	} {
		sent := w.Count("")
		r.gate.open = tt.open
		req, _ := http.NewRequest(tt.method, tt.url, bytes.NewReader([]byte(tt.body)))
		if _, err := r.gate.RoundTrip(req); err == nil || w.Count("") != sent {
			t.Errorf("%s: got %v, %d calls more", tt.name, err, w.Count("")-sent)
		}
	}
	for range 2 * maxCalls {
		_, _, _, _ = otc.New(r.OTC, nil).Login(t.Context())
	}
	if n := w.Count(otctest.OpLogin); n != maxLogins {
		t.Errorf("%d logins", n)
	}
	for range 2 * maxCalls {
		r.err = nil
		r.get(t.Context(), "vpc", "/quotas")
	}
	if n := w.Count(""); n != maxCalls-slack {
		t.Errorf("%d calls", n)
	}
}

// TestCleanUpHasCalls: the clean-up has the calls that the questions may not make.
func TestCleanUpHasCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		r := newRun(w.Config)
		if err := errors.Join(r.logIn(t.Context()), r.check(t.Context()), r.announce(t.Context())); err != nil {
			t.Fatal(err)
		}
		r.write(t.Context(), "add 0 1 2")
		r.gate.calls = maxCalls - r.gate.reserve
		if a := r.write(t.Context(), "add 3"); r.err == nil {
			t.Errorf("a question got %v from the calls of the clean-up", a)
		}
		if err := r.cleanUp(t.Context()); err != nil {
			t.Error(err)
		}
		w.check(t)
	})
}

// TestDryRun: each call is listed, with what it writes and where.
func TestDryRun(t *testing.T) {
	w := newWorld(t, nil)
	w.DryRun = true
	if rec, err := Run(t.Context(), w.Config); rec != nil || err != nil {
		t.Errorf("got %v, %v", rec, err)
	}
	calls := 0
	for line := range strings.Lines(w.out.String()) {
		if strings.Contains(line, " GET ") || strings.Contains(line, " PUT ") || strings.Contains(line, " POST ") {
			calls++
		}
	}
	for _, want := range []string{"\n   1  POST https://iam.eu-de.otc.t-systems.com/v3/auth/tokens\n", "\n   2  GET  …/routetables/LIVE_ROUTE_TABLE\n",
		"\nroutes that fit into a table\n", "  PUT  …/routetables/LIVE_ROUTE_TABLE  del 10.77.4.0/26, add 10.77.4.0/26 → LIVE_INSTANCE\n", "\nat the end\n"} {
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("the list lacks %q:\n%s", want, w.out.String())
		}
	}
	if n := len(w.Requests()); calls != n {
		t.Errorf("%d calls are listed of %d", calls, n)
	}
}

var errCut = errors.New("connection reset")

// TestEndsAtAnyCall: the table is empty in the end, whatever a run meets and at which
// call, even if a write is executed after the run has given up on it.
func TestEndsAtAnyCall(t *testing.T) {
	fault := func(f otctest.Fault) func(*world, func()) error {
		return func(w *world, _ func()) error { w.Fail(f); return nil }
	}
	interrupt := func(_ *world, stop func()) error { stop(); return nil }
	for name, happens := range map[string]func(w *world, stop func()) error{
		"Ctrl-C":                   interrupt,
		"Ctrl-C, reads lag":        interrupt,
		"Ctrl-C, no lists":         interrupt,
		"not executed":             func(*world, func()) error { return errCut },
		"write executed":           fault(otctest.Fault{Applied: true, Err: errCut}),
		"write executed, as later": fault(otctest.Fault{Applied: true, Err: errCut, Times: 3}),
		"write executed late":      fault(otctest.Fault{Late: 50 * time.Second}),
		"write executed, a 504":    fault(otctest.Fault{Applied: true, Status: 504}),
		"write, a proxy's page":    fault(otctest.Fault{Status: 502, Shape: otctest.ShapeHTML}),
		"write, throttled":         fault(otctest.Fault{Status: 429}),
	} {
		t.Run(name, func(t *testing.T) {
			prepare := func(w *world) {
				w.Set(func(k *otctest.Knobs) {
					switch k.TableLimit = 60; name {
					case "Ctrl-C, reads lag":
						k.StaleReads = 3 * time.Second
					case "Ctrl-C, no lists":
						k.MaxRoutesPerRequest = 1
					}
				})
			}
			methods := undisturbed(t, prepare)
			for n, method := range methods {
				if strings.HasPrefix(name, "write") && method != http.MethodPut {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					ctx, stop := context.WithCancel(t.Context())
					defer stop()
					w := newWorld(t, nil)
					prepare(w)
					calls := -1
					w.wire = func(*http.Request) error {
						if calls++; calls != n {
							return nil
						}
						return happens(w, stop)
					}
					if err := newRun(w.Config).all(ctx); err == nil && n < len(methods)-1 && name != "write executed, a 504" { // the last call is the clean-up's
						t.Errorf("call %d: the run went on", n)
					}
					<-time.After(2 * time.Minute)
					w.check(t)
					if name == "Ctrl-C" && strings.Contains(w.log.String(), "got no answer") {
						t.Errorf("call %d: a write was interrupted", n)
					}
				})
			}
		})
	}
}

// undisturbed returns the methods of all calls of a run.
func undisturbed(t *testing.T, prepare func(*world)) (methods []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		prepare(w)
		w.rows(t)
		for _, r := range w.Requests() {
			methods = append(methods, r.Method)
		}
	})
	return methods
}
