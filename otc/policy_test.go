package otc

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"otc-route-manager/otc/otctest"
)

// A reply is one row of the error tables of the IAM, VPC and ECS references
// and of the API gateway, and what is to be done about it.
type reply struct {
	op      string
	status  int
	codes   string // one or more, "" for none
	shape   otctest.Shape
	message string
	want    Reaction
	hint    string // parts of it, with … between them
}

// documented is written after the references, not after the code.
func documented() []reply {
	const (
		login, get, put      = otctest.OpLogin, otctest.OpTableGet, otctest.OpTableUpdate
		server, list, ports  = otctest.OpServerGet, otctest.OpServerList, otctest.OpPortList
		quotas               = otctest.OpQuotas
		forbidden            = "Policy doesn't allow it to be performed."
		iam, nova, gw, plain = otctest.ShapeIAM, otctest.ShapeNova, otctest.ShapeAPIGW, otctest.ShapeMessage
	)
	return []reply{
		// IAM
		{login, 400, "IAM.0007 IAM.0011 IAM.0072 IAM.0073 IAM.1101", 0, "", Permanent, "OS_DOMAIN_NAME"},
		{login, 401, "", iam, "Unauthorized", LoginRefused, "wrong OS_PASSWORD…unknown, disabled or locked…account (OS_DOMAIN_NAME)…OS_PROJECT_NAME or OS_PROJECT_ID…" +
			"no role in the project…a corrected user or role after make restart or 15 to 18 minutes"},
		{login, 401, "", plain, "Authorization information is wrong", LoginRefused, "OS_PASSWORD"},
		{login, 401, "IAM.0001 IAM.0063 IAM.0064", 0, "", LoginRefused, "wrong OS_PASSWORD…MFA"},
		{login, 401, "IAM.0062", 0, "", LoginRefused, "OS_PASSWORD is not the password of OS_USERNAME…corrected Secret"},
		{login, 401, "IAM.0061", 0, "", LoginRefused, "locked for 15 minutes"},
		{login, 401, "APIGW.0301 APIGW.0307", gw, "", LoginRefused, ""},
		{login, 403, "IAM.0002 IAM.0003 IAM.0083", 0, "", Permanent, "may not log in"},
		{login, 403, "IAM.0081", 0, "", Permanent, "programmatic access"},
		{login, 403, "IAM.0082", 0, "", Permanent, "disabled"},
		{login, 404, "IAM.0004", 0, "", Permanent, "OS_PROJECT_NAME"},
		{login, 404, "APIGW.0101", gw, "", Permanent, "OS_AUTH_URL"},
		{login, 409, "IAM.0005", 0, "", Permanent, ""},
		{login, 410, "IAM.0020", 0, "", Throttled, ""},
		{login, 410, "", iam, "Gone", Throttled, ""},
		{login, 413, "", iam, "Too large", Permanent, ""},
		{login, 429, "IAM.0012", 0, "The throttling threshold has been reached: 10 times per 60 seconds", Throttled, ""},
		{login, 500, "IAM.0006", 0, "", Transient, ""},
		{login, 502, "APIGW.0610", gw, "", Transient, ""},
		{login, 503, "APIGW.0613", gw, "", Transient, ""},
		{login, 401, "", iam, "The svc-routes account is locked.", LoginRefused, "locked for 15 minutes"},
		{get, 401, "IAM.0066 IAM.0067", 0, "", Relogin, ""},
		{get, 403, "", iam, "X-Auth-Token is invalid in the request", Relogin, ""},

		// VPC
		{get, 400, "VPC.0004", 0, "The VPC is not active. Try again later.", Transient, ""},
		{put, 400, "VPC.0004", 0, "The VPC is not active. Try again later.", Transient, ""},
		{get, 400, "VPC.0007", 0, "", Permanent, "different projects"},
		{get, 400, "VPC.0002 VPC.1207 VPC.2810 VPC.2809", 0, "", Permanent, ""},
		{get, 409, "VPC.0103", 0, "Resource status is busy, try it again later.", Transient, ""},
		{put, 409, "VPC.0103", 0, "Resource status is busy, try it again later.", Conflict, ""},
		{get, 401, "VPC.0008", 0, "", Relogin, ""},
		{put, 401, "VPC.0008", 0, "", Relogin, ""},
		{get, 401, "VPC.0005 VPC.0009", 0, "", Relogin, "restricted, frozen or in arrears"},
		{get, 403, "VPC.2701", 0, "", Permanent, "restricted, frozen or in arrears"},
		{get, 403, "VPC.0010 VPC.2201", 0, forbidden, Permanent, "grant vpc:routeTables:get"},
		{put, 403, "VPC.0010 VPC.2201", 0, forbidden, Permanent, "grant vpc:routeTables:update"},
		{ports, 403, "VPC.2201", 0, forbidden, Permanent, "grant vpc:ports:get"},
		{quotas, 403, "VPC.2201", 0, forbidden, Permanent, "grant vpc:quotas:list"},
		{quotas, 400, "VPC.1207", 0, "", Permanent, ""},
		{get, 404, "VPC.2808", 0, "", Permanent, "ROUTE_TABLE_ID"},
		{put, 404, "VPC.2808 VPC.0003", 0, "", Permanent, "ROUTE_TABLE_ID"},
		{get, 404, "VPC.0105", 0, "", Transient, ""},
		{get, 500, "VPC.0105 VPC.0106 VPC.0111", 0, "", Transient, ""},
		{put, 500, "VPC.0105", 0, "", Transient, ""},
		{put, 400, "VPC.2800", 0, "The num of routes to update is more than 5.", Rejected, ""},
		{put, 400, "VPC.2809", 0, "NeutronError", Rejected, "overlap"},
		{put, 400, "VPC.2812", 0, "", Rejected, ""},
		{put, 400, "VPC.0007", 0, "", Rejected, "different projects"},
		{put, 400, "VPC.0002 VPC.1207 VPC.2810 APIGW.0201", 0, "", Rejected, "request id"},
		{put, 400, "Ecs.1000 APIGW.0104", 0, "", Transient, ""},
		{put, 409, "VPC.2812 VPC.0105", 0, "", Conflict, ""},
		{put, 409, "VPC.0114 VPC.0604", 0, "Quota exceeded for resources: ['route'].", Quota, "full"},
		{put, 400, "VPC.2809", 0, "Quota exceeded for resources: ['route'].", Quota, "full"},
		{put, 403, "VPC.2201", 0, "The quota of your permissions is exceeded.", Permanent, "grant vpc:routeTables:update"},
		{put, 405, "APIGW.0501 APIGW.0502", gw, "The API quota has been used up", Permanent, ""},
		{put, 202, "VPC.0001", 0, "", Transient, ""},
		{get, 408, "APIGW.0201", gw, "", Transient, ""},
		{put, 409, "VPC.0001", 0, "", Conflict, ""},

		// ECS
		{server, 202, "Common.0024", 0, "Flow limit exceeded.", Throttled, ""},
		{list, 429, "Common.1503", 0, "", Throttled, ""},
		{server, 401, "Common.0013", 0, "", Relogin, ""},
		{server, 400, "Ecs.0023 Common.0018", 0, "", Permanent, "different projects"},
		{server, 400, "Ecs.0005", 0, "", Permanent, ""},
		{server, 400, "Ecs.0301 Ecs.1000 Ecs.1001 Ecs.1002 Ecs.1100 Ecs.1200", 0, "", Transient, ""},
		{server, 403, "Pdp.0001 Ecs.0003 Ecs.0110", 0, "", Permanent, "grant ecs:cloudServers:showServer"},
		{server, 403, "", nova, forbidden, Permanent, "grant ecs:cloudServers:showServer"},
		{list, 403, "Pdp.0001", 0, "", Permanent, "grant ecs:cloudServers:list"},
		{server, 404, "Ecs.0114 Ecs.0614", 0, "", Permanent, ""},
		{server, 404, "", nova, "Instance could not be found.", Permanent, ""},
		{server, 500, "Common.0001", 0, "", Transient, ""},
		{server, 501, "Ecs.0603", 0, "Try again 1 minute later.", Transient, ""},
		{server, 501, "Ecs.0001", 0, "", Permanent, ""},

		// The gateway before VPC and ECS
		{get, 404, "APIGW.0101 APIG.0101", gw, "", Permanent, "eu-ch2"},
		{put, 404, "APIGW.0101", gw, "", Permanent, "eu-ch2"},
		{server, 404, "APIGW.0101", gw, "", Permanent, "eu-ch2"},
		{get, 404, "", plain, "API not found", Permanent, "eu-ch2"},
		{server, 404, "", plain, "API not found", Permanent, "eu-ch2"},
		{get, 404, "APIGW.0103", gw, "", Transient, ""},
		{server, 400, "APIGW.0104", gw, "", Transient, ""},
		{list, 500, "APIGW.0105 APIGW.0106", gw, "", Transient, ""},
		{get, 400, "APIGW.0201", gw, "", Permanent, ""},
		{get, 413, "APIGW.0201", gw, "", Permanent, ""},
		{get, 414, "APIGW.0201", gw, "", Permanent, ""},
		{get, 494, "APIGW.0201", gw, "", Permanent, ""},
		{get, 502, "APIGW.0201 APIGW.0610", gw, "", Transient, ""},
		{put, 502, "APIGW.0201 APIGW.0610", gw, "", Transient, ""},
		{get, 503, "APIGW.0613", gw, "", Transient, ""},
		{get, 504, "APIGW.0201", gw, "", Transient, ""},
		{put, 504, "APIGW.0201", gw, "", Transient, ""},
		{get, 401, "APIGW.0301 APIGW.0305", gw, "Incorrect IAM authentication information: decrypt token fail", Relogin, ""},
		{server, 401, "APIGW.0307 APIG.0307", gw, "The token must be updated", Relogin, "another region"},
		{get, 403, "APIGW.0302 APIGW.0304 APIGW.0306 APIGW.0310 APIGW.0401 APIGW.0402 APIGW.0404 APIGW.0801 APIGW.0802", gw, "", Permanent, "API gateway refused…ACL"},
		{get, 403, "VPC.9999", 0, "", Permanent, "the message says why; what this call needs is vpc:routeTables:get"},
		{get, 429, "APIGW.0308", gw, "The throttling threshold has been reached", Throttled, ""},
		{put, 429, "APIG.0308", gw, "The throttling threshold has been reached", Throttled, ""},
		{server, 405, "APIGW.0501 APIGW.0502", gw, "", Permanent, ""},
		{get, 500, "APIGW.0601 APIGW.0605 APIGW.0606 APIGW.0608", gw, "", Transient, ""},
	}
}

