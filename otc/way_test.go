package otc

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"otc-route-manager/otc/otctest"
)

// pages are bodies that no service of the cloud writes: none of the five shapes.
func pages() map[string]string {
	return map[string]string{
		"an HTML page":      "<html><head><title>Web access blocked</title></head><body>permission vpc:routeTables:get</body></html>",
		"XML":               `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`,
		"nothing":           "",
		"blanks":            " \r\n",
		"text":              "upstream connect error or disconnect/reset before headers",
		"an empty object":   `{}`,
		"null":              `null`,
		"a list":            `[1]`,
		"half of an answer": `{"code":"VPC.00`,
		"a proxy's error":   `{"error":"access_denied"}`,
		"another gateway's": `{"message":"Forbidden"}`,
		"another service's": `{"fault":{"faultstring":"Invalid ApiKey","detail":{"errorcode":"oauth.v2.InvalidApiKey"}}}`,
		"odd types":         `{"code":{"a":1},"message":["x"],"request_id":7}`,
		"a number as code":  `{"code":403,"message":"blocked by policy"}`,
		"an error's code":   `{"error":{"code":403}}`,
	}
}

// R12: an answer that is not the API's is a failure on the way, whatever its status and
// whatever was asked. It is no word of IAM, VPC or ECS: the hint names the way, never
// users, permissions, tables or a request id.
func TestR12AnswersOfSomebodyElse(t *testing.T) {
	statuses := []int{200, 201, 202, 301, 302, 307, 400, 401, 403, 404, 405, 407, 408, 409, 410, 413, 414, 429, 431, 451, 494, 500, 501, 502, 503, 504, 511}
	ops := []string{otctest.OpLogin, otctest.OpTableGet, otctest.OpTableUpdate, otctest.OpQuotas, otctest.OpServerGet, otctest.OpServerList, otctest.OpPortList}
	for _, op := range ops {
		for name, page := range pages() {
			t.Run(op+", "+name, func(t *testing.T) {
				for _, status := range statuses {
					if op == otctest.OpTableUpdate && status < 202 && (page == "" || strings.ContainsAny(page[:1], "{[n") && name != "half of an answer") {
						continue // the answer to a PUT is not looked at: a read shows what it did
					}
					inBubble(t, func(t *testing.T, w *world) { w.checkPage(op, status, page) })
				}
			})
		}
	}
}

func (w *world) checkPage(op string, status int, page string) {
	w.Fail(otctest.Fault{Op: op, Times: -1, Status: status, Body: []byte(page), Header: http.Header{"Location": {"https://u:geheim@login.corp.example/?token=geheim"}}})
	e := asError(w.t, w.callOf(op))
	want := Transient
	if status == http.StatusTooManyRequests {
		want = Throttled
	}
	at := fmt.Sprintf("%d: %v", status, e)
	if e.Reaction != want || e.Status != 0 || e.Code != "" || e.NotSent || IsForbidden(e) || IsNotFound(e) {
		w.t.Errorf("%s: got %#v", at, e)
	}
	if !strings.Contains(e.Hint, "HTTPS_PROXY and NO_PROXY, and the endpoint") {
		w.t.Errorf("%s: got hint %q", at, e.Hint)
	}
	if strings.HasPrefix(page, "<html") && status/100 != 3 {
		wantParts(w.t, e.Error(), fmt.Sprintf("HTTP %d with an HTML page: ", status))
	}
	if status/100 == 3 {
		wantParts(w.t, e.Error(), fmt.Sprintf("HTTP %d with a redirect to login.corp.example: ", status))
	}
	for _, never := range []string{"OS_PASSWORD", "OS_USERNAME", "grant", "request id", "support", "ROUTE_TABLE_ID", "geheim"} {
		if strings.Contains(e.Error(), never) {
			w.t.Errorf("%s: %q is in it", at, never)
		}
	}
	if n := w.Count(op); n > 6 || n > 1 && op == otctest.OpTableUpdate {
		w.t.Errorf("%s: sent %d times", at, n)
	}
	if want != Throttled || op != otctest.OpLogin {
		w.wantCalls(otctest.OpLogin, 1) // a page with 401 refuses no token
	}
}
