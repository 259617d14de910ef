// Package config turns the environment into the configuration of the program's
// packages. [Settings] is the list of all variables; the README's table is
// compared with it.
package config

import (
	"log/slog"
	"os"
	"slices"

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

	login       otc.Credentials
	idTokenFile string
	ownNode     bool // KUBE_OWN_NODE
	kubeconfig  string
}

// Read reads and checks the environment. It returns every problem, each naming
// its variable, its value unless that is secret, what is wanted and who sets it.
//
// With names it looks at these settings only, and needs no API server; "secret"
// and "configmap" mean what that object holds.
func Read(getenv func(string) string, names ...string) (Config, []string) {
	r := reader{getenv: getenv, starts: len(names) == 0}
	for _, s := range r.cfg.settings() {
		if len(names) == 0 || slices.ContainsFunc(names, s.matches) {
			r.read(s)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(Settings(), func(s Setting) bool { return s.matches(name) }) {
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

// Prepare cleans what net/http reads from the environment by itself: it uses no
// proxy, without an error, if the value has a newline at its end.
func Prepare() {
	for _, name := range []string{"HTTPS_PROXY", "NO_PROXY"} {
		if v, err := setting(name).value(os.Getenv); err == nil {
			_ = os.Setenv(name, v) // it is valid; net/http reads it at the first request
		}
	}
}
