package otc

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc/otctest"
)

// every calls f at once and then once per step until d has passed.
func every(step, d time.Duration, f func()) {
	for end := time.Now().Add(d); !time.Now().After(end); pass(step) {
		f()
	}
}

// R7: login is precious. A token serves for half a day at least, and for a day
// less five minutes at most; a fleet that has started together logs in one by one.
func TestR7Renewal(t *testing.T) {
	hours := map[int]bool{}
	for range 30 {
		inBubble(t, func(t *testing.T, w *world) {
			every(5*time.Minute, 23*time.Hour+55*time.Minute, w.mustRead)
			w.wantCalls(otctest.OpLogin, 2)
			at := w.times(otctest.OpLogin)
			if d := at[1].Sub(at[0]); d < 12*time.Hour || !w.count.expiry.Equal(at[1].Add(24*time.Hour)) {
				t.Errorf("got a new login after %v, end %v; want it after 12h", d, w.count.expiry)
			}
			hours[int(at[1].Sub(at[0]).Hours())] = true
		})
	}
	if len(hours) < 5 {
		t.Errorf("got renewals in the hours %v only, want them spread over 12", hours)
	}
}

// A token whose catalog lacks the region is not asked for again at each call; a
// later catalog may have it.
func TestR7CatalogWithoutTheRegion(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		elsewhere := func(list []otctest.Service) []otctest.Service {
			for i := range list {
				list[i].Region = "eu-xx"
			}
			return list
		}
		w.client.cfg.Region = "eu-yy"
		w.Set(func(k *otctest.Knobs) { k.Catalog = elsewhere })
		every(time.Minute, 29*time.Minute, func() {
			if e := asError(t, w.read()); e.Reaction != Permanent || !strings.Contains(e.Error(), `no vpc endpoint for region "eu-yy"`) {
				t.Fatalf("got %v", e)
			}
		})
		w.wantCalls(otctest.OpLogin, 2)
		w.client.cfg.Region = "eu-de"
		w.Set(func(k *otctest.Knobs) { k.Catalog = nil })
		pass(time.Minute)
		w.mustRead()
		w.wantCalls(otctest.OpLogin, 3)
	})
}

// A renewal that fails, or brings a token that is of no use, does not end what the
// old token can still do, is not tried again at each call, and is logged. A token that
// has ended is not sent.
func TestR7RenewalThatFails(t *testing.T) {
	elsewhere := func(list []otctest.Service) []otctest.Service {
		for i := range list {
			list[i].Region = "eu-xx"
		}
		return list
	}
	gaps := map[time.Duration]bool{}
	for name, f := range map[string]otctest.Fault{"503": {Status: 503}, "no answer": {Reset: true}, "refused": {Status: 401, Shape: otctest.ShapeIAM}, "another catalog": {}} {
		inBubble(t, func(t *testing.T, w *world) {
			w.client.cfg.Region = "eu-yy"
			w.Set(func(k *otctest.Knobs) {
				k.Catalog = func(list []otctest.Service) []otctest.Service { elsewhere(list)[0].Region = "eu-yy"; return list }
			})
			w.client.cfg.ECSEndpoint = "https://ecs.test"
			w.mustRead()
			old, end := w.Tokens()[0], time.Now().Add(24*time.Hour)
			if name == "another catalog" {
				w.Set(func(k *otctest.Knobs) { k.Catalog = elsewhere })
			} else {
				f.Op, f.Times = otctest.OpLogin, -1
				w.Fail(f)
			}
			every(time.Minute, 24*time.Hour-time.Minute, w.mustRead)
			for _, r := range w.Requests() {
				if r.Op == otctest.OpTableGet && r.Header.Get("X-Auth-Token") != old {
					t.Errorf("%s: the old token was not used", name)
				}
			}
			w.wantApart(otctest.OpLogin, 5*time.Minute)
			at := w.times(otctest.OpLogin)
			if len(at) < 2 || len(at) > 12 || strings.Count(w.log.String(), "the token was not renewed") < len(at)-1 {
				t.Fatalf("%s: got logins %v, want a few tries to renew, each logged: %s", name, at, w.log)
			}
			gaps[end.Sub(at[1])] = true
			reads := w.Count(otctest.OpTableGet)
			pass(time.Until(end))
			if e := asError(t, w.read()); name != "another catalog" && (e.Service != "iam" || e.Status != f.Status) {
				t.Errorf("%s: got %v, want what IAM said", name, e)
			}
			w.wantCalls(otctest.OpTableGet, reads)
			w.Heal()
			w.Set(func(k *otctest.Knobs) { k.Catalog = nil })
			w.client.cfg.Region = "eu-de"
			pass(18 * time.Minute)
			w.mustRead()
		})
	}
	if len(gaps) < 3 {
		t.Errorf("got first tries %v before the end, want them spread", gaps)
	}
}

