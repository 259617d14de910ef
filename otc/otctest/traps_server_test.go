package otctest

import (
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// errorTraps are about refusals and broken answers.
func errorTraps() []trap {
	return []trap{
		{"11 no permission, empty list", func(t *testing.T, b *bed) {
			b.Set(func(k *Knobs) { k.Deny = map[string]Denial{"ecs:cloudServers:list": DenyEmpty} })
			b.AddServer(Instance{ID: one})
			b.get(servers+"/detail").want(200, `{"count":0,"servers":[]}`)
		}},
		{"12 status 202", func(t *testing.T, b *bed) {
			b.Set(func(k *Knobs) { k.FlowLimit, k.Requests = true, Limit{1, time.Second} })
			b.get(servers + "/detail").want(200)
			b.get(servers+"/detail").want(202, "Common.0024")
			b.get(tbl).want(429)
		}},
		{"13 status 400 that passes", func(t *testing.T, b *bed) {
			b.Fail(Fault{Op: OpServerList, Status: 400, Code: "Ecs.1000"})
			b.get(servers+"/detail").want(400, `{"error":{"code":"Ecs.1000"`)
			b.get(servers + "/detail").want(200)
		}},
		{"14 shapes", func(t *testing.T, b *bed) {
			for shape, want := range map[Shape]string{
				ShapeIAM: `{"error":{"code":500,`, ShapeIAMCode: `{"error_code":`, ShapeVPC: `{"code":`, ShapeECS: `{"error":{"code":"`,
				ShapeNova: `{"computeFault":{`, ShapeAPIGW: `"request_id":`, ShapeMessage: `{"message":`, ShapeHTML: "<html>", ShapeEmpty: "",
			} {
				b.Fail(Fault{Status: 500, Shape: shape})
				b.get(tbl).want(500, want)
			}
			b.Set(func(k *Knobs) { k.SwapCode = true })
			b.get(servers+"/"+one).want(404, `"message":"Ecs.0114"`)
		}},
		{"15 throttled", func(t *testing.T, b *bed) {
			b.Set(func(k *Knobs) { k.Requests = Limit{1, time.Minute} })
			b.get(tbl).want(200)
			for how, want := range map[RetryAfter]string{RetryAfterNone: "", RetryAfterSeconds: "60",
				RetryAfterDate: "Sat, 01 Jan 2000 00:01:00 GMT"} {
				b.Set(func(k *Knobs) { k.RetryAfter = how })
				equal(t, "Retry-After", b.get(tbl).want(429).header.Get("Retry-After"), want)
			}
		}},
		{"38 slow and broken", func(t *testing.T, b *bed) {
			b.Fail(Fault{Delay: 31 * time.Second})
			equal(t, "slow", took(func() { b.get(tbl).want(200) }), 31*time.Second)
			b.Fail(Fault{Truncate: true})
			g := b.get(tbl)
			equal(t, "closed after the header", g.err == io.ErrUnexpectedEOF && g.body == "", true)
			b.Fail(Fault{Truncate: true, Keep: 10})
			g = b.get(tbl)
			equal(t, "cut", g.err == io.ErrUnexpectedEOF && len(g.body) == 10, true)
		}},
		{"41 a stream is reset", func(t *testing.T, b *bed) {
			s := httptest.NewUnstartedServer(b)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.EnableHTTP2 = true
			s.StartTLS()
			defer s.Close()
			b.Fail(Fault{Op: OpTableUpdate, Applied: true, Reset: true, Times: -1})
			r, _ := http.NewRequestWithContext(b.ctx, http.MethodPut, strings.Replace(tbl, vpc, s.URL, 1), strings.NewReader(delta("add 10.3.0.0/16")))
			r.Header.Set("X-Auth-Token", b.token)
			_, err := s.Client().Do(r)
			equal(t, "reset", err != nil && strings.Contains(err.Error(), "stream error"), true)
			b.table("10.3.0.0/16")
		}},
		{"46 what was sent comes back", func(t *testing.T, b *bed) {
			b.Fail(Fault{Op: OpLogin, Status: 400, Code: "IAM.0011", Echo: func(r Request) string { return url.QueryEscape(string(r.Body)) }})
			b.login("a b").want(400, `{"error_code":"IAM.0011"`, "%22password%22%3A%22a+b%22")
		}},
		{"47 control characters", func(t *testing.T, b *bed) {
			b.Fail(Fault{Status: 400, Code: "\x1b[2JVPC.1\u202e", Message: "a\nb"})
			g := b.get(tbl).want(400)
			equal(t, "code", g.at("code"), any("\x1b[2JVPC.1\u202e"))
			equal(t, "message", g.at("message"), any("a\nb"))
		}},
	}
}

// searchTraps are about lists of servers.
func searchTraps() []trap {
	return []trap{
		{"16 fuzzy search", func(t *testing.T, b *bed) {
			b.AddServer(Instance{ID: two, Name: "a-worker.1b", Fixed: []string{"110.20.0.11"}})
			b.get(servers+"/detail?name=worker-1").want(200, `"count":0`)
			b.get(servers+"/detail?name=worker.1").want(200, `"count":1`)
			b.get(servers+"/detail?ip=10.20.0.1").want(200, `"count":1`)
		}},
		{"17 pages", func(t *testing.T, b *bed) {
			for i := range 30 {
				b.AddServer(Instance{Name: strings.Repeat("n", i+1)})
			}
			g := b.get(servers+"/detail").want(200, `"count":30`)
			equal(t, "first page", len(g.at("servers").([]any)), 25)
			equal(t, "second page", len(b.get(servers+"/detail?offset=2").at("servers").([]any)), 5)
			equal(t, "not an offset of rows", len(b.get(servers+"/detail?offset=25").at("servers").([]any)), 0)
		}},
		{"18 between two pages", func(t *testing.T, b *bed) {
			for _, id := range []string{"a", "b", "c"} {
				b.AddServer(Instance{ID: id})
			}
			b.Fail(Fault{Op: OpServerList, After: 1, Before: func() { b.DeleteServer("a") }})
			equal(t, "first", b.get(servers+"/detail?limit=1").at("servers", "0", "id"), any("a"))
			equal(t, "second", b.get(servers+"/detail?limit=1&offset=2").at("servers", "0", "id"), any("c"))
		}},
	}
}

// instanceTraps are about what a server is.
func instanceTraps() []trap {
	return []trap{
		{"19 addresses", func(t *testing.T, b *bed) {
			b.AddServer(Instance{ID: one, Fixed: []string{"10.20.0.11"}, Floating: []string{"80.158.0.77"}})
			b.get(servers+"/"+one).want(200, `"addresses":{"`+VPCID+`":[`, `"fixed"`, `"floating"`, `"version":"4"`)
			b.Set(func(k *Knobs) { k.NumericVersion = true })
			b.get(servers+"/"+one).want(200, `"version":4`)
		}},
		{"44 ECS forgets everything", func(t *testing.T, b *bed) {
			b.AddServer(Instance{ID: one})
			b.Set(func(k *Knobs) { k.Amnesia, k.CheckNextHop = true, true })
			b.get(servers+"/detail").want(200, `{"count":0,"servers":[]}`)
			b.get(servers+"/"+one).want(404, "Ecs.0114")
			b.get(servers+"/"+one+"/os-interface").want(404, "Ecs.0114")
			b.put("add 10.3.0.0/16").want(200) // VPC remembers
			b.Set(func(k *Knobs) { k.Amnesia = false })
			b.get(servers + "/" + one).want(200)
		}},
		{"45 a large page", func(t *testing.T, b *bed) {
			b.Set(func(k *Knobs) { k.UserDataSize = 32 << 10 })
			for i := range 25 {
				b.AddServer(Instance{Name: strings.Repeat("n", i+1)})
			}
			g := b.get(servers + "/detail").want(200)
			equal(t, "more than 1 MiB", len(g.body) > 1<<20, true)
			data, _ := base64.StdEncoding.DecodeString(g.at("servers", "24", "OS-EXT-SRV-ATTR:user_data").(string))
			equal(t, "user data", len(data), 32<<10)
		}},
		{"20 server elsewhere", func(t *testing.T, b *bed) {
			b.AddServer(Instance{ID: one, VPCID: "elsewhere", NICs: []NIC{{VPCID: VPCID, Addresses: []string{"10.20.0.11"}}}})
			b.get(servers+"/"+one).want(200, `"vpc_id":"elsewhere"`, `"`+VPCID+`":[{`)
			b.put("add 10.3.0.0/16").want(200)
			b.Set(func(k *Knobs) { k.CheckNextHop = true })
			b.put("add 10.4.0.0/16").want(400)
			b.AddServer(Instance{ID: one})
			b.put("add 10.4.0.0/16").want(200)
		}},
	}
}
