package otc

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

func TestLoginRequest(t *testing.T) {
	const domain = `"domain":{"name":"` + otctest.Account + `"}`
	const user = `{"auth":{"identity":{"methods":["password"],"password":{"user":{` + domain +
		`,"name":"svc-routes","password":"not-a-real-password"}}},"scope":{"project":`
	for _, tt := range []struct {
		name   string
		change func(*Credentials)
		body   string
	}{
		{"project by name", func(*Credentials) {}, user + `{` + domain + `,"name":"eu-de_netops"}}}}`},
		{"project by id", func(c *Credentials) { c.ProjectID, c.ProjectName = otctest.ProjectID, "" }, user + `{"id":"` + otctest.ProjectID + `"}}}}`},
		{"id before name", func(c *Credentials) { c.ProjectID = otctest.ProjectID }, user + `{"id":"` + otctest.ProjectID + `"}}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.change(&w.login)
			w.mustRead()
			r := w.Requests()[0]
			if r.Method != "POST" || r.Path != "/v3/auth/tokens" || r.Host != "iam.eu-de.otc.t-systems.com" || len(r.Query) != 0 {
				t.Errorf("got %s %s%s?%s, want POST to /v3/auth/tokens", r.Method, r.Host, r.Path, r.Query.Encode())
			}
			if got := string(r.Body); got != tt.body {
				t.Errorf("got body %s\nwant %s", got, tt.body)
			}
			if got := r.Header.Get("Content-Type"); got != "application/json;charset=utf8" {
				t.Errorf("got Content-Type %q", got)
			}
			if got, ok := r.Header["X-Auth-Token"]; ok {
				t.Errorf("got a token %q in the login", got)
			}
		})
	}
}

// The password reaches IAM as it is, whatever JSON makes of it on the way.
func TestLoginPasswordIsSentAsItIs(t *testing.T) {
	const odd = "a\"b\\c<d>&ü\u2028 e"
	w := newWorld(t)
	w.SetPassword(odd)
	w.rotate(odd)
	w.mustRead()
	var body struct {
		Auth struct {
			Identity struct {
				Password struct{ User struct{ Password string } }
			}
		}
	}
	if err := json.Unmarshal(w.Requests()[0].Body, &body); err != nil || body.Auth.Identity.Password.User.Password != odd {
		t.Errorf("got %q, %v; want %q", body.Auth.Identity.Password.User.Password, err, odd)
	}
}

func TestLoginAnswer(t *testing.T) {
	for _, size := range []int{1600, 9 << 10, 60 << 10} {
		w := newWorld(t)
		w.Set(func(k *otctest.Knobs) { k.TokenSize = size })
		w.mustRead()
		if got := w.Requests()[1].Header.Get("X-Auth-Token"); len(got) != size || got != w.Tokens()[0] {
			t.Errorf("got a token of %d bytes, want the one of the login's header, %d bytes", len(got), size)
		}
		project, expires, base, err := w.client.Login(t.Context())
		if project != otctest.ProjectID || err != nil || time.Until(expires).Round(time.Minute) != 24*time.Hour {
			t.Errorf("got project %s, end in %v, %v; want %s, 24h", project, time.Until(expires), err, otctest.ProjectID)
		}
		if want := "https://vpc.eu-de.otc.t-systems.com/v1/" + otctest.ProjectID; base["vpc"] != want {
			t.Errorf("got %s, want %s", base["vpc"], want)
		}
		if !w.count.expiry.Equal(expires) {
			t.Errorf("the observer got %v, want %v", w.count.expiry, expires)
		}
	}
}

func TestLoginAnswersThatMakeNoSense(t *testing.T) {
	const project = `"project":{"id":"` + otctest.ProjectID + `"}`
	token := http.Header{"X-Subject-Token": {"MIIxxxxxxxxxxxxx"}}
	for _, tt := range []struct {
		name   string
		header http.Header
		body   string
		want   string
	}{
		{"no token", nil, `{"token":{` + project + `}}`, "holds no token"},
		{"no body", token, ``, "holds no token"},
		{"text", token, `welcome`, "not the API's"},
		{"a page", token, `<html>sign in</html>`, "an HTML page"},
		{"cut off", token, `{"token":{`, "not the API's"},
		{"another type", token, `{"token":[]}`, "holds no token"},
		{"a project that is another path", token, `{"token":{"project":{"id":"../../x"}}}`, "OS_PROJECT_NAME"},
		{"no project", token, `{"token":{"expires_at":"2026-09-21T09:15:42.318000Z"}}`, "OS_PROJECT_NAME"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.Fail(otctest.Fault{Op: otctest.OpLogin, Status: 201, Header: tt.header, Body: []byte(tt.body)})
			err := w.read()
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "MII") {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			w.wantCalls("", 1)
		})
	}
}

// A token without a readable end, or with one in the past, lasts 24 hours; a wrong
// clock here does not matter. It is replaced at some moment of the second half of
// its life, five minutes before its end at the latest.
func TestTokenLifetime(t *testing.T) {
	now := time.Date(2026, 9, 20, 9, 15, 42, 0, time.UTC)
	const issued, expires = "2026-09-20T09:15:42.318000Z", "2026-09-21T09:15:42.318000Z"
	const day, minute = 24 * time.Hour, time.Minute
	for _, tt := range []struct {
		name            string
		now             time.Time
		issued, expires string
		end             time.Duration
		first, last     time.Duration // renewal
	}{
		{"as documented", now, issued, expires, day, day / 2, day - 5*minute},
		{"our clock is two minutes late", now.Add(-2 * minute), issued, expires, day, day / 2, day - 5*minute},
		{"our clock is two minutes early", now.Add(2 * minute), issued, expires, day, day / 2, day - 5*minute},
		{"our clock is a day early", now.AddDate(0, 0, 1), issued, expires, day, day / 2, day - 5*minute},
		{"no start", now, "", expires, day, day / 2, day - 5*minute},
		{"no end", now, issued, "", day, day / 2, day - 5*minute},
		{"nothing", now, "", "", day, day / 2, day - 5*minute},
		{"an end without a zone", now, issued, "2026-09-21T09:15:42", day, day / 2, day - 5*minute},
		{"two hundred years", now, issued, "2226-09-21T09:15:42Z", day, day / 2, day - 5*minute},
		{"our clock is a week late, no start", now.AddDate(0, 0, -7), "", expires, day, day / 2, day - 5*minute},
		{"ended already", now, "", "2026-09-19T09:15:42Z", day, day / 2, day - 5*minute},
		{"a second", now, issued, "2026-09-20T09:15:43.318000Z", time.Second, minute, minute},
		{"eight minutes", now, issued, "2026-09-20T09:23:42.318000Z", 8 * minute, 4 * minute, 4 * minute},
		{"twenty minutes", now, issued, "2026-09-20T09:35:42.318000Z", 20 * minute, 10 * minute, 15 * minute},
	} {
		first, last := day, time.Duration(0)
		for range 1000 {
			end, renew := lifetime(tt.now, tt.issued, tt.expires)
			if got := end.Sub(tt.now).Round(time.Second); got != tt.end {
				t.Fatalf("%s: got %v, want %v", tt.name, got, tt.end)
			}
			first, last = min(first, renew.Sub(tt.now)), max(last, renew.Sub(tt.now))
		}
		edge := (tt.last-tt.first)/20 + time.Second
		if first < tt.first || first > tt.first+edge || last < tt.last-edge || last > tt.last+time.Second {
			t.Errorf("%s: got renewals after %v to %v, want %v to %v", tt.name, first, last, tt.first, tt.last)
		}
	}
}

// The catalog comes in many forms (an eu-de recording has duplicates, "*" and a
// network entry without a version); every form leads to the same paths.
func TestCatalogForms(t *testing.T) {
	only := func(kinds ...string) func([]otctest.Service) []otctest.Service {
		return func(all []otctest.Service) []otctest.Service {
			return slices.DeleteFunc(all, func(s otctest.Service) bool { return !slices.Contains(kinds, s.Type) })
		}
	}
	rewrite := func(f func(*otctest.Service)) func([]otctest.Service) []otctest.Service {
		return func(all []otctest.Service) []otctest.Service {
			for i := range all {
				f(&all[i])
			}
			return all
		}
	}
	for _, tt := range []struct {
		name string
		edit func([]otctest.Service) []otctest.Service
	}{
		{"as documented", nil},
		{"no catalog: the region's known hosts", only()},
		{"network and compute v2.1 only", only("network", "compute")},
		{"compute as v2", rewrite(func(s *otctest.Service) { s.URL = strings.Replace(s.URL, "/v2.1/", "/v2/", 1) })},
		{"trailing slashes", rewrite(func(s *otctest.Service) { s.URL += "/" })},
		{"region *", rewrite(func(s *otctest.Service) { s.Region = "*" })},
		{"region null", rewrite(func(s *otctest.Service) { s.Region = "" })},
		{"another project in the URL", rewrite(func(s *otctest.Service) {
			s.URL = strings.Replace(s.URL, otctest.ProjectID, "41aa00b1c2d3e4f5061728394a5b6c7d", 1)
		})},
		{"a project placeholder", rewrite(func(s *otctest.Service) { s.URL = strings.Replace(s.URL, otctest.ProjectID, "$(tenant_id)s", 1) })},
		{"another region first", func(all []otctest.Service) []otctest.Service {
			return append([]otctest.Service{{Type: "vpc", Region: "eu-nl", URL: "https://vpc.eu-nl.otc.t-systems.com/v1/x"},
				{Type: "ecs", Region: "*", URL: "https://ecs.anywhere.test/v1/x"}}, all...)
		}},
		{"other services only", only("identity", "volumev3")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.Set(func(k *otctest.Knobs) {
				k.Catalog, k.NoCatalog = tt.edit, tt.name == "no catalog: the region's known hosts"
			})
			w.mustRead()
			if _, err := w.client.Server(t.Context(), one); err != nil {
				t.Errorf("got %v, want the server", err)
			}
			var got []string
			for _, r := range w.Requests()[1:] {
				got = append(got, r.Host+r.Path)
			}
			want := []string{"vpc.eu-de.otc.t-systems.com/v1/" + otctest.ProjectID + "/routetables/" + otctest.TableID,
				"ecs.eu-de.otc.t-systems.com/v1/" + otctest.ProjectID + "/cloudservers/" + one}
			if !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}
