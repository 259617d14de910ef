package otctest

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A trap is one row of the package comment, sprung once.
type trap struct {
	name string
	do   func(*testing.T, *bed)
}

func TestTraps(t *testing.T) {
	seen := map[string]bool{}
	for _, trap := range slices.Concat(loginTraps(), pathTraps(), readTraps(), writeTraps(), refusalTraps(),
		changeTraps(), errorTraps(), searchTraps(), instanceTraps()) {
		seen[trap.name[:2]] = true
		t.Run(trap.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { trap.do(t, newBed(t)) })
		})
	}
	equal(t, "traps", len(seen), 48)
}

// loginTraps are about passwords and tokens.
func loginTraps() []trap {
	return []trap{
		{"01 token in a header", func(t *testing.T, b *bed) {
			b.Set(func(k *Knobs) { k.TokenSize = 9 << 10 })
			g := b.login(Password).want(201)
			equal(t, "token size", len(g.header.Get("X-Subject-Token")), 9<<10)
			b.get(tbl).want(200)
		}},
		{"02 lockout", func(t *testing.T, b *bed) {
			for range 4 {
				b.login("wrong").want(401, `"error":{`)
			}
			b.login("wrong").want(401, "IAM.0061")
			b.login(Password).want(401, `{"error_code":"IAM.0061"`)
			time.Sleep(15*time.Minute - time.Second)
			b.login(Password).want(401, "IAM.0061")
			time.Sleep(time.Second)
			for range 4 {
				b.login("wrong").want(401, `"error":{`)
			}
			time.Sleep(15 * time.Minute)
			b.login("wrong").want(401, `"error":{`)
			b.Set(func(k *Knobs) { k.LoginCodes = true })
			b.login("wrong").want(401, "IAM.0062")
			b.login(Password).want(201)
		}},
		{"03 revoked early", func(t *testing.T, b *bed) {
			b.RevokeTokens()
			b.get(tbl).want(401, `{"code":"VPC.0008"`)
			b.get(servers+"/detail").want(401, `"error":{"code":"Common.0013"`)
			b.Set(func(k *Knobs) { k.BadToken = BadToken0301 })
			b.get(tbl).want(401, `{"error_code":"APIGW.0301"`)
			b.Set(func(k *Knobs) { k.BadToken = BadToken0307 })
			b.get(servers+"/detail").want(401, `{"error_code":"APIGW.0307"`)
			b.login(Password)
			b.get(tbl).want(200)
		}},
		{"04 incurable 401", func(t *testing.T, b *bed) {
			b.Set(func(k *Knobs) { k.Restricted = true })
			b.login(Password).want(201)
			b.get(tbl).want(401, `{"code":"VPC.0005"`)
			b.get(servers + "/detail").want(200)
		}},
		{"05 stale token is 403 in IAM", func(t *testing.T, b *bed) {
			b.Set(func(k *Knobs) { k.IAMForbids = true })
			b.RevokeTokens()
			b.get(iam+"/v3/auth/projects").want(403, `"error":{"code":403`, "X-Auth-Token is invalid")
		}},
		{"06 two tokens at once", func(t *testing.T, b *bed) {
			old := b.token
			b.login(Password).want(201)
			equal(t, "another token", b.token != old, true)
			b.get(tbl).want(200)
			b.token = old
			b.get(tbl).want(200)
			equal(t, "logins", b.Count(OpLogin), 1)
		}},
		{"48 two wrong passwords in turn", func(t *testing.T, b *bed) {
			for range 10 {
				b.login("").want(400, "IAM.0072")
			}
			for _, password := range []string{"one", "two", "one", "two"} {
				b.login(password).want(401, `"error":{`)
			}
			b.login("one").want(401, "IAM.0061")
		}},
	}
}

// pathTraps are about where to send a request.
func pathTraps() []trap {
	return []trap{
		{"07 catalogs", func(t *testing.T, b *bed) {
			b.Set(func(k *Knobs) {
				k.Catalog = func(list []Service) []Service {
					list = slices.DeleteFunc(list, func(s Service) bool { return s.Type == "vpc" })
					for i := range list {
						list[i].Region = ""
						list[i].URL += "/"
					}
					return append(list, Service{"compute", "nova", "eu-nl", ecs + "/v2/" + ProjectID})
				}
			})
			g := b.login(Password).want(201, `"region":null`, `"url":"`+vpc+`/"`, `/v2/`).without(`"type":"vpc"`)
			equal(t, "identity twice", strings.Count(g.body, `"identity"`), 2)
			b.Set(func(k *Knobs) { k.NoCatalog = true })
			b.login(Password).want(201).without("catalog")
		}},
		{"08 another region", func(t *testing.T, b *bed) {
			const rest = "eu-ch2.sc.otc.test"
			text := loginText(User, Password, `{"project":{"name":"`+Project+`"}}`)
			g := b.send(http.MethodPost, "https://iam-pub."+rest+"/v3/auth/tokens", text).want(201, `"https://vpc.`+rest+`/v1/`)
			b.token = g.header.Get("X-Subject-Token")
			b.get(strings.Replace(tbl, "eu-de.otc.test", rest, 1)).want(200)
			b.get(tbl).want(401, `{"error_code":"APIGW.0307"`)
		}},
		{"09 404 of another kind", func(t *testing.T, b *bed) {
			b.get(vpc+"/v1//routetables").want(404, `{"message":"API not found","request_id":`)
			b.get(tbl+"/").want(404, `"APIGW.0101"`)
		}},
		{"10 another project", func(t *testing.T, b *bed) {
			b.AddProject("eu-de_other", compactID("other"))
			b.get(strings.Replace(tbl, ProjectID, compactID("other"), 1)).want(400, "VPC.0007")
		}},
		{"39 IAM fails over", func(t *testing.T, b *bed) {
			b.Fail(Fault{Op: OpLogin, Status: 410})
			b.Fail(Fault{Op: OpTableGet, Status: 503})
			b.login(Password).want(410, "IAM.0020")
			b.get(tbl).want(503, "APIGW.0613")
			b.login(Password).want(201)
		}},
	}
}
