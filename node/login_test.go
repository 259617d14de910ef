package node

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// TestR7Reuse: a token is used for half of its life at least, and never after its end.
func TestR7Reuse(t *testing.T) {
	bubble(t, func(w *world) {
		a := w.up(1)
		w.pass(11*time.Hour + 30*time.Minute)
		if n := w.Count(otctest.OpLogin); n != 1 {
			t.Errorf("%d logins in the first half of a token's life, want 1", n)
		}
		w.pass(9 * 24 * time.Hour)
		if n := w.Count(otctest.OpLogin); n < 10 || n > 20 {
			t.Errorf("%d logins in nine days and a half, want 10 to 20", n)
		}
		for _, r := range w.Requests() {
			if r.Status == http.StatusUnauthorized {
				t.Fatalf("a token was used after its end: %s at %v", r.Op, r.Time)
			}
		}
		a.wantState(true, true)
	})
}

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
		a.password.Store("a new one")
		w.pass(loginPoll) // well before the next drift check
		if n := w.Count(otctest.OpLogin); n != 2 {
			t.Errorf("%d logins, want the refused one and another within half a minute", n)
		}
		if got := a.Status().Tables[1].State; got != "confirmed" {
			t.Errorf("main table: %s", got)
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
		a.wantTold(1, "iam login: HTTP 400", "[redacted]")
		token := w.Tokens()[0]
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: 403, Body: []byte(`{"code":"X.2","message":"token ` + token + ` lacks rights"}`)})
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: 403, Body: []byte(token)})
		a.move("10.129.0.0/23")
		w.pass(time.Hour)
		a.wantState(true, true)
		a.wantTold(1, "X.2", "[redacted]")
	})
}

// A redirect would carry the token to wherever it points.
func TestR9Redirect(t *testing.T) {
	bubble(t, func(w *world) {
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: 307, Header: http.Header{"Location": {"https://elsewhere.test/"}}})
		w.Fail(otctest.Fault{Op: otctest.OpLogin, Status: 302, Header: http.Header{"Location": {"https://elsewhere.test/"}}})
		a := w.up(1)
		w.pass(time.Hour)
		for _, r := range w.Requests() {
			if !strings.HasSuffix(r.Host, ".eu-de.otc.test") {
				t.Errorf("a request went to %s", r.Host)
			}
		}
		a.wantState(true, true)
	})
}
