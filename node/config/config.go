// Package config turns the environment into the configuration of the program's
// packages. [Settings] is the list of all variables; the README's table is
// compared with it.
package config

import (
	"log/slog"

	"k8s.io/client-go/rest"

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
	Warnings  []string // what is accepted, but hardly meant

	kubeconfig string
}

// Read reads and checks the whole environment. It returns every problem, each
// naming its variable, its value unless that is secret, what is wanted and who
// sets it.
func Read(getenv func(string) string) (Config, []string) {
	r := reader{getenv: getenv}
	for _, s := range Settings() {
		r.read(s)
	}
	r.cfg.OTC.Credentials = credentials(getenv)
	r.cfg.OTC.Allowed = r.cfg.Node.Ranges
	var err error
	if r.cfg.Kube, err = kubeConfig(r.cfg.kubeconfig); err != nil {
		r.problems = append(r.problems, err.Error())
	}
	return r.cfg, r.problems
}

// Check reads and checks only some settings: "all" are those of the Secret and
// the ConfigMap, "secret" and "configmap" those of one of them; else what is a
// list of names with commas between. Neither a Node nor the API server is needed.
func Check(getenv func(string) string, what string) (warnings, problems []string) {
	r := reader{getenv: getenv}
	for _, s := range r.selected(what) {
		r.read(s)
	}
	return r.cfg.Warnings, r.problems
}
