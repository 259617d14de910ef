package otc

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"otc-route-manager/otc/otctest"
)

// What strangers write must never break the client. `go test` runs the seeds.

func FuzzDecodeError(f *testing.F) {
	for _, s := range []string{`{"code":"VPC.0008","message":"Invalid token in the header."}`, `{"error_msg":"x","error_code":"IAM.0062"}`,
		`{"error":{"code":401,"message":"x","title":"x"}}`, `{"itemNotFound":{"message":"x","code":404}}`, `{"message":"x","request_id":""}`,
		`{"error":{"code":"x y","message":"Ecs.0005"}}`, `null`, `[]`, `{}`, ``, `<html>`, "\xff", `{"a":{"b":{"c":{}}}}`, `{"code":1e400}`} {
		f.Add([]byte(s), 404)
	}
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		const secret = "MIIsecret"
		k := &call{service: "vpc", operation: opTable, method: http.MethodGet, last: attempt{dial: &dial{}, status: status, body: body}}
		e := k.judge(nil)
		success := status/100 == 2 && status != http.StatusAccepted
		if e == nil {
			if !success || len(body) > 0 && !json.Valid(body) {
				t.Fatalf("status %d and %q are no error", status, body)
			}
			return
		}
		_, _, _, known := decodeError(body)
		if known && !success && status/100 > 3 && e.Status != status || !known && e.Status != 0 || success && json.Valid(body) {
			t.Errorf("got %#v for status %d", e, status)
		}
		for _, s := range []string{e.Code, e.Message, e.RequestID} {
			if len(s) > 300 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.Contains(s, secret) {
				t.Errorf("got %q in an error", s)
			}
		}
		if e.Reaction.String() == "" || e.Error() == "" || strings.Contains(e.Error(), secret) {
			t.Errorf("got %#v", e)
		}
		if IsNotFound(e) && status != http.StatusNotFound {
			t.Errorf("status %d says that a server is gone", status)
		}
	})
}

func FuzzDecodeRouteTable(f *testing.F) {
	for _, s := range []string{`{"id":"` + otctest.TableID + `","routes":[{"type":"ecs","destination":"10.128.4.0/23","nexthop":"x"}]}`,
		`{"routes":[{"type":"local","destination":"127.0.0.0/8","nexthop":null,"description":null}]}`, `{"routes":[{"destination":"10.128.4.7"}]}`,
		`{"routes":[{"destination":"::ffff:10.0.0.0/104"},{"destination":"fd01::1/64"},{"destination":""}]}`, `{"routes":null,"subnets":null}`, `{"routes":[null,{}]}`} {
		f.Add([]byte(`{"routetable":` + s + `}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var table RouteTable
		if decodeStream(bytes.NewReader(body), table.decode) != nil {
			return
		}
		for _, r := range table.Routes {
			if r.Destination.IsValid() && r.Destination != r.Destination.Masked() {
				t.Errorf("%v has host bits", r.Destination)
			}
			if r.Raw != "" && ParseDestination(r.Raw) != r.Destination {
				t.Errorf("%q was read as %v", r.Raw, r.Destination)
			}
		}
	})
}

func FuzzDecodeServer(f *testing.F) {
	for _, s := range []string{`{"count":1,"servers":[{"id":"x","name":"y","addresses":{"v":[{"addr":"10.20.0.11","OS-EXT-IPS:type":"fixed"}]}}]}`,
		`{"servers":[{"addresses":{"v":[{"addr":"80.158.0.77","OS-EXT-IPS:type":"floating"}]},"status":"DELETED"}]}`, `{"servers":[null]}`, `{"servers":[{"metadata":null}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var page serverPage
		if decodeStream(bytes.NewReader(body), page.decode) != nil {
			return
		}
		for _, s := range page.servers {
			for _, a := range s.Fixed {
				if !a.IsValid() || !s.HasAny([]netip.Addr{a}) {
					t.Errorf("%v is no address of %v", a, s)
				}
			}
			if s.ID != strings.ToLower(s.ID) {
				t.Errorf("id %q is not in lower case", s.ID)
			}
		}
		var ports struct{ Ports []wirePort }
		_ = json.Unmarshal(body, &ports)
		for _, p := range ports.Ports {
			_ = p.port().SourceCheck(nil)
		}
	})
}

// Whatever a login answers, its token goes to https (or loopback) only, and
// stays in the project of the answer.
func FuzzDecodeToken(f *testing.F) {
	const project = `"project":{"id":"` + otctest.ProjectID + `"}`
	for _, s := range []string{`{"token":{"expires_at":"2026-09-21T09:15:42.318000Z","issued_at":"2026-09-20T09:15:42.318000Z",` + project + `}}`,
		`{"token":{` + project + `,"catalog":[{"type":"vpc","endpoints":[{"interface":"public","region":"eu-de","url":"https://vpc.test/v1/x"}]}]}}`,
		`{"token":{` + project + `,"catalog":[{"type":"vpc","endpoints":[{"region":null,"url":"http://vpc.test"}]},{"type":"ecs","endpoints":null}]}}`,
		`{"token":{` + project + `,"catalog":[{"type":"network","endpoints":[{"region":"*","url":"https://vpc.test/"}]}]}}`, `{"token":null}`, `{}`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := newWorld(t)
		w.Fail(otctest.Fault{Op: otctest.OpLogin, Times: -1, Status: 201, Header: http.Header{"X-Subject-Token": {"MIIx"}}, Body: body})
		project, expires, base, err := w.client.Login(t.Context())
		if err != nil {
			return
		}
		if project == "" || expires.IsZero() || len(base) != 2 {
			t.Errorf("got project %q, end %v, base URLs %v", project, expires, base)
		}
		for service, raw := range base {
			checkBase(t, raw, "")
			if service != "vpc" && service != "ecs" {
				t.Errorf("got a base URL of %q", service)
			}
		}
	})
}

// checkBase checks a base URL; project "" is any.
func checkBase(t *testing.T, raw, project string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatalf("%q is no URL: %v", raw, err)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		t.Errorf("%q is neither https nor loopback", raw)
	}
	if u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		t.Errorf("%q is no base URL", raw)
	}
	if project != "" && !strings.HasSuffix(raw, "/v1/"+project) || strings.HasSuffix(raw, "/") || strings.Contains(u.Path, "//") {
		t.Errorf("%q does not end in /v1/%s", raw, project)
	}
}

