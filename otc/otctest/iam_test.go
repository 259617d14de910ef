package otctest

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogin(t *testing.T) {
	project := `{"project":{"name":"` + Project + `"}}`
	tests := []struct {
		name, body string
		status     int
		want       string
	}{
		{"project by name", loginText(User, Password, project), 201, `"id":"` + ProjectID + `"`},
		{"project by name and domain", loginText(User, Password, `{"project":{"name":"`+Project+`","domain":{"name":"`+Account+`"}}}`), 201, ProjectID},
		{"project by id", loginText(User, Password, `{"project":{"id":"`+ProjectID+`"}}`), 201, `"name":"eu-de_netops"`},
		{"project in another domain", loginText(User, Password, `{"project":{"name":"`+Project+`","domain":{"name":"x"}}}`), 401, `"error":{"code":401`},
		{"no scope", loginText(User, Password, `{}`), 201, `"catalog"`},
		{"wrong password", loginText(User, "x", project), 401, `"title":"Unauthorized"`},
		{"wrong account", strings.Replace(loginText(User, Password, project), Account, "OTC0", 1), 401, `"error":{"code":401`},
		{"unknown user", loginText("nobody", Password, project), 401, `"error":{"code":401`},
		{"unknown project", loginText(User, Password, `{"project":{"name":"x"}}`), 401, `"error":{"code":401`},
		{"empty", "", 400, `"error_code":"IAM.1101"`},
		{"huge", strings.Repeat(" ", 33<<10), 400, `"error_code":"IAM.1101"`},
		{"garbled", "{", 400, `"error_code":"IAM.0011"`},
		{"no auth", "{}", 400, `"error_code":"IAM.0011"`},
		{"no password", loginText(User, "", project), 400, `"error_code":"IAM.0072"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &bed{Server: New(), t: t, ctx: t.Context()}
			g := b.send(http.MethodPost, iam+"/v3/auth/tokens", tt.body).want(tt.status, tt.want)
			token := g.header.Get("X-Subject-Token")
			equal(t, "token", strings.HasPrefix(token, "MII"), tt.status == 201)
			if tt.status == 201 {
				g.without(token)
			}
		})
	}
}

func TestLoginNeedsContentType(t *testing.T) {
	r, err := http.NewRequest(http.MethodPost, iam+"/v3/auth/tokens", strings.NewReader(loginText(User, Password, "{}")))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := New().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "status", resp.StatusCode, 400)
}

func TestTokenBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		g := b.login(Password)
		equal(t, "issued_at", g.at("token", "issued_at"), any("2000-01-01T00:00:00.000000Z"))
		equal(t, "expires_at", g.at("token", "expires_at"), any("2000-01-02T00:00:00.000000Z"))
		equal(t, "password_expires_at", g.at("token", "user", "password_expires_at"), any("2000-07-01T00:00:00.000000"))
		equal(t, "account", g.at("token", "user", "domain", "name"), any(Account))
		equal(t, "account of the project", g.at("token", "project", "domain", "id"), any(domainID))
		equal(t, "type", g.at("token", "catalog", "0", "type"), any("network"))
		equal(t, "URL without version", g.at("token", "catalog", "0", "endpoints", "0", "url"), any(vpc))
		equal(t, "interface", g.at("token", "catalog", "0", "endpoints", "0", "interface"), any("public"))
		equal(t, "region", g.at("token", "catalog", "0", "endpoints", "0", "region"), any("eu-de"))
		g.want(201, `"url":"`+vpc+"/v1/"+ProjectID+`"`, `"url":"`+ecs+"/v1/"+ProjectID+`"`, `"region":"*"`)
		time.Sleep(24*time.Hour - time.Second)
		b.get(tbl).want(200)
		time.Sleep(time.Second)
		b.get(tbl).want(401, `"code":"VPC.0008"`)
	})
}

func TestTokensOfTheAccount(t *testing.T) {
	b := newBed(t)
	g := b.send(http.MethodPost, iam+"/v3/auth/tokens", loginText(User, Password, "{}")).want(201)
	equal(t, "project", g.at("token", "project"), nil)
	equal(t, "domain", g.at("token", "domain", "name"), any(Account))
	b.token = g.header.Get("X-Subject-Token")
	b.get(tbl).want(400, "VPC.0007")
	b.get(iam + "/v3/auth/projects").want(200)
}

func TestProjects(t *testing.T) {
	b := newBed(t)
	b.AddProject("eu-de_other", one)
	g := b.get(iam+"/v3/projects?name="+Project).want(200, `"next":null`)
	equal(t, "id", g.at("projects", "0", "id"), any(ProjectID))
	g.without("eu-de_other")
	b.get(iam+"/v3/auth/projects").want(200, Project, "eu-de_other")
	b.get(iam+"/v3/auth/catalog").want(200, `"catalog":[`, `"links":`)
	b.Set(func(k *Knobs) { k.Deny = map[string]Denial{"iam:projects:listProjects": 0} })
	b.get(iam+"/v3/projects").want(403, `"error_code":"IAM.0003"`)
	b.get(iam + "/v3/auth/projects").want(200)
	b.token = "MIIgarbled"
	b.get(iam+"/v3/auth/projects").want(401, `"error":{"code":401`)
	b.get(iam+"/v3/auth/catalog").want(401, `"error":{"code":401`)
}

func TestOtherUsers(t *testing.T) {
	b := newBed(t)
	b.AddUser("svc-two", "another-password")
	text := loginText("svc-two", "another-password", `{"project":{"name":"`+Project+`"}}`)
	for range 5 {
		b.login("wrong")
	}
	b.login(Password).want(401, "IAM.0061")
	b.send(http.MethodPost, iam+"/v3/auth/tokens", text).want(201)
}

func TestSuccessForgetsFailures(t *testing.T) {
	b := newBed(t)
	for range 3 {
		for range 4 {
			b.login("wrong").want(401, `"error":{`)
		}
		b.login(Password).want(201)
	}
}

func TestSetPassword(t *testing.T) {
	b := newBed(t)
	b.SetPassword("another-password")
	b.get(tbl).want(200)
	b.login(Password).want(401)
	b.login("another-password").want(201)
}
