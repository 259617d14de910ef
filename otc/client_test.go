package otc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// every call of the client, by the name in errors and metrics.
func everyCall() map[string]func(context.Context, *Client) error {
	return map[string]func(context.Context, *Client) error{
		"vpc get_route_table": func(ctx context.Context, c *Client) error {
			_, err := c.RouteTable(ctx, otctest.TableID)
			return err
		},
		"vpc update_route_table": func(ctx context.Context, c *Client) error {
			return c.UpdateRoutes(ctx, fresh(), Ops(Add, route("10.128.4.0/23")))
		},
		"vpc list_quotas": func(ctx context.Context, c *Client) error {
			_, err := c.RouteQuota(ctx)
			return err
		},
		"ecs get_server": func(ctx context.Context, c *Client) error {
			_, err := c.Server(ctx, one)
			return err
		},
		"ecs list_servers": func(ctx context.Context, c *Client) error {
			_, err := c.ServersByIP(ctx, netip.MustParseAddr("10.20.0.11"))
			return err
		},
		"vpc list_ports": func(ctx context.Context, c *Client) error {
			_, err := c.Ports(ctx, one)
			return err
		},
	}
}

func TestRequests(t *testing.T) {
	w := newWorld(t)
	for _, call := range everyCall() {
		if err := call(t.Context(), w.client); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	for _, r := range w.Requests() {
		paths = append(paths, r.Method+" "+r.Host+r.Path)
		if strings.HasSuffix(r.Path, "/") || strings.Contains(r.Path, "//") {
			t.Errorf("got path %s: a slash too many is another API", r.Path)
		}
		if got := r.Header.Get("User-Agent"); got != "otc-route-manager/test" {
			t.Errorf("%s: got User-Agent %q", r.Op, got)
		}
		if got := r.Header.Get("Accept"); got != "application/json" {
			t.Errorf("%s: got Accept %q", r.Op, got)
		}
		if got := r.Header.Get("Content-Type"); (got == "application/json;charset=utf8") != (r.Method != "GET") {
			t.Errorf("%s: got Content-Type %q", r.Op, got)
		}
		if got := r.Header.Get("X-Auth-Token"); (got == w.Tokens()[0]) != (r.Op != otctest.OpLogin) {
			t.Errorf("%s: got a token of %d bytes", r.Op, len(got))
		}
		if r.Method == "GET" && len(r.Body) > 0 {
			t.Errorf("%s: got a body %q", r.Op, r.Body)
		}
	}
	slices.Sort(paths)
	const vpc, ecs, project = "vpc.eu-de.otc.t-systems.com", "ecs.eu-de.otc.t-systems.com", "/v1/" + otctest.ProjectID
	want := []string{
		"GET " + ecs + project + "/cloudservers/" + one,
		"GET " + ecs + project + "/cloudservers/detail",
		"GET " + vpc + project + "/quotas",
		"GET " + vpc + project + "/routetables/" + otctest.TableID,
		"GET " + vpc + "/v2.0/ports",
		"POST iam.eu-de.otc.t-systems.com/v3/auth/tokens",
		"PUT " + vpc + project + "/routetables/" + otctest.TableID,
	}
	if !slices.Equal(paths, want) {
		t.Errorf("got  %q\nwant %q", paths, want)
	}
}

// Ids that are no UUIDs could become another path; they never leave.
func TestIdsAreChecked(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"", "x", "../vpcs/x", strings.Repeat("a", 36), one + "/", one + "?x", strings.ReplaceAll(one, "-", "_"), "ä" + one[2:]} {
		_, err1 := w.client.RouteTable(t.Context(), id)
		err2 := w.client.UpdateRoutes(t.Context(), RouteTable{ID: id, AsOf: time.Now()}, Ops(Add, route("10.128.4.0/23")))
		_, err3 := w.client.Server(t.Context(), id)
		_, err4 := w.client.Ports(t.Context(), id)
		for i, err := range []error{err1, err2, err3, err4} {
			if err == nil || !strings.Contains(err.Error(), "not a UUID") {
				t.Errorf("%q, call %d: got %v", id, i+1, err)
			}
		}
	}
	w.wantCalls("", 0)
	if !IsUUID(strings.ToUpper(one)) {
		t.Error("upper case is no UUID")
	}
}