func TestR7OneLoginForFiftyGoroutines(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Set(func(k *otctest.Knobs) { k.Latency = 30 * time.Millisecond })
		if errs := parallel(50, w.read); len(errs) > 0 {
			t.Errorf("got %v", errs)
		}
		w.wantCalls(otctest.OpLogin, 1)
		w.wantCalls(otctest.OpTableGet, 50)
		pass(24 * time.Hour)
		if errs := parallel(50, w.read); len(errs) > 0 {
			t.Errorf("got %v", errs)
		}
		w.wantCalls(otctest.OpLogin, 2)
	})
}

// R7: a token that a service refuses is replaced exactly once, however the
// refusal is worded and however many calls meet it.
func TestR7RevokedTokenIsReplacedOnce(t *testing.T) {
	kinds := map[string]otctest.BadToken{"service": otctest.BadTokenService, "APIGW.0301": otctest.BadToken0301, "APIGW.0307": otctest.BadToken0307}
	for name, kind := range kinds {
		for _, callers := range []int{1, 50} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					w.Set(func(k *otctest.Knobs) { k.BadToken, k.Latency = kind, 30*time.Millisecond })
					w.mustRead()
					w.RevokeTokens()
					if errs := parallel(callers, w.read); len(errs) > 0 {
						t.Errorf("got %v", errs)
					}
					w.wantCalls(otctest.OpLogin, 2)
					w.wantCalls(otctest.OpTableGet, 1+2*callers)
					if got := w.count.retries["relogin"]; got != 1 {
						t.Errorf("got %d counted logins after a 401, want 1", got)
					}
				})
			})
		}
	}
}

// A PUT whose token was refused has not been carried out and is sent again.
func TestRevokedTokenOnWriteAndServerCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustRead()
		w.RevokeTokens()
		if err := w.write(); err != nil {
			t.Errorf("got %v", err)
		}
		w.wantCalls(otctest.OpTableUpdate, 2)
		if got := len(w.Routes(otctest.TableID)); got != 1 {
			t.Errorf("got %d routes, want 1", got)
		}
		w.RevokeTokens()
		if _, err := w.client.Server(t.Context(), one); err != nil {
			t.Errorf("got %v", err)
		}
		pass(15 * time.Minute)
		w.RevokeTokens()
		if _, err := w.client.Servers(t.Context()); err != nil {
			t.Errorf("got %v", err)
		}
		w.wantCalls(otctest.OpLogin, 4)
	})
}

// Some services refuse a stale token with 403 instead of 401.
func TestR7StaleTokenSaidWith403(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustRead()
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: http.StatusForbidden, Shape: otctest.ShapeIAM,
			Message: "X-Auth-Token is invalid in the request"})
		w.mustRead()
		w.wantCalls(otctest.OpLogin, 2)
		w.Set(func(k *otctest.Knobs) {
			k.Deny = map[string]otctest.Denial{"vpc:routeTables:get": otctest.DenyPolicy}
		})
		if e := asError(t, w.read()); e.Reaction != Permanent {
			t.Errorf("got %v (%v), want a missing permission", e, e.Reaction)
		}
		w.wantCalls(otctest.OpLogin, 2)
	})
}