// attempts is how often a call is seen on the wire if the answer never changes.
func (a reply) attempts() (least, most int) {
	switch a.want {
	case Transient:
		if a.op != otctest.OpLogin && a.op != otctest.OpTableUpdate {
			return 6, 6
		}
	case Throttled:
		if a.op != otctest.OpTableUpdate {
			return 2, 6
		}
	case Relogin:
		return 2, 2
	}
	return 1, 1
}

func TestPolicy(t *testing.T) {
	for _, a := range documented() {
		for _, code := range strings.Split(a.codes, " ") {
			name := strings.TrimSpace(fmt.Sprintf("%-12s %d %s", a.op, a.status, code))
			t.Run(name, func(t *testing.T) { inBubble(t, func(t *testing.T, w *world) { w.checkPolicy(a, code) }) })
		}
	}
}

// checkPolicy lets the cloud answer a for ever and looks at what the client does.
func (w *world) checkPolicy(a reply, code string) {
	t := w.t
	w.Fail(otctest.Fault{Op: a.op, Times: -1, Status: a.status, Code: code, Shape: a.shape, Message: a.message})
	err := w.callOf(a.op)
	e := asError(t, err)
	least, most := a.attempts()
	n := w.Count(a.op)
	t.Logf("%-12s %d %-12s → %-9s sent %d times; %s", a.op, a.status, e.Code, e.Reaction, n, e.Hint)
	if e.Reaction != a.want || ReactionTo(fmt.Errorf("x: %w", err)) != a.want {
		t.Errorf("got %v, want %v", e.Reaction, a.want)
	}
	if n < least || n > most {
		t.Errorf("sent %d times, want %d to %d", n, least, most)
	}
	if a.op != otctest.OpLogin {
		w.wantCalls(otctest.OpLogin, map[bool]int{false: 1, true: 2}[a.want == Relogin])
	}
	if e.Status != a.status || code != "" && e.Code != code {
		t.Errorf("got status %d, code %q; want %d, %q", e.Status, e.Code, a.status, code)
	}
	for part := range strings.SplitSeq(a.hint, "…") {
		if !strings.Contains(e.Hint, part) || strings.Contains(e.Hint, "%") {
			t.Errorf("got hint %q, want %q in it", e.Hint, part)
		}
	}
	if e.Hint == "" && a.status != http.StatusNotFound {
		t.Error("nobody is told what to do about it")
	}
	if _, refused := errors.AsType[*LoginRefusedError](err); refused != (a.want == LoginRefused) {
		t.Errorf("got %T", err)
	}
	if want := a.op == otctest.OpTableUpdate && a.status == 400 && code == "VPC.2812"; e.OutdatedRequest != want {
		t.Errorf("got outdated %v, want %v", e.OutdatedRequest, want)
	}
	if got, want := IsForbidden(err), a.status == http.StatusForbidden && a.op != otctest.OpLogin; got != want {
		t.Errorf("IsForbidden is %v, want %v", got, want)
	}
	gone := []string{"Ecs.0114", "Ecs.0614", "itemNotFound"}
	if got, want := IsNotFound(err), e.Status == 404 && slices.Contains(gone, e.Code); got != want {
		t.Errorf("IsNotFound is %v, want %v", got, want)
	}
}

func TestReactionTo(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Reaction
	}{
		{errors.New("x"), Transient},
		{fmt.Errorf("x: %w", ErrGuard), Permanent},
		{fmt.Errorf("x: %w", ErrTooOld), Conflict},
		{&LoginRefusedError{Err: &Error{Reaction: LoginRefused}}, LoginRefused},
	} {
		if got := ReactionTo(tt.err); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
	for r, want := range []string{"permanent", "transient", "throttled", "relogin", "login_refused", "rejected", "conflict", "quota"} {
		if got := Reaction(r).String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