// R13: the other side does not decide how much memory an answer takes.
func TestAnswersAreBounded(t *testing.T) {
	const head = `{"routetable":{"id":"` + otctest.TableID + `",`
	list := func(n int, entry string) string { return strings.Repeat(entry+",", n-1) + entry }
	for _, tt := range []struct{ op, name, body, want string }{
		{otctest.OpTableGet, "20,000 routes", head + `"routes":[` + list(20000, `{"type":"ecs","destination":"10.128.4.0/23","nexthop":"x"}`) + `]}}`, ""},
		{otctest.OpTableGet, "a route more", head + `"routes":[` + list(20001, `{}`) + `]}}`, "more than 20000 routes"},
		{otctest.OpTableGet, "1 MiB of routes", head + `"routes":[` + list(350_000, `{}`) + `]}}`, "more than 20000 routes"},
		{otctest.OpTableGet, "1 MiB of subnets", head + `"routes":[],"subnets":[` + list(350_000, `{}`) + `]}}`, "more than 20000 subnets"},
		{otctest.OpTableGet, "a name of 2 MiB", head + `"name":"` + strings.Repeat("x", 2<<20) + `"}}`, "larger than 1048576 bytes in one value"},
		{otctest.OpTableGet, "an unknown member of 30 MiB", head + `"x":"` + strings.Repeat("x", 30<<20) + `"}}`, "larger than 1048576 bytes in one value"},
		{otctest.OpServerList, "1 MiB of servers", `{"servers":[` + list(350_000, `{}`) + `]}`, "more than 50000 servers"},
		{otctest.OpServerList, "30,000 servers a page", `{"count":1000000,"servers":[` + list(30_000, `{"id":"a"}`) + `]}`, "more than 50000 servers"},
		{otctest.OpQuotas, "256 KiB", strings.Repeat(" ", 256<<10-2) + `{}`, "no quota"},
		{otctest.OpQuotas, "256 KiB and a byte", strings.Repeat(" ", 256<<10-1) + `{}`, "larger than 262144 bytes"},
		{otctest.OpQuotas, "256 KiB of quotas", `{"quotas":{"resources":[` + list(85_000, `{}`) + `]}}`, "no quota"},
		{otctest.OpPortList, "256 KiB of ports", `{"ports":[` + list(85_000, `{}`) + `]}`, ""},
		{otctest.OpLogin, "256 KiB of services", `{"token":{"catalog":[` + list(85_000, `{}`) + `]}}`, "no token"},
	} {
		t.Run(tt.op+" "+tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.Fail(otctest.Fault{Op: tt.op, Times: -1, Body: []byte(tt.body)})
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := w.callOf(tt.op)
				runtime.ReadMemStats(&after)
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %.300v, want %q", err, tt.want)
				}
				if took, n := after.TotalAlloc-before.TotalAlloc, uint64(max(1, w.Count(tt.op))); took/n > 48<<20 {
					t.Errorf("an attempt took %d bytes, want 48 MiB at most", took/n)
				} else {
					t.Logf("%d attempts took %d bytes each", n, took/n)
				}
			})
		})
	}
}

// A project of 50,000 servers is read; what is kept of them takes a fraction of the
// pod's 64 MiB.
func TestFiftyThousandServers(t *testing.T) {
	w := newWorld(t)
	w.client.transport.base = roundTripper(func(r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "/detail") {
			return w.RoundTrip(r)
		}
		var b strings.Builder
		page, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		for i := (page - 1) * 200; i < page*200; i++ {
			fmt.Fprintf(&b, `,{"id":"a4c7e915-2b6d-4f80-93ae-%012x","name":"worker-%d","metadata":{"vpc_id":"%s"},"addresses":{"x":[{"addr":"10.%d.%d.9"}]}}`, i, i, otctest.VPCID, i/250, i%250)
		}
		body := `{"count":50000,"servers":[` + b.String()[1:] + `]}`
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	got, err := w.client.Servers(t.Context())
	w.log.Reset()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err != nil || len(got) != 50_000 {
		t.Fatalf("got %d servers, %v", len(got), err)
	}
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 24<<20 {
		t.Errorf("they take %d bytes, want 24 MiB at most", kept)
	}
}

// The observer hears of every attempt, and of every repetition. An answer whose
// body stalls or breaks is none.
func TestObserver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Set(func(k *otctest.Knobs) { k.Latency = 40 * time.Millisecond })
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Slow: time.Second})
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Truncate: true, Keep: 10})
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: 500})
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: 429, Header: http.Header{"Retry-After": {"7"}}})
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: 400, Code: "VPC.0004"})
		w.mustRead()
		want := "map[iam login 201:1 vpc get_route_table 200:1 vpc get_route_table 400:1 vpc get_route_table 429:1 " +
			"vpc get_route_table 500:1 vpc get_route_table error:2] map[connection:2 server_error:1 throttled:1 transient:1]"
		if got := w.count.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if w.count.took != 40*time.Millisecond {
			t.Errorf("got %v for the last request, want 40ms", w.count.took)
		}
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Times: -1, Status: 503})
		_ = w.read()
		if got := w.count.retries["server_error"]; got != 1+5 {
			t.Errorf("got %d repetitions, want 6: the last failure is not repeated", got)
		}
	})
}

