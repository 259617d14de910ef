package otc

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// R7: what IAM refused is not tried again for 15 minutes, by nobody. Five
// failures within 15 minutes lock the user.
func TestR7OneLoginPerCredentials(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.rotate("wrong")
		for range 6 * 60 {
			errs := parallel(10, w.read)
			if len(errs) != 10 {
				t.Fatalf("got %d errors, want 10", len(errs))
			}
			for _, err := range errs {
				refused, ok := errors.AsType[*LoginRefusedError](err)
				if !ok || ReactionTo(err) != LoginRefused || !refused.Until.After(time.Now()) {
					t.Fatalf("got %v, want a refused login with a time in the future", err)
				}
			}
			pass(10 * time.Second)
		}
		at := w.times(otctest.OpLogin)
		if len(at) < 3 || len(at) > 4 {
			t.Errorf("got %d logins in an hour, want one per 15 to 18 minutes", len(at))
		}
		w.wantApart(otctest.OpLogin, 15*time.Minute)
		w.wantCalls("", len(at))
		w.rotate(otctest.Password)
		w.mustRead() // not locked
	})
}

// Many processes that start together must not come back together.
func TestR7PauseIsJittered(t *testing.T) {
	ends := map[time.Duration]bool{}
	for range 20 {
		inBubble(t, func(t *testing.T, w *world) {
			w.rotate("wrong")
			refused, _ := errors.AsType[*LoginRefusedError](w.read())
			ends[time.Until(refused.Until)] = true
		})
	}
	for d := range ends {
		if d < 15*time.Minute || d > 18*time.Minute {
			t.Errorf("got a pause of %v, want 15 to 18 minutes", d)
		}
	}
	if len(ends) < 10 {
		t.Errorf("got %d different pauses of 20", len(ends))
	}
}

// Each step changes the credentials and reads twice. A pair is new if it was not
// refused in the last 15 minutes, whatever was tried in between.
func TestR7ChangedCredentialsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		logins := 0
		for _, step := range []struct {
			name, user, password string
			sent, ok             bool
			after                time.Duration
		}{
			{"right", otctest.User, otctest.Password, true, true, 0},
			{"wrong", otctest.User, "geheim-1", true, false, 24 * time.Hour},
			{"empty", otctest.User, "", false, false, 0},
			{"wrong too", otctest.User, "geheim-2", true, false, 0},
			{"the first again", otctest.User, "geheim-1", false, false, 5 * time.Minute},
			{"the second again", otctest.User, "geheim-2", false, false, 5 * time.Minute},
			{"another user", "somebody", "geheim-1", true, false, 0},
			{"user and password run together", "somebodyg", "eheim-1", true, false, 0},
			{"no user", "", "geheim-1", false, false, 0},
			{"the first, 18 minutes later", otctest.User, "geheim-1", true, false, 8 * time.Minute},
			{"right again", otctest.User, otctest.Password, true, true, 0},
		} {
			pass(step.after)
			w.rename(step.user)
			w.rotate(step.password)
			if got, want := w.client.CredentialsChanged(), step.sent; got != want {
				t.Errorf("%s: changed is %v, want %v", step.name, got, want)
			}
			if step.sent {
				logins++
			}
			for range 2 {
				if err := w.read(); (err == nil) != step.ok {
					t.Errorf("%s: got %v", step.name, err)
				}
				w.wantCalls(otctest.OpLogin, logins)
			}
		}
		if !w.client.CredentialsChanged() {
			t.Error("after a login that succeeded another caller is left waiting")
		}
		if text := fmt.Sprintf("%+v %#v", *w.client.auth, w.client.auth.refused); strings.Contains(text, "eheim") {
			t.Errorf("refused passwords are kept as text: %s", text)
		}
	})
}

// A user whom somebody else has locked is refused with the right password too.
func TestR7LockedUser(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.rotate("wrong")
		for range 5 { // five other processes
			_ = New(w.client.cfg, nil).read(t, otctest.TableID)
		}
		w.Reset()
		w.rotate(otctest.Password)
		e := asError(t, w.read())
		if e.Code != "IAM.0061" || !strings.Contains(e.Hint, "locked") {
			t.Errorf("got %v, want IAM.0061 and what it means", e)
		}
		every(30*time.Second, 20*time.Minute, func() { _ = w.read() })
		w.wantApart(otctest.OpLogin, 15*time.Minute)
		w.wantCalls(otctest.OpLogin, 2)
		w.mustRead()
	})
}

func (c *Client) read(t *testing.T, id string) error {
	_, err := c.RouteTable(t.Context(), id)
	return err
}

// The password was changed and the old tokens died with it.
func TestR7RefusedWhileReplacingAToken(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustRead()
		w.SetPassword("a new one")
		w.RevokeTokens()
		for range 30 {
			if e := asError(t, w.read()); e.Reaction != LoginRefused {
				t.Errorf("got %v, want a refused login", e)
			}
			pass(20 * time.Second)
		}
		w.wantCalls(otctest.OpLogin, 2)
		w.wantCalls(otctest.OpTableGet, 2) // nothing is sent with a token that is dead
		if n := w.count.retries["relogin"]; n != 1 {
			t.Errorf("got %d logins counted, want the one that was sent", n)
		}
		w.rotate("a new one")
		w.mustRead()
		w.wantCalls(otctest.OpLogin, 3)
	})
}

// A failure to reach IAM is no refusal: the next call may try again, but not at
// once if IAM may have seen the login. It may have counted as a failed one.
func TestLoginThatIsNotRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault otctest.Fault
		pause bool
	}{
		{"500", otctest.Fault{Status: 500}, false},
		{"503", otctest.Fault{Status: 503, Code: "APIGW.0613"}, false},
		{"504", otctest.Fault{Status: 504}, false},
		{"403", otctest.Fault{Status: 403, Code: "IAM.0002"}, false},
		{"404", otctest.Fault{Status: 404, Code: "IAM.0004"}, false},
		{"400", otctest.Fault{Status: 400, Code: "IAM.0011"}, false},
		{"no connection", otctest.Fault{Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}, false},
		{"no such host", otctest.Fault{Err: &net.DNSError{Err: "no such host", Name: "iam.eu-de.otc.t-systems.com"}}, false},
		{"no proxy", otctest.Fault{Err: &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("Forbidden")}}, false},
		{"reset", otctest.Fault{Reset: true}, true},
		{"closed", otctest.Fault{Err: io.EOF}, true},
		{"timeout", otctest.Fault{Hang: true}, true},
		{"cut", otctest.Fault{Truncate: true, Keep: 10}, true},
		{"stalled", otctest.Fault{Slow: time.Minute}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				tt.fault.Op = otctest.OpLogin
				w.Fail(tt.fault)
				err := w.read()
				if _, ok := errors.AsType[*LoginRefusedError](err); ok || err == nil {
					t.Errorf("got %v, want a plain error", err)
				}
				w.wantCalls("", 1)
				told, lost := RetryAfter(err), time.Now()
				if (told >= 15*time.Second) != tt.pause || told > 20*time.Second {
					t.Errorf("got a pause of %v", told)
				}
				for tt.pause && time.Since(lost) < 15*time.Second {
					if again := asError(t, w.read()); again.Error() != err.Error() || again.RetryAfter != told-time.Since(lost) {
						t.Errorf("got %v, Retry-After %v; want the same again, and when", again, again.RetryAfter)
					}
					w.wantCalls("", 1)
					pass(time.Second)
				}
				pass(max(0, told-time.Since(lost)))
				w.mustRead()
				w.wantCalls(otctest.OpLogin, 2)
			})
		})
	}
}
