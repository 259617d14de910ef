// Package config turns the environment into the configuration of the program's
// packages. [Settings] is the list of all variables; the README's table is
// compared with it.
package config

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"

	"k8s.io/client-go/rest"

	"otc-route-manager/metrics/status"
	"otc-route-manager/node"
	"otc-route-manager/otc"
)

// A Config is what the environment says, checked.
type Config struct {
	OTC       otc.Config // without Observer and UserAgent
	Node      node.Config
	Kube      *rest.Config
	Port      int    // of metrics, health and status page
	LogFormat string // "text" or "json"
	LogLevel  slog.Level
	Warnings  []string         // what is accepted, but hardly meant
	Shown     []status.Setting // what the status page shows, as it was written

	IdentityProvider string // whose ID token logs in; "": a password does

	login               otc.Credentials
	idTokenFile         string
	kubeconfig          string
	gcPercent, maxProcs string // for the Go runtime
}

// Read reads and checks the environment. It returns every problem, each naming
// its variable, its value unless that is secret, what is wanted and who sets it.
//
// With names it looks at these settings only, and needs no API server; "secret"
// and "configmap" mean what that object holds.
func Read(getenv func(string) string, names ...string) (Config, []string) {
	r := reader{getenv: getenv, starts: len(names) == 0}
	for _, s := range r.cfg.settings() {
		if len(names) == 0 || slices.ContainsFunc(names, s.is) {
			r.read(s)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(Settings(), func(s Setting) bool { return s.is(name) }) {
			r.problem(name + ": no such setting")
		}
	}
	r.cfg.IdentityProvider = r.cfg.login.IdentityProvider
	r.cfg.OTC.Credentials = credentials(getenv)
	r.cfg.OTC.Allowed = r.cfg.Node.Ranges
	if r.starts {
		r.kubeConfig()
	}
	return r.cfg, r.problems
}

// Prepare tells libraries that read the environment by themselves what they would not
// find there: the Go runtime has other defaults, and takes no blank around a number;
// net/http uses no proxy, without an error, if the value has a newline at its end.
func Prepare() {
	c, _ := Read(os.Getenv, "GOGC", "GOMAXPROCS") // a problem will be told, and end the program
	percent, err := strconv.Atoi(c.gcPercent)
	if err != nil {
		percent = -1 // off
	}
	debug.SetGCPercent(percent)
	procs, _ := strconv.Atoi(c.maxProcs) // 0 changes nothing
	runtime.GOMAXPROCS(procs)
	for _, name := range []string{"HTTPS_PROXY", "NO_PROXY"} {
		if v, err := setting(name).value(os.Getenv); err == nil {
			_ = os.Setenv(name, v) // it is valid; net/http reads it at the first request
		}
	}
	ping()
}

// ping makes a connection to the API server that falls silent end after 15 s instead
// of client-go's 45, unless the environment says otherwise. client-go reads this
// when it makes a transport; there is no other way to tell it.
func ping() {
	for name, seconds := range map[string]string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "10", "HTTP2_PING_TIMEOUT_SECONDS": "5"} {
		if os.Getenv(name) == "" {
			_ = os.Setenv(name, seconds) // both are valid
		}
	}
}