func FuzzEndpoint(f *testing.F) {
	for _, s := range []string{"https://vpc.eu-de.otc.t-systems.com", "https://vpc.test/v1/x", "https://ecs.test/v2.1/x/", "https://h/v1/$(tenant_id)s",
		"https://h/?", "https://h/a%25zz/v2", "https://h/%2e%2e/v1", "https://h/a//b#c", "http://127.0.0.1:1/v1", "http://localhost", "http://10.0.0.1", "https://u:p@h",
		"HTTPS://H", "https://[::1]:8080", "https://h/v1?x=y", "//h", "", "https://h/%0a", "https://h/a b", "https://h:", "https://h/.", "https://h/.."} {
		f.Add(s, s, true)
	}
	f.Fuzz(func(t *testing.T, fromCatalog, override string, overridden bool) {
		if !overridden {
			override = ""
		}
		base, err := endpoint(endpointOf("vpc", "eu-xx", fromCatalog), "vpc", override, "eu-xx", otctest.ProjectID)
		if err == nil {
			checkBase(t, base, otctest.ProjectID)
		}
	})
}

// Changes that pass the guard are read back by the cloud as what they were, each
// destination inside of what is permitted and named once.
func FuzzChanges(f *testing.F) {
	f.Add("10.128.4.0/23", "", "10.128.6.0/23", "10.128.6.7/23", mark)
	f.Add("fd01::/64", "", "fd01:0:0:1::/64", "FD01:0:0:1:0:0:0:0/64", "ü")
	f.Add("0.0.0.0/0", "10.128.4.0/23", "10.128.4.0/23", "0.0.0.0/0", "<x>")
	f.Add("10.128.4.0/23", "10.128.4.0/023", "10.128.4.1/23", "10.128.4.1", "\xff\"\n")
	f.Fuzz(func(t *testing.T, add, addSpelling, del, delSpelling, description string) {
		allowed := []netip.Prefix{netip.MustParsePrefix("10.128.0.0/14"), netip.MustParsePrefix("fd01::/48")}
		a, _ := netip.ParsePrefix(add)
		d, _ := netip.ParsePrefix(del)
		ch := slices.Concat(Ops(Add, Route{TypeECS, a, one, description, addSpelling}), Ops(Delete, Route{TypeECS, d, one, description, delSpelling}))
		if err := ch.guard(allowed); err != nil {
			if !errors.Is(err, ErrGuard) {
				t.Errorf("got %v", err)
			}
			return
		}
		body, err := ch.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var read struct {
			RouteTable struct {
				Routes struct{ Add, Mod, Del []wireRoute }
			}
		}
		if err := json.Unmarshal(body, &read); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		got := read.RouteTable.Routes
		if len(got.Add) != 1 || len(got.Del) != 1 || got.Mod != nil {
			t.Fatalf("got %s for %v", body, ch)
		}
		added, deleted := got.Add[0].route(), got.Del[0].route()
		if !added.Equal(ch[0].Route) || deleted.Destination != d {
			t.Fatalf("got %s for %v", body, ch)
		}
		if added.Raw != a.String() {
			t.Errorf("%v is added as %q", a, added.Raw)
		}
		if sent := got.Add[0].Description; utf8.ValidString(description) && sent != description && (sent != nil || description != "") {
			t.Errorf("sent description %q, want %q", sent, description)
		}
		for _, p := range []netip.Prefix{added.Destination, deleted.Destination} {
			if p.Bits() == 0 || !(allowed[0].Contains(p.Addr()) && p.Bits() > 14) && !(allowed[1].Contains(p.Addr()) && p.Bits() > 48) {
				t.Errorf("%v got past the guard", p)
			}
		}
		if added.Destination == deleted.Destination {
			t.Errorf("%v is named twice", a)
		}
	})
}