// R7: a 401 that a new token does not cure (a restricted account: VPC.0005)
// costs two logins in 15 minutes at most.
func TestR7RefusalThatANewTokenDoesNotCure(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(w *world)
	}{
		{"everything is refused", func(w *world) { w.Set(func(k *otctest.Knobs) { k.Restricted = true }) }},
		{"writing is refused, reading is not", func(w *world) {
			w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Times: -1, Status: 401, Code: "VPC.0005"})
		}},
		{"the gateway fails now and then", func(w *world) {
			n := 0
			w.Fail(otctest.Fault{Op: otctest.OpTableGet, Times: -1, Status: 503, Match: func(otctest.Request) bool { n++; return n%3 == 0 }})
			w.Set(func(k *otctest.Knobs) { k.Restricted = true })
		}},
		{"the gateway throttles now and then", func(w *world) {
			n := 0
			w.Fail(otctest.Fault{Op: otctest.OpTableGet, Times: -1, Status: 429, Header: http.Header{"Retry-After": {"120"}},
				Match: func(otctest.Request) bool { n++; return n%3 == 0 }})
			w.Set(func(k *otctest.Knobs) { k.Restricted = true })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				tt.set(w)
				start := time.Now()
				every(time.Minute, time.Hour, func() {
					_ = w.read()
					if e := asError(t, w.write()); e.Reaction != Relogin {
						t.Errorf("got %v, want a refused token", e)
					}
				})
				again := w.times(otctest.OpLogin)[1:]
				if n := w.count.retries["relogin"]; n != len(again) {
					t.Errorf("got %d logins counted, want %d", n, len(again))
				}
				if len(again) < 2 || again[0].Sub(start) > 20*time.Second {
					t.Errorf("got logins %v after the first, want one at once", again)
				}
				for i := 2; i < len(again); i++ {
					if d := again[i].Sub(again[i-2]); d < 15*time.Minute {
						t.Errorf("got three new logins within %v, want 15m at least", d)
					}
				}
			})
		})
	}
}

// The token that answered a 401 may itself be revoked. A third time within 15 minutes
// it is sent all the same: it is the only one, and may be taken again.
func TestR7TokenRevokedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for n := range 3 {
			w.mustRead()
			w.wantCalls(otctest.OpLogin, n+1)
			w.RevokeTokens()
			pass(time.Minute)
		}
		if e := asError(t, w.read()); e.Reaction != Relogin {
			t.Errorf("got %v, want a rejected token", e)
		}
		w.wantCalls(otctest.OpLogin, 3)
		pass(13 * time.Minute)
		w.mustRead()
		w.wantCalls(otctest.OpLogin, 4)
	})
}

// A caller that gives up need not wait for a login of somebody else.
func TestWaitingForALoginCanBeGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Fail(otctest.Fault{Op: otctest.OpLogin, Hang: true})
		go func() { _ = w.read() }()
		synctest.Wait()
		start := time.Now()
		_, err := w.client.RouteTable(within(t, 3*time.Second), otctest.TableID)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("got %v after %v, want the end of the caller's 3s", err, time.Since(start))
		}
	})
}

// -check logs in once, whatever the services say.
func TestOneLogin(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.OneLogin = true })
	w.mustRead()
	w.RevokeTokens()
	if e := asError(t, w.read()); e.Reaction != Relogin {
		t.Errorf("got %v, want a refused token", e)
	}
	w.wantCalls(otctest.OpLogin, 1)
}

func TestCredentialsThatCannotBeRead(t *testing.T) {
	missing := errors.New("OS_PASSWORD_FILE: no such file")
	w := newWorld(t, func(c *Config) { c.Credentials = func() (Credentials, error) { return Credentials{}, missing } })
	if err := w.read(); !errors.Is(err, missing) {
		t.Errorf("got %v, want %v", err, missing)
	}
	w.wantCalls("", 0)
}
