// Package config turns the environment into the configuration of the program's
// packages. [Settings] is the list of all variables; the README's table is
// compared with it.
package config

import (
	"fmt"
	"log/slog"
	"slices"

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

// Check reads and checks only the settings that are named; "secret" and
// "configmap" are those of one object, no name means both. Neither a Node nor the
// API server is needed.
func Check(getenv func(string) string, names ...string) (warnings, problems []string) {
	if len(names) == 0 {
		names = []string{Secret, ConfigMap}
	}
	r := reader{getenv: getenv}
	for _, s := range Settings() {
		if slices.ContainsFunc(names, s.is) {
			r.read(s)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(Settings(), func(s Setting) bool { return s.is(name) }) {
			r.problems = append(r.problems, fmt.Sprintf("%s: no such setting; want secret, configmap or names of variables", name))
		}
	}
	return r.cfg.Warnings, r.problems
}
