package otctest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPaths(t *testing.T) {
	b := newBed(t)
	tests := []struct {
		name, method, url string
		status            int
		body              string
	}{
		{"table", "GET", tbl, 200, `"routetable":`},
		{"any host", "GET", "http://127.0.0.1:9/v1/" + ProjectID + "/routetables", 200, `"routetables":`},
		{"trailing slash", "GET", tables + "/", 404, `"error_code":"APIGW.0101"`},
		{"trailing slash after id", "GET", tbl + "/", 404, `"error_code":"APIGW.0101"`},
		{"empty project", "GET", vpc + "/v1//routetables", 404, `"message":"API not found"`},
		{"unknown path", "GET", vpc + "/v1/" + ProjectID + "/vpcs", 404, `"error_code":"APIGW.0101"`},
		{"unknown method", "DELETE", tbl, 404, `"error_code":"APIGW.0101"`},
		{"other project", "GET", vpc + "/v1/0123456789abcdef0123456789abcdef/routetables", 400, `"code":"VPC.0007"`},
		{"other project, ECS", "GET", ecs + "/v1/0123456789abcdef0123456789abcdef/cloudservers/detail", 400,
			`"error":{"code":"Ecs.0023"`},
		{"unknown table", "GET", tables + "/" + one, 404, `"code":"VPC.2808"`},
		{"unknown server", "GET", servers + "/" + one, 404, `"error":{"code":"Ecs.0114"`},
		{"NICs of an unknown server", "GET", servers + "/" + one + "/os-interface", 404, `"Ecs.0114"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := b.send(tt.method, tt.url, "").want(tt.status, tt.body)
			if id := g.header.Get("X-Request-Id"); len(id) != 32 {
				t.Errorf("got request id %q, want 32 digits", id)
			}
			if strings.Contains(g.body, "error_msg") {
				equal(t, "request_id", g.at("request_id"), any(g.header.Get("X-Request-Id")))
			}
		})
	}
}

func TestRequests(t *testing.T) {
	b := newBed(t)
	b.get(tables + "?vpc_id=" + VPCID).want(200)
	b.put("add 10.244.3.0/24").want(200)
	b.Fail(Fault{Op: OpTableGet, Reset: true})
	b.get(tbl)
	b.get(vpc + "/nowhere").want(404)
	var ops []string
	for _, r := range b.Requests() {
		ops = append(ops, r.Op)
	}
	equal(t, "operations", strings.Join(ops, " "), "table.list table.update table.get other")
	list, put, lost := b.Requests()[0], b.Requests()[1], b.Requests()[2]
	equal(t, "query", list.Query.Get("vpc_id"), VPCID)
	equal(t, "host", list.Host, "vpc.eu-de.otc.test")
	equal(t, "body", string(put.Body), delta("add 10.244.3.0/24"))
	equal(t, "token", put.Header.Get("X-Auth-Token"), b.token)
	equal(t, "status", put.Status, 200)
	equal(t, "status of the lost one", lost.Status, 0)
	equal(t, "count", b.Count(OpTableUpdate), 1)
	equal(t, "count of all", b.Count(""), 4)
	b.Reset()
	equal(t, "count after Reset", b.Count(""), 0)
	b.Fail(Fault{Before: b.Reset})
	b.get(tbl).want(200)
	equal(t, "count after Reset on the way", b.Count(""), 0)
}

func TestSocket(t *testing.T) {
	s := New()
	s.Set(func(k *Knobs) { k.TokenSize = 9 << 10 })
	web := httptest.NewServer(s)
	defer web.Close()
	resp, err := http.Post(web.URL+"/v3/auth/tokens", "application/json", strings.NewReader(
		loginText(User, Password, `{"project":{"id":"`+ProjectID+`"}}`)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "status", resp.StatusCode, 201)
	equal(t, "token size", len(resp.Header.Get("X-Subject-Token")), 9<<10)
	if want := web.URL + "/v1/" + ProjectID; !strings.Contains(string(text), want) {
		t.Errorf("got catalog %s, want %s in it", text, want)
	}
}

func TestSocketFaults(t *testing.T) {
	s := New()
	web := httptest.NewServer(s)
	defer web.Close()
	tests := []struct {
		name   string
		fault  Fault
		status int // 0: no header gets through
		body   string
		broken bool
	}{
		{"status", Fault{Status: 503}, 503, `{"error":{"code":503`, false},
		{"reset", Fault{Reset: true}, 0, "", true},
		{"error", Fault{Err: errors.New("no such host")}, 0, "", true},
		{"end after the header", Fault{Status: 200, Body: []byte("12345"), Truncate: true}, 200, "", true},
		{"cut body", Fault{Status: 200, Body: []byte("12345"), Truncate: true, Keep: 3}, 200, "123", true},
		{"slow", Fault{Status: 200, Body: []byte("123"), Slow: time.Microsecond}, 200, "123", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.Fail(tt.fault)
			resp, err := http.Post(web.URL+"/v3/auth/tokens", "application/json", nil)
			if err != nil {
				equal(t, "broken", true, tt.status == 0)
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			equal(t, "status", resp.StatusCode, tt.status)
			equal(t, "broken", err != nil, tt.broken)
			if !strings.HasPrefix(string(text), tt.body) {
				t.Errorf("got body %q, want %q", text, tt.body)
			}
		})
	}
}

// TestTogether is for the race detector.
func TestTogether(t *testing.T) {
	b := newBed(t)
	b.AddServer(Instance{ID: one, Name: "worker-1", Fixed: []string{"10.20.0.11"}})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			d := "10.244." + string(rune('0'+i)) + ".0/24"
			b.put("add " + d).want(200)
			b.get(tbl).want(200)
			b.get(servers + "/detail").want(200)
			b.Fail(Fault{Op: OpOther})
			b.Set(func(k *Knobs) { k.Shuffle = true })
			b.PutRoute(TableID, Route{"nat", "0.0.0.0/0", "nat", ""})
			b.put("del " + d).want(200)
			b.Requests()
			b.Routes(TableID)
		})
	}
	wg.Wait()
	b.table("0.0.0.0/0")
}

// TestManyLogins holds that no two logins get the same token.
func TestManyLogins(t *testing.T) {
	b := newBed(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c := &bed{Server: b.Server, t: t, ctx: t.Context()}
			c.login(Password).want(201)
		})
	}
	wg.Wait()
	equal(t, "tokens", len(b.Tokens()), 21)
}
