package node

import (
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// A rotated password that nobody told us: the routes stay confirmed, one attempt
// is made, and the new password is picked up, although another table has a failure
// of its own.
func TestR7Rotated(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1, func(c *Config) { c.Tables, c.DriftInterval = []string{tableID(9), mainTable}, time.Minute })
		w.pass(2 * time.Hour) // the other table is tried every 15 minutes by now
		w.SetPassword("a new one")
		w.RevokeTokens()
		w.Reset()
		refused := func() bool {
			return strings.HasPrefix(a.Status().Tables[1].State, "confirmed; the last read failed: login refused: iam login: HTTP 401")
		}
		for range 90 { // the other table may be the first to find out
			if !refused() {
				w.pass(time.Second)
			}
		}
		if !refused() {
			t.Errorf("main table: %s", a.Status().Tables[1].State)
		}
		if got := a.Status().LoginRefused; !strings.HasPrefix(got, "iam login: HTTP 401") {
			t.Errorf("login refused: %q, want what IAM answered", got)
		}
		a.password.Store("a new one")
		w.pass(credentialsPoll) // well before the next drift check
		if n := w.Count(otctest.OpLogin); n != 2 {
			t.Errorf("%d logins, want the refused one and another within half a minute", n)
		}
		if s := a.Status(); s.Tables[1].State != "confirmed" || s.LoginRefused != "" {
			t.Errorf("main table: %s, login refused: %q", s.Tables[1].State, s.LoginRefused)
		}
	})
}

// TestR9 makes the cloud repeat secrets in its answers, and look for them
// elsewhere. (That none is told is held at the end of every world.)
func TestR9(t *testing.T) {
	bubble(t, func(w *world) {
		w.Fail(otctest.Fault{Op: otctest.OpLogin, Status: 400, Body: []byte(`{"code":"X.1","message":"bad password ` + otctest.Password + `"}`)})
		a := w.up(1)
		w.pass(time.Hour)
		a.wantState(true, true)
		a.wantTold(1, "iam login: HTTP 400: check")
		token := w.Tokens()[0]
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: 403, Body: []byte(`{"code":"X.2","message":"token ` + token + ` lacks rights"}`)})
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: 403, Body: []byte(token)})
		a.move("10.129.0.0/23")
		w.pass(time.Hour)
		a.wantState(true, true)
		a.wantTold(1, "X.2", "token … lacks rights")
	})
}

// TestRefusal: make status and -check are told of a refused password, which may lock
// the user, and not of a refused ID token.
func TestRefusal(t *testing.T) {
	for operation, want := range map[string]string{"login": "iam login: HTTP 401", "id_token_login": ""} {
		s := schedule{err: &otc.LoginRefusedError{Err: &otc.Error{Service: "iam", Operation: operation, Status: 401}}}
		if got := s.refusal(); got != want {
			t.Errorf("%s: got %q, want %q", operation, got, want)
		}
	}
}
