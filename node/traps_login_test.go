package node

import (
	"net/http"
	"strings"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// loginTraps are about asking for a token.
func loginTraps() []trap {
	wrong := func(_ *world, a *agent) { a.password.Store("no-longer-right") }
	return []trap{{
		name:  "trap 1: a login is answered 201 with 9 KB of token in a header",
		set:   knob(func(k *otctest.Knobs) { k.TokenSize = 9500 }),
		table: []string{home}, calls: first, state: "ready, in sync",
		told: []string{"log success route 10.128.2.0/23 → worker-1 confirmed", "event Normal RouteConfirmed", "count call iam login 201 = 1"},
	}, {
		name: "trap 2: a wrong password locks the user at the fifth attempt",
		set:  wrong,
		run: func(w *world, a *agent) {
			for i := range 14 {
				a.move([]string{"10.129.0.0/23", "10.128.2.0/23"}[i%2])
				w.pass(time.Minute)
			}
			w.wantCallsOf(otctest.OpLogin, 1)
			w.pass(43 * time.Minute)
		},
		calls: "login:401( login:401){3}", state: "not ready",
		told: []string{"log error could not log in: iam login: HTTP 401 … OS_PASSWORD", "event Warning RouteFailed … OS_PASSWORD", "status 401", "count call iam login 401 = 4"},
	}, {
		name:  "trap 2: a login answered 403 is one login, not a server that may not be read",
		set:   fail(otctest.Fault{Op: otctest.OpLogin, Status: http.StatusForbidden, Times: 1}),
		run:   func(w *world, _ *agent) { w.pass(20 * time.Second) },
		calls: "login:403", state: "not ready",
		told: []string{"log error could not log in: iam login: HTTP 403", "event Warning RouteFailed", "count call iam login 403 = 1"},
	}, {
		name: "trap 2: a corrected password is used within a minute",
		set:  wrong,
		run: func(w *world, a *agent) {
			w.pass(20 * time.Minute)
			a.password.Store(otctest.Password)
			w.pass(time.Minute)
		},
		table: []string{home}, calls: "login:401 login:401 " + first, state: "ready, in sync",
		told: []string{"event Warning RouteFailed", "event Normal RouteConfirmed"},
	}, {
		name: "trap 2: the password is changed elsewhere, and a new token is needed",
		run: func(w *world, a *agent) {
			w.pass(time.Hour)
			w.SetPassword("a new one")
			w.RevokeTokens()
			a.move("10.128.8.0/23")
			w.pass(10 * time.Minute)
		},
		table: []string{home}, calls: first + " get:401 login:401", state: "not ready",
		told: []string{"log error could not log in: iam login: HTTP 401 … OS_PASSWORD", "event Warning RouteFailed could not log in", "status rtb-netops: login refused: iam login: HTTP 401"},
	}, {
		name: "trap 2: somebody else has locked the user, the right password is refused too",
		set:  func(w *world, _ *agent) { w.lock() }, run: hours(0.5),
		table: []string{home}, calls: "login:401 " + first, state: "ready, in sync",
		told: []string{"log error … IAM.0061 … locked for 15 minutes", "event Normal RouteConfirmed"},
	}, {
		name: "trap 51: no Secret yet: nothing is sent, and the password is used within a minute of its coming",
		set:  func(_ *world, a *agent) { a.password.Store("") },
		run: func(w *world, a *agent) {
			w.pass(20 * time.Minute)
			w.wantPattern("")
			if s := a.Status(); s.LoginRefused != "" || !strings.HasPrefix(s.Reasons[0].Text, "no login: iam login: the user name or the password is empty") {
				w.t.Errorf("refused %q, reasons %v", s.LoginRefused, s.Reasons)
			}
			a.password.Store(otctest.Password)
			w.pass(time.Minute)
		},
		table: []string{home}, calls: first, state: "ready, in sync",
		told: []string{"log error could not log in: iam login: the user name or the password is empty: is Secret otc-credentials there", "event Normal RouteConfirmed"},
	}, {
		name: "trap 51: an ID token that IAM refuses is sent again, until IAM is corrected",
		set: func(w *world, a *agent) {
			const subject, audience = "system:serviceaccount:x:y", "otc-route-manager"
			issuer := otctest.NewTokenIssuer("https://kubernetes.default.svc", "ES256")
			sent := otc.Credentials{IdentityProvider: "cluster", ProjectName: otctest.Project, Secret: otc.NewSecret(issuer.Token(subject, audience, time.Hour))}
			a.tune = func(c *otc.Config) { c.Credentials = func() (otc.Credentials, error) { return sent, nil } }
			time.AfterFunc(30*time.Minute, func() {
				w.SetIdentityProvider("cluster", otctest.IdentityProvider{Issuer: issuer.URL, ClientID: audience, Keys: issuer.KeySet(), Subject: subject})
			})
		},
		run:   func(w *world, _ *agent) { w.pass(36 * time.Minute) },
		table: []string{home}, calls: "login:404( login:404){6,15} " + first, state: "ready, in sync",
		told: []string{"log error could not log in: iam id token login: HTTP 404 IAM.0004 … OS_IDENTITY_PROVIDER … subject system:serviceaccount:x:y",
			"event Warning RouteFailed … subject system:serviceaccount:x:y", "event Normal RouteConfirmed"},
	}, {
		name:  "trap 39: IAM fails over to another region (410)",
		set:   fail(otctest.Fault{Op: otctest.OpLogin, Status: http.StatusGone, Code: "IAM.0020"}),
		table: []string{home}, calls: "login:410 " + first, state: "ready, in sync",
		told: []string{"count retry throttled = 1", "log success", "count pass error = 0"},
	}, {
		name:  "trap 39: IAM is not reachable for the gateway (503)",
		set:   fail(otctest.Fault{Op: otctest.OpLogin, Status: http.StatusServiceUnavailable, Code: "APIGW.0613", Times: 3}),
		table: []string{home}, calls: "login:503 login:503 login:503 " + first, state: "ready, in sync",
		told: []string{"log error could not log in: iam login: HTTP 503 … APIGW.0613", "log success"},
	}}
}

// lock has somebody else lock the user.
func (w *world) lock() {
	for range 5 {
		if err := w.login(otctest.User, "a guess"); err == nil {
			w.t.Error("a wrong password was taken")
		}
	}
	w.Reset()
}

// login logs somebody in who is no worker.
func (w *world) login(user, password string) error {
	_, _, _, err := otc.New(cloudConfig(user, func() any { return password }, w.Server), nil).Login(w.t.Context())
	return err
}

// revokedTraps are about tokens that die early.
func revokedTraps() []trap {
	revoked := func(how otctest.BadToken) func(*world, *agent) {
		return func(w *world, a *agent) {
			w.pass(time.Hour)
			w.Set(func(k *otctest.Knobs) { k.BadToken = how })
			w.RevokeTokens()
			a.move("10.128.8.0/23")
			w.pass(time.Hour)
		}
	}
	moved := []string{"10.128.8.0/23 → worker-1 *"}
	once := []string{"log success … 10.128.8.0/23 → worker-1 confirmed, removed 10.128.2.0/23", "event Normal RouteMoved", "count retry relogin = 1"}
	const relogin = first + " get:401 login get put get"
	return []trap{
		{name: "trap 3: a token dies early (VPC.0008)", run: revoked(otctest.BadTokenService), table: moved, calls: relogin, told: once, state: "ready, in sync"},
		{name: "trap 3: a token dies early (APIGW.0301)", run: revoked(otctest.BadToken0301), table: moved, calls: relogin, told: once, state: "ready, in sync"},
		{name: "trap 3: a token dies early (APIGW.0307)", run: revoked(otctest.BadToken0307), table: moved, calls: relogin, told: once, state: "ready, in sync"},
		{
			name: "trap 3: a token dies early (Common.0013)",
			run: func(w *world, a *agent) {
				w.RevokeTokens()
				a.replace(ecsID(101))
				a.see(func(f *Facts) { f.ProviderID, f.SystemUUID = "openstack:///"+a.id, a.id })
				w.pass(time.Hour)
			},
			table: []string{"10.128.2.0/23 → worker-1#2 *"}, calls: first + " server:401 login server get put get",
			told: []string{"count retry relogin = 1", "log info node worker-1 is ECS instance " + ecsID(101)}, state: "ready, in sync",
		}}
}

// tokenTraps are about tokens that are refused for other reasons.
func tokenTraps() []trap {
	return []trap{
		{
			name: "trap 4: a 401 that a new token does not cure",
			set:  knob(func(k *otctest.Knobs) { k.Restricted = true }),
			run: func(w *world, a *agent) {
				w.pass(14 * time.Minute)
				w.wantPattern("login server get:401 login get:401 get:401 login get:401( get:401){2,5}")
				w.Set(func(k *otctest.Knobs) { k.Restricted = false })
				w.pass(30 * time.Minute)
			},
			table: []string{home}, calls: "get put get", state: "ready, in sync",
			told: []string{"log error could not … route table … VPC.0005 … restricted, frozen or in arrears", "event Warning RouteFailed", "count call iam login 201 = 3"},
		}, {
			name:  "trap 4: only writing meets a 401 that a new token does not cure",
			set:   fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: http.StatusUnauthorized, Code: "VPC.0009", Times: -1}),
			run:   hours(0.23),
			calls: "login server get put:401 login put:401 get put:401 login put:401( get put:401){2,5}",
			told:  []string{"log error could not … route table … VPC.0009", "event Warning RouteFailed … VPC.0009", "status VPC.0009", "count call iam login 201 = 3"}, state: "not ready",
		}, {
			name:  "trap 3: a token dies between read and write",
			set:   fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: http.StatusUnauthorized, Code: "VPC.0008"}),
			table: []string{home}, calls: "login server get put:401 login put get", state: "ready, in sync",
			told: []string{"count retry relogin = 1", "count pass error = 0"},
		}, {
			name: "trap 5: a stale token is refused with 403",
			set: both(knob(func(k *otctest.Knobs) { k.IAMForbids = true }),
				fail(otctest.Fault{Op: otctest.OpTableGet, Status: http.StatusForbidden, Shape: otctest.ShapeIAM, Message: "X-Auth-Token is invalid in the request"})),
			table: []string{home}, calls: "login server get:403 login get put get", state: "ready, in sync",
			told: []string{"count retry relogin = 1", "count pass error = 0"},
		}, {
			name: "trap 6: five tables find the token dead at once, and one login is made",
			set: func(w *world, a *agent) {
				w.tables(5)(&a.cfg)
				w.Set(func(k *otctest.Knobs) { k.Latency = 30 * time.Millisecond })
			},
			run: func(w *world, a *agent) {
				w.pass(time.Hour)
				w.Reset()
				w.RevokeTokens()
				a.move("10.128.8.0/23")
				w.pass(time.Hour)
			},
			table: []string{"10.128.8.0/23 → worker-1 *"}, calls: "sorted get( get){19}( get:401){5} login put( put){4}", state: "ready, in sync",
			told: []string{"count retry relogin = 1", "count pass error = 0", "count call iam login 201 = 2"},
		}}
}