// A call has a minute, the login in it included.
func TestACallTakesAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Fail(otctest.Fault{Op: otctest.OpLogin, Delay: 19 * time.Second})
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Hang: true, Times: -1})
		start, err := time.Now(), w.read()
		if d := time.Since(start); err == nil || d != time.Minute {
			t.Errorf("got %v after %v, want the end of a minute", err, d)
		}
	})
}

func TestClientWithoutObserverAndLog(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Observer = nil })
	w.client = New(w.client.cfg, nil)
	w.RevokeTokens()
	w.mustRead()
	w.RevokeTokens()
	w.mustRead()
}

// Errors name the service, the operation, the cause, the request id and the hint.
func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault otctest.Fault
		want  string
	}{
		{"code and message", otctest.Fault{Status: 400, Code: "VPC.0007", Message: "Wrong project."},
			`vpc get route table: HTTP 400 VPC.0007 "Wrong project.": ` + hintProject},
		{"no code", otctest.Fault{Status: 404, Shape: otctest.ShapeMessage, Message: "API not found"},
			`vpc get route table: HTTP 404 "API not found": ` + hintConfig},
		{"permission", otctest.Fault{Status: 403, Code: "VPC.2201", Message: "No."},
			`vpc get route table: HTTP 403 VPC.2201 "No.": grant vpc:routeTables:get to the user's group in this project; it takes effect with the next token`},
		{"unexpected", otctest.Fault{Status: 418, Code: "VPC.9999", Message: "Teapot."}, `vpc get route table: HTTP 418 VPC.9999 "Teapot.": unexpected response: ask the provider's support about this request id`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.fault.Op = otctest.OpTableGet
			w.Fail(tt.fault)
			err := w.read()
			if got := err.Error(); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if id := RequestIDOf(err); len(id) != 32 || strings.Contains(err.Error(), id) || !strings.Contains(w.log.String(), id) {
				t.Errorf("got request id %q; want 32 letters, in the log and not in the text", id)
			}
		})
	}
	if got := RequestIDOf(errors.New("x")) + RequestIDOf(nil); got != "" {
		t.Errorf("got request id %q of an error without", got)
	}
}

// The id of the request is in the body or in one of two headers.
func TestRequestID(t *testing.T) {
	for _, tt := range []struct {
		header, body, want string
	}{
		{"X-Request-Id", `{"code":"VPC.0002"}`, "h1"},
		{"X-Openstack-Request-Id", `{"code":"VPC.0002"}`, "h1"},
		{"X-Request-Id", `{"error_code":"APIGW.0201","request_id":"b1"}`, "b1"},
		{"X-Request-Id", `{"message":"x","request_id":""}`, "h1"},
	} {
		w := newWorld(t, func(c *Config) {
			cloud := c.Transport
			c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
				resp, err := cloud.RoundTrip(r)
				if resp != nil && resp.StatusCode != http.StatusCreated {
					resp.Header = http.Header{tt.header: {"h1"}}
				}
				return resp, err
			})
		})
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: 400, Body: []byte(tt.body)})
		if got := RequestIDOf(w.read()); got != tt.want {
			t.Errorf("%s, %s: got %q, want %q", tt.header, tt.body, got, tt.want)
		}
	}
}
